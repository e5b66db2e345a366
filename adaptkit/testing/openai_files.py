"""Files of OpenAI's wire, whole and in parts, and how its lists and errors look."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from adaptkit.testing.wire import Answer, Asked, Route

__all__ = ["FakeFiles", "error", "missing", "page", "refused"]


class FakeFiles:
    """The files of a fake service.

    Attributes:
        content: Content by id, oldest first.
        facts: What else the wire shows of each.
        status: What files are said to be.
        newest_page: Most files of a page, whatever was asked for.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.status: str | None = "processed"
        self.newest_page = 10_000
        self._uploads: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[Route]:
        """Paths of the wire."""
        return [
            Route("POST", "/v1/files", "upload", self._upload),
            Route("GET", "/v1/files", "list_files", self._list_files),
            Route("GET", "/v1/files/{id}", "has_upload", self._file),
            Route("DELETE", "/v1/files/{id}", "delete_data", self._delete_file),
            Route("GET", "/v1/files/{id}/content", "download", self._content),
            Route("POST", "/v1/uploads", "begin_upload", self._begin_upload),
            Route("POST", "/v1/uploads/{id}/parts", "upload_part", self._part),
            Route("POST", "/v1/uploads/{id}/complete", "complete_upload", self._complete),
        ]

    def keep(self, content: bytes, name: str, purpose: str) -> dict[str, Any]:
        """Make a file; gives what the wire shows of it."""
        file_id = f"file-{secrets.token_hex(12)}"
        self.content[file_id] = content
        self.facts[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
        }
        return self._shown(file_id)

    def _shown(self, file_id: str) -> dict[str, Any]:
        details = "row 3 is no JSON" if self.status == "error" else None
        return {**self.facts[file_id], "status": self.status, "status_details": details}

    def _upload(self, asked: Asked) -> Answer:
        fields = form(asked)
        name, content = fields["file"]
        return Answer(self.keep(content, name, fields["purpose"][1].decode()))

    def _list_files(self, asked: Asked) -> Answer:
        wanted = asked.first("purpose")
        rows = [self._shown(file_id) for file_id in reversed(self.content)]
        return page(asked, [row for row in rows if not wanted or row["purpose"] == wanted], 10_000, self.newest_page)

    def _file(self, asked: Asked) -> Answer:
        file_id = asked.matched["id"]
        return Answer(self._shown(file_id)) if file_id in self.content else missing(f"No such File object: {file_id}")

    def _delete_file(self, asked: Asked) -> Answer:
        file_id = asked.matched["id"]
        if self.content.pop(file_id, None) is None:
            return missing(f"No such File object: {file_id}")
        return Answer({"id": file_id, "object": "file", "deleted": True})

    def _content(self, asked: Asked) -> Answer:
        content = self.content.get(asked.matched["id"])
        if content is None:
            return missing("no such file")
        return Answer(content, headers={"Content-Type": "application/octet-stream"})

    def _begin_upload(self, asked: Asked) -> Answer:
        upload_id = f"upload_{secrets.token_hex(12)}"
        self._uploads[upload_id] = {**asked.json(), "parts": {}, "status": "pending"}
        return Answer(self._upload_shown(upload_id))

    def _upload_shown(self, upload_id: str) -> dict[str, Any]:
        upload = {name: value for name, value in self._uploads[upload_id].items() if name != "parts"}
        return {**upload, "id": upload_id, "object": "upload", "expires_at": int(time.time()) + 3600}

    def _part(self, asked: Asked) -> Answer:
        upload = self._uploads.get(asked.matched["id"])
        if upload is None or upload["status"] != "pending":
            return refused("this Upload takes no parts")
        part_id = f"part_{secrets.token_hex(12)}"
        upload["parts"][part_id] = form(asked)["data"][1]
        return Answer({"id": part_id, "object": "upload.part", "upload_id": asked.matched["id"]})

    def _complete(self, asked: Asked) -> Answer:
        upload, given = self._uploads.get(asked.matched["id"]), asked.json()
        if upload is None or upload["status"] != "pending":
            return refused("this Upload cannot be completed")
        content = b"".join(upload["parts"][part] for part in given["part_ids"])
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if len(content) != upload["bytes"] or given.get("md5") not in (None, digest):
            return refused("the parts are not the file that was announced")
        upload["status"] = "completed"
        upload["file"] = self.keep(content, upload["filename"], upload["purpose"])
        return Answer(self._upload_shown(asked.matched["id"]))

    def forget_uploads(self) -> None:
        """Lose every upload that has not been completed, as after an hour."""
        for upload in self._uploads.values():
            upload["status"] = "expired"


def page(asked: Asked, rows: Sequence[Mapping[str, Any]], usual: int, most: int) -> Answer:
    """One page of a list, as the request wants it and the service allows it."""
    limit = min(int(asked.first("limit") or usual), most)
    ids = [row["id"] for row in rows]
    after = asked.first("after")
    start = ids.index(after) + 1 if after in ids else 0
    shown = list(rows[start : start + limit])
    return Answer({"object": "list", "data": shown, "has_more": start + limit < len(rows)})


def form(asked: Asked) -> dict[str, tuple[str, bytes]]:
    """The fields of a multipart form: file name and content."""
    boundary = re.search(r"boundary=\"?([^\";]+)", asked.headers["content-type"])
    assert boundary is not None  # noqa: S101 - a client that sends none is broken
    fields = {}
    for part in asked.content().split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(re.findall(rb'(name|filename)="([^"]*)"', head))
        fields[names[b"name"].decode()] = (names.get(b"filename", b"").decode(), content.removesuffix(b"\r\n"))
    return fields


def error(status: int, message: str, code: str) -> Answer:
    """An error as the wire writes it."""
    told = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return Answer({"error": told}, status)


def missing(message: str, code: str = "not_found") -> Answer:
    """404."""
    return error(404, message, code)


def refused(message: str) -> Answer:
    """400."""
    return error(400, message, "invalid_request")

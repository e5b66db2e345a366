"""Files at Together: asked for, put where the host says, found again by their checksum, looked at by the host.

The host answers the first request with a redirect to an address at its storage. It is never followed: the file is put
there by a request of its own, without the key, if the address is one that data may go to. Over 5 GB there are several
such addresses, one a part.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from adaptkit.adapter import DataFile
from adaptkit.backends.rest import Rest, segment
from adaptkit.errors import BackendError, DataError, EgressError, ServiceError
from adaptkit.http import loopback, raise_for

__all__ = ["Files"]

_BACKEND = "together"
#: Bytes above which a file goes up in parts, size of a part, and most parts.
WHOLE, PART, PARTS = 5 * 2**30, 250 * 2**20, 250


class Files:
    """The files of an account.

    Args:
        rest: The service.
        storage: Hosts at which its storage may lie; empty for any.
    """

    def __init__(self, rest: Rest, storage: Sequence[str]) -> None:
        self._rest, self._storage = rest, frozenset(storage)

    def upload(self, file: DataFile) -> str:
        """Bring a file to the host, and give its id; one that is there already is found, and not sent again.

        Raises:
            EgressError: data may not go to the address that the host names; nothing was sent there.
            BackendError: the host refused, or an answer was lost.
        """
        fields = {
            "purpose": "fine-tune",
            "file_name": f"{file.purpose}-{file.sha256[:16]}.jsonl",
            "file_type": "jsonl",
            "checksum": file.sha256,
        }
        with tempfile.TemporaryDirectory(prefix="adaptkit-") as folder:
            path = Path(folder, fields["file_name"])
            with path.open("wb") as target:
                written = file.data.write(target, file.format)
            if written.sha256 != file.sha256:
                raise DataError(f"the {file.purpose} data has changed since the plan was made; nothing was sent")
            return self._in_parts(path, fields) if file.size > WHOLE else self._whole(path, fields)

    def _whole(self, path: Path, fields: Mapping[str, str]) -> str:
        response = self._rest.post("/v1/files", form=fields)
        known = _existing(response)
        if known is not None:
            return known
        file_id, address = response.headers.get("x-together-file-id"), response.headers.get("location")
        if response.status_code != 302 or not file_id or not address:
            raise_for(response, _BACKEND)
            message = "the answer to POST /v1/files names no address to put the file at"
            raise ServiceError(message, backend=_BACKEND, status_code=response.status_code)
        self._rest.put_file(self.address(address), path, {})
        self._rest.send("POST", f"/v1/files/{segment(file_id)}/preprocess")
        return file_id

    def _in_parts(self, path: Path, fields: Mapping[str, str]) -> str:
        size = path.stat().st_size
        count = min(PARTS, math.ceil(size / PART))
        length = math.ceil(size / count)
        asked = {**fields, "file_size": size, "num_parts": count}
        response = self._rest.post("/v1/files/multipart/initiate", body=asked)
        known = _existing(response)
        if known is not None:
            return known
        raise_for(response, _BACKEND)
        begun = _json(response)
        ids = {"upload_id": str(begun.get("upload_id") or ""), "file_id": str(begun.get("file_id") or "")}
        if not all(ids.values()) or len(begun.get("parts") or ()) != count:
            message = f"the answer to POST /v1/files/multipart/initiate names no {count} parts"
            raise ServiceError(message, backend=_BACKEND, status_code=response.status_code)
        try:
            done = [self._part(path, part, length, size) for part in begun["parts"]]
        except BaseException:
            self._abort(ids)
            raise
        self._rest.send("POST", "/v1/files/multipart/complete", {**ids, "parts": done})
        return ids["file_id"]

    def _part(self, path: Path, part: Mapping[str, Any], length: int, size: int) -> dict[str, Any]:
        number = int(part.get("PartNumber") or part.get("part_number") or 1)
        address = str(part.get("URL") or part.get("UploadURL") or "")
        start = (number - 1) * length
        held = range(start, min(start + length, size))
        response = self._rest.put_file(self.address(address), path, part.get("Headers") or {}, held)
        etag = response.headers.get("etag", "").strip('"')
        if not etag:
            raise ServiceError(f"the storage gave no ETag for part {number}", backend=_BACKEND)
        return {"part_number": number, "etag": etag}

    def _abort(self, ids: Mapping[str, str]) -> None:
        with contextlib.suppress(BackendError):  # what ended the upload matters more
            self._rest.send("POST", "/v1/files/multipart/abort", ids)

    def address(self, url: str) -> str:
        """An address that the service gave, if data may go there.

        Raises:
            EgressError: it is not encrypted, or at none of the hosts of ``storage``.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL()
        host = parsed.raw_host.decode("ascii")
        if not host or not (parsed.scheme == "https" or (parsed.scheme == "http" and loopback(host))):
            raise EgressError("Together names an address for a file that is not https; nothing was sent there")
        if self._storage and host not in self._storage and not loopback(host):
            allowed = ", ".join(sorted(self._storage))
            raise EgressError(
                f"Together keeps files at {host}, which is not in storage ({allowed}); nothing was sent there. Add it "
                "to storage, and to the egress policy"
            )
        return url

    def ready(self, file_id: str) -> bool:
        """Whether the host has looked at a file and a job may use it.

        Raises:
            DataError: the host refuses what is in it; carries its words.
            BackendError: the host could not look at it.
        """
        file = self._rest.send("GET", f"/v1/files/{segment(file_id)}")
        word = str(file.get("processing_status") or "").upper()
        report: Mapping[str, Any] = file.get("validation_report") or {}
        if word == "INVALID_FORMAT" or report.get("valid") is False:
            said = str(report.get("error") or report.get("error_type") or "it gives no reason")[:500]
            raise DataError(f"Together refuses file {file_id}: {said}")
        if word == "FAILED":
            message = f"Together failed to look at file {file_id}; delete it with delete_data and submit again"
            raise BackendError(message, backend=_BACKEND)
        # a host that says nothing of it does not look at files
        return word == "COMPLETED" or (not word and file.get("Processed") is not False)


def _existing(response: httpx2.Response) -> str | None:
    """The id of the file with the same checksum, where the host says that there is one."""
    found = _json(response).get("file_id") if response.status_code == 409 else None
    return str(found) if found else None


def _json(response: httpx2.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(response.content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}

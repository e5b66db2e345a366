"""Files at a deployment, or at Mistral, where those of former jobs still lie; and lists that come in numbered pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends.rest import Rest, segment
from adaptkit.errors import BackendError, DataError, NotFoundError, ServiceError
from adaptkit.types import OwnedFile

__all__ = ["Files", "rows"]

_PAGE = 100
_MOST_PAGES = 1000  # a list that says for ever that there is more


def rows(rest: Rest, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a list, page by page.

    Args:
        rest: The service.
        path: Of the list.
        query: Parameters of every page.
    """
    seen = 0
    for page in range(_MOST_PAGES):
        answer = rest.send("GET", path, query={**(query or {}), "page": page, "page_size": _PAGE})
        shown = answer.get("data") or ()
        yield from shown
        seen += len(shown)
        total = answer.get("total")
        if not shown or (isinstance(total, int) and seen >= total) or (total is None and len(shown) < _PAGE):
            return
    raise ServiceError(f"the list {path} has no end", backend="mistral")


class Files:
    """The files of an account.

    Args:
        rest: The service.
        backend: Name of the backend, for errors.
    """

    def __init__(self, rest: Rest, backend: str) -> None:
        self._rest, self._backend = rest, backend

    def upload(self, file: DataFile) -> str:
        """Send a file, and give its id; the service gives back the file that it has of the same name and content.

        Raises:
            DataError: the data is no longer what was planned.
            BackendError: the service refused, or an answer was lost.
        """
        name = f"{file.purpose}-{file.sha256[:16]}.jsonl"
        with tempfile.TemporaryFile() as content:
            written = file.data.write(content, file.format)
            content.seek(0)
            if written.sha256 != file.sha256:
                raise DataError(f"the {file.purpose} data changed after the plan was made; plan again")
            try:
                made = self._rest.post_file("/v1/files", name, content, {"purpose": "fine-tune"})
            except BackendError as refused:
                if refused.status_code == 413:
                    refused.message += f". The {file.purpose} data is {file.size:,} bytes; train on less of it"
                raise
        return self._id(made, file.size)

    def _id(self, made: Mapping[str, Any], size: int) -> str:
        """The id; of the rest of the answer nothing is taken for granted: the specification's own example has no size.

        Raises:
            ServiceError: there is none, or the service has another number of bytes than was sent.
        """
        file_id, kept = made.get("id"), made.get("bytes")
        if not isinstance(file_id, str) or not file_id:
            raise ServiceError("the answer to POST /v1/files names no file", backend=self._backend)
        if isinstance(kept, int) and kept != size:
            raise ServiceError(f"the service has {kept:,} bytes of a file of {size:,}", backend=self._backend)
        return file_id

    def has(self, file_id: str) -> bool:
        """Whether a file is there."""
        try:
            self._rest.send("GET", f"/v1/files/{segment(file_id)}")
        except NotFoundError:
            return False
        return True

    def delete(self, file_id: str) -> None:
        """Delete a file; one that is not there is no error."""
        try:
            self._rest.send("DELETE", f"/v1/files/{segment(file_id)}")
        except NotFoundError:
            return

    def listed(self) -> list[OwnedFile]:
        """Files for training, newest first."""
        found = [
            OwnedFile(
                id=str(row.get("id")),
                name=str(row.get("filename") or ""),
                purpose=str(row.get("purpose") or ""),
                bytes=row.get("bytes"),
                created_at=row.get("created_at"),
            )
            for row in rows(self._rest, "/v1/files", {"purpose": "fine-tune"})
        ]
        return sorted(found, key=lambda file: file.created_at or 0.0, reverse=True)

"""Files, whole or in parts, with a small piece of them in memory at a time.

A file that is too large for one request goes as an upload of parts. Which parts are there already lies under the home
folder by the file's hash, ids alone and none of the data, so that an upload that was interrupted goes on; the host
keeps its parts for an hour.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from adaptkit.adapter import DataFile
from adaptkit.backends.openai.api import Api
from adaptkit.durable import replace_file
from adaptkit.errors import BackendError, DataError, ServiceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["PART", "upload"]

#: Bytes of a part; the host takes 64 MB.
PART = 32 << 20
#: Seconds before the host forgets an upload that are too few to go on with it.
_MARGIN = 60.0
_MIME = "text/jsonl"


class _Begun(msgspec.Struct):
    """An upload that was begun: its id, the size and the ids of its parts so far, and when the host forgets it."""

    upload_id: str
    part_size: int
    expires_at: float
    parts: list[str] = []


def upload(api: Api, file: DataFile, whole: int | None, folder: Path, account: str) -> str:
    """Send a file; gives its id.

    Args:
        api: The host.
        file: What to send.
        whole: Largest file that goes in one request, bytes; ``None`` for any.
        folder: Where what is known of unfinished uploads lies; made if it is needed.
        account: Whose they are.

    Raises:
        DataError: the data is no longer what was planned.
        BackendError: the host refused, or an answer was lost; sending again goes on.
    """
    with tempfile.TemporaryFile() as content:
        written = file.data.write(content, file.format)
        content.flush()  # its length is asked of the system
        if written.sha256 != file.sha256:
            raise DataError(f"the {file.purpose} data changed after the plan was made; plan again")
        name = f"{file.purpose}-{file.sha256[:16]}.jsonl"
        if whole is None or file.size <= whole:
            made = api.ask(
                lambda sdk: sdk.files.with_raw_response.create(file=(name, content, _MIME), purpose="fine-tune")
            )
            return _id(made, "file")
        key = hashlib.sha256(f"{account}\0{file.purpose}\0{file.sha256}".encode()).hexdigest()
        return _Parts(api, content, file.size, name, folder / f"{key}.json").send()


class _Parts:
    """One file on its way in parts."""

    def __init__(self, api: Api, content: IO[bytes], size: int, name: str, note: Path) -> None:
        self._api, self._content, self._size, self._name, self._note = api, content, size, name, note

    def send(self) -> str:
        """Send what is missing and put the parts together."""
        known = self._known()
        try:
            return self._finish(known or self._begin())
        except BackendError as error:
            if known is None or error.transient:
                raise
            # the host no longer has what the note tells of, or it was put together and the answer lost
            file_id = self._there()
            self._note.unlink(missing_ok=True)
            return file_id or self._finish(self._begin())

    def _known(self) -> _Begun | None:
        with suppress(OSError, msgspec.MsgspecError):
            known = msgspec.json.decode(self._note.read_bytes(), type=_Begun)
            if known.part_size == PART and known.expires_at - _MARGIN > time.time():
                return known
        return None

    def _begin(self) -> _Begun:
        made = self._api.ask(
            lambda sdk: sdk.uploads.with_raw_response.create(
                bytes=self._size, filename=self._name, mime_type=_MIME, purpose="fine-tune"
            )
        )
        begun = _Begun(_id(made, "upload"), PART, float(made.get("expires_at") or time.time() + 3600))
        self._remember(begun)
        return begun

    def _remember(self, begun: _Begun) -> None:
        self._note.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._note, msgspec.json.encode(begun))

    def _finish(self, begun: _Begun) -> str:
        for start in range(len(begun.parts) * PART, self._size, PART):
            window: Any = _Window(self._content, start, min(PART, self._size - start))
            made = self._api.ask(
                lambda sdk, window=window: sdk.uploads.parts.with_raw_response.create(  # type: ignore[misc]
                    begun.upload_id, data=("part", window)
                )
            )
            begun.parts.append(_id(made, "part"))
            self._remember(begun)
        self._content.seek(0)
        digest = hashlib.file_digest(self._content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]
        done = self._api.ask(
            lambda sdk: sdk.uploads.with_raw_response.complete(begun.upload_id, part_ids=begun.parts, md5=digest)
        )
        file_id = _id(done.get("file") or {}, "file")
        self._note.unlink(missing_ok=True)
        return file_id

    def _there(self) -> str | None:
        """The file, if the host has put it together before."""
        files = self._api.pages(lambda sdk, after: sdk.files.with_raw_response.list(purpose="fine-tune", **after))
        for file in files:
            if file.get("filename") == self._name and file.get("bytes") == self._size:
                return _id(file, "file")
        return None


def _id(made: dict[str, Any], what: str) -> str:
    found = made.get("id")
    if not isinstance(found, str) or not found:
        raise ServiceError(f"the host's answer names no {what}; it may have been made", backend="openai")
    return found


class _Window(io.RawIOBase):
    """A piece of a file as a file of its own, so that it is read while it is sent."""

    def __init__(self, whole: IO[bytes], start: int, size: int) -> None:
        self._whole, self._start, self._size, self._at = whole, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, target: WriteableBuffer, /) -> int:
        room = memoryview(target).cast("B")
        self._whole.seek(self._start + self._at)
        piece = self._whole.read(min(len(room), self._size - self._at))
        room[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

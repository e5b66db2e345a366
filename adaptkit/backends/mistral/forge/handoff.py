"""What is remembered of a hand-off: that a bundle was written, and how it ended. Two small files, each written once.

```
handoffs/<id>.json      the bundle that was written
handoffs/<id>.end.json  a model that was registered, or a cancellation: whichever came first
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from adaptkit.durable import create_file
from adaptkit.errors import ArtifactError, NotFoundError
from adaptkit.types import Event, Snapshot, Status

__all__ = ["End", "Handoff"]

T = TypeVar("T")

#: The word of a job of which nothing has come back yet.
HANDED_OFF = "handed off"
_STATUS = {"registered": Status.SUCCEEDED, "cancelled": Status.CANCELLED}


class _Written(msgspec.Struct, frozen=True):
    bundle: str
    at: float


class End(msgspec.Struct, frozen=True):
    """How a hand-off ended: ``how``, the id of the ``model`` that was registered, and when, in Unix time."""

    how: Literal["registered", "cancelled"]
    model: str | None
    at: float


@dataclass(frozen=True)
class Handoff:
    """One job.

    Attributes:
        folder: Where hand-offs are remembered.
        id: The job's.
    """

    folder: Path
    id: str

    @classmethod
    def create(cls, folder: Path, job_id: str, bundle: Path, at: float) -> Handoff:
        """Remember that a bundle was written; one that is known already stays as it is."""
        made = cls(folder, job_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_file(made._file(""), msgspec.json.encode(_Written(str(bundle), at)))
        return made

    @classmethod
    def all(cls, folder: Path) -> Iterator[Handoff]:
        """Every one that is remembered."""
        names = (file.name for file in sorted(folder.glob("*.json")))
        yield from (cls(folder, name.removesuffix(".json")) for name in names if not name.endswith(".end.json"))

    @property
    def bundle(self) -> Path:
        """Where the bundle was written.

        Raises:
            NotFoundError: there is no such job.
        """
        return Path(self._written.bundle)

    @property
    def end(self) -> End | None:
        """How it ended, ``None`` as long as it has not."""
        try:
            return self._read(".end", End)
        except FileNotFoundError:
            return None

    def finish(self, end: End) -> End:
        """End it, unless it has ended; gives the end that stands.

        Raises:
            NotFoundError: there is no such job.
        """
        _ = self._written
        create_file(self._file(".end"), msgspec.json.encode(end))
        return self.end or end

    def snapshot(self) -> Snapshot:
        """How it stands.

        Raises:
            NotFoundError: there is no such job.
        """
        bundle, end = self.bundle, self.end
        return Snapshot(
            job_id=self.id,
            status=_STATUS[end.how] if end else Status.QUEUED,
            raw_status=end.how if end else HANDED_OFF,
            tag=self.id,
            raw={"bundle": str(bundle), "model": end.model if end else None},
        )

    def events(self) -> list[Event]:
        """What happened, oldest first.

        Raises:
            NotFoundError: there is no such job.
        """
        written, end = self._written, self.end
        wait = f"the bundle is in {written.bundle}: hand it over, and register what comes back"
        told = [Event(id="1", at=written.at, kind="status", message=wait, data={"status": Status.QUEUED.value})]
        if end is not None:
            model = f"{end.model} is the model of this job"
            said = model if end.model else f"cancelled; the bundle stays in {written.bundle}"
            status = {"status": _STATUS[end.how].value}
            told.append(Event(id="2", at=end.at, kind="status", message=said, data=status))
        return told

    @property
    def _written(self) -> _Written:
        if not (self.id.isascii() and self.id.isalnum()):
            raise NotFoundError(f"{self.id!r} is not the id of a hand-off", backend="mistral")
        try:
            return self._read("", _Written)
        except FileNotFoundError:
            message = f"this machine knows no hand-off {self.id} under {self.folder}"
            raise NotFoundError(message, backend="mistral") from None

    def _file(self, what: str) -> Path:
        return self.folder / f"{self.id}{what}.json"

    def _read(self, what: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._file(what).read_bytes(), type=kind)
        except msgspec.MsgspecError as error:
            raise ArtifactError(f"{self._file(what)} is damaged ({error})") from None

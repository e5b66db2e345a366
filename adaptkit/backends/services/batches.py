"""What a vendor's batch API is asked, whoever the vendor is; and how its words and counts are read.

A request of a batch carries a ``custom_id``: the question's number, at Anthropic after the tag, since its batches carry
nothing else that could say whose they are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from adaptkit.backends.services.ask import Service
from adaptkit.errors import BackendError
from adaptkit.types import Reply, Snapshot, Status

__all__ = ["Batches", "Limits", "Outcome", "batches_of", "failed_item", "number_of", "outcome", "snapshot", "texts"]

Outcome = Reply | BackendError


@dataclass(frozen=True)
class Limits:
    """What one batch may hold: requests (``None`` if not known) and bytes."""

    requests: int | None
    bytes: int


class Batches(Protocol):
    """A vendor's batch API: each method is one request, `find` and `results` as many as it takes to read a list."""

    limits: Limits

    def line(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request of the batch, as a line of its file."""
        ...

    def upload(self, name: str, lines: IO[bytes]) -> str:
        """Bring the file; gives its id, ``name`` where the vendor has no file."""
        ...

    def has(self, file_id: str) -> bool:
        """Whether a file is still there."""
        ...

    def delete(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        ...

    def create(self, model: str, file_id: str, lines: Iterator[dict[str, Any]], tag: str) -> Snapshot:
        """The request that costs money."""
        ...

    def poll(self, batch_id: str) -> Snapshot:
        """How a batch stands."""
        ...

    def find(self, tag: str) -> Iterator[Snapshot]:
        """Batches that carry the tag, as far as that can be seen."""
        ...

    def cancel(self, batch_id: str) -> None:
        """Ask it to stop."""
        ...

    def results(self, batch_id: str) -> Iterator[tuple[int, Outcome]]:
        """What became of each request."""
        ...


def batches_of(vendor: str, service: Service) -> Batches:
    """The batch API of a vendor's service."""
    module = importlib.import_module(f"adaptkit.backends.services.{vendor}_batches")
    found: Batches = module.open_batches(service)
    return found


def snapshot(
    batch_id: str,
    word: str,
    status: Status,
    counts: Mapping[str, int],
    *,
    tag: str | None = None,
    message: str | None = None,
) -> Snapshot:
    """A batch as a job: with nothing answered in the end it has failed, and a part that is missing is said.

    Args:
        batch_id: The vendor's id.
        word: The vendor's word.
        status: What it means.
        counts: ``total``, ``succeeded``, and by the vendor's names what did not succeed.
        tag: What it carries, where the vendor says it.
        message: The vendor's words on a failure.
    """
    missing = {name: n for name, n in counts.items() if n and name not in ("total", "succeeded")}
    told = ", ".join(f"{n} {name}" for name, n in missing.items())
    notes: tuple[str, ...] = ()
    if status is Status.SUCCEEDED and missing and not counts.get("succeeded"):
        status, message = Status.FAILED, message or f"no question was answered: {told}; job.answers() says why of each"
    elif status is Status.SUCCEEDED and missing:
        said = f"of {counts.get('total', 0)} questions {counts['succeeded']} were answered ({told})"
        notes = (f"{said}: client.map with the same questions asks the others",)
    return Snapshot(
        job_id=batch_id,
        status=status,
        raw_status=word,
        tag=tag,
        message=message,
        notes=notes,
        raw={"counts": dict(counts)},
        poll_after=None if status.is_terminal else 60.0,
    )


def failed_item(why: str, backend: str, status_code: int | None = None) -> BackendError:
    """The error of one request; the vendor's code alone, since its words may repeat the question."""
    return BackendError(f"the vendor did not answer this question of the batch: {why}", backend=backend,
                        status_code=status_code)  # fmt: skip


def outcome(line: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Reply], backend: str) -> Outcome:
    """What became of one request, as OpenAI and Mistral write it: a response with a status code, or an error."""
    response = line.get("response") or {}
    code, body = response.get("status_code", 0), response.get("body")
    if code == 200 and isinstance(body, Mapping):
        try:
            reply: Outcome = read(body)
        except BackendError as error:
            return error
        return reply
    wrong = line.get("error") or (body.get("error") if isinstance(body, Mapping) else None)
    said = wrong.get("code") or wrong.get("type") if isinstance(wrong, Mapping) else None
    return failed_item(str(said or f"HTTP status {code}"), backend, code or None)


def number_of(custom_id: object) -> int:
    """The question's number in a ``custom_id``; -1 where there is none."""
    last = str(custom_id).rpartition("-")[2]
    return int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else -1


def texts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every text in requests: what must not come back in an error."""
    found: list[str] = []
    waiting: list[Any] = list(lines)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Mapping):
            waiting += [each for name, each in value.items() if name not in ("type", "role", "model")]
        elif isinstance(value, list | tuple):
            waiting += value
    return [text for text in found if len(text) > 3]

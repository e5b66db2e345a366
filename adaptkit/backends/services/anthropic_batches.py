"""Anthropic's Message Batches: requests in the paid request itself, no file, no metadata.

A batch whose creation was not answered is found by what its results carry, so only once it has ended: within a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import IO, Any

from adaptkit.backends.services.anthropic import Claude
from adaptkit.backends.services.batches import Limits, Outcome, failed_item, number_of, snapshot, texts
from adaptkit.backends.services.sdk import quietly, translated
from adaptkit.errors import ServiceError
from adaptkit.types import Snapshot, Status

__all__ = ["ClaudeBatches", "open_batches"]

_LOGGER = "anthropic._base_client"
_STATUS = {"in_progress": Status.RUNNING, "canceling": Status.RUNNING, "ended": Status.SUCCEEDED}
#: Ended batches, newest first, into which `find` looks.
_LOOKED_INTO = 100


def open_batches(service: Claude) -> ClaudeBatches:
    """See `batches.batches_of`."""
    return ClaudeBatches(service)


class ClaudeBatches:
    """See `batches.Batches`."""

    limits = Limits(requests=100_000, bytes=256_000_000)

    def __init__(self, claude: Claude) -> None:
        self._claude, self._backend = claude, claude.backend

    def line(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """See `Batches.line`."""
        return {"custom_id": str(number), "params": dict(request)}

    def upload(self, name: str, lines: IO[bytes]) -> str:
        """There is no file."""
        del lines
        return name

    def has(self, file_id: str) -> bool:
        """There is no file that could go."""
        del file_id
        return True

    def delete(self, file_id: str) -> None:
        """There is no file."""

    def create(self, model: str, file_id: str, lines: Iterator[dict[str, Any]], tag: str) -> Snapshot:
        """See `Batches.create`."""
        del model, file_id
        requests: list[Any] = [{**line, "custom_id": f"{tag}-{line['custom_id']}"} for line in lines]
        client = self._claude.keyed.client()
        with translated(self._backend, texts(requests)), quietly(_LOGGER):
            made = client.messages.batches.create(requests=requests)
        return self._heard(made, tag)

    def poll(self, batch_id: str) -> Snapshot:
        """See `Batches.poll`."""
        with translated(self._backend, ()):
            return self._heard(self._claude.keyed.client().messages.batches.retrieve(batch_id))

    def find(self, tag: str) -> Iterator[Snapshot]:
        """Those that have ended and whose first result carries the tag."""
        batches = self._claude.keyed.client().messages.batches
        with translated(self._backend, ()):
            listed = batches.list(limit=_LOOKED_INTO)
            for batch in islice(listed, _LOOKED_INTO):
                if batch.results_url is None:
                    continue
                with closing(batches.results(batch.id)) as results:
                    first = next(iter(results), None)
                if first is not None and first.custom_id.rpartition("-")[0] == tag:
                    yield self._heard(batch, tag)

    def cancel(self, batch_id: str) -> None:
        """See `Batches.cancel`."""
        with translated(self._backend, ()):
            self._claude.keyed.client().messages.batches.cancel(batch_id)

    def results(self, batch_id: str) -> Iterator[tuple[int, Outcome]]:
        """See `Batches.results`."""
        with translated(self._backend, ()), quietly(_LOGGER):
            results = self._claude.keyed.client().messages.batches.results(batch_id)
        with closing(results):
            while True:
                with translated(self._backend, ()):
                    each = next(results, None)
                if each is None:
                    return
                yield number_of(each.custom_id), self._outcome(each.result.to_dict(mode="json"))

    def _outcome(self, result: Mapping[str, Any]) -> Outcome:
        if result["type"] == "succeeded":
            try:
                return self._claude.read(result["message"])
            except ServiceError as error:
                return error
        if result["type"] == "errored":
            wrong = (result.get("error") or {}).get("error") or {}
            return failed_item(str(wrong.get("type", "error")), self._backend)
        return failed_item(str(result["type"]), self._backend)

    def _heard(self, batch: Any, tag: str | None = None) -> Snapshot:
        counts = batch.request_counts
        told = {name: getattr(counts, name) for name in ("succeeded", "errored", "expired", "canceled")}
        status = _STATUS.get(batch.processing_status, Status.UNKNOWN)
        if status is Status.SUCCEEDED and counts.canceled:
            status = Status.CANCELLED
        total = sum(told.values()) + counts.processing
        return snapshot(batch.id, batch.processing_status, status, {"total": total, **told}, tag=tag)

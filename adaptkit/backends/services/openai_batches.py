"""OpenAI's Batch API: a file of requests to the Responses API, and a job that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any

import msgspec

from adaptkit.backends.services.batches import Limits, Outcome, number_of, outcome, snapshot
from adaptkit.backends.services.openai import Gpt
from adaptkit.backends.services.sdk import quietly, translated
from adaptkit.errors import NotFoundError
from adaptkit.types import Snapshot, Status

__all__ = ["GptBatches", "open_batches"]

_LOGGER = "openai._base_client"
_TAG = "adaptkit"
_STATUS = {
    "validating": Status.QUEUED,
    "in_progress": Status.RUNNING,
    "finalizing": Status.RUNNING,
    "cancelling": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "expired": Status.SUCCEEDED,  # with what was answered by then
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
}
#: Batches, newest first, among which `find` looks.
_LOOKED_AT = 1000


def open_batches(service: Gpt) -> GptBatches:
    """See `batches.batches_of`."""
    return GptBatches(service)


class GptBatches:
    """See `batches.Batches`."""

    limits = Limits(requests=50_000, bytes=200_000_000)

    def __init__(self, gpt: Gpt) -> None:
        self._gpt, self._backend = gpt, gpt.backend

    def line(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """See `Batches.line`."""
        return {"custom_id": str(number), "method": "POST", "url": "/v1/responses", "body": dict(request)}

    def upload(self, name: str, lines: IO[bytes]) -> str:
        """See `Batches.upload`."""
        with translated(self._backend, ()), quietly(_LOGGER):
            return self._gpt.keyed.client().files.create(file=(f"{name}.jsonl", lines), purpose="batch").id

    def has(self, file_id: str) -> bool:
        """See `Batches.has`."""
        try:
            with translated(self._backend, ()):
                self._gpt.keyed.client().files.retrieve(file_id)
        except NotFoundError:
            return False
        return True

    def delete(self, file_id: str) -> None:
        """See `Batches.delete`."""
        try:
            with translated(self._backend, ()):
                self._gpt.keyed.client().files.delete(file_id)
        except NotFoundError:
            return

    def create(self, model: str, file_id: str, lines: Iterator[dict[str, Any]], tag: str) -> Snapshot:
        """See `Batches.create`."""
        del model, lines
        with translated(self._backend, ()):
            made = self._gpt.keyed.client().batches.create(
                input_file_id=file_id, endpoint="/v1/responses", completion_window="24h", metadata={_TAG: tag}
            )
        return self._heard(made)

    def poll(self, batch_id: str) -> Snapshot:
        """See `Batches.poll`."""
        with translated(self._backend, ()):
            return self._heard(self._gpt.keyed.client().batches.retrieve(batch_id))

    def find(self, tag: str) -> Iterator[Snapshot]:
        """See `Batches.find`."""
        with translated(self._backend, ()):
            for batch in islice(self._gpt.keyed.client().batches.list(limit=100), _LOOKED_AT):
                if (batch.metadata or {}).get(_TAG) == tag:
                    yield self._heard(batch)

    def cancel(self, batch_id: str) -> None:
        """See `Batches.cancel`."""
        with translated(self._backend, ()):
            self._gpt.keyed.client().batches.cancel(batch_id)

    def results(self, batch_id: str) -> Iterator[tuple[int, Outcome]]:
        """See `Batches.results`."""
        client = self._gpt.keyed.client()
        with translated(self._backend, ()):
            batch = client.batches.retrieve(batch_id)
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            with translated(self._backend, ()), client.files.with_streaming_response.content(file_id) as content:
                for line in content.iter_lines():
                    if line.strip():
                        yield self._result(msgspec.json.decode(line, type=dict[str, Any]))

    def _result(self, line: Mapping[str, Any]) -> tuple[int, Outcome]:
        return number_of(line.get("custom_id")), outcome(line, self._gpt.read, self._backend)

    def _heard(self, batch: Any) -> Snapshot:
        counts, errors = batch.request_counts, (batch.errors.data if batch.errors else None) or ()
        told = {"total": counts.total, "succeeded": counts.completed, "failed": counts.failed} if counts else {}
        status = _STATUS.get(batch.status, Status.UNKNOWN)
        if batch.status == "expired" and told:
            told["expired"] = told["total"] - told["succeeded"] - told["failed"]
        why = "; ".join(f"{error.code}" + (f" in line {error.line}" if error.line else "") for error in errors[:5])
        tag = (batch.metadata or {}).get(_TAG)
        return snapshot(batch.id, batch.status, status, told, tag=tag, message=why or None)

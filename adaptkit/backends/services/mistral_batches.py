"""Mistral's batch jobs: a file of requests to its chat wire, and a job that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

import msgspec
from mistralai.client.models import ChatCompletionRequest

from adaptkit.backends.services.batches import Limits, Outcome, number_of, outcome, snapshot
from adaptkit.backends.services.mistral import Ministry
from adaptkit.backends.services.sdk import translated
from adaptkit.errors import NotFoundError
from adaptkit.types import Snapshot, Status

__all__ = ["MinistryBatches", "open_batches"]

_TAG = "adaptkit"
_STATUS = {
    "QUEUED": Status.QUEUED,
    "RUNNING": Status.RUNNING,
    "CANCELLATION_REQUESTED": Status.RUNNING,
    "SUCCESS": Status.SUCCEEDED,
    "TIMEOUT_EXCEEDED": Status.SUCCEEDED,  # with what was answered by then
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELLED,
}


def open_batches(service: Ministry) -> MinistryBatches:
    """See `batches.batches_of`."""
    return MinistryBatches(service)


class MinistryBatches:
    """See `batches.Batches`."""

    limits = Limits(requests=None, bytes=512_000_000)

    def __init__(self, ministry: Ministry) -> None:
        self._ministry, self._backend = ministry, ministry.backend

    def line(self, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
        """See `Batches.line`."""
        # the SDK has names of its own for some fields, which are not the wire's
        sent = ChatCompletionRequest.model_validate(request).model_dump(mode="json", by_alias=True)
        body = {name: each for name, each in sent.items() if name not in ("model", "stream")}
        return {"custom_id": str(number), "body": body}

    def upload(self, name: str, lines: IO[bytes]) -> str:
        """See `Batches.upload`."""
        client = self._ministry.keyed.client()
        with translated(self._backend, ()):
            return client.files.upload(file={"file_name": f"{name}.jsonl", "content": lines}, purpose="batch").id

    def has(self, file_id: str) -> bool:
        """See `Batches.has`."""
        try:
            with translated(self._backend, ()):
                self._ministry.keyed.client().files.retrieve(file_id=file_id)
        except NotFoundError:
            return False
        return True

    def delete(self, file_id: str) -> None:
        """See `Batches.delete`."""
        try:
            with translated(self._backend, ()):
                self._ministry.keyed.client().files.delete(file_id=file_id)
        except NotFoundError:
            return

    def create(self, model: str, file_id: str, lines: Iterator[dict[str, Any]], tag: str) -> Snapshot:
        """See `Batches.create`."""
        del lines
        with translated(self._backend, ()):
            made = self._ministry.keyed.client().batch.jobs.create(
                endpoint="/v1/chat/completions", input_files=[file_id], model=model, metadata={_TAG: tag}
            )
        return self._heard(made)

    def poll(self, batch_id: str) -> Snapshot:
        """See `Batches.poll`."""
        with translated(self._backend, ()):
            return self._heard(self._ministry.keyed.client().batch.jobs.get(job_id=batch_id))

    def find(self, tag: str) -> Iterator[Snapshot]:
        """See `Batches.find`."""
        with translated(self._backend, ()):
            listed = self._ministry.keyed.client().batch.jobs.list(metadata={_TAG: tag})
        yield from map(self._heard, listed.data or ())

    def cancel(self, batch_id: str) -> None:
        """See `Batches.cancel`."""
        with translated(self._backend, ()):
            self._ministry.keyed.client().batch.jobs.cancel(job_id=batch_id)

    def results(self, batch_id: str) -> Iterator[tuple[int, Outcome]]:
        """See `Batches.results`."""
        client = self._ministry.keyed.client()
        with translated(self._backend, ()):
            job = client.batch.jobs.get(job_id=batch_id).model_dump(mode="json")
        for file_id in filter(None, (job.get("output_file"), job.get("error_file"))):
            with translated(self._backend, ()):
                response = client.files.download(file_id=file_id)
                for line in response.iter_lines():
                    if line.strip():
                        found = msgspec.json.decode(line, type=dict[str, Any])
                        yield number_of(found.get("custom_id")), outcome(found, self._ministry.read, self._backend)

    def _heard(self, job: Any) -> Snapshot:
        told = {"total": job.total_requests, "succeeded": job.succeeded_requests, "failed": job.failed_requests}
        status = _STATUS.get(job.status, Status.UNKNOWN)
        if job.status == "TIMEOUT_EXCEEDED":
            told["expired"] = job.total_requests - job.succeeded_requests - job.failed_requests
        metadata = job.metadata if isinstance(job.metadata, dict) else {}
        return snapshot(job.id, str(job.status), status, told, tag=metadata.get(_TAG))

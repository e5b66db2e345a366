"""Bedrock's words for jobs, and what they mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from adaptkit.types import Event, Snapshot, Status

__all__ = ["files", "job_name", "metrics_file", "model_name", "phases", "snapshot", "steps", "tag_of"]

#: Jobs and deployments are named by their tag, so that they are found by name: one request, no list to wait for.
_NAMED = "adaptkit-"
_STATUSES = {"Completed": Status.SUCCEEDED, "Failed": Status.FAILED, "Stopped": Status.CANCELLED}
_PHASES = ("validation", "dataProcessing", "training")
_RANKS = ("NotStarted", "InProgress", "Stopping", "Completed", "Stopped", "Failed")


def job_name(tag: str) -> str:
    """The name of the job, or deployment, that carries a tag."""
    return f"{_NAMED}{tag}"


def tag_of(name: str) -> str | None:
    """The tag that a name carries, ``None`` for a job that adaptkit did not start."""
    return name.removeprefix(_NAMED) if name.startswith(_NAMED) else None


def model_name(name: str, tag: str) -> str:
    """The custom model's name: names are taken once, so the tag makes it one."""
    return f"{name}-{tag}"


def snapshot(job: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Snapshot:
    """A job as it is listed, or as it is by itself."""
    word = str(job["status"])
    phase = _phase(job) if word == "InProgress" else None
    return Snapshot(
        job_id=job["jobArn"],
        status=_status(word, phase),
        raw_status=f"{word}/{phase}" if phase else word,
        tag=tag_of(job["jobName"]),
        message=job.get("failureMessage") if word == "Failed" else None,
        notes=notes,
        raw={name: value for name, value in job.items() if name != "ResponseMetadata"},
    )


def _phase(job: Mapping[str, Any]) -> str | None:
    """What is under way, ``waiting`` between two, ``None`` where the host does not say."""
    details = job.get("statusDetails") or {}
    told = [(phase, (details.get(f"{phase}Details") or {}).get("status")) for phase in _PHASES]
    if all(status is None for _, status in told):
        return None
    return next((phase for phase, status in told if status not in ("Completed", "NotStarted", None)), "waiting")


def _status(word: str, phase: str | None) -> Status:
    """Data is looked at before anything trains, and costs nothing: such a job is still queued."""
    if word == "Stopping":
        return Status.RUNNING
    if word == "InProgress":
        return Status.RUNNING if phase in ("training", None) else Status.QUEUED
    return _STATUSES.get(word, Status.UNKNOWN)


def files(job: Mapping[str, Any]) -> dict[str, str]:
    """Its files by purpose."""
    validators: list[Any] = (job.get("validationDataConfig") or {}).get("validators") or []
    told = {"train": job.get("trainingDataConfig"), "validation": validators[0] if validators else None}
    return {purpose: file["s3Uri"] for purpose, file in told.items() if file and "s3Uri" in file}


# what happened in a job -------------------------------------------------------------------------------------------


def phases(job: Mapping[str, Any]) -> Iterator[Event]:
    """One event for each phase that has begun, by how far it is; then how the job ended."""
    details = job.get("statusDetails") or {}
    for number, phase in enumerate(_PHASES):
        told = details.get(f"{phase}Details") or {}
        word = told.get("status")
        if word in (None, "NotStarted"):
            continue
        rank = _RANKS.index(word) if word in _RANKS else len(_RANKS)
        at = told.get("lastModifiedTime") or told.get("creationTime") or job["creationTime"]
        data = {"phase": phase, "status": word}
        yield Event(id=f"{number}-{rank}", at=_unix(at), kind="status", message=f"{phase}: {word}", data=data)
    if job["status"] in _STATUSES:
        yield from _end(job)


def _end(job: Mapping[str, Any]) -> Iterator[Event]:
    at = _unix(job.get("endTime") or job.get("lastModifiedTime") or job["creationTime"])
    loss = (job.get("trainingMetrics") or {}).get("trainingLoss")
    held_out = [metric.get("validationLoss") for metric in job.get("validationMetrics") or ()]
    figures = {"loss": loss, "validation_loss": held_out[0] if held_out else None}
    known = {name: value for name, value in figures.items() if value is not None}
    if known:
        yield Event(id="8-final", at=at, kind="metrics", message="final", data=known)
    data = {"status": job["status"]}
    yield Event(id="9-end", at=at, kind="status", message=job.get("failureMessage") or job["status"], data=data)


def metrics_file(job: Mapping[str, Any]) -> str:
    """Where Bedrock leaves the figures of each step, once a job has completed."""
    folder = str(job["outputDataConfig"]["s3Uri"]).rstrip("/")
    number = str(job["jobArn"]).rpartition("/")[2]
    return f"{folder}/model-customization-job-{number}/training_artifacts/step_wise_training_metrics.csv"


def steps(table: bytes, job: Mapping[str, Any]) -> Iterator[Event]:
    """The figures of each step; the table has no times, so they all stand at the job's end."""
    at = _unix(job.get("endTime") or job["creationTime"])
    for number, row in enumerate(csv.DictReader(io.StringIO(table.decode("utf-8", "replace")))):
        figures = {
            ours: figure
            for ours, theirs in (("step", "step_number"), ("epoch", "epoch_number"), ("loss", "training_loss"))
            if (figure := _figure(row.get(theirs))) is not None
        }
        if "step" in figures:
            yield Event(id=f"5-{number:08d}", at=at, kind="metrics", message="", data=figures)


def _figure(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def _unix(when: datetime) -> float:
    return when.timestamp()

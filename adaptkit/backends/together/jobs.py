"""What Together says of jobs, in adaptkit's words: statuses, what happened, checkpoints, what an account has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adaptkit.backends.interleaved import interleaved
from adaptkit.backends.terms import differences
from adaptkit.backends.together.config import TogetherConfig
from adaptkit.backends.together.request import recipe, settings, told_settings
from adaptkit.types import Checkpoint, Event, Inventory, OwnedFile, OwnedJob, OwnedModel, Snapshot, Status

__all__ = ["checkpoints", "events", "inventory", "is_ending", "snapshot", "suffix", "tag_in", "timestamp"]

#: The host's words, which it writes in lower and in upper case; any other is `Status.UNKNOWN`.
STATUSES: Mapping[str, Status] = {
    "pending": Status.QUEUED,
    "queued": Status.QUEUED,
    "running": Status.RUNNING,
    "compressing": Status.RUNNING,
    "uploading": Status.RUNNING,
    "cancel_requested": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "error": Status.FAILED,
    "user_error": Status.FAILED,
    "cancelled": Status.CANCELLED,
}
#: Kinds of events that are no change of state.
_KINDS = {
    "checkpoint_save": "checkpoint",
    "warning": "warning",
    "billing_limit": "warning",
    "refund": "warning",
    "early_stopped": "warning",
    "epoch_complete": "log",
    "eval_complete": "log",
}
_TAG = re.compile(r"(?:^|-)([a-z][a-z0-9]{25})$")


def suffix(name: str | None, tag: str) -> str:
    """The suffix of the new model's name: the user's name, and the tag by which the job is found."""
    return f"{name}-{tag}" if name else tag


def tag_in(text: str | None) -> str | None:
    """The tag at the end of a suffix or a name, if there is one."""
    found = _TAG.search(text or "")
    return found[1] if found else None


def timestamp(value: Any) -> float:
    """Unix time of an ISO date or a number; 0 for anything else."""
    if isinstance(value, int | float):
        return float(value)
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return 0.0
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def snapshot(job: Mapping[str, Any], config: TogetherConfig | None = None) -> Snapshot:
    """What the host says of a job.

    Args:
        job: Its words.
        config: What was asked for, to compare with what will run; ``None`` where the job may be of another one.
    """
    word = str(job.get("status") or "")
    status = STATUSES.get(word.lower(), Status.UNKNOWN)
    return Snapshot(
        job_id=str(job.get("id") or ""),
        status=status,
        raw_status=word or "no status",
        tag=tag_in(job.get("suffix")),
        message=_said(job) if status is Status.FAILED else None,
        notes=(*_differences(job, config), *_notes(job, status)),
        raw=job,
    )


def is_ending(job: Mapping[str, Any]) -> bool:
    """Whether a job has ended or been asked to: there is nothing to cancel."""
    word = str(job.get("status") or "").lower()
    return word == "cancel_requested" or STATUSES.get(word, Status.UNKNOWN).is_terminal


def _said(job: Mapping[str, Any]) -> str | None:
    """The last of the host's words on what went wrong."""
    told = [event for event in job.get("events") or () if isinstance(event, Mapping)]
    wrong = [
        event
        for event in told
        if str(event.get("level") or "").lower() in ("error", "legacy_ierror")
        or str(event.get("type") or "").lower() in ("job_error", "job_user_error")
    ]
    return str(wrong[-1].get("message") or "") or None if wrong else None


def _differences(job: Mapping[str, Any], config: TogetherConfig | None) -> tuple[str, ...]:
    return () if config is None else differences(settings(config), told_settings(job), "Together")


def _notes(job: Mapping[str, Any], status: Status) -> Iterator[str]:
    if job.get("early_stopped"):
        step, best = job.get("early_stopping_best_step"), job.get("early_stopping_best_metric")
        kept = f"the best of step {step} was kept" if best is not None else f"it halted at step {step}"
        yield f"it stopped early: the loss on held-out data fell no more, and {kept}"
    if job.get("wandb_project_name") and status.is_terminal and not job.get("wandb_url"):
        yield "Weights & Biases was asked for, and Together names no run there"


# what happened --------------------------------------------------------------------------------------------------------


def events(told: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]], after: str | None) -> list[Event]:
    """Events and figures as one stream after an id, oldest first."""
    happened = sorted(((timestamp(event.get("created_at")), event) for event in told), key=lambda entry: entry[0])
    measured = [(timestamp(_figure(row, "timestamp")), row) for row in metrics]
    return [
        _figures(identity, at, item) if is_figure else _event(identity, at, item)
        for identity, is_figure, (at, item) in interleaved(happened, measured, after)
    ]


def _event(identity: str, at: float, event: Mapping[str, Any]) -> Event:
    word = str(event.get("type") or "").lower()
    level = str(event.get("level") or "").lower()
    kind = _KINDS.get(word) or ("warning" if level in ("warning", "legacy_iwarning") else "status")
    names = ("step", "total_steps", "token_count", "param_count", "checkpoint_path", "wandb_url")
    data = {name: event[name] for name in names if event.get(name) not in (None, "", 0)}
    if kind == "status":
        data["status"] = word
    return Event(id=identity, at=at, kind=kind, message=str(event.get("message") or word), data=data)


def _figures(identity: str, at: float, row: Mapping[str, Any]) -> Event:
    """Names without the ``train/`` that all have; those of evaluations keep theirs."""
    data = {
        name.removeprefix("train/"): value
        for name, value in row.items()
        if isinstance(value, int | float) and not name.endswith("timestamp")
    }
    if "global_step" in data:
        data["step"] = int(data.pop("global_step"))
    return Event(id=identity, at=at, kind="metrics", message="", data=data)


def _figure(row: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in row.items() if key.rpartition("/")[2] == name), None)


def checkpoints(job_id: str, rows: Sequence[Mapping[str, Any]]) -> list[Checkpoint]:
    """Models of a job, earliest first; the whole model and the adapter of one step are one checkpoint."""
    steps = sorted({int(row.get("step") or 0) for row in rows})
    return [Checkpoint(model_id=f"{job_id}:{step}", step=step) for step in steps]


# what an account has --------------------------------------------------------------------------------------------------


def inventory(jobs: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]) -> Inventory:
    """Jobs, files, and the models of jobs that have made one, newest first."""
    newest = sorted(jobs, key=lambda job: timestamp(job.get("created_at")), reverse=True)
    owned = tuple(_owned(job) for job in newest)
    return Inventory(
        jobs=owned,
        files=tuple(
            OwnedFile(
                id=str(file.get("id")),
                name=str(file.get("filename") or ""),
                purpose=str(file.get("purpose") or ""),
                bytes=file.get("bytes"),
                created_at=timestamp(file.get("created_at")) or None,
            )
            for file in sorted(files, key=lambda file: timestamp(file.get("created_at")), reverse=True)
        ),
        models=tuple(
            OwnedModel(id=job.model_id, base=job.snapshot.raw.get("model") or None, created_at=job.created_at)
            for job in owned
            if job.model_id is not None
        ),
    )


def _owned(job: Mapping[str, Any]) -> OwnedJob:
    heard = snapshot(job)
    files = {"train": job.get("training_file"), "validation": job.get("validation_file")}
    return OwnedJob(
        snapshot=heard,
        recipe=recipe(job),
        files={purpose: str(file) for purpose, file in files.items() if file},
        model_id=job.get("model_output_name") if heard.status is Status.SUCCEEDED else None,
        created_at=timestamp(job.get("created_at")) or None,
    )

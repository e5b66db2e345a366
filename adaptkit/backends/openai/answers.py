"""What the host says of jobs, events and checkpoints, as values.

Nothing is taken for granted: ``error`` is ``{}`` or full of nulls on healthy jobs, hyperparameters are null for some
methods, words of state come and go, and a 200 may hold no job at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from adaptkit.backends.openai.asking import tag_of
from adaptkit.errors import ServiceError
from adaptkit.http import service_words
from adaptkit.types import Checkpoint, Event, Snapshot, Status

__all__ = ["FIGURES", "checkpoint_of", "day_of", "event_of", "snapshot_of", "text_of"]

STATUSES: Mapping[str, Status] = {
    "validating_files": Status.QUEUED,
    "queued": Status.QUEUED,
    "running": Status.RUNNING,
    "pausing": Status.PAUSED,
    "paused": Status.PAUSED,
    "resuming": Status.PAUSED,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
}
#: Names of figures that mean the same on every backend, by the names that hosts on this wire give them; result files
#: say ``accuracy`` and ``validation`` where events say ``mean_token_accuracy`` and ``valid``.
FIGURES: Mapping[str, str] = {
    "train_loss": "loss",
    "training_loss": "loss",
    "valid_loss": "eval_loss",
    "validation_loss": "eval_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "validation_mean_token_accuracy": "valid_mean_token_accuracy",
    "trained_steps": "step",
}
_WARNINGS = frozenset({"warn", "warning", "error"})


def snapshot_of(job: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Snapshot:
    """A job.

    Raises:
        ServiceError: the answer names no job; what was asked for may have been done.
    """
    job_id, word = text_of(job, "id"), text_of(job, "status")
    if job_id is None or word is None:
        raise ServiceError("the host's answer names no job; what was asked for may have been done", backend="openai")
    status = STATUSES.get(word, Status.UNKNOWN)
    return Snapshot(
        job_id=job_id,
        status=status,
        raw_status=word,
        tag=tag_of(job),
        message=_fault(job) if status is Status.FAILED else None,
        notes=notes,
        raw=_without_keys(job),
    )


def _without_keys(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job without the key of Weights & Biases, which a host that was given it may repeat."""
    given = job.get("integrations")
    if not isinstance(given, list):
        return job
    kept = [{name: _hidden(value) for name, value in one.items()} if isinstance(one, Mapping) else one for one in given]
    return {**job, "integrations": kept}


def _hidden(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: inner for name, inner in value.items() if "key" not in name.lower()}


def _fault(job: Mapping[str, Any]) -> str | None:
    error = job.get("error")
    if not isinstance(error, Mapping):
        return None
    _, words = service_words({"error": error}, ())
    return words or None


def event_of(event: Mapping[str, Any]) -> Event:
    """One event; its figures under the names that they have on every backend."""
    kind, level = text_of(event, "type") or "message", text_of(event, "level")
    given = event.get("data")
    data = {FIGURES.get(name, name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
    if kind not in ("message", "metrics"):
        data["type"] = kind  # such as moderation_checks
    return Event(
        id=text_of(event, "id") or f"{event.get('created_at')} {event.get('message')}",
        at=float(event.get("created_at") or 0.0),
        kind="metrics" if kind == "metrics" else "warning" if level in _WARNINGS else "log",
        message=text_of(event, "message") or "",
        data=data,
    )


def checkpoint_of(checkpoint: Mapping[str, Any], job_id: str, *, serves: bool) -> Checkpoint:
    """A model of an earlier step, by the name that it answers to if the host serves it, else by job and checkpoint."""
    given = checkpoint.get("metrics")
    figures = given.items() if isinstance(given, Mapping) else ()
    model = text_of(checkpoint, "fine_tuned_model_checkpoint") if serves else None
    return Checkpoint(
        model_id=model or f"{job_id}:{checkpoint.get('id')}",
        step=int(checkpoint.get("step_number") or checkpoint.get("step") or 0),
        metrics={
            FIGURES.get(name, name): float(value)
            for name, value in figures
            if isinstance(value, int | float) and name != "step"
        },
    )


def day_of(model: Mapping[str, Any]) -> date | None:
    """The day on which a model is switched off, where the host says one."""
    try:
        return date.fromisoformat(str(model.get("shutdown_date"))[:10])
    except ValueError:
        return None


def text_of(value: Mapping[str, Any], name: str) -> str | None:
    """A field that is text and not empty."""
    found = value.get(name)
    return found if isinstance(found, str) and found else None

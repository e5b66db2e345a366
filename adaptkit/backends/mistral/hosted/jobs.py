"""Mistral's jobs as they are asked for, and what is said of them, in adaptkit's words.

The source is the published protocol: the OpenAPI file of Mistral's documentation up to 2026-07-15 and the SDK 2.5.1,
the last with jobs. A job that is made with ``auto_start`` false goes from ``QUEUED`` to ``VALIDATED`` and waits there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from adaptkit.backends.interleaved import interleaved
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.terms import differences
from adaptkit.types import Event, OwnedJob, Snapshot, Status

__all__ = [
    "NAME",
    "STATUSES",
    "body",
    "events",
    "figures",
    "owned",
    "problems",
    "snapshot",
    "standing",
    "suffix",
    "usd",
]

#: Characters of a suffix, and of the user's part of it: ten of the tag remain, which are 50 bits.
SUFFIX, NAME = 18, 7
#: The words of a job that no longer waits for anybody; any other word may stand before or after the beginning.
_BEGUN = {
    "RUNNING": Status.RUNNING,
    "CANCELLATION_REQUESTED": Status.RUNNING,
    "SUCCESS": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "FAILED_VALIDATION": Status.FAILED,
    "CANCELLED": Status.CANCELLED,
}
#: Every word; `Status.UNKNOWN` for any other. ``VALIDATED`` is paused where the job waits to be begun.
STATUSES: Mapping[str, Status] = {
    "QUEUED": Status.QUEUED,
    "STARTED": Status.QUEUED,
    "VALIDATING": Status.QUEUED,
    "VALIDATED": Status.QUEUED,
    **_BEGUN,
}
_SETTINGS = {
    "training_steps": "training_steps",
    "epochs": "epochs",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "warmup_fraction": "warmup_fraction",
    "seq_len": "sequence_length",
    "fim_ratio": "fim_ratio",
}
_FIGURES = {"train_loss": "loss", "valid_loss": "eval_loss", "valid_mean_token_accuracy": "eval_token_accuracy"}


# asking -------------------------------------------------------------------------------------------------------------


def problems(config: MistralConfig) -> Iterator[str]:
    """What the protocol cannot express, one sentence each."""
    if config.model == MistralConfig.model_fields["model"].default:
        yield "model: name the base as your deployment knows it"
    if config.name is not None and not (1 <= len(config.name) <= NAME and config.name.replace("-", "").isalnum()):
        yield (
            f"name: {NAME} letters, digits and - at most: it is the start of a suffix of {SUFFIX} characters, and the "
            "rest is what the job is found by; model.rename gives a longer one afterwards"
        )
    if config.epochs is not None and config.training_steps is not None:
        yield "training_steps: give it or epochs"
    if config.learning_rate is not None and not 1e-8 <= config.learning_rate <= 1:
        yield f"learning_rate: {config.learning_rate:g} is outside 1e-8 to 1"


def hyperparameters(config: MistralConfig) -> dict[str, Any]:
    """What is learned how; the protocol's own defaults are spelled out, so that none can change behind a plan."""
    asked = {
        "training_steps": config.training_steps,
        "epochs": config.epochs or (1 if config.training_steps is None else None),
        "learning_rate": 1e-4 if config.learning_rate is None else config.learning_rate,
        "weight_decay": 0.1 if config.weight_decay is None else config.weight_decay,
        "warmup_fraction": 0.05 if config.warmup_fraction is None else config.warmup_fraction,
        "seq_len": config.sequence_length,
        "fim_ratio": config.fim_ratio,
    }
    return {name: value for name, value in asked.items() if value is not None}


def body(config: MistralConfig) -> dict[str, Any]:
    """The request for a job, without files and the tag in its suffix."""
    named = {} if config.name is None else {"suffix": config.name}
    return {
        "model": config.model,
        "job_type": "completion",
        "auto_start": False,
        "invalid_sample_skip_percentage": 0,
        "hyperparameters": hyperparameters(config),
        **named,
    }


def suffix(name: str | None, tag: str) -> str:
    """What a job carries: as much of the tag as fits, behind the name if there is one."""
    return tag[:SUFFIX] if name is None else f"{name}-{tag[: SUFFIX - len(name) - 1]}"


# hearing ------------------------------------------------------------------------------------------------------------


def snapshot(job: Mapping[str, Any], config: MistralConfig | None = None, tag: str | None = None) -> Snapshot:
    """What is said of a job.

    Args:
        job: The words of the service.
        config: What was asked for, to compare with what will run; ``None`` where the job may be of another one.
        tag: The tag that it is known to carry.
    """
    word = str(job.get("status") or "")
    status = STATUSES.get(word, Status.UNKNOWN)
    if standing(job) == "ready":
        status = Status.PAUSED
    return Snapshot(
        job_id=str(job.get("id") or ""),
        status=status,
        raw_status=word or "no status",
        tag=tag,
        message=_said(job) if status is Status.FAILED else None,
        notes=() if config is None else _differences(job, config),
        raw=job,
    )


def standing(job: Mapping[str, Any]) -> Literal["waiting", "ready", "begun"]:
    """Whether a job waits for the service, is ready to be begun, or was begun or has ended.

    A job that was begun may say ``QUEUED`` again, as before it was validated: then what happened to it tells. One that
    begins by itself counts as begun.
    """
    word = str(job.get("status") or "")
    if word in _BEGUN or job.get("auto_start") is True:
        return "begun"
    if word == "VALIDATED":
        return "ready"
    return "begun" if "VALIDATED" in map(_word, job.get("events") or ()) else "waiting"


def _word(event: Mapping[str, Any]) -> str:
    """The state that an event is about; empty for one that is about none."""
    said = _data(event).get("status")
    if isinstance(said, str):
        return said
    name = str(event.get("name") or "")
    return name if name in STATUSES else ""


def _data(event: Mapping[str, Any]) -> Mapping[str, Any]:
    data = event.get("data")
    return data if isinstance(data, Mapping) else {}


def _said(job: Mapping[str, Any]) -> str | None:
    """The last words on what went wrong, wherever the service puts them."""
    for event in reversed(_by_time(job.get("events") or ())):
        if _word(event) not in ("FAILED", "FAILED_VALIDATION", ""):
            continue
        for name in ("error", "message", "reason", "detail"):
            if isinstance(said := _data(event).get(name), str) and said:
                return said
    said = job.get("error") or job.get("message")
    return said if isinstance(said, str) and said else None


def _differences(job: Mapping[str, Any], config: MistralConfig) -> tuple[str, ...]:
    told = job.get("hyperparameters")
    asked = {_SETTINGS[name]: value for name, value in hyperparameters(config).items()}
    runs = {_SETTINGS[name]: value for name, value in (told or {}).items() if name in _SETTINGS}
    begins = ("the service begins the job by itself, although it was asked not to",) if job.get("auto_start") else ()
    return (*differences(asked, runs, "the service"), *begins)


def usd(metadata: Mapping[str, Any]) -> float | None:
    """What a job costs in US dollars, ``None`` where that is not told, or told in another currency."""
    cost = metadata.get("cost")
    is_dollars = str(metadata.get("cost_currency") or "").upper() == "USD"
    return float(cost) if is_dollars and isinstance(cost, int | float) else None


# what happened ------------------------------------------------------------------------------------------------------


def _by_time(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Oldest first; times are whole seconds, so the order in which they are told counts, whichever it is."""
    newest_first = len(told) > 1 and _at(told[0]) > _at(told[-1])
    return sorted(reversed(told) if newest_first else told, key=_at)


def _at(told: Mapping[str, Any]) -> float:
    at = told.get("created_at")
    return float(at) if isinstance(at, int | float) else 0.0


def events(job: Mapping[str, Any], after: str | None) -> list[Event]:
    """Changes of state and what was measured, as one stream after an id, oldest first."""
    happened = [(_at(event), event) for event in _by_time(job.get("events") or ())]
    measured = [(_at(kept), kept) for kept in _checkpoints(job)]
    return [
        Event(id=identity, at=at, kind="metrics", message="", data=_measured(item))
        if is_figure
        else _event(identity, at, item)
        for identity, is_figure, (at, item) in interleaved(happened, measured, after)
    ]


def _event(identity: str, at: float, event: Mapping[str, Any]) -> Event:
    word = _word(event)
    if not word:
        return Event(id=identity, at=at, kind="log", message=str(event.get("name") or ""))
    status = STATUSES.get(word, Status.UNKNOWN)
    return Event(id=identity, at=at, kind="status", message=f"the job is {word}", data={"status": status.value})


def figures(job: Mapping[str, Any]) -> list[dict[str, float]]:
    """What was measured, a row a step."""
    return [_measured(kept) for kept in _checkpoints(job)]


def _checkpoints(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(job.get("checkpoints") or (), key=lambda kept: kept.get("step_number") or 0)


def _measured(kept: Mapping[str, Any]) -> dict[str, float]:
    told = kept.get("metrics") or {}
    measured = {ours: float(told[name]) for name, ours in _FIGURES.items() if isinstance(told.get(name), int | float)}
    return {"step": int(kept.get("step_number") or 0), **measured}


# what an account has ------------------------------------------------------------------------------------------------


def owned(job: Mapping[str, Any], base_url: str | None) -> OwnedJob:
    """A job with the target that would start the same, at an address of one's own if there is one."""
    told: Mapping[str, Any] = job.get("hyperparameters") or {}
    settings = {ours: told[name] for name, ours in _SETTINGS.items() if told.get(name) is not None}
    if settings.get("epochs") is not None:
        if float(settings["epochs"]).is_integer() and "training_steps" not in settings:
            settings["epochs"] = int(settings["epochs"])
        else:  # worked out from the steps
            del settings["epochs"]
    named = {"base_url": base_url, "model": job.get("model")}
    recipe = {"where": "hosted", **{name: value for name, value in named.items() if value}, **settings}
    train, held_out = job.get("training_files") or (), job.get("validation_files") or ()
    heard = snapshot(job)
    return OwnedJob(
        snapshot=heard,
        recipe=recipe,
        files=dict([*_files("train", train), *_files("validation", held_out)]),
        model_id=job.get("fine_tuned_model") if heard.status is Status.SUCCEEDED else None,
        created_at=_at(job) or None,
    )


def _files(purpose: str, ids: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for number, file_id in enumerate(ids):
        yield purpose if number == 0 else f"{purpose}-{number + 1}", str(file_id)

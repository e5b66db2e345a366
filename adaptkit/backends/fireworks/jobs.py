"""Jobs on Fireworks' wire: what is asked for, and what the host says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adaptkit.backends.fireworks.config import FireworksConfig
from adaptkit.backends.fireworks.names import given_id, model_name, seconds, tag_of, words_of
from adaptkit.backends.terms import differences
from adaptkit.errors import NotFoundError, ServiceError
from adaptkit.types import OwnedJob, Snapshot, Status

__all__ = ["KINDS", "STATES", "Kind", "asked_otherwise", "body", "model_of", "owned", "path_of", "snapshot"]


@dataclass(frozen=True)
class Kind:
    """One of the host's three kinds of job.

    Attributes:
        collection: Its list in paths, and the field of the list's answers.
        id_parameter: Parameter in which the client chooses a new job's id.
    """

    collection: str
    id_parameter: str


#: By method.
KINDS: Mapping[str, Kind] = {
    "sft": Kind("supervisedFineTuningJobs", "supervisedFineTuningJobId"),
    "dpo": Kind("dpoJobs", "dpoJobId"),
    "rft": Kind("reinforcementFineTuningJobs", "reinforcementFineTuningJobId"),
}
_METHODS = {kind.collection: method for method, kind in KINDS.items()}

#: What the host's words mean. ``JOB_STATE_IDLE``, ``_DELETING``, ``_DELETING_CLEANING_UP`` and ``_DELETED`` are carried
#: as unknown: nothing says whether such a job has made, or will make, a model.
STATES: Mapping[str, Status] = {
    "JOB_STATE_UNSPECIFIED": Status.QUEUED,
    "JOB_STATE_CREATING": Status.QUEUED,
    "JOB_STATE_PENDING": Status.QUEUED,
    "JOB_STATE_VALIDATING": Status.QUEUED,
    "JOB_STATE_CREATING_INPUT_DATASET": Status.QUEUED,
    "JOB_STATE_RE_QUEUEING": Status.QUEUED,
    "JOB_STATE_RUNNING": Status.RUNNING,
    "JOB_STATE_WRITING_RESULTS": Status.RUNNING,
    "JOB_STATE_CANCELLING": Status.RUNNING,
    "JOB_STATE_PAUSED": Status.PAUSED,
    "JOB_STATE_COMPLETED": Status.SUCCEEDED,
    "JOB_STATE_EARLY_STOPPED": Status.SUCCEEDED,
    "JOB_STATE_FAILED": Status.FAILED,
    "JOB_STATE_EXPIRED": Status.FAILED,
    "JOB_STATE_CANCELLED": Status.CANCELLED,
}
_NOTES: Mapping[str, str] = {
    "JOB_STATE_EARLY_STOPPED": "it stopped early, as the loss on held-out examples got no better; the model is whole",
    "JOB_STATE_PAUSED": "Fireworks has paused it, mostly because the account is suspended; look at its console",
    "JOB_STATE_DELETING": "somebody is deleting it at Fireworks",
    "JOB_STATE_DELETED": "somebody has deleted it at Fireworks; no more will be heard of it",
}
#: The host's names for our fields; flat in an SFT job, in ``trainingConfig`` in the others.
_TRAINING: Mapping[str, str] = {
    "model": "baseModel",
    "warm_start_from": "warmStartFrom",
    "epochs": "epochs",
    "learning_rate": "learningRate",
    "batch_size": "batchSizeSamples",
    "batch_tokens": "batchSize",
    "gradient_accumulation_steps": "gradientAccumulationSteps",
    "warmup_steps": "learningRateWarmupSteps",
    "max_length": "maxContextLength",
    "weight_decay": "optimizerWeightDecay",
    "region": "region",
}
#: Likewise, always flat.
_FLAT: Mapping[str, str] = {
    "eval_auto_carveout": "evalAutoCarveout",
    "early_stop": "earlyStop",
    "is_turbo": "isTurbo",
    "evaluator": "evaluator",
}
_ROLLOUTS: Mapping[str, str] = {
    "candidates": "responseCandidatesCount",
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
}
#: What an answer says that opens something to whoever reads it.
_SECRET = frozenset({"wandbConfig", "metricsFileSignedUrl", "trainerLogsSignedUrl"})


# asking ---------------------------------------------------------------------------------------------------------------


def body(config: FireworksConfig) -> dict[str, Any]:
    """The request for a job, without its data, the new model's id and another service's key."""
    training = {**_sent(config, _TRAINING), "loraRank": config.sent_rank}
    flat = {key: value for key, value in _sent(config, _FLAT).items() if value is not False}
    named: dict[str, Any] = {} if config.name is None else {"displayName": config.name}
    if config.wandb is not None:
        account = {"project": config.wandb.project, "entity": config.wandb.entity}
        named["wandbConfig"] = {"enabled": True, **{key: value for key, value in account.items() if value}}
    if config.method == "sft":
        return {**named, **training, **flat}
    loss: dict[str, Any] = {"method": config.sent_loss}
    if config.beta is not None:
        loss["dpo"] = {"beta": config.beta}
    if config.kl_beta is not None:
        loss["klBeta"] = config.kl_beta
    tried = {} if config.rollouts is None else {"inferenceParameters": _sent(config.rollouts, _ROLLOUTS)}
    return {**named, **flat, **tried, "trainingConfig": training, "lossConfig": loss}


def _sent(config: object, names: Mapping[str, str]) -> dict[str, Any]:
    return {theirs: value for ours, theirs in names.items() if (value := getattr(config, ours)) is not None}


def asked_otherwise(config: FireworksConfig, answer: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence for each setting that the host says it runs otherwise than asked."""
    told = _settings(answer)
    asked = {ours: getattr(config, ours) for ours in _TRAINING} | {"rank": config.sent_rank, "loss": config.sent_loss}
    return differences(asked, told, "Fireworks")


def _settings(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a job says of its settings, under our names."""
    training = answer.get("trainingConfig") or answer
    told = {ours: training.get(theirs) for ours, theirs in _TRAINING.items()}
    return told | {"rank": training.get("loraRank"), "loss": (answer.get("lossConfig") or {}).get("method")}


# hearing --------------------------------------------------------------------------------------------------------------


def path_of(job_id: str) -> str:
    """The path of a job at the host.

    Raises:
        NotFoundError: this is no id of a job there.
    """
    collections = "|".join(_METHODS)
    if re.fullmatch(rf"accounts/[a-z0-9-]+/(?:{collections})/[A-Za-z0-9-]+", job_id) is None:
        raise NotFoundError(
            f"{job_id!r} is not the name of a job at Fireworks, which looks like "
            f"accounts/<account>/{KINDS['sft'].collection}/<id>",
            backend="fireworks",
            status_code=404,
        )
    return f"/v1/{job_id}"


def snapshot(answer: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Snapshot:
    """What an answer says of a job.

    Raises:
        ServiceError: it does not say of which.
    """
    name, word = answer.get("name"), answer.get("state")
    if not isinstance(name, str) or not name:
        raise ServiceError("Fireworks answered with a job that has no name", backend="fireworks")
    word = word if isinstance(word, str) else ""
    status = STATES.get(word, Status.UNKNOWN)
    said = _NOTES.get(word)
    return Snapshot(
        job_id=name,
        status=status,
        raw_status=word,
        tag=tag_of(name),
        message=words_of(answer.get("status")) if status in (Status.FAILED, Status.PAUSED) else None,
        notes=(*notes, *([said] if said else [])),
        raw={key: value for key, value in answer.items() if key not in _SECRET},
    )


def model_of(answer: Mapping[str, Any]) -> str:
    """The full name of the model that a job makes: that of the job, where none was asked for."""
    account, job = str(answer["name"]).split("/")[1], given_id(str(answer["name"]))
    training = answer.get("trainingConfig") or answer
    return model_name(account, str(training.get("outputModel") or job))


def owned(answer: Mapping[str, Any]) -> OwnedJob:
    """A job of the account as others see it."""
    heard = snapshot(answer)
    files = {"train": answer.get("dataset"), "validation": answer.get("evaluationDataset")}
    return OwnedJob(
        snapshot=heard,
        recipe=dict(_recipe(answer)),
        files={purpose: file for purpose, file in files.items() if file},
        model_id=model_of(answer) if heard.status is Status.SUCCEEDED else None,
        created_at=seconds(answer.get("createTime")),
    )


def _recipe(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    account, collection = str(answer["name"]).split("/")[1:3]
    yield from {"backend": "fireworks", "account": account, "method": _METHODS[collection]}.items()
    told = _settings(answer) | {ours: answer.get(theirs) for ours, theirs in _FLAT.items()}
    rank = told.pop("rank")
    if rank:
        yield from {"weights": "lora", "rank": rank}.items()
    # the host writes what nobody set as 0, "" or a word that says so
    yield from ((ours, value) for ours, value in told.items() if value and "UNSPECIFIED" not in str(value))

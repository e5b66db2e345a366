"""A configuration as the body of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.backends.openai.graders import Grader, Lambda
from adaptkit.http import key_from

__all__ = ["HYPERPARAMETERS", "METHODS", "TAG", "TAG_AT_END", "WIRE", "body", "hyperparameters", "tag_of", "tagged",
           "with_keys"]  # fmt: skip

#: The key of a job's metadata under which its tag stands, and its place in a suffix where there is no metadata.
TAG = "adaptkit_tag"
TAG_AT_END = re.compile(r"(?:^|-)([0-9A-Za-z]{26})$")
#: Names of methods on the wire.
METHODS = {"sft": "supervised", "dpo": "dpo", "rft": "reinforcement"}
#: Settings that are called otherwise on the wire.
WIRE = {"epochs": "n_epochs", "rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout",
        "max_length": "context_length", "warmup": "warmup_ratio"}  # fmt: skip
#: Settings that are hyperparameters on the wire.
HYPERPARAMETERS = (
    "epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "beta", "rank", "alpha", "dropout",
    "max_length", "warmup", "weight_decay", "max_grad_norm", "packing", "reasoning_effort", "compute_multiplier",
    "eval_interval", "eval_samples",
)  # fmt: skip


def body(config: OpenAIConfig) -> dict[str, Any]:
    """The body of the job without files, tag and keys."""
    asked: dict[str, Any] = {"model": config.model, "method": _method(config)}
    if config.seed is not None:
        asked["seed"] = config.seed
    if config.name is not None:
        asked["suffix"] = config.name
    if config.metadata:
        asked["metadata"] = dict(config.metadata)
    if config.wandb is not None:
        given = config.wandb.model_dump(mode="json", exclude_none=True, exclude={"api_key_env"})
        asked["integrations"] = [{"type": "wandb", "wandb": {name: value for name, value in given.items() if value}}]
    if config.training_type is not None:
        asked["trainingType"] = config.training_type
    return asked


def tagged(asked: Mapping[str, Any], config: OpenAIConfig, tag: str) -> dict[str, Any]:
    """The body with the tag where the host keeps one."""
    if config.facts.tag_in == "metadata":
        return {**asked, "metadata": {**config.metadata, TAG: tag}}
    if config.facts.tag_in == "suffix":
        return {**asked, "suffix": f"{config.name}-{tag}" if config.name else tag}
    return dict(asked)


def tag_of(job: Mapping[str, Any]) -> str | None:
    """The tag that a job carries, wherever that is."""
    metadata = job.get("metadata")
    told = metadata.get(TAG) if isinstance(metadata, Mapping) else None
    if isinstance(told, str):
        return told
    found = TAG_AT_END.search(str(job.get("suffix") or ""))
    return found[1].lower() if found else None


def with_keys(asked: Mapping[str, Any], config: OpenAIConfig) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body with the key of Weights & Biases where the host wants it, and that key, which must not come back.

    Raises:
        ConfigError: the variable that should hold it does not.
    """
    wandb = config.wandb
    if wandb is None or wandb.api_key_env is None:
        return dict(asked), ()
    key = key_from(wandb.api_key_env, "Weights & Biases")
    (integration,) = asked["integrations"]
    return {**asked, "integrations": [{**integration, "wandb": {**integration["wandb"], "api_key": key}}]}, (key,)


def _method(config: OpenAIConfig) -> dict[str, Any]:
    kind = METHODS[config.method]
    what: dict[str, Any] = {}
    if config.grader is not None:
        what["grader"] = _grader(config.grader)
    given = hyperparameters(config)
    if given:
        what["hyperparameters"] = given
    return {"type": kind, kind: what} if what else {"type": kind}


def _grader(grader: Grader) -> dict[str, Any]:
    if isinstance(grader, Lambda):
        return {"type": grader.type, grader.type: {"function": grader.function}}
    return grader.model_dump(mode="json", exclude_none=True)


def hyperparameters(config: OpenAIConfig) -> dict[str, Any]:
    """Those that are set, by the wire's names."""
    given = {WIRE.get(name, name): getattr(config, name) for name in HYPERPARAMETERS}
    if config.weights is not None:
        given["lora"] = config.weights == "lora"
    return {name: value for name, value in given.items() if value is not None}

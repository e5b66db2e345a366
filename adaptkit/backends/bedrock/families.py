"""What each family of models takes: the form of its rows, its hyperparameters and their bounds.

Sources: docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html, cm-hp-anth-claude-3.html,
cm-hp-meta-llama31.html and preparing-text-data.html, read in November 2026; for reinforcement fine-tuning the service
model in botocore 1.44.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adaptkit.backends.bedrock.config import BedrockConfig
from adaptkit.data import DataRules

__all__ = ["Family", "base_of", "family_of", "hyperparameters", "problems", "recipe", "reinforced", "rules"]


@dataclass(frozen=True)
class Bound:
    """A hyperparameter: the host's word for it, the least and the most."""

    word: str
    least: float
    most: float


@dataclass(frozen=True)
class Family:
    """Models that take the same.

    Attributes:
        name: For messages.
        start: What their ids begin with.
        fields: Hyperparameters by the name of the configuration's field.
        rows: Kinds of records, and the format that they are written in.
    """

    name: str
    start: str
    fields: Mapping[str, Bound]
    rows: DataRules


_CHAT, _COMPLETION = frozenset({"chat"}), frozenset({"completion"})
#: In the order in which they are tried.
FAMILIES = (
    Family(
        "Amazon Nova",
        "amazon.nova-",
        {
            "epochs": Bound("epochCount", 1, 5),
            "learning_rate": Bound("learningRate", 1e-6, 1e-4),
            "warmup_steps": Bound("learningRateWarmupSteps", 0, 100),
        },
        DataRules(kinds=_CHAT, format="bedrock"),
    ),
    Family(
        "Claude 3 Haiku",
        "anthropic.claude-3-haiku",
        {
            "epochs": Bound("epochCount", 1, 10),
            "batch_size": Bound("batchSize", 4, 256),
            "learning_rate_multiplier": Bound("learningRateMultiplier", 0.1, 2),
            "early_stopping_threshold": Bound("earlyStoppingThreshold", 0, 0.1),
            "early_stopping_patience": Bound("earlyStoppingPatience", 1, 10),
        },
        DataRules(kinds=_CHAT, format="anthropic"),
    ),
    Family(
        "Llama 3",
        "meta.llama3-",
        {
            "epochs": Bound("epochCount", 1, 10),
            "batch_size": Bound("batchSize", 1, 1),
            "learning_rate": Bound("learningRate", 5e-6, 0.1),
        },
        DataRules(kinds=_CHAT | _COMPLETION, format="bedrock"),
    ),
)
#: Reinforcement fine-tuning takes the same of every model: prompts, with whatever the grader wants beside them.
RFT = Family(
    "reinforcement fine-tuning",
    "",
    {
        "epochs": Bound("epochCount", 1, 50),
        "batch_size": Bound("batchSize", 16, 512),
        "learning_rate": Bound("learningRate", 1e-7, 1e-3),
    },
    DataRules(kinds=_CHAT, format="openai", max_rows=20_000, needs_answer=False),
)
#: The host's words for the fields of the table ``rft``.
RFT_WORDS = {
    "samples_per_prompt": "trainingSamplePerPrompt",
    "max_prompt_tokens": "maxPromptLength",
    "max_answer_tokens": "inferenceMaxTokens",
    "reasoning_effort": "reasoningEffort",
    "eval_interval": "evalInterval",
}
_METHODS = {"FINE_TUNING": "sft", "REINFORCEMENT_FINE_TUNING": "rft"}
#: Every field of the configuration that is a hyperparameter of some family.
FIELDS = tuple(dict.fromkeys(field for family in (*FAMILIES, RFT) for field in family.fields))
#: Fields that are near each other in meaning, where a family lacks one.
_NEAR = {"learning_rate": "learning_rate_multiplier", "learning_rate_multiplier": "learning_rate"}


def family_of(config: BedrockConfig) -> Family | None:
    """The family of a configuration's model, ``None`` where adaptkit has no table of it."""
    if config.method == "rft":
        return RFT
    return _named(base_of(config.model) or "")


def _named(base: str) -> Family | None:
    return next((family for family in FAMILIES if base.startswith(family.start)), None)


def base_of(model: str) -> str | None:
    """The id of the foundation model that an id or ARN names or is made from; ``None`` where it does not say."""
    if not model.startswith("arn:"):
        return model
    found = re.match(r"arn:[^/]*:(?:foundation|custom)-model/([^/]+\.[^/]+)", model)
    return found and found[1]


def rules(config: BedrockConfig | None) -> DataRules:
    """What training data must keep; without a configuration, what holds for the newest models."""
    if config is None:
        return FAMILIES[0].rows
    family = family_of(config)
    if family is not None:
        return family.rows
    if config.data_format in ("prompt-completion", None):
        return DataRules(kinds=_COMPLETION, format="prompt-completion")
    return DataRules(kinds=_CHAT, format=config.data_format)


def problems(config: BedrockConfig) -> list[str]:
    """Everything that the host cannot do of a configuration, a sentence each."""
    family = family_of(config)
    found = []
    if (config.method == "rft") != (config.rft is not None):
        found.append('rft: the table with the grader goes with method = "rft", and only with it')
    if family is None:
        found += [
            f"{field}: adaptkit has no table of what {config.model} takes; put it into hyperparameters in the host's "
            "own words"
            for field in _set(config)
        ]
        if config.data_format is None:
            found.append(f"data_format: adaptkit does not know which rows {config.model} takes; say it")
        return found
    found += [_wrong(family, field, value) for field, value in _set(config).items() if _wrong(family, field, value)]
    if config.hyperparameters:
        found.append(f"hyperparameters: {family.name} has fields for them: {', '.join(family.fields)}")
    if config.data_format is not None:
        found.append(f"data_format: {family.name} takes one form of rows, leave it out")
    return found


def hyperparameters(config: BedrockConfig) -> dict[str, str]:
    """What is set, in the host's words; numbers are text there."""
    family = family_of(config)
    if family is None:
        return dict(config.hyperparameters)
    return {family.fields[field].word: _text(value) for field, value in _set(config).items()}


def recipe(job: Mapping[str, Any]) -> dict[str, Any]:
    """The target's table that would start a job of the account again, as far as the host tells."""
    method = _METHODS.get(job.get("customizationType", "FINE_TUNING"))
    base = base_of(job["baseModelArn"])
    if method is None or base is None:
        return {}
    table: dict[str, Any] = {"backend": "bedrock", "model": base, "method": method}
    told: Mapping[str, Any] = job.get("hyperParameters") or {}
    if method == "rft":
        asked = (job.get("customizationConfig") or {}).get("rftConfig") or {}
        told = asked.get("hyperParameters") or {}
        own = {field: told[word] for field, word in RFT_WORDS.items() if word in told}
        table["rft"] = {"grader": ((asked.get("graderConfig") or {}).get("lambdaGrader") or {}).get("lambdaArn"), **own}
    family = RFT if method == "rft" else _named(base)
    if family is None:
        return table | ({"hyperparameters": dict(told)} if told else {})
    return table | {field: _number(told[bound.word]) for field, bound in family.fields.items() if bound.word in told}


def reinforced(config: BedrockConfig) -> dict[str, Any]:
    """The grader and the hyperparameters of reinforcement, which are numbers there and not text."""
    asked = config.rft
    assert asked is not None  # noqa: S101 - refused before
    settings = {RFT.fields[field].word: value for field, value in _set(config).items()}
    settings |= {word: getattr(asked, field) for field, word in RFT_WORDS.items() if getattr(asked, field) is not None}
    return {"graderConfig": {"lambdaGrader": {"lambdaArn": asked.grader}}, "hyperParameters": settings}


def _set(config: BedrockConfig) -> dict[str, Any]:
    return {field: getattr(config, field) for field in FIELDS if getattr(config, field) is not None}


def _wrong(family: Family, field: str, value: float) -> str:
    """What is wrong with a value; empty where nothing is."""
    bound = family.fields.get(field)
    if bound is None:
        near = _NEAR.get(field)
        other = f"; the nearest is {near}, which is not the same" if near in family.fields else ""
        return f"{field}: {family.name} has no such setting{other} (there are {', '.join(family.fields)})"
    if not bound.least <= value <= bound.most:
        takes = f"{bound.least:g} alone" if bound.least == bound.most else f"{bound.least:g} to {bound.most:g}"
        return f"{field} = {value:g}: {family.name} takes {takes}"
    return ""


def _number(told: str | float) -> float:
    value = float(told)
    return int(value) if value.is_integer() else value


def _text(value: float) -> str:
    return format(Decimal(repr(value)), "f")

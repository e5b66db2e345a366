"""What a host says that it runs: compared with what was asked, and as a table that asks for it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaptkit.backends.openai.asking import METHODS, TAG_AT_END, WIRE, hyperparameters
from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.backends.terms import differences

__all__ = ["changed", "method_of", "recipe"]


def method_of(job: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The method that a host says it runs, by adaptkit's name, and its hyperparameters by the wire's names.

    They stand inside the method, or beside it as ``hyperparameters``, which is null for some methods.
    """
    method = job.get("method")
    method = method if isinstance(method, Mapping) else {}
    kind = method.get("type")
    kind = kind if isinstance(kind, str) else "supervised"
    inner = method.get(kind)
    found = inner.get("hyperparameters") if isinstance(inner, Mapping) else None
    beside = job.get("hyperparameters")
    told = {**(beside if isinstance(beside, Mapping) else {}), **(found if isinstance(found, Mapping) else {})}
    return next((ours for ours, theirs in METHODS.items() if theirs == kind), kind), told


def _our_names(told: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters by adaptkit's names."""
    ours = {wire: name for name, wire in WIRE.items()}
    return {ours.get(name, name): value for name, value in told.items() if value is not None}


def changed(config: OpenAIConfig, job: Mapping[str, Any]) -> tuple[str, ...]:
    """What the host says that it will run otherwise than asked, one sentence each."""
    method, told = method_of(job)
    said = _our_names(told)
    asked = _our_names(hyperparameters(config))
    if isinstance(job.get("method"), Mapping):
        asked["method"], said["method"] = config.method, method
    model = job.get("model")
    if isinstance(model, str) and not model.startswith(config.model):  # an alias becomes a dated name
        asked["model"], said["model"] = config.model, model
    return differences({**asked, "seed": config.seed}, {**said, "seed": job.get("seed")}, config.facts.says)


def recipe(config: OpenAIConfig, job: Mapping[str, Any]) -> dict[str, Any]:
    """The target's table that would start the same job, as far as the host tells; validation is a file of its own."""
    method, told = method_of(job)
    table = config.model_dump(mode="json", include={"backend", "profile", "base_url", "api_key_env"}, exclude_none=True)
    table |= {"model": job.get("model"), "method": method}
    settings = _our_names(told)
    lora = settings.pop("lora", None)
    table |= {name: value for name, value in settings.items() if name in OpenAIConfig.model_fields and value != "auto"}
    if isinstance(lora, bool):
        table["weights"] = "lora" if lora else "full"
    named = str(job.get("user_provided_suffix") or TAG_AT_END.sub("", str(job.get("suffix") or "")))
    table |= {"grader": _grader_of(job), "seed": job.get("seed"), "name": named or None}
    return {name: value for name, value in table.items() if value is not None}


def _grader_of(job: Mapping[str, Any]) -> Any:
    inner = (job.get("method") or {}).get("reinforcement") or {}
    grader = inner.get("grader")
    if isinstance(grader, Mapping) and grader.get("type") == "lambda":
        return {"type": "lambda", **(grader.get("lambda") or {})}
    return grader

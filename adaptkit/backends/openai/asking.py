"""A configuration as the body of a job, everything in it that a host cannot take, and what the host made of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.backends.openai.graders import Grader, Lambda
from adaptkit.backends.openai.profiles import Profile
from adaptkit.backends.terms import differences
from adaptkit.http import key_from

__all__ = ["TAG", "body", "changed", "method_of", "problems", "recipe", "size_problems", "tag_of", "tagged",
           "with_keys"]  # fmt: skip

#: The key of a job's metadata under which its tag stands.
TAG = "adaptkit_tag"
_TAG_AT_END = re.compile(r"(?:^|-)([0-9A-Za-z]{26})$")
_METHODS = {"sft": "supervised", "dpo": "dpo", "rft": "reinforcement"}
#: Settings that are called otherwise on the wire.
_WIRE = {"epochs": "n_epochs", "rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout",
         "max_length": "context_length", "warmup": "warmup_ratio"}  # fmt: skip
_HYPERPARAMETERS = (
    "epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "beta", "rank", "alpha", "dropout",
    "max_length", "warmup", "weight_decay", "max_grad_norm", "packing", "reasoning_effort", "compute_multiplier",
    "eval_interval", "eval_samples",
)  # fmt: skip
#: Settings that not every host has, and so have to be looked at.
_OPTIONAL = (*_HYPERPARAMETERS, "weights", "grader", "seed", "name", "metadata", "wandb", "validation", "training_type",
             "deploy")  # fmt: skip
_LORA = ("rank", "alpha", "dropout")
#: What is asked for most in place of what there is not; what is not here is found by its spelling.
_NEAREST = {"learning_rate": "learning_rate_multiplier", "learning_rate_multiplier": "learning_rate"}
_PAIRS, _KEY, _VALUE = 16, 64, 512


# the body -------------------------------------------------------------------------------------------------------------


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
    found = _TAG_AT_END.search(str(job.get("suffix") or ""))
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
    kind = _METHODS[config.method]
    what: dict[str, Any] = {}
    if config.grader is not None:
        what["grader"] = _grader(config.grader)
    hyperparameters = _hyperparameters(config)
    if hyperparameters:
        what["hyperparameters"] = hyperparameters
    return {"type": kind, kind: what} if what else {"type": kind}


def _grader(grader: Grader) -> dict[str, Any]:
    if isinstance(grader, Lambda):
        return {"type": grader.type, grader.type: {"function": grader.function}}
    return grader.model_dump(mode="json", exclude_none=True)


def _hyperparameters(config: OpenAIConfig) -> dict[str, Any]:
    given = {_WIRE.get(name, name): getattr(config, name) for name in _HYPERPARAMETERS}
    if config.weights is not None:
        given["lora"] = config.weights == "lora"
    return {name: value for name, value in given.items() if value is not None}


# what cannot be taken -------------------------------------------------------------------------------------------------


def problems(config: OpenAIConfig) -> Sequence[str]:
    """Everything that the host cannot take, one sentence each."""
    host = config.facts
    if config.method not in host.methods:
        kinds = ", ".join(sorted(host.methods))
        return [f"method = {config.method!r}: {host.says} has no such method; the nearest is {kinds}"]
    return [*_settings(config, host), *_bounds(config, host), *_texts(config, host), *_together(config, host)]


def size_problems(config: OpenAIConfig, files: Sequence[DataFile]) -> Iterator[str]:
    """What is wrong with the size of the files as they would be sent."""
    host = config.facts
    for file in files:
        if host.largest is not None and file.size > host.largest:
            yield (
                f"the {file.purpose} file would have {file.size:,} bytes, and {host.says} takes {host.largest:,}: "
                "use fewer rows"
            )
        if file.purpose == "validation" and config.method == "rft" and file.rows > (host.most_validation or file.rows):
            yield f"validation has {file.rows:,} rows, and {host.says} takes {host.most_validation:,}: use fewer"


def _settings(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    known = host.settings | host.methods[config.method]
    for name in _OPTIONAL:
        value = getattr(config, name)
        if value is None or value == {} or name in known:
            continue
        elsewhere = [method for method, settings in host.methods.items() if name in settings]
        if elsewhere:
            yield f"{name}: it belongs to method = {' or '.join(map(repr, elsewhere))}; leave it out"
            continue
        near = _NEAREST.get(name)
        near = near if near in known else next(iter(difflib.get_close_matches(name, sorted(known), 1, 0.6)), None)
        never = ", and the one is never made from the other" if name in _NEAREST else ""
        nearest = f"the nearest is {near}{never}" if near else "leave it out"
        yield f"{name}: {host.says} has no such setting; {nearest}"


def _bounds(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    known = host.settings | host.methods[config.method]
    for name in _OPTIONAL:
        value = getattr(config, name)
        if value is None or name not in known:
            continue
        if value == "auto" and not host.auto:
            yield f'{name} = "auto": {host.says} wants a number; leave it out for its default'
        if name not in host.bounds or isinstance(value, str | bool):
            continue
        low, high, above = host.bounds[name]
        if (low is not None and (value <= low if above else value < low)) or (high is not None and value > high):
            yield f"{name} = {value}: {host.says} takes {_range(low, high, above)}"


def _range(low: float | None, high: float | None, above: str) -> str:
    least = f"more than {low}" if above else f"at least {low}"
    return least if high is None else f"{least} and at most {high}"


def _texts(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    if config.name is not None and host.name_length:
        if not 1 <= len(config.name) <= host.name_length:
            yield f"name has {len(config.name)} characters: {host.says} takes 1 to {host.name_length}"
        if "." in config.name and not host.name_dots:
            yield f"name holds a dot: {host.says} takes none; use a hyphen"
    room = _PAIRS - 1  # one is the tag's
    if len(config.metadata) > room:
        yield f"metadata has {len(config.metadata)} pairs: {host.says} takes {room} beside adaptkit's own"
    if TAG in config.metadata:
        yield f"metadata: {TAG} is adaptkit's own key; use another"
    for key, value in config.metadata.items():
        if len(key) > _KEY or len(value) > _VALUE:
            yield f"metadata.{key[:_KEY]}: a key has at most {_KEY} characters and a value {_VALUE}"


def _together(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    known = host.methods[config.method]
    if "weights" in known and config.weights is None:
        yield 'weights: say "lora" or "full"; the host\'s own default is full, which costs more'
    if config.weights == "full":
        yield from (f'{name}: it is for weights = "lora"; leave it out' for name in _LORA if getattr(config, name))
    if config.wandb is not None and host.wandb_key is not (config.wandb.api_key_env is not None):
        yield f"wandb.api_key_env: {host.says} " + (
            "wants the key of Weights & Biases with each job; name its variable"
            if host.wandb_key
            else "has the key of Weights & Biases in its own settings; leave it out"
        )
    if config.method != "rft":
        return
    if config.grader is None:
        yield f"grader: method = 'rft' needs one; {host.says} takes {', '.join(sorted(host.graders))}"
    elif config.grader.type not in host.graders:
        yield f"grader.type = {config.grader.type!r}: {host.says} takes {', '.join(sorted(host.graders))}"
    if host.rft_validation and config.validation is None:
        yield f"validation: method = 'rft' needs held-out examples at {host.says}"


# what the host made of it ---------------------------------------------------------------------------------------------


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
    return next((ours for ours, theirs in _METHODS.items() if theirs == kind), kind), told


def _our_names(told: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters by adaptkit's names."""
    ours = {wire: name for name, wire in _WIRE.items()}
    return {ours.get(name, name): value for name, value in told.items() if value is not None}


def changed(config: OpenAIConfig, job: Mapping[str, Any]) -> tuple[str, ...]:
    """What the host says that it will run otherwise than asked, one sentence each."""
    method, told = method_of(job)
    said = _our_names(told)
    asked = _our_names(_hyperparameters(config))
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
    named = str(job.get("user_provided_suffix") or _TAG_AT_END.sub("", str(job.get("suffix") or "")))
    table |= {"grader": _grader_of(job), "seed": job.get("seed"), "name": named or None}
    return {name: value for name, value in table.items() if value is not None}


def _grader_of(job: Mapping[str, Any]) -> Any:
    inner = (job.get("method") or {}).get("reinforcement") or {}
    grader = inner.get("grader")
    if isinstance(grader, Mapping) and grader.get("type") == "lambda":
        return {"type": "lambda", **(grader.get("lambda") or {})}
    return grader

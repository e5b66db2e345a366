"""Everything in a configuration that a host cannot take, with the nearest that it can."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from adaptkit.adapter import DataFile
from adaptkit.backends.openai.asking import HYPERPARAMETERS, TAG
from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.backends.openai.profiles import Profile

__all__ = ["problems", "size_problems"]

#: Settings that not every host has, and so have to be looked at.
_OPTIONAL = (*HYPERPARAMETERS, "weights", "grader", "seed", "name", "metadata", "wandb", "validation", "training_type",
             "deploy")  # fmt: skip
_LORA = ("rank", "alpha", "dropout")
#: What is asked for most in place of what there is not; what is not here is found by its spelling.
_NEAREST = {"learning_rate": "learning_rate_multiplier", "learning_rate_multiplier": "learning_rate"}
#: Of metadata: pairs, characters of a key, characters of a value.
_PAIRS, _KEY, _VALUE = 16, 64, 512


def problems(config: OpenAIConfig) -> Sequence[str]:
    """Everything that the host cannot take, one sentence each."""
    host = config.facts
    wrong = []
    if config.method not in host.methods:
        kinds = ", ".join(sorted(host.methods))
        wrong = [f"method = {config.method!r}: {host.says} has no such method; the nearest is {kinds}"]
    parts = (_settings, _bounds, _texts, _weights, _wandb, _reinforcement, _deploy)
    return [*wrong, *(problem for part in parts for problem in part(config, host))]


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


def _known(config: OpenAIConfig, host: Profile) -> frozenset[str]:
    """The settings that the host has for the method, or for any where it does not have the method."""
    methods = [host.methods[config.method]] if config.method in host.methods else host.methods.values()
    return host.settings.union(*methods)


def _settings(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    known = _known(config, host)
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
    known = _known(config, host)
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


def _weights(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    if "weights" in _known(config, host) and config.weights is None:
        yield 'weights: say "lora" or "full"; the host\'s own default is full, which costs more'
    if config.weights == "full":
        for name in _LORA:
            if getattr(config, name) is not None:
                yield f'{name}: it is for weights = "lora"; leave it out'


def _wandb(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    given = None if config.wandb is None else config.wandb.api_key_env
    if config.wandb is not None and host.wandb_key and given is None:
        yield f"wandb.api_key_env: {host.says} wants the key of Weights & Biases with each job; name its variable"
    if given is not None and not host.wandb_key:
        yield f"wandb.api_key_env: {host.says} has the key of Weights & Biases in its own settings; leave it out"


def _reinforcement(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    if config.method != "rft" or "rft" not in host.methods:
        return
    graders = ", ".join(sorted(host.graders))
    if config.grader is None:
        yield f"grader: method = 'rft' needs one; {host.says} takes {graders}"
    elif config.grader.type not in host.graders:
        yield f"grader.type = {config.grader.type!r}: {host.says} takes {graders}"
    if host.rft_validation and config.validation is None:
        yield f"validation: method = 'rft' needs held-out examples at {host.says}"


def _deploy(config: OpenAIConfig, host: Profile) -> Iterator[str]:
    given = config.deploy
    if given is not None and host.deploys and not set(host.deploys) <= set(type(given).model_fields):
        yield f"deploy: at {host.says} its table says {', '.join(host.deploys)}"

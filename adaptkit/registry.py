"""Names to backends. Only the backend asked for is loaded.

Built-in backends are a table; anybody else's are entry points in the group ``adaptkit.backends``, each naming an
`Adapter` class. A name that two packages claim is an error that names both; a plugin that does not load is shown as
broken and breaks nothing else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError, ConfigError, UnknownBackendError

if TYPE_CHECKING:
    from adaptkit.adapter import Adapter

__all__ = ["GROUP", "Backend", "adapter_type", "backends", "names", "nearest"]

GROUP = "adaptkit.backends"

_BUILT_IN = {
    "bedrock": "adaptkit.backends.bedrock:BedrockAdapter",
    "fireworks": "adaptkit.backends.fireworks:FireworksAdapter",
    "lora": "adaptkit.backends.lora:LoraAdapter",
    "mistral": "adaptkit.backends.mistral:MistralAdapter",
    "openai": "adaptkit.backends.openai:OpenAIAdapter",
    "prompt": "adaptkit.backends.prompt:PromptAdapter",
    "scripted": "adaptkit.testing.scripted:ScriptedAdapter",
    "together": "adaptkit.backends.together:TogetherAdapter",
}
#: Their jobs are made by a model and no target can name them: loaded like the others, and not listed.
_OF_MODELS = {"batch": "adaptkit.backends.prompt.batch:BatchAdapter"}


@dataclass(frozen=True)
class Backend:
    """A backend as listed: its name, where it comes from, and why it cannot be loaded, if so."""

    name: str
    origin: str
    adapter: type[Adapter[Any]] | None
    error: str | None


def nearest(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest known name where one is close, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _found() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {name: [EntryPoint(name, value, GROUP)] for name, value in _BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "adaptkit"


def _load(name: str, points: list[EntryPoint]) -> type[Adapter[Any]]:
    from adaptkit.adapter import Adapter  # noqa: PLC0415 - the interface imports the data layer, which imports this

    if len(points) > 1:
        claims = " and ".join(f"{_origin(point)} ({point.value})" for point in points)
        raise ConfigError(f"backend {name!r} is claimed by {claims}: uninstall or rename one of them")
    point = points[0]
    try:
        loaded = point.load()
    except Exception as error:
        raise ConfigError(
            f"backend {name!r} from {_origin(point)} does not load: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
        raise ConfigError(f"backend {name!r} from {_origin(point)}: {point.value} is not an Adapter class")
    return loaded


def names() -> list[str]:
    """Names of all backends; loads none."""
    return sorted(_found())


def adapter_type(name: str) -> type[Adapter[Any]]:
    """Load the adapter class of a backend, one that no target can name among them.

    Raises:
        UnknownBackendError: no backend of that name; the message lists those there are.
        ConfigError: two packages claim the name, or the plugin does not load.
    """
    found = _found()
    if name in _OF_MODELS:
        return _load(name, [EntryPoint(name, _OF_MODELS[name], GROUP), *found.get(name, [])])
    if name not in found:
        raise UnknownBackendError(
            f"there is no backend {name!r}.{nearest(name, found)} Installed: {', '.join(sorted(found))}. "
            f"Others come as packages with an entry point in the group {GROUP!r}."
        )
    return _load(name, found[name])


def backends() -> list[Backend]:
    """Every backend, by name, loading each: broken ones are listed with their error."""
    listed = []
    for name, points in sorted(_found().items()):
        try:
            adapter, error = _load(name, points), None
        except AdaptkitError as broken:
            adapter, error = None, str(broken)
        listed.append(Backend(name, " and ".join(map(_origin, points)), adapter, error))
    return listed

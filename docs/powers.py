"""What each backend can do, read off the interface: written into the page of backends whenever the docs are built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from adaptkit import adapter, registry
from adaptkit.adapter import Adapter

__all__ = ["MARK", "matrix"]

#: Stands in the page where the table goes.
MARK = "<!-- the powers of the backends: docs/powers.py -->"
#: A kit for tests is no way to fit a model.
_NOT_LISTED = {"scripted"}
_LOST = {
    "exactly_once": "sent again safely",
    "reconcilable": "found by its tag",
    "at_most_once_manual": "yours to look for",
}

Kind = type[Adapter[Any]]


def matrix() -> str:
    """The table, in Markdown: a column for each backend that comes with adaptkit, a row for each power."""
    kinds = {
        each.name: each.adapter
        for each in registry.backends()
        if each.adapter is not None and each.origin == "adaptkit" and each.name not in _NOT_LISTED
    }
    rows = [
        ["", *(f"`{name}`" for name in kinds)],
        ["---"] * (len(kinds) + 1),
        ["methods", *(_methods(kind) for kind in kinds.values())],
        ["data", *(", ".join(sorted(kind.data_rules().kinds)) for kind in kinds.values())],
        ["a lost submission is", *(_LOST[kind.guarantee] for kind in kinds.values())],
    ]
    for power in powers():
        said = (inspect.getdoc(power) or "").partition("\n")[0].rstrip(".")
        names = ", ".join(f"`{name}`" for name in members(power) if callable(getattr(power, name, None)))
        rows.append([f"{names}: {said[0].lower()}{said[1:]}", *(_has(kind, power) for kind in kinds.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def powers() -> list[type]:
    """The protocols, one a power, in the order of the interface."""
    found = (value for name, value in vars(adapter).items() if name.startswith("Supports"))
    return [value for value in found if isinstance(value, type)]


def members(power: type) -> Iterator[str]:
    """What a backend with that power has."""
    own = {**inspect.get_annotations(power), **vars(power)}
    return (name for name in own if not name.startswith("_"))


def _has(kind: Kind, power: type) -> str:
    """Some backends choose by their configuration among classes of their own."""
    can = [all(hasattr(each, name) for name in members(power)) for each in (kind, *kind.__subclasses__())]
    return "yes" if can[0] else "some" if any(can) else "—"


def _methods(kind: Kind) -> str:
    field = kind.config_type.model_fields.get("method")
    asked = field.annotation if field is not None else None
    words = asked if get_origin(asked) is Literal else next(iter(get_args(asked)), None)  # or none where it is a choice
    return ", ".join(str(value).upper() for value in get_args(words)) or "—"

"""Reading one row of foreign JSON: a value, where it stands, and a list that collects what is wrong with it.

Readers go on after a problem, so one pass names every problem of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adaptkit.data.parsing import shorten
from adaptkit.data.problems import Finding

__all__ = ["Node"]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}\Z")
_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}


class Node:
    """A value inside a row. ``findings`` is shared by all nodes of the row."""

    __slots__ = ("findings", "path", "value")

    def __init__(self, value: Any, findings: list[Finding], path: str = "$") -> None:
        self.value, self.findings, self.path = value, findings, path

    def problem(self, rule: str, message: str, fix: str = "") -> None:
        """Note that something is wrong here."""
        self.findings.append(Finding(rule=rule, path=self.path, message=message, fix=fix))

    def has(self, key: str) -> bool:
        """Whether the key is there with a value; null is the same as absent."""
        return isinstance(self.value, Mapping) and self.value.get(key) is not None

    def at(self, key: str) -> Node:
        """The value of a key; ``None`` inside if it is absent."""
        return Node(self.value.get(key), self.findings, f"{self.path}{_step(key)}")

    def items(self) -> Iterator[Node]:
        """The elements of an array; a problem and nothing if it is none."""
        if not isinstance(self.value, list | tuple):
            self.problem("wrong-type", f"expected an array, got {_named(self.value)}.")
            return
        for index, item in enumerate(self.value):
            yield Node(item, self.findings, f"{self.path}[{index}]")

    def is_object(self) -> bool:
        """Whether this is an object; a problem if not."""
        if isinstance(self.value, Mapping):
            return True
        self.problem("wrong-type", f"expected an object, got {_named(self.value)}.")
        return False

    def text(self, key: str, *, required: bool = True) -> str | None:
        """The string under a key."""
        if not self.has(key):
            if required:
                self.at(key).problem("missing-key", f"{shorten(key)} is missing.", "Add it as a string.")
            return None
        value = self.value[key]
        if not isinstance(value, str):
            self.at(key).problem("wrong-type", f"expected a string, got {_named(value)}.")
            return None
        return value

    def boolean(self, key: str) -> bool | None:
        """The boolean under a key, or ``None``."""
        if not self.has(key):
            return None
        value = self.value[key]
        if not isinstance(value, bool):
            self.at(key).problem("wrong-type", f"expected true or false, got {_named(value)}.")
            return None
        return value

    def refuse_others(self, known: Iterable[str], fix: str = "Remove it.") -> None:
        """A problem for every key with a value that is not among the known ones."""
        for key in self.others(known):
            self.at(key).problem("unknown-key", f"the key {shorten(key)} has no meaning here.", fix)

    def others(self, known: Iterable[str]) -> dict[str, Any]:
        """The keys that are not among the known ones, null ones left out."""
        known = frozenset(known)
        return {key: value for key, value in self.value.items() if key not in known and value is not None}


def _named(value: object) -> str:
    if value is None:
        return "null"
    return _NAMES.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _step(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.match(key) else f"[{shorten(key)}]"

"""Reading one row of foreign JSON: a value, where it stands, and a list that collects what is wrong with it.

Readers go on after a problem, so one pass names every problem of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from adaptkit.data.parsing import shorten
from adaptkit.data.problems import Finding

__all__ = ["Node"]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}\Z")
_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}


class Node:
    """A value inside a row.

    Args:
        value: What JSON decodes to: dicts, lists (or tuples), strings, numbers, booleans, None.
        findings: Collects what is wrong; shared by all nodes of the row.
        parent: The node around this one, ``None`` for the row.
        step: Key or index in the parent. The path is put together only when a problem needs it.
    """

    __slots__ = ("_parent", "_step", "findings", "value")

    def __init__(self, value: Any, findings: list[Finding], parent: Node | None = None, step: str | int = "") -> None:
        self.value, self.findings, self._parent, self._step = value, findings, parent, step

    @property
    def path(self) -> str:
        """JSON path from the row, such as ``$.messages[1].role``."""
        return "$" if self._parent is None else f"{self._parent.path}{_step(self._step)}"

    def problem(self, rule: str, message: str, fix: str = "") -> None:
        """Note that something is wrong here."""
        self.findings.append(Finding(rule=rule, path=self.path, message=message, fix=fix))

    def has(self, key: str) -> bool:
        """Whether the key is there with a value; null is the same as absent."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def at(self, key: str) -> Node:
        """The value of a key of an object; ``None`` inside if it is absent."""
        return Node(self.value.get(key), self.findings, self, key)

    def instead(self, key: str, value: Any) -> Node:
        """Another value in the place of a key: a short form, written out."""
        return Node(value, self.findings, self, key)

    def items(self) -> Iterator[Node]:
        """The elements of an array; a problem and nothing if it is none."""
        if not isinstance(self.value, list | tuple):
            self.problem("wrong-type", f"expected an array, got {_named(self.value)}.")
            return
        for index, item in enumerate(self.value):
            yield Node(item, self.findings, self, index)

    def is_object(self) -> bool:
        """Whether this is an object; a problem if not."""
        if isinstance(self.value, dict):
            return True
        self.problem("wrong-type", f"expected an object, got {_named(self.value)}.")
        return False

    def text(self, key: str, *, required: bool = True) -> str | None:
        """The string under a key of an object."""
        value = self.value.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            self.at(key).problem("wrong-type", f"expected a string, got {_named(value)}.")
        elif required:
            self.at(key).problem("missing-key", f"{shorten(key)} is missing.", "Add it as a string.")
        return None

    def boolean(self, key: str) -> bool | None:
        """The boolean under a key of an object, or ``None``."""
        value = self.value.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.at(key).problem("wrong-type", f"expected true or false, got {_named(value)}.")
        return None

    def refuse_others(self, known: AbstractSet[str], fix: str = "Remove it.") -> None:
        """A problem for every key with a value that is not among the known ones."""
        for key in self.others(known):
            self.at(key).problem("unknown-key", f"the key {shorten(key)} has no meaning here.", fix)

    def others(self, known: AbstractSet[str]) -> dict[str, Any]:
        """The keys that are not among the known ones, null ones left out."""
        if self.value.keys() <= known:
            return {}
        return {key: value for key, value in self.value.items() if key not in known and value is not None}


def _named(value: object) -> str:
    if value is None:
        return "null"
    return _NAMES.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_KEY.match(step) else f"[{shorten(step)}]"

"""The table of rules and what reads it: conditions on named facts, and nothing that runs code.

The rules are in `rules.toml`, which says what its fields mean.
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from adaptkit.errors import ConfigError
from adaptkit.evidence.recommendation import Reason, Verdict
from adaptkit.evidence.results import Rung

__all__ = ["Condition", "Fact", "Facts", "Rule", "fired", "read", "rules"]

#: What a fact can be; ``None`` where nobody knows.
Fact = str | float | int | None
Facts = Mapping[str, Fact]

_CONDITION = re.compile(r"(?P<fact>[a-z_]+) (?:is (?P<state>known|unknown)|(?P<sign>==|!=|<=|>=|<|>) (?P<value>\S+))")
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED = frozenset({"<", "<=", ">", ">="})
_NUMBER = re.compile(r"-?\d[\d_]*(\.\d+)?")


class Condition(msgspec.Struct, frozen=True):
    """One condition on a fact.

    Attributes:
        fact: Its name.
        sign: ``is known``, ``is unknown`` or an operator.
        value: What it is compared with: a number, or a word that is another fact's name or stands for itself.
    """

    fact: str
    sign: str
    value: Fact = None

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read one.

        Raises:
            ConfigError: it is none.
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text!r} is no condition: FACT is known, FACT is unknown, or FACT OPERATOR VALUE")
        if found["state"]:
            return cls(found["fact"], f"is {found['state']}")
        value = found["value"]
        number = float(value.replace("_", "")) if _NUMBER.fullmatch(value) else None
        return cls(found["fact"], found["sign"], value if number is None else number)

    def holds(self, facts: Facts) -> bool:
        """Whether it holds; what nobody knows is equal to nothing, and different from every word."""
        left = facts.get(self.fact)
        if self.sign.startswith("is "):
            return (left is None) == (self.sign == "is unknown")
        named = isinstance(self.value, str) and self.value in facts
        right = facts[str(self.value)] if named else self.value
        if self.sign == "!=":
            return left != right
        if left is None or right is None:
            return False
        if self.sign in _ORDERED and (isinstance(left, str) or isinstance(right, str)):
            return False
        return _SIGNS[self.sign](left, right)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table; see `rules.toml`."""

    id: str
    when: tuple[str, ...]
    sentence: str
    source: str
    decides: Verdict | None = None
    headline: str = ""
    speaks_for: Rung | None = None
    change: str = ""

    def check(self) -> None:
        """Whether every condition can be read.

        Raises:
            ConfigError: one cannot.
        """
        for text in self.when:
            Condition.parse(text)

    def fires(self, facts: Facts) -> bool:
        """Whether every condition holds."""
        return all(Condition.parse(text).holds(facts) for text in self.when)

    def reason(self, facts: Facts) -> Reason:
        """What it says of facts that it fires on."""
        said, source = (text.format_map(facts) for text in (self.sentence, self.source))
        return Reason(fact=f"{said[:1].upper()}{said[1:]}", source=source, speaks_for=self.speaks_for, rule=self.id)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


@cache
def rules() -> tuple[Rule, ...]:
    """The table that adaptkit comes with."""
    return read(files("adaptkit.evidence").joinpath("rules.toml").read_text(encoding="utf-8"))


def read(text: str) -> tuple[Rule, ...]:
    """A table from its text.

    Raises:
        ConfigError: it is none, or a condition in it is none.
    """
    try:
        table = msgspec.convert(tomllib.loads(text), _Table)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"this is no table of rules: {error}") from None
    for rule in table.rule:
        rule.check()
    return table.rule


def fired(facts: Facts, table: Sequence[Rule] | None = None) -> list[Rule]:
    """The rules that fire: the one that decides, then those that are evidence, in the order of the table.

    Raises:
        ConfigError: the table has no rule that decides here.
    """
    firing = [rule for rule in (rules() if table is None else table) if rule.fires(facts)]
    deciding = next((rule for rule in firing if rule.decides is not None), None)
    if deciding is None:
        raise ConfigError("no rule of the table decides; its last deciding rule must have no condition")
    return [deciding, *(rule for rule in firing if rule.decides is None)]

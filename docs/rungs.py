"""The rules of `adaptkit recommend`, read off their table into the page about rungs whenever the docs are built."""

from __future__ import annotations

import re

from adaptkit.evidence.rules import Rule, rules

__all__ = ["RULES_MARK", "table"]

#: Stands in the page where the tables go.
RULES_MARK = "<!-- the rules: docs/rungs.py -->"
_FACT = re.compile(r"\{(\w+)[^}]*\}")


def table() -> str:
    """Two tables, in Markdown: the rules that decide, in their order, and those that are evidence beside."""
    deciding = [rule for rule in rules() if rule.decides is not None]
    beside = [rule for rule in rules() if rule.decides is None]
    decide = _rows(
        ["rule", "holds when", "answer"], [[_name(r), _when(r), f"**{r.decides}**: {r.headline}"] for r in deciding]
    )
    tell = _rows(
        ["rule", "holds when", "speaks for", "says", "from"],
        [[_name(r), _when(r), r.speaks_for or "measuring", _plain(r.sentence), _plain(r.source)] for r in beside],
    )
    return f"The first of these that holds decides:\n\n{decide}\n\nThe others are told beside it:\n\n{tell}"


def _name(rule: Rule) -> str:
    return f"`{rule.id}`"


def _when(rule: Rule) -> str:
    return ", ".join(f"`{text}`" for text in rule.when) or "always"


def _plain(text: str) -> str:
    """A sentence with the names of facts where the facts go."""
    return _FACT.sub(r"*\1*", text).replace("|", r"\|").replace("$*", "$ *")


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

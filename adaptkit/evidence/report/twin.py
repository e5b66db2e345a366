"""The document in Markdown: what others wrote stands in code, where no Markdown, HTML or link is read."""

from __future__ import annotations

import re

from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report.document import (
    Advice,
    Because,
    Block,
    Example,
    Examples,
    Facts,
    Paragraph,
    Plot,
    Quoted,
    Table,
    Told,
    Words,
)
from adaptkit.evidence.report.telling import document
from adaptkit.evidence.report.words import RUNGS, percent
from adaptkit.evidence.results import Comparison

__all__ = ["markdown"]

_RUN_OF_TICKS = re.compile("`+")
#: What makes a list, a heading or a rule of a line that begins with it.
_LEADING = re.compile(r"^(\d*)([-+=.)])")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$&{}])")


def markdown(comparison: Comparison, recommendation: Recommendation | None = None) -> str:
    """The report as Markdown (CommonMark with tables); plots are there as their tables.

    Args:
        comparison: What was found.
        recommendation: What follows from it, shown first.

    Raises:
        DataError: nobody was compared.
    """
    made = document(comparison, recommendation)
    lines = [f"# {_say(made.headline)}", *map(_say, made.lead)]
    lines += ["\n".join(f"- {_own(tile.label)}: **{_own(tile.value)}** ({_say(tile.remark)})" for tile in made.tiles)]
    if made.warnings:
        lines += ["## Before you believe this", _bullets(made.warnings)]
    if made.advice:
        lines += _advice(made.advice)
    for section in made.sections:
        lines.append(f"## {_own(section.title)}")
        for block in section.blocks:
            lines += _block(block)
    return "\n\n".join(lines) + "\n"


def _advice(advice: Advice) -> list[str]:
    lines = [f"## What to do: {_own(advice.verdict)}"]
    if advice.expected:
        lines.append(f"Gain to expect over the rung below: **{advice.expected}**.")
    if advice.reasons:
        lines += ["Because:", "\n".join(map(_because, advice.reasons))]
    if advice.would_change:
        lines += ["What would change this:", _bullets(advice.would_change)]
    if advice.facts:
        lines += ["Every fact that was looked at:", _facts(advice.facts)]
    return lines


def _because(reason: Because) -> str:
    rung = RUNGS[reason.speaks_for] if reason.speaks_for else "measuring first"
    return f"- {_say(reason.fact)} (speaks for {rung}; {_say(reason.source)})"


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph():
            return [_say(block.words)]
        case Facts():
            return [_facts(block.items)]
        case Table():
            return _table(block)
        case Plot():
            return _table(block.table)
        case Examples():
            shown = [line for each in block.items for line in _example(each)]
            return [f"### {_own(block.title)}", _say(block.lead), *shown]


def _facts(items: tuple[tuple[str, Words], ...]) -> str:
    return "\n".join(f"- {_own(name)}: {_say(words)}" for name, words in items)


def _bullets(items: tuple[Words, ...]) -> str:
    return "\n".join(f"- {_say(words)}" for words in items)


def _table(table: Table) -> list[str]:
    rule = ["---:" if place in table.figures else "---" for place in range(len(table.head))]
    rows = [[_cell(words) for words in row] for row in (table.head, *table.rows)]
    rows.insert(1, rule)
    return [_say(table.caption), "\n".join(f"| {' | '.join(row)} |" for row in rows)]


def _example(example: Example) -> list[str]:
    lines = [f"#### Question {example.number}: {_own(example.change)}", _fence(example.question)]
    lines += ["Expected:", _fence(example.expected)]
    for given in example.given:
        lines.append(f"{_say(given.name)} ({RUNGS[given.rung]}), {percent(given.score)}:")
        lines += [_fence(given.text)] if given.text is not None else []
        lines += [_say(given.remark)] if given.remark else []
    return lines


# text -------------------------------------------------------------------------------------------------------------


def _say(words: Words, *, stroke: str = "|") -> str:
    return "".join(_part(part, stroke) for part in words)


def _cell(words: Words) -> str:
    """For a table, where a stroke ends a cell even within code."""
    return _say(words, stroke="│")


def _part(part: str | Told | Quoted, stroke: str) -> str:
    if isinstance(part, Quoted):
        return _code(part.text.replace("|", stroke))
    return _own(part) if isinstance(part, str) else _LEADING.sub(r"\1\\\2", _own(part.text))


def _own(text: str) -> str:
    """Sentences of adaptkit's, on one line: a sign that looks like structure is none."""
    return _SPECIAL.sub(r"\\\1", text)


def _code(text: str) -> str:
    """A span of code; of the ways to quote the only one that nothing within ends."""
    line = re.sub(r"\s+", " ", text)
    ticks = "`" * (_longest(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _fence(quoted: Quoted) -> str:
    fence = "`" * max(3, _longest(quoted.text) + 1)
    cut = f"\n\nCut here: {quoted.length:,} characters in all." if quoted.length is not None else ""
    return f"{fence}text\n{quoted.text}\n{fence}{cut}"


def _longest(text: str) -> int:
    return max(map(len, _RUN_OF_TICKS.findall(text)), default=0)

"""A comparison as text: one line a model, then the differences, then what should be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from adaptkit.evidence.results import Comparison, Competitor, Difference, Interval

__all__ = ["HEAD", "against", "row", "table"]


def table(comparison: Comparison) -> str:
    """What ``print(comparison)`` shows."""
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    questions = len(comparison.questions)
    groups = {question.group for question in comparison.questions} - {None}
    yield f"{comparison.metric} on {questions:,} questions" + (f" in {len(groups):,} groups" if groups else "")
    yield ""
    yield from _columns([HEAD, *(row(each) for each in comparison.competitors)])
    if comparison.differences:
        yield ""
        yield from _columns([against(each) for each in comparison.differences])
    if comparison.detectable is not None:
        yield ""
        yield f"a set of this size shows differences of about {100 * comparison.detectable:.0f} points and more"
    if comparison.general is not None:
        yield ""
        yield f"general set: {comparison.general.metric} on {len(comparison.general.questions):,} questions"
        yield ""
        yield from _columns([HEAD, *(row(each) for each in comparison.general.competitors)])
    for note in comparison.warnings:
        yield f"! {note}"


#: Columns of `row`.
HEAD = ("model", "how", "score", "95 %", "p50", "p95", "tokens", "answers", "training")


def row(each: Competitor) -> tuple[str, ...]:
    """A model as cells."""
    tokens = each.usage.input_tokens + each.usage.output_tokens
    return (
        each.name,
        each.rung,
        f"{100 * each.score.value:.1f}",
        _range(each.score),
        _seconds(each.seconds, "p50"),
        _seconds(each.seconds, "p95"),
        f"{tokens:,}",
        _usd(each.usd),
        _usd(each.training_usd),
    )


def against(each: Difference) -> tuple[str, ...]:
    """A difference as cells."""
    found = each.difference
    return (
        f"{each.one} against {each.other}",
        f"{100 * found.value:+.1f}",
        _range(found),
        f"p = {each.adjusted:.2g}" if each.adjusted >= 0.001 else "p < 0.001",
        f"{each.won} won, {each.lost} lost, {each.tied} tied",
        each.test,
    )


def _range(found: Interval) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _seconds(found: Mapping[str, float], name: str) -> str:
    return f"{found[name]:.2f} s" if name in found else "-"


def _usd(usd: float | None) -> str:
    if usd is None:
        return "?"
    return "$0" if not usd else f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.2g}"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Left the first, right the rest; control characters in names cannot steer a terminal."""
    shown = [["".join(c if c.isprintable() else "\ufffd" for c in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()

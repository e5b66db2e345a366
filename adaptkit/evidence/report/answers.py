"""What was answered: where models part, which labels they confuse, what they forgot."""

from __future__ import annotations

from adaptkit.evidence.report import quoting
from adaptkit.evidence.report.confusion import confusions, labels
from adaptkit.evidence.report.document import (
    Block,
    Paragraph,
    Quoted,
    Section,
    Table,
    Told,
    Words,
    heads,
)
from adaptkit.evidence.report.examples import partings
from adaptkit.evidence.report.standing import baseline, between, climbing, enough, rival
from adaptkit.evidence.report.words import (
    ALPHA,
    count,
    points,
    signed,
    spread,
)
from adaptkit.evidence.results import Comparison, Competitor

__all__ = ["confusion", "examples", "forgotten"]

_MOST_EXAMPLES = 10
_MOST_FORGOTTEN = 5


def examples(comparison: Comparison) -> Section | None:
    """Where the model that is enough loses and wins against the one that it has to beat."""
    chosen = enough(comparison)
    other = rival(comparison, chosen)
    if other is None:
        return None
    worse, better = partings(comparison, other, chosen, _MOST_EXAMPLES)
    told = Paragraph(("What the scores are made of: the questions on which the two part, with what every model said.",))
    return Section("examples", "Answers side by side", (told, worse, better))


def confusion(comparison: Comparison) -> Section | None:
    """Which label is taken for which."""
    known = labels(comparison)
    if not known:
        return None
    told = (
        "A row for every label that was expected, a column for every label that was given; what lies on the diagonal "
        "is right. Shades are shares of the row."
    )
    tables = tuple(confusions(comparison, each, known) for each in climbing(comparison.competitors) if each.answers)
    return Section("labels", "Which labels are confused", (Paragraph((told,), quiet=True), *tables)) if tables else None


def forgotten(comparison: Comparison) -> Section | None:
    """The same models on a general set."""
    general = comparison.general
    if general is None or not general.competitors:
        return None
    before = baseline(comparison).name
    base = next((each for each in general.competitors if each.name == before), baseline(general))
    others = [each for each in climbing(general.competitors) if each is not base]
    lead: Words = (
        f"{count(len(general.questions), 'question')} beside the task, scored by ",
        Quoted(quoting.sentence(general.metric, 80)),
        ". A model that was adapted too hard to one task does worse here.",
    )
    head: tuple[Words, ...] = (
        *heads("Model", "General score", "Interval"),
        ("Against ", quoting.name(base.name, 32)),
        ("In words",),
    )
    score, interval = spread(base.score)
    first: tuple[Words, ...] = ((quoting.name(base.name),), (score,), (interval,), ("",), ("What the others had.",))
    rows = (first, *(_general_row(general, each, base) for each in others))
    blocks: list[Block] = [Paragraph(lead), Table(("The general set",), head, rows, frozenset({1, 2, 3}))]
    if general.detectable is not None:
        told = f"This set shows a loss of {points(general.detectable)} in four of five cases."
        blocks.append(Paragraph((told,), quiet=True))
    blocks += [Paragraph((Told(quoting.sentence(each)),), quiet=True) for each in general.warnings]
    if others:
        worse, _ = partings(general, base, min(others, key=lambda each: each.score.value), _MOST_FORGOTTEN)
        blocks += [worse] if worse.items else []
    return Section("forgotten", "What was forgotten", tuple(blocks))


def _general_row(general: Comparison, each: Competitor, base: Competitor) -> tuple[Words, ...]:
    score, interval = spread(each.score)
    gap = between(general, each, base)
    if not base.score.value:
        against, told = signed(each.score.value), "There was nothing to forget."
    elif gap is None:
        against, told = signed(each.score.value - base.score.value), "Not tested."
    else:
        moved = gap.difference
        against = f"{signed(moved.value)} ({signed(moved.low)} to {signed(moved.high)})"
        told = _kept(gap.adjusted < ALPHA, moved.value, moved.low)
    return ((quoting.name(each.name),), (score,), (interval,), (against,), (told,))


def _kept(shown: bool, value: float, low: float) -> str:
    if shown:
        return (
            f"Forgot: {points(value)} lost, and not by chance." if value < 0 else "Better here too, and not by chance."
        )
    return f"No loss shown; a loss of up to {points(low)} is possible." if low < 0 else "No loss shown."

"""Who stands where in a comparison: who is best, who is enough, whom it has to beat, and what of that is shown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adaptkit.evidence.report.words import ALPHA, RUNGS
from adaptkit.evidence.results import Comparison, Competitor, Difference

__all__ = [
    "baseline",
    "best",
    "between",
    "climbing",
    "enough",
    "not_clearly_worse",
    "rival",
    "seen_from_better",
    "shown",
]

_HEIGHT = {rung: height for height, rung in enumerate(RUNGS)}


def climbing(competitors: Sequence[Competitor]) -> list[Competitor]:
    """From the lowest rung up; on one rung in the order of the comparison."""
    return sorted(competitors, key=lambda each: _HEIGHT[each.rung])


def baseline(comparison: Comparison) -> Competitor:
    """The first model on the lowest rung."""
    return climbing(comparison.competitors)[0]


def best(comparison: Comparison) -> Competitor:
    """The one with the highest score; of equal ones that on the lowest rung."""
    return max(climbing(comparison.competitors), key=lambda each: each.score.value)


def enough(comparison: Comparison) -> Competitor:
    """What there is no shown reason to climb above: of those not shown to be worse than the best, the lowest."""
    close = climbing([best(comparison), *not_clearly_worse(comparison)])
    return max((each for each in close if each.rung == close[0].rung), key=lambda each: each.score.value)


def rival(comparison: Comparison, model: Competitor) -> Competitor | None:
    """What a model is held against: the best below its rung, or of all others where nothing is below."""
    others = [each for each in climbing(comparison.competitors) if each is not model]
    below = [each for each in others if _HEIGHT[each.rung] < _HEIGHT[model.rung]]
    return max(below or others, key=lambda each: each.score.value, default=None)


def between(comparison: Comparison, one: Competitor, other: Competitor) -> Difference | None:
    """The difference of two models as seen from `one`; ``None`` where it was not computed."""
    for each in comparison.differences:
        if (each.one, each.other) == (one.name, other.name):
            return each
        if (each.one, each.other) == (other.name, one.name):
            return _turned(each)
    return None


def seen_from_better(difference: Difference) -> Difference:
    """The same with the better model first."""
    return _turned(difference) if difference.difference.value < 0 else difference


def shown(comparison: Comparison, better: Competitor, worse: Competitor) -> Difference | None:
    """By how much one is better than the other, if that is shown."""
    gap = between(comparison, better, worse)
    return gap if gap is not None and gap.adjusted < ALPHA and gap.difference.value > 0 else None


def not_clearly_worse(comparison: Comparison) -> list[Competitor]:
    """Models that may well be as good as the best one; none where no pair was tested."""
    top = best(comparison)
    others = [each for each in climbing(comparison.competitors) if each is not top]
    return [each for each in others if between(comparison, top, each) and not shown(comparison, top, each)]


def _turned(each: Difference) -> Difference:
    gap = each.difference
    turned = msgspec.structs.replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)
    return msgspec.structs.replace(
        each, one=each.other, other=each.one, difference=turned, won=each.lost, lost=each.won
    )

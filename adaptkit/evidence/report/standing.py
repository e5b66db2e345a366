"""Who stands where in a comparison: the model to compare with, the best one, and which differences are shown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adaptkit.evidence.report.words import ALPHA, RUNGS
from adaptkit.evidence.results import Comparison, Competitor, Difference

__all__ = ["baseline", "best", "between", "climbing", "not_clearly_worse", "rival", "seen_from_better"]

_HEIGHT = {rung: height for height, rung in enumerate(RUNGS)}


def climbing(competitors: Sequence[Competitor]) -> list[Competitor]:
    """From the lowest rung up; on one rung in the order of the comparison."""
    return sorted(competitors, key=lambda each: _HEIGHT[each.rung])


def baseline(comparison: Comparison) -> Competitor:
    """The model that the others have to beat: the first on the lowest rung."""
    return climbing(comparison.competitors)[0]


def best(comparison: Comparison) -> Competitor:
    """The one with the highest score; of equal ones that on the lowest rung."""
    return max(climbing(comparison.competitors), key=lambda each: each.score.value)


def rival(comparison: Comparison) -> Competitor | None:
    """What the best is held against: the baseline, or the next best where the baseline is the best."""
    top = best(comparison)
    base = baseline(comparison)
    if base is not top:
        return base
    others = [each for each in climbing(comparison.competitors) if each is not top]
    return max(others, key=lambda each: each.score.value, default=None)


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


def not_clearly_worse(comparison: Comparison) -> list[Competitor]:
    """Models that may well be as good as the best one."""
    top = best(comparison)
    found = []
    for each in climbing(comparison.competitors):
        gap = between(comparison, top, each) if each is not top else None
        if gap is not None and gap.adjusted >= ALPHA:
            found.append(each)
    return found


def _turned(each: Difference) -> Difference:
    gap = each.difference
    turned = msgspec.structs.replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)
    return msgspec.structs.replace(
        each, one=each.other, other=each.one, difference=turned, won=each.lost, lost=each.won
    )

"""The regression guard: what a model has forgotten, seen on questions that have nothing to do with the task."""

from __future__ import annotations

from collections.abc import Iterator

from adaptkit.evidence.results import Comparison, Competitor

__all__ = ["forgotten"]

_TRAINED = ("fine-tune", "train")


def forgotten(general: Comparison) -> Iterator[str]:
    """A sentence for each model whose weights were changed and that lost, beyond the interval, to one whose were not.

    A model is held against the one that it was made from where that takes part, else against any untrained one.
    """
    by_name = {each.name: each for each in general.competitors}
    for difference in general.differences:
        better, worse = by_name[difference.one], by_name[difference.other]
        if difference.difference.low <= 0 or not _counts(better, worse, general):
            continue
        found = difference.difference
        yield (
            f"{worse.name} has forgotten something: {100 * found.value:.1f} points below {better.name} on the general "
            f"set ({found.level:.0%}: {100 * found.low:.1f} to {100 * found.high:.1f})"
        )


def _counts(better: Competitor, worse: Competitor, general: Comparison) -> bool:
    if worse.rung not in _TRAINED or better.rung in _TRAINED:
        return False
    origins = [each for each in general.competitors if each.rung not in _TRAINED and each.base == worse.base]
    return worse.base is None or not origins or better in origins

"""How far a model that judges agrees with people who judged the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from adaptkit.errors import ConfigError
from adaptkit.evidence.results import Interval
from adaptkit.evidence.statistics import mean_interval

__all__ = ["Agreement", "agreement"]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far a judge agrees with people.

    Attributes:
        count: Answers that both judged.
        same: Share of them with the same verdict, with its interval.
        kappa: Cohen's kappa with its interval: 0 is what chance gives, 1 is perfect. ``None`` where all verdicts of
            both are one, so that chance gives all.
    """

    count: int
    same: Interval
    kappa: Interval | None


def agreement(people: Sequence[float], judge: Sequence[float]) -> Agreement:
    """Compare verdicts on the same answers, in the same order.

    Raises:
        ConfigError: there are none.
        MissingDependencyError: scipy is not installed.
    """
    if not people:
        raise ConfigError("there is nothing that a person has judged")
    pairs = list(zip(people, judge, strict=True))
    same = mean_interval([float(human == judged) for human, judged in pairs])
    return Agreement(count=len(pairs), same=same, kappa=_kappa(pairs, same))


def _kappa(pairs: Sequence[tuple[float, float]], same: Interval) -> Interval | None:
    """J. Cohen, Educational and Psychological Measurement 20 (1960) 37-46.

    The interval is that of the share that agrees, less the share that chance gives, which is taken as known. The usual
    one, of the variance in large samples, has no width at all where a judge agrees with all of a few people.
    """
    humans, judges = Counter(human for human, _ in pairs), Counter(judged for _, judged in pairs)
    chance = sum(count * judges[value] for value, count in humans.items()) / len(pairs) ** 2
    if chance == 1:
        return None
    value, low, high = ((share - chance) / (1 - chance) for share in (same.value, same.low, same.high))
    return Interval(value=value, low=max(-1.0, low), high=high, level=same.level, method="Wilson, chance as observed")

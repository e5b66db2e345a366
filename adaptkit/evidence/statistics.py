"""What scores say and what they don't: intervals, paired tests, corrections. Sequences of numbers in, numbers out.

Scores lie in 0 to 1, one a question, so that two models on the same questions are paired. Questions of one group (a
customer, a document) rise and fall together: with groups, whole groups are what is counted. ``docs/evidence.md`` has
the formulas, their sources, and how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from adaptkit.errors import MissingDependencyError
from adaptkit.evidence.results import Interval
from adaptkit.score import wilson

if TYPE_CHECKING:
    import numpy as np

    Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

__all__ = ["detectable", "difference", "holm", "mean_interval"]

#: Random assignments of a permutation test where there are too many to try each; p is then right to 0.004 at 0.05.
DRAWS = 9_999
#: Up to so many groups that differ, each of the 2^n assignments is tried.
_EXACT = 13
#: Random bits held at a time.
_AT_ONCE = 4_000_000
#: A score interval knows nothing where no two scores differ. So the variance is taken as if a little of one more
#: question had been answered at each end of the scale; how little, was found by simulation (docs/evidence.md). Models
#: that are compared often agree, which says less than it seems: hence more for differences.
_PRIOR_MEAN, _PRIOR_DIFFERENCE = 0.05, 0.15


def mean_interval(
    scores: Sequence[float], groups: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Interval:
    """The mean of scores, and where it may lie.

    Right or wrong without groups is a share and has Wilson's interval. All else has the same interval for as many
    answers as the scores' variance is worth, with Student's t for the number of questions or groups.

    Args:
        scores: One a question, each in 0 to 1.
        groups: For each question what it belongs to.
        level: Share of such intervals that hold the truth.

    Raises:
        ValueError: there are no scores, or not as many groups, or one lies outside 0 to 1.
        MissingDependencyError: scipy is not installed.
    """
    values = _checked(scores, groups)
    if groups is None and bool(((values == 0) | (values == 1)).all()):
        right = round(float(values.sum()))
        low, high = wilson(right, len(values), float(_scipy().norm.isf((1 - level) / 2)))
        return Interval(value=right / len(values), low=low, high=high, level=level, method="Wilson")
    low, high = _score_interval(values, _numbered(groups, len(values)), level, _PRIOR_MEAN)
    return Interval(
        value=float(values.mean()), low=low, high=high, level=level, method=_called("score interval", groups)
    )


def difference(
    one: Sequence[float],
    other: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Interval, float, str]:
    """How much better one model is than another on the same questions, and whether that may be chance.

    Args:
        one: Its scores.
        other: The other's, in the same order.
        groups: For each question what it belongs to.
        level: Of the interval.
        seed: Of the permutation test's draws.

    Returns:
        The mean difference with its interval; p, two-sided; and the test: exact McNemar where every score is 0 or 1 and
        there are no groups, else a permutation test that swaps the two models' scores, question by question or group
        by group.

    Raises:
        ValueError: as for `mean_interval`, or the two are not equally long.
        MissingDependencyError: scipy is not installed.
    """
    ours, theirs = _checked(one, groups), _checked(other, groups)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} scores cannot be paired with {len(theirs)}")
    differing, members = ours - theirs, _numbered(groups, len(ours))
    mean = float(differing.mean())
    if groups is None and bool(((ours * (1 - ours) == 0) & (theirs * (1 - theirs) == 0)).all()):
        won, lost = int((differing > 0).sum()), int((differing < 0).sum())
        low, high = _paired_shares(won, lost, len(ours), level)
        p = float(_scipy().binomtest(won, won + lost).pvalue) if won + lost else 1.0
        return Interval(value=mean, low=low, high=high, level=level, method="Bonett-Price"), p, "exact McNemar"
    low, high = _score_interval((differing + 1) / 2, members, level, _PRIOR_DIFFERENCE)
    method = _called("paired score interval", groups)
    interval = Interval(value=mean, low=2 * low - 1, high=2 * high - 1, level=level, method=method)
    return interval, _swapped(_sums(differing, members), seed), _called("paired permutation", groups)


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that all together err as seldom as one.

    S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.

    Returns:
        In the order given; each at most 1.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for done, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - done) * p[index]))
        adjusted[index] = largest
    return adjusted


def detectable(questions: int, *, share_differing: float = 0.2, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest difference between two models that McNemar's exact test is likely to find on so many questions.

    Args:
        questions: How many, or how many groups.
        share_differing: On how many of them one model is right and the other wrong; a fifth is usual for two models
            that are both some good. The more agree, the smaller a difference shows.
        power: How likely it is to be found.
        level: 1 minus the level of the test.

    Returns:
        A difference of means, 0 to 1; 1 where nothing less can be found.

    Raises:
        ValueError: there are no questions.
        MissingDependencyError: scipy is not installed.
    """
    if questions < 1:
        raise ValueError("there are no questions")
    _scipy()
    from scipy.optimize import brentq  # noqa: PLC0415 - an extra

    def missing(delta: float) -> float:
        """Power that so large a difference lacks; more must differ where it is all that differs."""
        return power - _power(questions, max(delta, share_differing), delta, 1 - level)

    if missing(1.0) > 0:
        return 1.0
    return float(brentq(missing, 0.0, 1.0, xtol=1e-6))


def _power(questions: int, differing: float, delta: float, error: float) -> float:
    """How likely the exact test finds a difference, over all numbers of questions on which two models may differ."""
    import numpy as np  # noqa: PLC0415 - an extra

    binom = _scipy().binom
    counts = np.arange(binom.isf(1 - 1e-9, questions, differing), binom.isf(1e-9, questions, differing) + 1)
    needed = binom.isf(error / 2, counts, 0.5) + 1  # fewest won that half the error allows
    won = (differing + delta) / (2 * differing)
    found = binom.sf(needed - 1, counts, won) + binom.cdf(counts - needed, counts, won)
    return float(binom.pmf(counts, questions, differing) @ found)


def _score_interval(values: Floats, members: Any, level: float, prior: float) -> tuple[float, float]:
    """E. B. Wilson's interval for as many answers as have this variance, which is taken from sums over groups.

    Groups of unequal size make that variance too small and less certain than so many groups would: by how much is
    R. M. Bell and D. F. McCaffrey, Survey Methodology 28 (2002) 169-181. ``second`` and ``third`` are the sums of
    squares and cubes of the groups' shares of the questions.
    """
    import numpy as np  # noqa: PLC0415 - an extra

    mean = float(values.mean())
    residuals, shares = _sums(values - mean, members), _sums(np.ones(len(values)), members) / len(values)
    if len(shares) < 2:
        return 0.0, 1.0
    second, third = float((shares**2).sum()), float((shares**3).sum())
    freedom = (1 - second) ** 2 / (second + second**2 - 2 * third)
    ends = prior / 4 / len(shares) ** 2
    variance = (float(residuals @ residuals) / len(values) ** 2 + ends) / (1 - second)
    most = second / (1 - second)  # no scores with this mean vary more: it is all there is at 0 and 1
    within = min(max(mean, 1e-12), 1 - 1e-12)
    spread = float(_scipy().t.isf((1 - level) / 2, freedom)) ** 2 * min(most, variance / (within * (1 - within)))
    half = (spread * mean * (1 - mean) + spread * spread / 4) ** 0.5
    low, high = (mean + spread / 2 - half) / (1 + spread), (mean + spread / 2 + half) / (1 + spread)
    return max(0.0, low), min(1.0, high)


def _paired_shares(won: int, lost: int, total: int, level: float) -> tuple[float, float]:
    """D. G. Bonett and R. M. Price, J. Educational and Behavioral Statistics 37 (2012) 479-488.

    As if one more question had been won and one more lost: so that few questions, on which two models happen to agree,
    do not pass for proof that they always do.
    """
    ours, theirs = (won + 1) / (total + 2), (lost + 1) / (total + 2)
    middle = ours - theirs
    half = float(_scipy().norm.isf((1 - level) / 2)) * ((ours + theirs - middle**2) / (total + 2)) ** 0.5
    return max(-1.0, middle - half), min(1.0, middle + half)


def _swapped(sums: Floats, seed: int) -> float:
    """How often a sum as far from 0 comes about when each group's difference may as well have the other sign."""
    import numpy as np  # noqa: PLC0415 - an extra

    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    total = float(sums.sum())
    observed = abs(total) - 1e-9 * float(np.abs(sums).sum())  # equal sums differ by what rounding makes of them
    if len(sums) <= _EXACT:
        every = np.arange(1 << len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs(2 * (every @ sums) - total) >= observed).mean())
    random, reached = np.random.default_rng(seed), 1
    rows = max(1, _AT_ONCE // len(sums))
    for start in range(0, DRAWS, rows):
        wanted = min(rows, DRAWS - start) * len(sums)
        bits = np.unpackbits(np.frombuffer(random.bytes(-(-wanted // 8)), dtype=np.uint8), count=wanted)
        drawn = bits.reshape(-1, len(sums)).astype(np.float64) @ sums
        reached += int((np.abs(2 * drawn - total) >= observed).sum())
    return reached / (DRAWS + 1)


def _checked(scores: Sequence[float], groups: Sequence[Hashable] | None) -> Floats:
    _scipy()
    import numpy as np  # noqa: PLC0415 - an extra

    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or (groups is not None and len(groups) != len(values)):
        raise ValueError(f"{len(values)} scores and {'no' if groups is None else len(groups)} groups give no interval")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError("scores lie in 0 to 1")
    return values


def _numbered(groups: Sequence[Hashable] | None, count: int) -> Any:
    import numpy as np  # noqa: PLC0415 - an extra

    if groups is None:
        return np.arange(count)
    numbers: dict[Hashable, int] = {}
    return np.asarray([numbers.setdefault(group, len(numbers)) for group in groups])


def _sums(values: Floats, members: Any) -> Floats:
    import numpy as np  # noqa: PLC0415 - an extra

    return np.bincount(members, weights=values).astype(np.float64)


def _called(name: str, groups: Sequence[Hashable] | None) -> str:
    return name if groups is None else f"{name} by group"


def _scipy() -> Any:
    try:
        from scipy import stats  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError("statistics of a comparison", "scipy", "eval") from error
    return stats

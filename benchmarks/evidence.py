"""How long the statistics of a comparison take, and what memory, beside scipy's permutation test.

    python benchmarks/evidence.py [--items 10000] [--models 4]

Scored answers in, every interval and every paired test out: right-or-wrong answers, graded ones, and graded ones in
groups of five. The baseline is `scipy.stats.permutation_test` on the same pair of models with as many draws.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from adaptkit.evidence import statistics


def scored(kind: str, items: int, models: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    skill = random.beta(3, 2, items)
    if kind == "right or wrong":
        return [(random.random(items) < skill + 0.01 * model).astype(float) for model in range(models)]
    return [np.clip(skill + random.normal(0.01 * model, 0.1, items), 0, 1) for model in range(models)]


def analyse(scores: Sequence[np.ndarray], groups: list[int] | None) -> int:
    for each in scores:
        statistics.mean_interval(each, groups)
    tested = [statistics.difference(one, other, groups)[1] for one, other in combinations(scores, 2)]
    statistics.detectable(len(scores[0]))
    return len(statistics.holm(tested))


def timed(action, *given):
    began = time.perf_counter()
    result = action(*given)
    return time.perf_counter() - began, result


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scipys(one: np.ndarray, other: np.ndarray) -> float:
    return stats.permutation_test(
        (one, other),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=statistics.DRAWS,
        batch=max(1, 2_000_000 // len(one)),
        vectorized=True,
        rng=0,
    ).pvalue


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=4)
    given = parser.parse_args()
    statistics.mean_interval([0.5, 1.0])  # scipy is loaded
    before, total = megabytes(), 0.0
    for kind, size in (("right or wrong", 0), ("graded", 0), ("graded, in groups", 5)):
        scores = scored(kind, given.items, given.models)
        groups = [item // size for item in range(given.items)] if size else None
        seconds, pairs = timed(analyse, scores, groups)
        total = max(total, seconds)
        print(f"{kind:18} {given.items:,} items by {given.models} models, {pairs} pairs: {seconds:6.2f} s")
    print(
        f"slowest {total:.2f} s (goal: under 5 s); most memory: {megabytes():.0f} MB (goal: under 300 MB), "
        f"{before:.0f} MB of it Python with scipy"
    )
    one, other = scored("graded", given.items, 2)
    ours, found = timed(statistics.difference, one, other)
    theirs, p = timed(scipys, one, other)
    print(
        f"one pair, {statistics.DRAWS:,} draws: {ours:.2f} s, scipy {theirs:.2f} s: {theirs / ours:.1f} times as fast "
        f"(p {found[1]:.4f} and {p:.4f})"
    )


if __name__ == "__main__":
    main()

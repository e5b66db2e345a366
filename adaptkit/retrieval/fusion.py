"""Several rankings to one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

__all__ = ["fuse"]

T = TypeVar("T", bound=Hashable)

#: Cormack, Clarke and Büttcher, SIGIR 2009: how much the first places count over later ones.
_DAMPING = 60


def fuse(*rankings: Sequence[T]) -> list[tuple[T, float]]:
    """Reciprocal rank fusion: every ranking gives 1 / (60 + place), so that scores need not be comparable.

    Returns:
        Everything that is in a ranking, with its score, best first; of equal ones, the first seen first.
    """
    scores: dict[T, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (_DAMPING + place)
    return sorted(scores.items(), key=lambda scored: -scored[1])

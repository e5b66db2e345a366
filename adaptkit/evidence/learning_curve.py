"""The learning curve: does more data help, or is a higher rung the better buy?

The same target is trained on nested parts of the data, and the models are compared on one held-out set. What the last
step up brought says what the next may bring. Jobs go through the ordinary journal: a curve that was killed finds its
jobs, and its answers, and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from adaptkit.data import Dataset
from adaptkit.errors import ConfigError, DataError
from adaptkit.evidence import leaks
from adaptkit.evidence.comparing import Tell, say_nothing
from adaptkit.evidence.questions import HeldOut
from adaptkit.evidence.results import Comparison, Interval
from adaptkit.metrics import Metric
from adaptkit.types import Event

if TYPE_CHECKING:
    from adaptkit.client import Client
    from adaptkit.job import Job

__all__ = ["CurvePoint", "LearningCurve", "learning_curve"]

#: A doubling of the data that brings less than this, at best, is not worth what it costs to label.
WORTH = 0.02
#: Below this the last step up counts as shown.
SIGNIFICANT = 0.05


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its ``share`` of the data, ``rows`` of it, its ``name`` in the comparison, its ``job``'s reference."""

    share: float
    rows: int
    name: str
    job: str


class LearningCurve(msgspec.Struct, frozen=True, kw_only=True):
    """What more data brought, and what the better buy is. ``print(curve)`` shows it.

    Attributes:
        points: From the least data to the most.
        comparison: The models on the held-out set, under the names of the points.
        verdict: ``more data``; ``higher rung``, where twice as much data would hardly help; ``enough``, where nothing
            is left to gain; or ``not shown``, where the held-out set is too small to tell.
        headline: The same in a sentence, with the figures.
        per_doubling: What twice as much data brought at the last step up.
    """

    points: tuple[CurvePoint, ...]
    comparison: Comparison
    verdict: Literal["more data", "higher rung", "enough", "not shown"]
    headline: str
    per_doubling: Interval

    def __str__(self) -> str:
        return f"{self.comparison}\n\n{self.verdict}: {self.headline}"


def learning_curve(
    client: Client,
    target: str,
    data: Dataset,
    held_out: Dataset,
    *,
    shares: Sequence[float] = (0.1, 0.3, 1.0),
    metric: str | Metric = "exact_match",
    group: str | None = None,
    budget: float | None = None,
    concurrency: int = 8,
    progress: Tell | None = None,
    seed: int = 0,
) -> LearningCurve:
    """As `adaptkit.Client.learning_curve`."""
    tell = progress or say_nothing
    parts = _parts(data, shares, seed)
    HeldOut.read("held-out", held_out, metric, group)
    leaks.refuse(client._bench(), (), held_out, (data,))  # noqa: SLF001 - what a client lends its evidence
    for part in parts:  # whatever can be refused is refused before the first is paid for
        client.plan(target, part)
    jobs = _submitted(client, target, parts, budget)
    points = tuple(
        CurvePoint(share=share, rows=len(part), name=f"{100 * share:g} %", job=str(job.ref))
        for share, part, job in zip(sorted(shares), parts, jobs, strict=True)
    )
    models = {}
    for point, job in zip(points, jobs, strict=True):
        for event in job.events():
            tell(_of(point, event))
        models[point.name] = job.result()
    comparison = client.compare(
        models,
        held_out,
        metric=metric,
        training=parts,
        group=group,
        concurrency=concurrency,
        progress=tell,
        seed=seed,
    )
    return _judged(points, comparison)


def _parts(data: Dataset, shares: Sequence[float], seed: int) -> list[Dataset]:
    """Each within the next: which rows are in a part is decided by a hash of each, against the share."""
    ordered = sorted(set(shares))
    if len(ordered) < 2 or len(ordered) < len(shares) or ordered[0] <= 0 or ordered[-1] > 1:
        raise ConfigError(f"shares are two or more different ones above 0 and up to 1, got {tuple(shares)}")
    parts = [data if share == 1 else data.split(share, seed)[1] for share in ordered]
    sizes = [len(part) for part in parts]
    if not sizes[0] or any(less == more for less, more in pairwise(sizes)):
        raise DataError(
            f"the data has {len(data)} rows, and the shares are {', '.join(map(str, sizes))} of them: too few for a "
            "curve; take shares that lie further apart"
        )
    return parts


def _submitted(client: Client, target: str, parts: Sequence[Dataset], budget: float | None) -> list[Job]:
    """All at once, so that those of a host run side by side; a budget is divided by rows, as costs are."""
    total = sum(map(len, parts))
    return [
        client.submit(target, part, budget=None if budget is None else budget * len(part) / total) for part in parts
    ]


def _of(point: CurvePoint, event: Event) -> Event:
    data: dict[str, Any] = {**event.data, "doing": f"training on {point.name} of the data"}
    message = f"{point.name} of the data: {event.message}"
    return msgspec.structs.replace(event, id=f"{point.name} {event.id}", message=message, data=data)


def _judged(points: tuple[CurvePoint, ...], comparison: Comparison) -> LearningCurve:
    less, more = points[-2:]
    gain, adjusted = _gain(comparison, less.name, more.name)
    doublings = math.log2(more.rows / less.rows)
    doubling = Interval(
        value=gain.value / doublings,
        low=gain.low / doublings,
        high=gain.high / doublings,
        level=gain.level,
        method=gain.method,
    )
    step = f"from {less.rows:,} to {more.rows:,} rows the score changed by {_points(gain)}"
    verdict: Literal["more data", "higher rung", "enough", "not shown"]
    if next(each.score.value for each in comparison.competitors if each.name == more.name) == 1.0:
        verdict, so = "enough", "every held-out question is right already: neither would be seen to help"
    elif gain.low > 0 and adjusted < SIGNIFICANT:
        verdict, so = "more data", f"twice as much may bring about {100 * doubling.value:.1f} more"
    elif doubling.high < WORTH:
        so = f"twice as much would bring {100 * doubling.high:.1f} points at best; try a higher rung, or other data"
        verdict = "higher rung"
    else:
        verdict, so = "not shown", "the held-out set is too small to tell whether more of it would help: enlarge that"
    return LearningCurve(
        points=points, comparison=comparison, verdict=verdict, headline=f"{step}; {so}", per_doubling=doubling
    )


def _gain(comparison: Comparison, less: str, more: str) -> tuple[Interval, float]:
    """What the model of more data scores above that of less, which may be negative; and the p of it."""
    found = next(each for each in comparison.differences if {each.one, each.other} == {less, more})
    gain = found.difference
    if found.one == less:
        gain = msgspec.structs.replace(gain, value=-gain.value, low=-gain.high, high=-gain.low)
    return gain, found.adjusted


def _points(found: Interval) -> str:
    return f"{100 * found.value:+.1f} points ({found.level:.0%}: {100 * found.low:+.1f} to {100 * found.high:+.1f})"

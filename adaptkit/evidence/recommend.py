"""Which rung is next, and why: facts, the rules that fire on them, and what would change the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adaptkit.adapter import Adapter, BackendConfig
from adaptkit.data import Dataset
from adaptkit.errors import ConfigError, EgressError
from adaptkit.evidence.facts import Candidate, Constraints, Situation, facts_of, gain
from adaptkit.evidence.recommendation import Recommendation, Verdict
from adaptkit.evidence.results import Comparison, Interval, Rung
from adaptkit.evidence.rules import Facts, fired
from adaptkit.http import Egress
from adaptkit.prices import Prices

if TYPE_CHECKING:
    from adaptkit.evidence.learning_curve import LearningCurve

__all__ = ["decide", "recommend"]

_GAINS: Mapping[Verdict, Rung] = {"fine-tune": "fine-tune", "train": "train"}


def recommend(
    data: Dataset,
    *,
    goal: float | None,
    budget: float | None,
    constraints: Constraints | Mapping[str, Any] | None,
    candidates: Sequence[str] | None,
    comparison: Comparison | None,
    curve: LearningCurve | None,
    targets: Mapping[str, BackendConfig],
    open_target: Callable[[str], Adapter[Any]],
    egress: Egress,
    prices: Prices,
    now: float,
) -> Recommendation:
    """As `adaptkit.Client.recommend`, with what a client lends: its targets and policy, prices, and the time."""
    if goal is not None and not 0 <= goal <= 1:
        raise ConfigError(f"goal is {goal}; a score lies between 0 and 1")
    if budget is not None and not budget >= 0:
        raise ConfigError(f"budget is {budget}; it is US dollars, 0 or more")
    situation = Situation(
        data=data,
        goal=goal,
        budget=budget,
        constraints=Constraints.of(constraints),
        candidates=list(_candidates(list(targets) if candidates is None else candidates, targets, open_target)),
        comparison=comparison if comparison is not None or curve is None else curve.comparison,
        curve=curve,
        egress=egress,
        prices=prices,
        today=datetime.fromtimestamp(now, UTC).date(),
    )
    return decide(facts_of(situation), situation.comparison)


def decide(facts: Facts, comparison: Comparison | None = None) -> Recommendation:
    """The recommendation that the rules give for some facts; the same for the same facts.

    Args:
        facts: By name; what is left out counts as unknown.
        comparison: Where the expected gain is read from.
    """
    first, *others = firing = fired(facts)
    assert first.decides is not None  # noqa: S101 - `fired` puts one that decides first
    return Recommendation(
        verdict=first.decides,
        headline=first.headline,
        reasons=tuple(rule.reason(facts) for rule in firing),
        would_change=tuple(dict.fromkeys(rule.change for rule in (first, *others) if rule.change)),
        expected=_expected(first.decides, comparison),
        facts=dict(facts),
    )


def _expected(verdict: Verdict, comparison: Comparison | None) -> Interval | None:
    rung = _GAINS.get(verdict)
    return None if rung is None or comparison is None else gain(comparison, rung)


def _candidates(
    names: Sequence[str], targets: Mapping[str, BackendConfig], open_target: Callable[[str], Adapter[Any]]
) -> Iterator[Candidate]:
    for name in names:
        if name not in targets:
            yield Candidate(name, name)
            continue
        model = str(getattr(targets[name], "model", None) or name)
        try:
            yield Candidate(name, model, open_target(name))
        except EgressError:
            yield Candidate(name, model, barred=True)

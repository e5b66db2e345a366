"""Which rung is next, and why: facts, the rules that fire on them, and what would change the answer."""

from __future__ import annotations

from adaptkit.evidence.facts import Situation, facts_of, gain
from adaptkit.evidence.recommendation import Recommendation, Verdict
from adaptkit.evidence.results import Comparison, Interval, Rung
from adaptkit.evidence.rules import Facts, fired

__all__ = ["decide", "recommend"]

_GAINS: dict[Verdict, Rung] = {"fine-tune": "fine-tune", "train": "train"}


def recommend(situation: Situation) -> Recommendation:
    """As `adaptkit.Client.recommend`."""
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

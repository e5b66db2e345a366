"""What should be done next, as values: a verdict, the facts that it rests on, and what would change it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from adaptkit.evidence.results import Interval, Rung

__all__ = ["Reason", "Recommendation", "Verdict"]

#: ``prompt``: prompting is enough, or comes first; ``fine-tune`` and ``train``: the rungs below miss the goal;
#: ``measure first``: there is not enough evidence to pay for anything.
Verdict = Literal["prompt", "fine-tune", "train", "measure first"]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that speaks for a rung.

    Attributes:
        fact: What was measured or given, one sentence.
        source: Where that comes from: "measured: …", "given: …", a row of the table of prices with its date, or what
            was published.
        speaks_for: The rung that it speaks for; ``None`` where it says that something must be measured first.
        rule: Id of the rule in `rules.toml` that fired.
    """

    fact: str
    source: str
    speaks_for: Rung | None = None
    rule: str = ""


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """Which rung is next, and why.

    Attributes:
        verdict: The rung.
        headline: The answer in one sentence.
        reasons: What it rests on, the deciding ones first; never empty.
        would_change: What would make the answer another one, one sentence each.
        expected: Gain over the rung below in the metric with its interval, where a comparison measured one.
        facts: Every fact that the rules looked at, by name, plain; ``None`` for what nobody knows.
    """

    v: Literal[1] = 1
    verdict: Verdict
    headline: str
    reasons: tuple[Reason, ...]
    would_change: tuple[str, ...] = ()
    expected: Interval | None = None
    facts: dict[str, Any] = {}

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.headline}"]
        lines += [f"- {reason.fact} ({reason.source})" for reason in self.reasons]
        if self.expected is not None:
            gain = self.expected
            lines.append(
                f"expected gain: {100 * gain.value:+.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
            )
        if self.would_change:
            lines += ["what would change this:", *(f"- {change}" for change in self.would_change)]
        return "\n".join(lines)

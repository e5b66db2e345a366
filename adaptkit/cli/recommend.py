"""``adaptkit recommend``: which rung is next, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from adaptkit.cli.arguments import Data
from adaptkit.cli.session import Session, clean
from adaptkit.data import Dataset
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.results import Comparison

__all__ = ["recommend"]


def recommend(
    session: Session,
    data: Data,
    *,
    goal: Annotated[float | None, typer.Option(min=0, max=1, help="The score that is good enough.")] = None,
    comparison: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What adaptkit compare --save has written.")
    ] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A target or a model; default: every target.")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, metavar="USD", help="What a training may cost.")] = None,
    calls_per_month: Annotated[float | None, typer.Option(min=0, help="How often the model will be asked.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="How long 95 % of the answers may take.")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=0, help="Of one call, where none was measured.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(min=0, help="Of one call, where none was measured.")] = None,
) -> None:
    """Tell which rung is next (prompting, fine-tuning, full training), why, and what would change that.

    Rests on what adaptkit compare measured, and says what to measure where that is missing. Asks no model.
    """
    found = session.client.recommend(
        Dataset.open(*data),
        goal=goal,
        budget=budget,
        constraints={
            "calls_per_month": calls_per_month,
            "seconds": seconds,
            "prompt_tokens": prompt_tokens,
            "answer_tokens": answer_tokens,
        },
        candidates=candidate,
        comparison=Comparison.load(comparison) if comparison is not None else None,
    )
    session.answer(found, *_shown(found))


def _shown(found: Recommendation) -> Iterator[RenderableType]:
    yield Text.assemble((found.verdict, "bold green"), ": ", clean(found.headline))
    for reason in found.reasons:
        yield Padding(Text.assemble("- ", clean(reason.fact), (f" ({clean(reason.source)})", "dim")), (0, 0, 0, 2))
    if found.expected is not None:
        gain = found.expected
        yield Text(f"expected gain: {100 * gain.value:+.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})")
    if found.would_change:
        yield Text("what would change this:", style="dim")
    for change in found.would_change:
        yield Padding(Text(f"- {clean(change)}"), (0, 0, 0, 2))

"""``adaptkit learning-curve``: does more data help, or is a higher rung the better buy?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from adaptkit.cli.arguments import Target
from adaptkit.cli.compare import document, place_for, shown
from adaptkit.cli.follow import screen
from adaptkit.cli.session import Session, clean
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitWarning

__all__ = ["learning_curve"]


def learning_curve(
    session: Session,
    target: Target,
    data: Annotated[str, typer.Argument(help="Training examples: a JSONL or Parquet file, or a glob in quotes.")],
    held_out: Annotated[str, typer.Argument(help="Examples that stand in none of them.")],
    *,
    share: Annotated[
        list[float] | None, typer.Option(metavar="SHARE", help="Part of the data, at least two; default: 0.1, 0.3, 1.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What scores an answer.")] = "exact_match",
    group: Annotated[str | None, typer.Option(help="Field whose equal values count together.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="What the new jobs may cost, all together.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at a time.")] = 8,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the comparison, for adaptkit report.")] = None,
) -> None:
    """Train a target on parts of the data, each within the next, and tell whether more data is the better buy.

    The jobs are ordinary ones: interrupted, the same command finds them, and the answers, and goes on.
    """
    place_for(save)
    session.on_interrupt = "interrupted; jobs run on, answers are kept, and the same command goes on from there"
    with warnings.catch_warnings(), screen(session.stderr) as tell:
        warnings.simplefilter("ignore", AdaptkitWarning)  # they stand below the table
        found = session.client.learning_curve(
            target,
            Dataset.open(data),
            Dataset.open(held_out),
            shares=share or (0.1, 0.3, 1.0),
            metric=metric,
            group=group,
            budget=budget,
            concurrency=concurrency,
            progress=tell,
        )
    if save is not None:
        found.comparison.save(save)
    verdict = Text.assemble((found.verdict, "bold green"), ": ", clean(found.headline))
    value = msgspec.to_builtins(msgspec.structs.replace(found, comparison=None)) | {
        "comparison": document(found.comparison)
    }
    session.answer(value, *shown(found.comparison), "", verdict)
    if save is not None:
        session.note(f"kept in {save}")

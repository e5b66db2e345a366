"""``adaptkit compare``: the same held-out questions to several models."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from adaptkit.cli.follow import screen
from adaptkit.cli.session import Session, clean
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitWarning, ConfigError
from adaptkit.evidence.results import Comparison, Competitor
from adaptkit.evidence.table import HEAD, against, row

__all__ = ["compare"]


def compare(
    session: Session,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET... HELD_OUT",
            help="Targets, references of models, builtin:tiny or folders of models; last a file of held-out examples.",
        ),
    ],
    *,
    metric: Annotated[str, typer.Option(help="What scores an answer.")] = "exact_match",
    training: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Training data in which leaks are looked for.")
    ] = None,
    general: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Questions of another kind: what was forgotten?")
    ] = None,
    general_metric: Annotated[str | None, typer.Option(help="What scores answers to those.")] = None,
    group: Annotated[str | None, typer.Option(help="Field whose equal values count together.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each question is asked.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at a time.")] = 8,
    timed: Annotated[int | None, typer.Option(min=0, help="Questions asked once more, streamed, to time them.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep it, for adaptkit report.")] = None,
) -> None:
    """Ask models the same held-out questions, and tell which is better, by how much, and what it costs.

    A target stands for the model of its latest job that succeeded. Answers are kept: interrupted, the same command goes
    on where it was. Held-out questions that stand in the training data are refused.
    """
    *models, held_out = what
    if not models:
        raise ConfigError("name at least one target or model, and last the file of held-out examples")
    session.on_interrupt = "interrupted; answers so far are kept, and the same command goes on from there"
    with warnings.catch_warnings(), screen(session.stderr) as tell:
        warnings.simplefilter("ignore", AdaptkitWarning)  # they stand below the table
        found = session.client.compare(
            models,
            Dataset.open(held_out),
            metric=metric,
            training=Dataset.open(*training) if training else (),
            general=Dataset.open(*general) if general else None,
            general_metric=general_metric,
            group=group,
            repeats=repeats,
            timed=timed,
            concurrency=concurrency,
            progress=tell,
        )
    if save is not None:
        found.save(save)
    session.answer(_document(found), *_shown(found))
    if save is not None:
        session.note(f"kept in {save}")


def _document(found: Comparison) -> object:
    """For programs: everything but questions and answers, which `save` keeps."""
    value = msgspec.to_builtins(found)
    for part in (value, value["general"]):
        if part is not None:
            part["questions"] = len(part["questions"])
            for each in part["competitors"]:
                del each["answers"]
    return value


def _shown(found: Comparison) -> list[RenderableType]:
    shown: list[RenderableType] = [_scores(found)]
    if found.differences:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for each in found.differences:
            table.add_row(*map(clean, against(each)))
        shown += ["", table]
    if found.general is not None:
        shown += ["", Text("general set", style="bold cyan"), _scores(found.general)]
    notes = [Text(f"note: {clean(note)}", style="yellow") for note in found.warnings]
    return [*shown, "", Group(*notes)] if notes else shown


def _scores(found: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("model", "how", "95 %") else "right")
    best = max(each.score.value for each in found.competitors)
    for each in found.competitors:
        table.add_row(*map(clean, row(each)), style=_style(each, best))
    return table


def _style(each: Competitor, best: float) -> str:
    return "bold green" if each.score.value == best > 0 else ""

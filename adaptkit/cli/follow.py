"""Showing what happens in a job: a live bar on a terminal, plain lines at a calm pace in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from adaptkit.cli.session import Session, clean
from adaptkit.job import Job
from adaptkit.types import Event, Status

__all__ = ["documents", "duration", "follow", "screen", "status_text"]

_STYLES = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "yellow",
    Status.PAUSED: "yellow",
    Status.UNKNOWN: "yellow",
    Status.RUNNING: "cyan",
}
#: Seconds between two lines about progress in a pipe: at least the first, and the second as a share of the job's age.
CALM, CALM_SHARE = 2.0, 0.1

Show = Callable[[Event], None]


def status_text(status: Status, raw: str = "") -> Text:
    """A status in its colour, with the service's own word where that says more."""
    extra = f" ({clean(raw)})" if raw and raw != status.value else ""
    return Text(status.value + extra, style=_STYLES.get(status, ""))


def duration(seconds: float) -> str:
    """Seconds as people say them: ``8 s``, ``2 min 05 s``, ``3 h 10 min``, ``12 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def follow(session: Session, job: Job, show: AbstractContextManager[Show]) -> Status:
    """Show a job's events until it has ended.

    Args:
        session: Who says how to come back after Ctrl-C.
        job: The job.
        show: `screen`, or `documents`.
    """
    with session.watching(job.ref), show as tell:
        for event in job.events():
            tell(event)
    return job.status


@contextmanager
def documents(session: Session) -> Iterator[Show]:
    """Each event as a line of JSON."""
    yield session.document


def screen(console: Console) -> AbstractContextManager[Show]:
    """Events for people."""
    live = console.file.isatty() and not console.is_dumb_terminal
    return _live(console) if live else _plain(console)


@contextmanager
def _live(console: Console) -> Iterator[Show]:
    columns = (
        SpinnerColumn(style="cyan"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=5) as progress:
        task = progress.add_task("waiting", total=None, figures="")

        def show(event: Event) -> None:
            step, total = event.data.get("step"), event.data.get("total_steps")
            if event.kind != "metrics" or not total:
                progress.console.print(_line(event))
                return
            doing = clean(event.data.get("doing", "training"))
            progress.update(task, description=doing, completed=step, total=total, figures=_figures(event))

        yield show


@contextmanager
def _plain(console: Console) -> Iterator[Show]:
    first: float | None = None
    shown = 0.0

    def show(event: Event) -> None:
        nonlocal first, shown
        first = event.at if first is None else first
        step, total = event.data.get("step"), event.data.get("total_steps")
        if event.kind == "metrics" and total and step != total:
            if event.at - shown < max(CALM, CALM_SHARE * (event.at - first)):
                return
            shown = event.at
        console.print(_line(event))

    yield show


def _line(event: Event) -> Text:
    if event.kind != "metrics":
        style = "yellow" if event.kind == "warning" else ""
        return Text(f"{event.kind}: {clean(event.message)}", style=style)
    step, total = event.data.get("step"), event.data.get("total_steps")
    if not total:
        return Text(clean(event.message))
    doing = clean(event.data.get("doing", "step"))
    return Text(f"{doing} {step}/{total}  {_figures(event)}")


def _figures(event: Event) -> str:
    loss, eta = event.data.get("loss"), event.data.get("eta")
    parts = ["" if loss is None else f"loss {loss:.3f}", "" if eta is None else f"{duration(eta)} left"]
    return "  ".join(part for part in parts if part)

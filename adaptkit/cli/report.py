"""What a check of data found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from adaptkit.cli.session import clean
from adaptkit.cli.show import fields, size
from adaptkit.data import Lengths, Problem, Report

__all__ = ["report_document", "show_report"]


def report_document(report: Report) -> dict[str, Any]:
    """A report for a program."""
    errors = report.problems.errors
    return {
        "ok": report.ok,
        "errors": errors,
        "warnings": len(report.problems) - errors,
        "problems": list(report.problems),
        "stats": report.stats,
    }


def show_report(report: Report) -> Iterator[RenderableType]:
    """Statistics, then every problem, then the verdict, so that it stands last on the screen."""
    yield _statistics(report)
    for problem in report.problems:
        yield _problem(problem)
    errors = report.problems.errors
    warnings = len(report.problems) - errors
    counts = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    yield ""
    if report.ok:
        yield Text(f"good: {counts}", style="green")
    else:
        yield Text(f"not usable yet: {counts}", style="bold red")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _statistics(report: Report) -> RenderableType:
    stats = report.stats
    return fields(
        {
            "files": "\n".join(f"{file.file}, {size(file.bytes)}" for file in stats.files) or None,
            "rows": f"{stats.rows:,} {stats.kind or 'unreadable'}" + (f" as {stats.format}" if stats.format else ""),
            "tokens": f"about {stats.tokens:,}",
            "turns by role": ", ".join(f"{role} {count:,}" for role, count in stats.roles.items()) or None,
            "turns a row": _lengths(stats.turns),
            "characters a row": _lengths(stats.characters),
            "exact duplicates": f"{stats.duplicates:,}",
            "looks like secrets": ", ".join(f"{kind} {count:,}" for kind, count in stats.secrets.items()) or "none",
        }
    )


def _lengths(lengths: Lengths) -> str | None:
    if not lengths.max:
        return None
    return f"{lengths.min:,} to {lengths.max:,}, mean {lengths.mean:,.1f}, 95 % at most {lengths.p95:,}"


def _problem(problem: Problem) -> Text:
    where = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    style = "red" if problem.severity == "error" else "yellow"
    text = Text("\n")
    text.append(clean(where or "the data as a whole"), style="bold")
    text.append(f"  {clean(problem.path)}", style="dim")
    text.append(f"\n  {problem.severity}", style=style).append(f" {clean(problem.message)}")
    text.append(f" {clean(problem.fix)}").append(f" [{problem.rule}]", style="dim")
    return text

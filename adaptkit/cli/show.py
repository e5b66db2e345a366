"""Values as people read them and as programs do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from adaptkit.adapter import Plan
from adaptkit.cli.doctor import BackendState
from adaptkit.cli.follow import duration, status_text
from adaptkit.cli.session import clean
from adaptkit.job import Job
from adaptkit.journal import Run
from adaptkit.types import Status

__all__ = ["backends", "ending", "findings", "job_document", "jobs", "plan", "plan_document", "run_document"]


def table(*columns: str) -> Table:
    """A table without lines; what does not fit is folded, never cut."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=any(columns))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def fields(rows: Mapping[str, RenderableType | None]) -> Table:
    """Names and values, one a line; ``None`` is left out."""
    made = table("", "")
    made.columns[0].style = "dim"
    made.columns[0].no_wrap = True
    for name, value in rows.items():
        if value is not None:
            made.add_row(name, clean(value) if isinstance(value, str) else value)
    return made


def size(count: int) -> str:
    """Bytes as people say them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


# jobs -------------------------------------------------------------------------------------------------------------


def job_document(job: Job) -> dict[str, Any]:
    """A job for a program; ``ref`` is the text that every command takes."""
    return {
        "kind": "job",
        "ref": str(job.ref),
        "id": job.id,
        "backend": job.ref.backend,
        "target": job.ref.target,
        "status": job.status.value,
        "raw_status": job.raw_status,
        "message": job.snapshot.message,
        "submitted_at": job.submitted_at,
    }


def run_document(run: Run) -> dict[str, Any]:
    """A submission that no backend has accepted, for a program."""
    return {
        "target": run.target,
        "backend": run.backend,
        "stage": run.stage.value,
        "status": run.status.value,
        "uncertain": run.uncertain,
        "tag": run.tag,
        "message": run.message,
        "submitted_at": datetime.fromtimestamp(run.created_at, UTC),
        "updated_at": datetime.fromtimestamp(run.updated_at, UTC),
    }


def jobs(listed: Sequence[Job], pending: Sequence[Run]) -> Iterator[RenderableType]:
    """Jobs, and below them what no backend has accepted."""
    if not listed and not pending:
        yield "no jobs yet; adaptkit submit starts one, adaptkit quickstart shows how"
    if listed:
        made = table("id", "target", "backend", "status", "submitted")
        for job in listed:
            when = _ago(job.submitted_at.timestamp()) if job.submitted_at else ""
            made.add_row(job.id, job.ref.target or "", job.ref.backend, status_text(job.status, job.raw_status), when)
        yield made
    if pending:
        made = table("not accepted", "backend", "stage", "since", "tag")
        for run in pending:
            stage = Text("uncertain", style="bold yellow") if run.uncertain else Text(_stage(run))
            made.add_row(run.target, run.backend, stage, _ago(run.updated_at), run.tag)
        yield ""
        yield made
    if any(run.uncertain for run in pending):
        yield Text(
            "uncertain: the paid request may have run. The same submit looks for it again; submit --fresh starts a new "
            "attempt once you are sure that none runs.",
            style="yellow",
        )


def _stage(run: Run) -> str:
    return run.raw_status if run.status.is_terminal else run.stage.value


def _ago(at: float) -> str:
    return f"{duration(time.time() - at)} ago"


def ending(job: Job) -> RenderableType:
    """How a job ended, and what comes next."""
    said = f": {clean(job.snapshot.message)}" if job.snapshot.message else ""
    text = status_text(job.status).append(said)
    if job.status is Status.SUCCEEDED:
        text.append(f"; adaptkit chat {job.id} talks to it", style="dim")
    return text


# plans ------------------------------------------------------------------------------------------------------------


def plan_document(made: Plan[Any]) -> dict[str, Any]:
    """A plan for a program."""
    return {
        "config": made.config,
        "files": [
            {"purpose": f.purpose, "format": f.format, "rows": f.rows, "bytes": f.size, "sha256": f.sha256}
            for f in made.files
        ],
        "request": made.request,
        "destinations": made.destinations,
        "warnings": made.warnings,
        "tokens": made.tokens,
        "fingerprint": made.fingerprint,
    }


def plan(target: str, made: Plan[Any]) -> Iterator[RenderableType]:
    """A plan: the exact request, the files, where they go."""
    where = ", ".join(made.destinations) or "nowhere: nothing leaves this machine"
    yield fields(
        {
            "target": f"{target} ({made.config.backend})",
            "goes to": where,
            "tokens": None if made.tokens is None else f"about {made.tokens:,} in one epoch",
            "data": made.fingerprint,
            **{f.purpose: f"{f.rows:,} rows, {size(f.size)}, {f.format} format, {f.sha256[:12]}…" for f in made.files},
        }
    )
    yield Text("\nthe request", style="bold")
    yield Text(clean(msgspec.json.format(msgspec.json.encode(made.request), indent=2).decode()))
    for warning in made.warnings:
        yield Text(f"note: {clean(warning)}", style="yellow")
    yield Text("\nNothing was sent and nothing was recorded; adaptkit submit does both.", style="dim")


# what is installed ------------------------------------------------------------------------------------------------


_LOST = {
    "exactly_once": "sent again safely",
    "reconcilable": "found by its tag",
    "at_most_once_manual": "yours to look for",
}


def backends(found: Sequence[BackendState]) -> Iterator[RenderableType]:
    """Backends, and what keeps some from running."""
    made = table("backend", "from", "runs here", "a lost submission is")
    for each in found:
        runs = Text("yes", style="green") if each.runs else Text("no", style="red")
        made.add_row(each.name, each.origin, runs, _LOST.get(each.guarantee or "", ""))
    yield made
    for each in found:
        if each.error:
            yield Text(clean(each.error), style="red")
        elif each.missing:
            yield Text(f"{each.name} needs {', '.join(each.missing)}: {each.remedy}", style="yellow")


def findings(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What the doctor found, problems last."""
    python, home, journal, settings = found["python"], found["home"], found["journal"], found["configuration"]
    yield fields(
        {
            "adaptkit": found["adaptkit"],
            "python": f"{python['version']} at {python['path']}",
            "platform": python["platform"],
            "processors": _processors(found["devices"]),
            "home": _home(home),
            "journal": _journal(journal),
            "configuration": str(settings["path"] or "none found from here upwards"),
            "data may go to": _egress(settings.get("egress")),
        }
    )
    yield from _packages(found["packages"])
    yield Text("\nbackends", style="bold")
    made = table("", "")
    for each in found["backends"]:
        runs = Text("runs", style="green") if each["runs"] else Text("cannot run", style="red")
        made.add_row(each["name"], runs)
    yield made
    if settings["targets"]:
        yield Text("\ntargets", style="bold")
        yield _targets(settings["targets"])
    yield from _to_do(found["problems"])


def _processors(devices: Mapping[str, Any]) -> str:
    gpus = [f"NVIDIA GPU with {size(gpu['memory_bytes'])}" for gpu in devices["nvidia"]]
    gpus += ["Apple GPU"] if devices["apple"] else []
    return f"{devices['cpus']} CPU cores, {', '.join(gpus) or 'no GPU'}; torch {devices['torch'] or 'is not installed'}"


def _home(home: Mapping[str, Any]) -> str:
    state = home.get("mode") or "not there yet; the first job makes it"
    return f"{home['path']}, {state}, {size(home['free_bytes'])} free"


def _journal(journal: Mapping[str, Any]) -> str:
    facts = [str(journal["path"] or journal["kind"]), journal["state"]]
    if journal["state"] == "healthy":
        facts += [f"version {journal['version']}", f"runs: {journal['jobs']}"]
    return ", ".join(facts)


def _egress(egress: str | list[str] | None) -> str | None:
    if egress == "none":
        return "nowhere: egress is none"
    return ", ".join(egress) if isinstance(egress, list) else egress


def _packages(sections: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    yield Text("\npackages", style="bold")
    if not sections:
        yield "not known: adaptkit runs from a folder and is not installed"
        return
    made = table("", "", "")
    for section in sections:
        listed = Text(", ").join(
            Text(f"{name} {version}") if version else Text(f"{name} missing", style="red")
            for name, version in section["versions"].items()
        )
        made.add_row(section["extra"] or "core", listed, Text(section["install"], style="dim"))
    yield made


def _targets(targets: Mapping[str, Any]) -> Table:
    made = table("", "", "")
    for name, target in targets.items():
        variables = Text(", ").join(
            Text(f"{variable} {'is set' if there else 'is not set'}", style="" if there else "red")
            for variable, there in target["environment"].items()
        )
        made.add_row(name, target["backend"], variables)
    return made


def _to_do(problems: Sequence[str]) -> Iterator[RenderableType]:
    if not problems:
        yield Text("\nNothing to do.", style="green")
        return
    yield Text("\nto do", style="bold")
    for problem in problems:
        yield Text.assemble(("- ", "yellow"), clean(problem))

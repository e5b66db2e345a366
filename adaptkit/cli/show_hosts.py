"""What is at a host, as people read it and as programs do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from adaptkit.cli.follow import duration, status_text
from adaptkit.cli.session import clean
from adaptkit.cli.show import size, table
from adaptkit.deployment import Deployment
from adaptkit.job import Job
from adaptkit.journal import Upload
from adaptkit.model import Model
from adaptkit.translate import Translation
from adaptkit.types import Inventory, ModelRef, OwnedModel

__all__ = [
    "Imported",
    "checkpoint_documents",
    "checkpoints",
    "deployment_document",
    "deployments",
    "hourly",
    "translation",
    "upload_document",
    "uploads",
]

Kept = Sequence[tuple[Model, int, Mapping[str, float]]]
_STYLES = {"carried": "green", "renamed": "green", "decide": "yellow", "impossible": "red"}


def _ago(at: float | None) -> str:
    return "" if at is None else f"{duration(time.time() - at)} ago"


def translation(made: Translation) -> Table:
    """What becomes of each field."""
    shown = table("field", "", "becomes", "to know")
    for field in made.fields:
        verdict = Text(field.verdict, style=_STYLES[field.verdict])
        shown.add_row(field.name, verdict, field.becomes or "", clean(field.why))
    return shown


def checkpoint_documents(kept: Kept) -> list[dict[str, Any]]:
    """Checkpoints for a program; ``model`` is what `adaptkit chat` takes."""
    return [{"model": str(model.ref), "step": step, "metrics": metrics} for model, step, metrics in kept]


def checkpoints(kept: Kept) -> RenderableType:
    """Checkpoints, earliest first."""
    if not kept:
        return "no checkpoints yet"
    shown = table("step", "model", "figures")
    for model, step, metrics in kept:
        shown.add_row(f"{step:,}", clean(model.id), ", ".join(f"{name} {value:g}" for name, value in metrics.items()))
    return shown


# deployments ------------------------------------------------------------------------------------------------------


def hourly(running: Deployment) -> str:
    """What an hour costs."""
    return "a price that is not known here" if running.hourly_usd is None else f"${running.hourly_usd:,.2f} an hour"


def deployment_document(running: Deployment) -> dict[str, Any]:
    """A deployment for a program; ``model`` is what `adaptkit chat` takes, once it is ready."""
    heard = running.snapshot
    return {
        "kind": "deployment",
        "ref": str(running.ref),
        "id": running.id,
        "tag": heard.tag,
        "backend": running.ref.backend,
        "target": running.ref.target,
        "model": str(running.model.ref) if heard.model_id else None,
        "status": running.status,
        "raw_status": running.raw_status,
        "hourly_usd": running.hourly_usd,
        "since": running.since,
        "message": heard.message,
    }


def deployments(listed: Sequence[Deployment]) -> RenderableType:
    """What may cost money, newest first."""
    if not listed:
        return "nothing is deployed"
    shown = table("id", "model", "backend", "status", "costs", "since")
    for each in listed:
        status = each.status if each.raw_status == each.status else f"{each.status} ({each.raw_status})"
        since = _ago(each.since.timestamp()) if each.since else ""
        shown.add_row(each.id, clean(each.snapshot.model_id), each.ref.backend, clean(status), hourly(each), since)
    return shown


# uploads ----------------------------------------------------------------------------------------------------------


def upload_document(upload: Upload, deleted: Sequence[str]) -> dict[str, Any]:
    """An upload for a program."""
    at = datetime.fromtimestamp(upload.at, UTC)
    return msgspec.structs.asdict(upload) | {"at": at, "deleted": upload.file_id in deleted}


def uploads(unused: Sequence[Upload], deleted: Sequence[str]) -> Iterator[RenderableType]:
    """Files that no job uses."""
    if not unused:
        yield "no uploaded file is unused"
        return
    shown = table("file", "for", "at", "uploaded", "")
    for each in unused:
        state = Text("deleted", style="yellow") if each.file_id in deleted else ""
        shown.add_row(clean(each.file_id), each.purpose, each.account.partition(":")[0], _ago(each.at), state)
    yield shown
    if not deleted:
        yield Text("no job uses them any more; adaptkit uploads --delete deletes them at their hosts", style="dim")


# what an account has ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What `adaptkit import` found, and what it did.

    Attributes:
        target: The name that was given.
        backend: The backend that it stands for.
        found: What the account has.
        adopted: Its jobs, where they were brought into the journal.
        recipes: Their targets as TOML.
    """

    target: str
    backend: str
    found: Inventory
    adopted: Sequence[Job]
    recipes: str

    def document(self) -> dict[str, Any]:
        """For a program: ``ref`` is what other commands take, ``days_left`` counts from today."""
        jobs: list[dict[str, Any]] = []
        for job in self.found.jobs:
            kept: dict[str, Any] = {name: getattr(job, name) for name in ("recipe", "files", "model_id", "created_at")}
            heard = job.snapshot
            jobs.append({"id": heard.job_id, "status": heard.status, "raw_status": heard.raw_status, **kept})
        models = [
            msgspec.structs.asdict(model) | {"ref": str(self._ref(model)), "days_left": _days_left(model)}
            for model in self.found.models
        ]
        adopted = [{"ref": str(job.ref), "reused": job.reused} for job in self.adopted]
        done = {"jobs": jobs, "files": self.found.files, "models": models, "adopted": adopted}
        return done | {"recipes": self.recipes}

    def tables(self) -> Iterator[RenderableType]:
        """For people: jobs, files, models."""
        jobs = table("job", "status", "model", "started")
        for job in self.found.jobs:
            status = status_text(job.snapshot.status, job.snapshot.raw_status)
            jobs.add_row(clean(job.snapshot.job_id), status, clean(job.model_id or ""), _ago(job.created_at))
        files = table("file", "name", "for", "size", "uploaded")
        for file in self.found.files:
            bytes_ = "" if file.bytes is None else size(file.bytes)
            files.add_row(clean(file.id), clean(file.name), clean(file.purpose), bytes_, _ago(file.created_at))
        models = table("model", "made from", "answers until")
        for model in self.found.models:
            models.add_row(clean(model.id), clean(model.base or ""), _until(model))
        for kind, shown in (("jobs", jobs), ("files", files), ("models", models)):
            yield shown if shown.row_count else f"no {kind}"
            yield ""
        if self.found.models:
            yield Text(f"to talk to one: adaptkit chat '{self._ref(self.found.models[0])}'", style="dim")

    def _ref(self, model: OwnedModel) -> ModelRef:
        return ModelRef(backend=self.backend, id=model.id, target=self.target)


def _days_left(model: OwnedModel) -> int | None:
    return None if model.shutdown_date is None else (model.shutdown_date - date.today()).days


def _until(model: OwnedModel) -> Text:
    if model.archived:
        return Text("archived", style="dim")
    left = _days_left(model)
    if left is None:
        return Text("no date is set", style="dim")
    said = f"{left} days left" if left > 0 else "switched off"
    return Text(f"{model.shutdown_date}, {said}", style="red" if left < 60 else "")

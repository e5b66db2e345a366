"""What the scripted service keeps: jobs, files and deployments, and the rows that they lie in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from adaptkit.errors import NotFoundError

__all__ = [
    "SCHEMA",
    "SELECT_DEPLOYMENT",
    "SELECT_JOB",
    "RemoteDeployment",
    "RemoteJob",
    "deployment_from",
    "deployment_of",
    "has_upload",
    "job_from",
    "job_of",
    "show",
    "tell",
]

SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    n INTEGER PRIMARY KEY, id TEXT UNIQUE, tag TEXT, states TEXT, shown INTEGER, message TEXT, hidden INTEGER,
    losses TEXT, reply TEXT, uploads TEXT);
CREATE TABLE IF NOT EXISTS fault (n INTEGER PRIMARY KEY, kind TEXT, name TEXT, message TEXT, retry_after REAL);
CREATE TABLE IF NOT EXISTS request (kind TEXT PRIMARY KEY, count INTEGER);
CREATE TABLE IF NOT EXISTS upload (id TEXT PRIMARY KEY, purpose TEXT, content BLOB);
CREATE TABLE IF NOT EXISTS deployment (
    n INTEGER PRIMARY KEY, id TEXT UNIQUE, tag TEXT, model_id TEXT, states TEXT, shown INTEGER, hidden INTEGER);
"""
_ENDED = frozenset({"succeeded", "failed", "cancelled"})


class RemoteJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the service sees it.

    ``states`` are the words that polls say, one after the other, the last for ever; ``shown`` is the index of the one
    said last. ``uploads`` is the file id by purpose.
    """

    id: str
    tag: str
    states: tuple[str, ...]
    shown: int
    message: str | None
    losses: tuple[float, ...]
    reply: str
    uploads: dict[str, str]

    @property
    def word(self) -> str:
        """The word said last."""
        return self.states[self.shown]

    @property
    def live(self) -> bool:
        """Whether it has not been said to have ended."""
        return self.word not in _ENDED


class RemoteDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as the service sees it; ``states`` and ``shown`` are as in a `RemoteJob`."""

    id: str
    tag: str
    model_id: str
    states: tuple[str, ...]
    shown: int

    @property
    def word(self) -> str:
        """The word said last."""
        return self.states[self.shown]

    @property
    def costs(self) -> bool:
        """Whether nobody has asked it to stop."""
        return self.word != "stopped" and "stopping" not in self.states


SELECT_JOB = "SELECT id, tag, states, shown, message, losses, reply, uploads FROM job"


SELECT_DEPLOYMENT = "SELECT id, tag, model_id, states, shown FROM deployment"


def deployment_from(row: Sequence[Any]) -> RemoteDeployment:
    """A row as a deployment."""
    deployment_id, tag, model_id, states, shown = row
    return RemoteDeployment(id=deployment_id, tag=tag, model_id=model_id, states=tuple(json.loads(states)), shown=shown)


def deployment_of(db: sqlite3.Connection, deployment_id: str) -> RemoteDeployment:
    """The deployment of that id, or `NotFoundError`."""
    row = db.execute(f"{SELECT_DEPLOYMENT} WHERE id = ?", (deployment_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no deployment {deployment_id}", backend="scripted", status_code=404)
    return deployment_from(row)


RemoteT = TypeVar("RemoteT", RemoteJob, RemoteDeployment)


def tell(db: sqlite3.Connection, table: str, what: RemoteT, states: Sequence[str]) -> None:
    """Let it say other words."""
    db.execute(f"UPDATE {table} SET states = ? WHERE id = ?", (json.dumps(states), what.id))  # noqa: S608


def job_from(row: Sequence[Any]) -> RemoteJob:
    """A row as a job."""
    job_id, tag, states, shown, message, losses, reply, uploads = row
    return RemoteJob(
        id=job_id,
        tag=tag,
        states=tuple(json.loads(states)),
        shown=shown,
        message=message,
        losses=tuple(json.loads(losses)),
        reply=reply,
        uploads=json.loads(uploads),
    )


def job_of(db: sqlite3.Connection, job_id: str) -> RemoteJob:
    """The job of that id, or `NotFoundError`."""
    row = db.execute(f"{SELECT_JOB} WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no job {job_id}", backend="scripted", status_code=404)
    return job_from(row)


def show(db: sqlite3.Connection, table: str, what: RemoteT, shown: int) -> RemoteT:
    """Say another of its words."""
    db.execute(f"UPDATE {table} SET shown = ? WHERE id = ?", (shown, what.id))  # noqa: S608
    return msgspec.structs.replace(what, shown=shown)


def has_upload(db: sqlite3.Connection, file_id: str) -> bool:
    """Whether a file is there."""
    return db.execute("SELECT 1 FROM upload WHERE id = ?", (file_id,)).fetchone() is not None

"""The service behind the scripted backend: it lives outside every client, and does what a test tells it.

In memory it outlives clients; in a file it outlives processes, however they end.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
)

__all__ = ["FaultName", "RemoteJob", "RequestKind", "ScriptedService"]

T = TypeVar("T")

RequestKind = Literal[
    "upload", "has_upload", "submit", "poll", "cancel", "retrieve", "events", "find", "restart", "chat", "stream"
]
#: What may go wrong with a request: ``lost``: it is carried out and its answer lost; ``broken``: it is not carried out,
#: and the caller cannot tell; ``unreachable``, ``rate_limited``: it provably never ran; ``refused``, ``unauthorized``,
#: ``quota``: the service says no.
FaultName = Literal["lost", "broken", "unreachable", "rate_limited", "refused", "unauthorized", "quota"]

_FAULTS: dict[str, tuple[type[BackendError], int | None, str]] = {
    "lost": (ServiceError, None, "the connection was reset before the answer came"),
    "broken": (ServiceError, 503, "the service is not available"),
    "unreachable": (ConnectionFailedError, None, "connection refused"),
    "rate_limited": (RateLimitError, 429, "too many requests"),
    "refused": (BackendError, 422, "the service refuses this request"),
    "unauthorized": (AuthenticationError, 401, "the key is not valid"),
    "quota": (QuotaError, 402, "the budget is used up"),
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    n INTEGER PRIMARY KEY, id TEXT UNIQUE, tag TEXT, states TEXT, shown INTEGER, message TEXT, hidden INTEGER,
    losses TEXT, reply TEXT, uploads TEXT);
CREATE TABLE IF NOT EXISTS fault (n INTEGER PRIMARY KEY, kind TEXT, name TEXT, message TEXT, retry_after REAL);
CREATE TABLE IF NOT EXISTS request (kind TEXT PRIMARY KEY, count INTEGER);
CREATE TABLE IF NOT EXISTS upload (id TEXT PRIMARY KEY, purpose TEXT, content BLOB);
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


_in_memory: weakref.WeakValueDictionary[str, ScriptedService] = weakref.WeakValueDictionary()


class ScriptedService:
    """A fake remote service. Every change is committed before it is answered, so it can be looked at at any time.

    Args:
        path: SQLite file that it lives in, made if it is not there; without one it lives in this process's memory for
            as long as the object does.

    Attributes:
        name: What ``ScriptedConfig(service=…)`` takes.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.name = f"memory:{secrets.token_hex(6)}" if path is None else str(Path(path).absolute())
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        if path is None:
            _in_memory[self.name] = self

    @classmethod
    def named(cls, name: str) -> ScriptedService:
        """The service of that name: the object in this process's memory, or one over the file.

        Raises:
            ConfigError: the object is gone, or belongs to another process.
        """
        if not name.startswith("memory:"):
            return cls(name)
        service = _in_memory.get(name)
        if service is None:
            raise ConfigError(
                f"service {name} is not in this process's memory: keep the ScriptedService, or give it a path"
            )
        return service

    # for tests --------------------------------------------------------------------------------------------------------

    def next(
        self,
        kind: RequestKind,
        fault: FaultName,
        *,
        times: int = 1,
        message: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Let the next ``times`` requests of a kind go wrong; told more than once, one after the other."""
        with self._transaction() as db:
            rows = [(kind, fault, message, retry_after)] * times
            db.executemany("INSERT INTO fault (kind, name, message, retry_after) VALUES (?, ?, ?, ?)", rows)

    def tell(self, job_id: str, *words: str, message: str | None = None) -> None:
        """Let polls of a job say these words from now on, the last for ever."""
        with self._transaction() as db:
            job = _job(db, job_id)
            states = json.dumps([*job.states[: job.shown + 1], *words])
            db.execute(
                "UPDATE job SET states = ?, message = COALESCE(?, message) WHERE id = ?", (states, message, job_id)
            )

    def forget(self, job_id: str) -> None:
        """Lose a job."""
        with self._transaction() as db:
            db.execute("DELETE FROM job WHERE id = ?", (job_id,))

    def forget_uploads(self) -> None:
        """Lose every file."""
        with self._transaction() as db:
            db.execute("DELETE FROM upload")

    def jobs(self) -> list[RemoteJob]:
        """Every job ever made, oldest first."""
        with self._transaction() as db:
            return [_remote(row) for row in db.execute(f"{_SELECT} ORDER BY n")]

    def jobs_per_tag(self) -> Counter[str]:
        """How many jobs carry each tag: more than one means that somebody paid twice."""
        return Counter(job.tag for job in self.jobs())

    def requests(self) -> Counter[str]:
        """How many requests of each kind came in, those that went wrong among them."""
        with self._transaction() as db:
            return Counter(dict(db.execute("SELECT kind, count FROM request")))

    def uploads(self) -> dict[str, bytes]:
        """Content of every file by id."""
        with self._transaction() as db:
            return dict(db.execute("SELECT id, content FROM upload"))

    def close(self) -> None:
        """Let go of the file; what a service in memory holds is lost."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # for the adapter --------------------------------------------------------------------------------------------------

    def upload(self, purpose: str, content: bytes) -> str:
        """Keep a file; gives its id."""

        def act(db: sqlite3.Connection) -> str:
            file_id = f"file-{secrets.token_hex(6)}"
            db.execute("INSERT INTO upload VALUES (?, ?, ?)", (file_id, purpose, content))
            return file_id

        return self._serve("upload", act)

    def has_upload(self, file_id: str) -> bool:
        """Whether a file is there."""
        return self._serve("has_upload", lambda db: _has_upload(db, file_id))

    def submit(
        self,
        tag: str,
        uploads: dict[str, str],
        *,
        states: Sequence[str],
        message: str | None,
        losses: Sequence[float],
        reply: str,
        hidden: int,
        same_tag_same_job: bool,
    ) -> RemoteJob:
        """Make a job, or give the one with that tag where the service promises that."""

        def act(db: sqlite3.Connection) -> RemoteJob:
            known = db.execute(f"{_SELECT} WHERE tag = ?", (tag,)).fetchone()
            if known and same_tag_same_job:
                return _remote(known)
            for file_id in uploads.values():
                if not _has_upload(db, file_id):
                    raise BackendError(f"no file {file_id}", backend="scripted", status_code=400)
            job_id = f"job-{secrets.token_hex(6)}"
            script = (json.dumps(states), 0, message, hidden, json.dumps(losses), reply, json.dumps(uploads))
            db.execute(
                "INSERT INTO job (id, tag, states, shown, message, hidden, losses, reply, uploads) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, tag, *script),
            )
            return _job(db, job_id)

        return self._serve("submit", act)

    def poll(self, job_id: str) -> RemoteJob:
        """Go on to the next word, and say it."""

        def act(db: sqlite3.Connection) -> RemoteJob:
            job = _job(db, job_id)
            shown = min(job.shown + 1, len(job.states) - 1)
            # a paused job stays so until it is restarted or cancelled
            if job.word == "paused" and job.states[shown] != "cancelled":
                return job
            return _show(db, job, shown)

        return self._serve("poll", act)

    def restart(self, job_id: str) -> RemoteJob:
        """Let a paused job go on."""

        def act(db: sqlite3.Connection) -> RemoteJob:
            job = _job(db, job_id)
            return _show(db, job, min(job.shown + 1, len(job.states) - 1)) if job.word == "paused" else job

        return self._serve("restart", act)

    def cancel(self, job_id: str) -> None:
        """Let the next poll of a job that has not ended say ``cancelled``."""

        def act(db: sqlite3.Connection) -> None:
            job = _job(db, job_id)
            if job.live:
                states = json.dumps([*job.states[: job.shown + 1], "cancelled"])
                db.execute("UPDATE job SET states = ? WHERE id = ?", (states, job_id))

        self._serve("cancel", act)

    def look(self, kind: RequestKind, job_id: str) -> RemoteJob:
        """A job as it stands."""
        return self._serve(kind, lambda db: _job(db, job_id))

    def find(self, tag: str, *, ignore_filter: bool) -> list[RemoteJob]:
        """Jobs of a tag, or all; one that is still hidden comes a look nearer to being seen."""

        def act(db: sqlite3.Connection) -> list[RemoteJob]:
            rows = db.execute(f"{_SELECT} WHERE hidden <= 0 AND (tag = ? OR ?) ORDER BY n", (tag, ignore_filter))
            seen = [_remote(row) for row in rows]
            db.execute("UPDATE job SET hidden = hidden - 1 WHERE hidden > 0")
            return seen

        return self._serve("find", act)

    def _serve(self, kind: RequestKind, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._transaction() as db:
            db.execute("INSERT INTO request VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET count = count + 1", (kind,))
            fault = db.execute(
                "SELECT n, name, message, retry_after FROM fault WHERE kind = ? ORDER BY n LIMIT 1", (kind,)
            ).fetchone()
            if fault:
                db.execute("DELETE FROM fault WHERE n = ?", fault[:1])
        if fault and fault[1] != "lost":
            raise _error(*fault[1:])
        with self._transaction() as db:
            answer = act(db)
        if fault:
            raise _error(*fault[1:])
        return answer

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            place = ":memory:" if self.name.startswith("memory:") else self.name
            self._connection = sqlite3.connect(place, timeout=30, isolation_level=None, check_same_thread=False)
            # killed processes lose nothing by this, only machines do
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.executescript(_SCHEMA)
        return self._connection


_SELECT = "SELECT id, tag, states, shown, message, losses, reply, uploads FROM job"


def _remote(row: Sequence[Any]) -> RemoteJob:
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


def _job(db: sqlite3.Connection, job_id: str) -> RemoteJob:
    row = db.execute(f"{_SELECT} WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no job {job_id}", backend="scripted", status_code=404)
    return _remote(row)


def _show(db: sqlite3.Connection, job: RemoteJob, shown: int) -> RemoteJob:
    db.execute("UPDATE job SET shown = ? WHERE id = ?", (shown, job.id))
    return msgspec.structs.replace(job, shown=shown)


def _has_upload(db: sqlite3.Connection, file_id: str) -> bool:
    return db.execute("SELECT 1 FROM upload WHERE id = ?", (file_id,)).fetchone() is not None


def _error(name: str, message: str | None, retry_after: float | None) -> BackendError:
    kind, code, usual = _FAULTS[name]
    error = kind(message or usual, backend="scripted", status_code=code)
    if isinstance(error, RateLimitError):
        error.retry_after = retry_after
    return error

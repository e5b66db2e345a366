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
from typing import Literal, TypeVar

from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    QuotaError,
    RateLimitError,
    ServiceError,
)
from adaptkit.testing import remote
from adaptkit.testing.remote import RemoteDeployment, RemoteJob

__all__ = ["FaultName", "RequestKind", "ScriptedService"]

T = TypeVar("T")

RequestKind = Literal[
    "upload", "has_upload", "delete_data", "submit", "poll", "cancel", "retrieve", "events", "find", "restart", "pause",
    "resume", "checkpoints", "shutdown_date", "chat", "stream", "deploy", "deployment", "find_deployments", "undeploy",
    "estimate", "inventory",
]  # fmt: skip
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
            job = remote.job_of(db, job_id)
            remote.tell(db, "job", job, [*job.states[: job.shown + 1], *words])
            db.execute("UPDATE job SET message = COALESCE(?, message) WHERE id = ?", (message, job_id))

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
            return [remote.job_from(row) for row in db.execute(f"{remote.SELECT_JOB} ORDER BY n")]

    def jobs_per_tag(self) -> Counter[str]:
        """How many jobs carry each tag: more than one means that somebody paid twice."""
        return Counter(job.tag for job in self.jobs())

    def tell_deployment(self, deployment_id: str, *words: str) -> None:
        """Let looks at a deployment say these words from now on, the last for ever."""
        with self._transaction() as db:
            deployment = remote.deployment_of(db, deployment_id)
            remote.tell(db, "deployment", deployment, [*deployment.states[: deployment.shown + 1], *words])

    def forget_deployment(self, deployment_id: str) -> None:
        """Lose a deployment."""
        with self._transaction() as db:
            db.execute("DELETE FROM deployment WHERE id = ?", (deployment_id,))

    def deployments(self) -> list[RemoteDeployment]:
        """Every deployment ever made, oldest first."""
        with self._transaction() as db:
            return [remote.deployment_from(row) for row in db.execute(f"{remote.SELECT_DEPLOYMENT} ORDER BY n")]

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
        return self._serve("has_upload", lambda db: remote.has_upload(db, file_id))

    def inventory(self) -> tuple[list[RemoteJob], list[tuple[str, str, int]]]:
        """Every job, and id, purpose and size of every file; newest first."""

        def act(db: sqlite3.Connection) -> tuple[list[RemoteJob], list[tuple[str, str, int]]]:
            jobs = db.execute(f"{remote.SELECT_JOB} ORDER BY n DESC")
            files = db.execute("SELECT id, purpose, length(content) FROM upload ORDER BY rowid DESC")
            return [remote.job_from(row) for row in jobs], files.fetchall()

        return self._serve("inventory", act)

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
            known = db.execute(f"{remote.SELECT_JOB} WHERE tag = ?", (tag,)).fetchone()
            if known and same_tag_same_job:
                return remote.job_from(known)
            for file_id in uploads.values():
                if not remote.has_upload(db, file_id):
                    raise BackendError(f"no file {file_id}", backend="scripted", status_code=400)
            job_id = f"job-{secrets.token_hex(6)}"
            script = (json.dumps(states), 0, message, hidden, json.dumps(losses), reply, json.dumps(uploads))
            db.execute(
                "INSERT INTO job (id, tag, states, shown, message, hidden, losses, reply, uploads) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, tag, *script),
            )
            return remote.job_of(db, job_id)

        return self._serve("submit", act)

    def poll(self, job_id: str) -> RemoteJob:
        """Go on to the next word, and say it."""

        def act(db: sqlite3.Connection) -> RemoteJob:
            job = remote.job_of(db, job_id)
            shown = min(job.shown + 1, len(job.states) - 1)
            # a paused job stays so until it is restarted or cancelled
            if job.word == "paused" and job.states[shown] != "cancelled":
                return job
            return remote.show(db, "job", job, shown)

        return self._serve("poll", act)

    def restart(self, job_id: str) -> RemoteJob:
        """Let a paused job go on."""

        def act(db: sqlite3.Connection) -> RemoteJob:
            job = remote.job_of(db, job_id)
            return remote.show(db, "job", job, min(job.shown + 1, len(job.states) - 1)) if job.word == "paused" else job

        return self._serve("restart", act)

    def pause(self, job_id: str) -> None:
        """Let the next poll of a job that has not ended say ``paused``, until it is resumed."""

        def act(db: sqlite3.Connection) -> None:
            job = remote.job_of(db, job_id)
            after = job.states[job.shown + 1 :] or (job.word,)
            if job.live and "paused" not in (job.word, after[0]):
                remote.tell(db, "job", job, [*job.states[: job.shown + 1], "paused", *after])

        self._serve("pause", act)

    def resume(self, job_id: str) -> None:
        """Let a paused job go on, or one that was to be paused."""

        def act(db: sqlite3.Connection) -> None:
            job = remote.job_of(db, job_id)
            if job.word == "paused":
                remote.show(db, "job", job, min(job.shown + 1, len(job.states) - 1))
            elif job.states[job.shown + 1 :][:1] == ("paused",):
                remote.tell(db, "job", job, [*job.states[: job.shown + 1], *job.states[job.shown + 2 :]])

        self._serve("resume", act)

    def delete_upload(self, file_id: str) -> None:
        """Delete a file, if it is there."""
        self._serve("delete_data", lambda db: db.execute("DELETE FROM upload WHERE id = ?", (file_id,)) and None)

    def deploy(
        self, tag: str, model_id: str, *, states: Sequence[str], hidden: int, same_tag_same_deployment: bool
    ) -> RemoteDeployment:
        """Start a deployment, or give the one with that tag where the service promises that."""

        def act(db: sqlite3.Connection) -> RemoteDeployment:
            known = db.execute(f"{remote.SELECT_DEPLOYMENT} WHERE tag = ?", (tag,)).fetchone()
            if known and same_tag_same_deployment:
                return remote.deployment_from(known)
            deployment_id = f"deployment-{secrets.token_hex(6)}"
            db.execute(
                "INSERT INTO deployment (id, tag, model_id, states, shown, hidden) VALUES (?, ?, ?, ?, 0, ?)",
                (deployment_id, tag, model_id, json.dumps(states), hidden),
            )
            return remote.deployment_of(db, deployment_id)

        return self._serve("deploy", act)

    def deployment(self, deployment_id: str) -> RemoteDeployment:
        """Go on to the next word, and say it."""

        def act(db: sqlite3.Connection) -> RemoteDeployment:
            deployment = remote.deployment_of(db, deployment_id)
            return remote.show(db, "deployment", deployment, min(deployment.shown + 1, len(deployment.states) - 1))

        return self._serve("deployment", act)

    def find_deployments(self, tag: str, *, ignore_filter: bool) -> list[RemoteDeployment]:
        """Deployments of a tag, or all; one that is still hidden comes a look nearer to being seen."""

        def act(db: sqlite3.Connection) -> list[RemoteDeployment]:
            where = "WHERE hidden <= 0 AND (tag = ? OR ?) ORDER BY n"
            rows = db.execute(f"{remote.SELECT_DEPLOYMENT} {where}", (tag, ignore_filter))
            seen = [remote.deployment_from(row) for row in rows]
            db.execute("UPDATE deployment SET hidden = hidden - 1 WHERE hidden > 0")
            return seen

        return self._serve("find_deployments", act)

    def undeploy(self, deployment_id: str) -> None:
        """Let a deployment stop, if it is there."""

        def act(db: sqlite3.Connection) -> None:
            row = db.execute(f"{remote.SELECT_DEPLOYMENT} WHERE id = ?", (deployment_id,)).fetchone()
            if row is not None:
                deployment = remote.deployment_from(row)
                remote.tell(
                    db, "deployment", deployment, [*deployment.states[: deployment.shown + 1], "stopping", "stopped"]
                )

        self._serve("undeploy", act)

    def cancel(self, job_id: str) -> None:
        """Let the next poll of a job that has not ended say ``cancelled``."""

        def act(db: sqlite3.Connection) -> None:
            job = remote.job_of(db, job_id)
            if job.live:
                remote.tell(db, "job", job, [*job.states[: job.shown + 1], "cancelled"])

        self._serve("cancel", act)

    def look(self, kind: RequestKind, job_id: str) -> RemoteJob:
        """A job as it stands."""
        return self._serve(kind, lambda db: remote.job_of(db, job_id))

    def ask(self, kind: RequestKind) -> None:
        """A request whose answer the adapter knows by itself."""
        self._serve(kind, lambda _: None)

    def find(self, tag: str, *, ignore_filter: bool) -> list[RemoteJob]:
        """Jobs of a tag, or all; one that is still hidden comes a look nearer to being seen."""

        def act(db: sqlite3.Connection) -> list[RemoteJob]:
            rows = db.execute(
                f"{remote.SELECT_JOB} WHERE hidden <= 0 AND (tag = ? OR ?) ORDER BY n", (tag, ignore_filter)
            )
            seen = [remote.job_from(row) for row in rows]
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
            self._connection.executescript(remote.SCHEMA)
        return self._connection


def _error(name: str, message: str | None, retry_after: float | None) -> BackendError:
    kind, code, usual = _FAULTS[name]
    error = kind(message or usual, backend="scripted", status_code=code)
    if isinstance(error, RateLimitError):
        error.retry_after = retry_after
    return error

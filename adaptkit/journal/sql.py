"""The journal's tables, statements and rules, written once for SQLite and PostgreSQL.

The two databases differ in how a connection is made, how a transaction begins and how a row is locked; that is what a
`Database` is. Everything that decides something is here, and reads and writes inside one transaction.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from adaptkit.errors import JournalError
from adaptkit.journal.protocol import NEXT_STAGES, LeaseLost, Run, Stage, Transition
from adaptkit.types import Status

__all__ = ["VERSION_TABLE", "Database", "Execute", "SqlJournal", "prepare_schema"]

#: Runs one statement, with ``?`` for each parameter, and gives its rows.
Execute = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


class Database(Protocol):
    """What SQLite and PostgreSQL do each in their own way. Faults are raised as `JournalError`."""

    #: Ends a SELECT that locks its row until the transaction does; empty where a transaction is alone anyway.
    row_lock: str

    def transaction(self) -> AbstractContextManager[Execute]:
        """Commit what the block executes, or none of it if it raises. Not to be nested."""

    def read(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run one SELECT outside of any transaction."""

    def close(self) -> None:
        """Give the connection back; again does nothing."""


SCHEMA_VERSION = 1
VERSION_TABLE = "adaptkit_schema_version"
_SCHEMA = (
    "CREATE TABLE adaptkit_schema_version (version INTEGER NOT NULL)",
    """CREATE TABLE adaptkit_run (
        id TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        tag TEXT NOT NULL UNIQUE,
        target TEXT NOT NULL,
        backend TEXT NOT NULL,
        account TEXT NOT NULL,
        config TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        stage TEXT NOT NULL,
        status TEXT NOT NULL,
        raw_status TEXT NOT NULL,
        job_id TEXT,
        message TEXT,
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        uncertain BOOLEAN NOT NULL,
        lease_owner TEXT,
        lease_until DOUBLE PRECISION,
        UNIQUE (identity, attempt)
    )""",
    "CREATE INDEX adaptkit_run_by_job ON adaptkit_run (backend, job_id)",
    "CREATE INDEX adaptkit_run_by_age ON adaptkit_run (created_at)",
    """CREATE TABLE adaptkit_event (
        run_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        what TEXT NOT NULL,
        detail TEXT NOT NULL,
        PRIMARY KEY (run_id, seq)
    )""",
    """CREATE TABLE adaptkit_upload (
        sha256 TEXT NOT NULL,
        account TEXT NOT NULL,
        purpose TEXT NOT NULL,
        file_id TEXT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (sha256, account, purpose)
    )""",
)


def prepare_schema(execute: Execute, *, exists: bool) -> None:
    """Make the tables if they are not there; otherwise see that this adaptkit can read them.

    Raises:
        JournalError: a newer adaptkit wrote the journal, or it does not say which did.
    """
    if not exists:
        for statement in _SCHEMA:
            execute(statement, ())
        execute("INSERT INTO adaptkit_schema_version (version) VALUES (?)", (SCHEMA_VERSION,))
    found = [version for (version,) in execute("SELECT version FROM adaptkit_schema_version", ())]
    if found != [SCHEMA_VERSION]:
        what = "was written by another version of adaptkit, most likely a newer one"
        raise JournalError(
            f"the journal {what} (its schema is {found}, this adaptkit reads {SCHEMA_VERSION}): upgrade adaptkit, or "
            f"name another journal"
        )


T = TypeVar("T")
_FIELDS = Run.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
# S608: both are put together from the names of fields, nothing from outside.
_SELECT_RUN = f"SELECT {_COLUMNS}, lease_owner, lease_until FROM adaptkit_run"  # noqa: S608
_INSERT_RUN = (
    f"INSERT INTO adaptkit_run ({_COLUMNS}) VALUES ({', '.join('?' for _ in _FIELDS)}) "  # noqa: S608
    "ON CONFLICT (identity, attempt) DO NOTHING"
)
_UPDATE_RUN = (
    "UPDATE adaptkit_run SET stage = ?, status = ?, raw_status = ?, job_id = ?, message = ?, updated_at = ?, "
    "uncertain = ? WHERE id = ?"
)
_UPDATE_LEASE = "UPDATE adaptkit_run SET lease_owner = ?, lease_until = ? WHERE id = ?"
_INSERT_EVENT = (
    "INSERT INTO adaptkit_event (run_id, seq, at, what, detail) "
    "SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ? FROM adaptkit_event WHERE run_id = ?"
)
_NO_LIMIT = 2**63 - 1


class SqlJournal:
    """The journal over either database; see `adaptkit.journal.protocol.Journal` for what each method promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        *,
        identity: str,
        target: str,
        backend: str,
        account: str,
        config: str,
        fingerprint: str,
        fresh: bool,
        now: float,
    ) -> tuple[Run, bool]:
        """Get the live or finished run of this identity and False, or a new attempt and True."""
        with self._database.transaction() as execute:
            while True:
                rows = execute(f"{_SELECT_RUN} WHERE identity = ? ORDER BY attempt DESC LIMIT 1", (identity,))
                newest = _run(rows[0]) if rows else None
                if newest and not fresh and newest.status not in (Status.FAILED, Status.CANCELLED):
                    return newest, False
                run = Run(
                    id=_ulid(now),
                    identity=identity,
                    attempt=newest.attempt + 1 if newest else 1,
                    tag=_tag(),
                    target=target,
                    backend=backend,
                    account=account,
                    config=config,
                    fingerprint=fingerprint,
                    stage=Stage.INTENT,
                    status=Status.QUEUED,
                    created_at=now,
                    updated_at=now,
                )
                execute(_INSERT_RUN, tuple(msgspec.to_builtins(run).values()))
                if execute("SELECT 1 FROM adaptkit_run WHERE id = ?", (run.id,)):
                    _audit(execute, run.id, now, "begun", f"attempt {run.attempt}, tag {run.tag}")
                    return run, True
                # Another machine took this attempt's number between our two statements: look at what it made.

    def lease(self, run_id: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew the right to drive this run; whether ``owner`` holds it now."""
        with self._locked(run_id) as (execute, _, holder, until):
            if holder not in (None, owner) and until > now:
                return False
            execute(_UPDATE_LEASE, (owner, now + seconds, run_id))
            if holder != owner:
                _audit(execute, run_id, now, "leased", f"by {owner}")
            return True

    def renew(self, run_id: str, owner: str, now: float, seconds: float) -> bool:
        """Keep a lease that nobody else has had since; whether ``owner`` holds it now."""
        with self._locked(run_id) as (execute, _, holder, _):
            if holder != owner:
                return False
            execute(_UPDATE_LEASE, (owner, now + seconds, run_id))
            return True

    def release(self, run_id: str, owner: str) -> None:
        """Give the lease back, if ``owner`` holds it."""
        with self._database.transaction() as execute:
            execute(
                "UPDATE adaptkit_run SET lease_owner = NULL, lease_until = NULL WHERE id = ? AND lease_owner = ?",
                (run_id, owner),
            )

    def holder(self, run_id: str) -> str | None:
        """Who holds the lease or held it last without giving it back."""
        rows = self._database.read("SELECT lease_owner FROM adaptkit_run WHERE id = ?", (run_id,))
        return _owner(rows[0][0]) if rows else None

    def advance(self, run_id: str, owner: str, stage: Stage, *, now: float, uncertain: bool | None = None) -> Run:
        """Commit that the submission enters ``stage``."""
        with self._locked(run_id) as (execute, run, holder, until):
            if holder != owner or until <= now:
                raise LeaseLost(
                    f"the lease on run {run_id} is no longer this process's: "
                    f"{'it ran out' if holder in (None, owner) else 'another process drives the run'}"
                )
            if stage not in NEXT_STAGES[run.stage]:
                raise JournalError(f"run {run_id} cannot go from {run.stage} to {stage}")
            if run.status.is_terminal:
                raise JournalError(f"run {run_id} has ended ({run.status}); nothing more is sent for it")
            doubt = run.uncertain if uncertain is None else uncertain
            entered = msgspec.structs.replace(run, stage=stage, uncertain=doubt, updated_at=now)
            return _save(execute, entered, stage, "uncertain" if doubt else "")

    def accept(self, run_id: str, *, job_id: str, status: Status, raw_status: str, now: float) -> Run:
        """Record the job that the backend made."""
        with self._locked(run_id) as (execute, run, _, _):
            if run.job_id == job_id:
                return run
            if run.job_id is not None:
                raise JournalError(f"run {run_id} already has job {run.job_id!r}; it cannot also have {job_id!r}")
            heard: dict[str, Any] = {"stage": Stage.ACCEPTED, "job_id": job_id, "uncertain": False, "updated_at": now}
            if not run.status.is_terminal:
                heard |= {"status": status, "raw_status": _storable(raw_status)}
            accepted = msgspec.structs.replace(run, **heard)
            return _save(execute, accepted, "accepted", f"job {job_id}, {accepted.status} ({accepted.raw_status})")

    def observe(self, run_id: str, status: Status, raw_status: str, message: str | None, now: float) -> Run:
        """Record what a poll said, unless the run has ended or nothing is new; what now stands."""
        message = None if message is None else _storable(message)
        seen: dict[str, object] = {"status": status, "raw_status": _storable(raw_status), "message": message}
        known = self._existing(run_id)
        if _settled(known, seen):
            return known  # most polls: no lock, no write
        with self._locked(run_id) as (execute, run, _, _):
            if _settled(run, seen):
                return run
            now_known = msgspec.structs.replace(run, **seen, updated_at=now)
            return _save(execute, now_known, "observed", f"{run.status} to {status} ({now_known.raw_status})")

    def get(self, run_id: str) -> Run | None:
        """The run of this id."""
        return self._first("WHERE id = ?", (run_id,))

    def by_job(self, backend: str, job_id: str) -> Run | None:
        """The newest run of ``backend`` that has this job."""
        return self._first(f"WHERE backend = ? AND job_id = ? {_NEWEST_FIRST}", (backend, job_id))

    def runs(self, *, limit: int | None = None) -> list[Run]:
        """All runs or the last ``limit``, newest first."""
        most = _NO_LIMIT if limit is None else limit
        return [_run(row) for row in self._database.read(f"{_SELECT_RUN} {_NEWEST_FIRST} LIMIT ?", (most,))]

    def upload(self, sha256: str, account: str, purpose: str) -> str | None:
        """The service's id of a file with these bytes."""
        rows = self._database.read(
            "SELECT file_id FROM adaptkit_upload WHERE sha256 = ? AND account = ? AND purpose = ?",
            (sha256, account, purpose),
        )
        return _decoded(rows[0][0], str) if rows else None

    def record_upload(self, sha256: str, account: str, purpose: str, file_id: str, now: float) -> None:
        """Remember an upload; a later one of the same bytes replaces it."""
        with self._database.transaction() as execute:
            execute(
                "INSERT INTO adaptkit_upload (sha256, account, purpose, file_id, at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (sha256, account, purpose) DO UPDATE SET file_id = excluded.file_id, at = excluded.at",
                (sha256, account, purpose, file_id, now),
            )

    def forget_upload(self, sha256: str, account: str, purpose: str) -> None:
        """Forget an upload whose file turned out to be gone."""
        with self._database.transaction() as execute:
            execute(
                "DELETE FROM adaptkit_upload WHERE sha256 = ? AND account = ? AND purpose = ?",
                (sha256, account, purpose),
            )

    def history(self, run_id: str) -> list[Transition]:
        """Everything that happened to a run, oldest first."""
        rows = self._database.read(
            "SELECT at, what, detail FROM adaptkit_event WHERE run_id = ? ORDER BY seq", (run_id,)
        )
        return [_decoded(dict(zip(("at", "what", "detail"), row, strict=True)), Transition) for row in rows]

    def close(self) -> None:
        """Give the connection back; again does nothing."""
        self._database.close()

    def _first(self, where: str, parameters: Sequence[object]) -> Run | None:
        rows = self._database.read(f"{_SELECT_RUN} {where} LIMIT 1", parameters)
        return _run(rows[0]) if rows else None

    def _existing(self, run_id: str) -> Run:
        run = self.get(run_id)
        if run is None:
            raise JournalError(f"the journal has no run {run_id!r}")
        return run

    @contextmanager
    def _locked(self, run_id: str) -> Iterator[tuple[Execute, Run, str | None, float]]:
        """A transaction that nobody else can change this run in: it, the owner of its lease, and until when."""
        with self._database.transaction() as execute:
            rows = execute(f"{_SELECT_RUN} WHERE id = ?{self._database.row_lock}", (run_id,))
            if not rows:
                raise JournalError(f"the journal has no run {run_id!r}")
            owner, until = rows[0][-2:]
            yield execute, _run(rows[0]), _owner(owner), _decoded(until or 0.0, float)


_NEWEST_FIRST = "ORDER BY created_at DESC, attempt DESC, id DESC"


def _settled(run: Run, seen: dict[str, object]) -> bool:
    return run.status.is_terminal or all(getattr(run, name) == value for name, value in seen.items())


def _run(row: Sequence[object]) -> Run:
    values = dict(zip(_FIELDS, row, strict=False))
    values["uncertain"] = bool(values["uncertain"])  # SQLite has no booleans
    return _decoded(values, Run)


def _decoded(value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise JournalError(
            f"a row of the journal cannot be read ({error}): the journal is damaged; restore it from a backup, or move "
            f"it away and attach running jobs by their references"
        ) from None


def _owner(value: object) -> str | None:
    return None if value is None else _decoded(value, str)


def _save(execute: Execute, run: Run, what: str, detail: str) -> Run:
    stage, status = run.stage.value, run.status.value
    changed = (stage, status, run.raw_status, run.job_id, run.message, run.updated_at, run.uncertain)
    execute(_UPDATE_RUN, (*changed, run.id))
    _audit(execute, run.id, run.updated_at, what, detail)
    return run


def _audit(execute: Execute, run_id: str, at: float, what: str, detail: str) -> None:
    # The run's row is locked or new, so nobody else counts the same number.
    execute(_INSERT_EVENT, (run_id, at, str(what), detail, run_id))


def _storable(text: str) -> str:
    """A service's own words without what a database cannot hold: NUL and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _ulid(now: float) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, 80 random bits (github.com/ulid/spec)."""
    number = (int(now * 1000) & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _tag() -> str:
    """26 random lower-case letters and digits (over 130 bits), a letter first: fit for names, labels and suffixes."""
    letters, both = string.ascii_lowercase, string.ascii_lowercase + string.digits
    return secrets.choice(letters) + "".join(secrets.choice(both) for _ in range(25))

"""The journal's statements and rules for runs and uploads, written once for SQLite and PostgreSQL.

Everything that decides something reads and writes inside one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from adaptkit.errors import JournalError
from adaptkit.journal.database import Database, Execute, audit, decoded, new_tag, storable, ulid
from adaptkit.journal.deployments import SqlDeployments
from adaptkit.journal.protocol import NEXT_STAGES, LeaseLost, Run, Stage, Transition, Upload
from adaptkit.types import Snapshot, Status

__all__ = ["SqlJournal"]

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
_SELECT_UPLOAD = (
    "SELECT upload.sha256, upload.account, upload.purpose, upload.file_id, upload.at, run.id, run.status "
    "FROM adaptkit_upload upload "
    "JOIN adaptkit_run_upload used USING (sha256, account, purpose) JOIN adaptkit_run run ON run.id = used.run_id"
)
_RECORD_UPLOAD = (
    "INSERT INTO adaptkit_upload (sha256, account, purpose, file_id, at) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (sha256, account, purpose) DO UPDATE SET file_id = excluded.file_id, at = excluded.at"
)
_USE_UPLOAD = (
    "INSERT INTO adaptkit_run_upload (run_id, sha256, account, purpose) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (run_id, sha256, account, purpose) DO NOTHING"
)
_NO_LIMIT = 2**63 - 1


class SqlJournal:
    """The journal over either database; see `adaptkit.journal.protocol.Journal` for what each method promises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.deployments = SqlDeployments(database)

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
                    id=ulid(now),
                    identity=identity,
                    attempt=newest.attempt + 1 if newest else 1,
                    tag=new_tag(),
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
                    audit(execute, run.id, now, "begun", f"attempt {run.attempt}, tag {run.tag}")
                    return run, True
                # Another machine took this attempt's number between our two statements: look at what it made.

    def lease(self, run_id: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew the right to drive this run; whether ``owner`` holds it now."""
        with self._locked(run_id) as (execute, _, holder, until):
            if holder not in (None, owner) and until > now:
                return False
            execute(_UPDATE_LEASE, (owner, now + seconds, run_id))
            if holder != owner:
                audit(execute, run_id, now, "leased", f"by {owner}")
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
                heard |= {"status": status, "raw_status": storable(raw_status)}
            accepted = msgspec.structs.replace(run, **heard)
            return _save(execute, accepted, "accepted", f"job {job_id}, {accepted.status} ({accepted.raw_status})")

    def adopt(
        self,
        *,
        identity: str,
        target: str,
        backend: str,
        account: str,
        config: str,
        heard: Snapshot,
        created_at: float,
        now: float,
    ) -> Run:
        """Get or create the accepted run of a job that was not submitted from here."""
        run = Run(
            id=ulid(now),
            identity=identity,
            attempt=1,
            tag=new_tag(),
            target=target,
            backend=backend,
            account=account,
            config=config,
            fingerprint="",
            stage=Stage.ACCEPTED,
            status=heard.status,
            raw_status=storable(heard.raw_status),
            job_id=heard.job_id,
            message=None if heard.message is None else storable(heard.message),
            created_at=created_at,
            updated_at=now,
        )
        with self._database.transaction() as execute:
            execute(_INSERT_RUN, tuple(msgspec.to_builtins(run).values()))
            (row,) = execute(f"{_SELECT_RUN} WHERE identity = ? AND attempt = 1", (identity,))
            known = _run(row)
            if known.id == run.id:
                audit(execute, run.id, now, "adopted", f"job {run.job_id}, {run.status} ({run.raw_status})")
            return known

    def observe(self, run_id: str, status: Status, raw_status: str, message: str | None, now: float) -> Run:
        """Record what a poll said, unless the run has ended or nothing is new; what now stands."""
        message = None if message is None else storable(message)
        seen: dict[str, object] = {"status": status, "raw_status": storable(raw_status), "message": message}
        known = self._existing(run_id)
        if _settled(known, seen):
            return known  # most polls: no lock, no write
        with self._locked(run_id) as (execute, run, _, _):
            if _settled(run, seen):
                return run
            now_known = msgspec.structs.replace(run, **seen, updated_at=now)
            return _save(execute, now_known, "observed", f"{run.status} to {status} ({now_known.raw_status})")

    def note(self, run_id: str, text: str, now: float) -> bool:
        """Record what should be known of a job; whether it is new."""
        text = storable(text)
        with self._locked(run_id) as (execute, _, _, _):
            if execute(
                "SELECT 1 FROM adaptkit_event WHERE run_id = ? AND what = 'noted' AND detail = ?", (run_id, text)
            ):
                return False
            audit(execute, run_id, now, "noted", text)
            return True

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
        return decoded(rows[0][0], str) if rows else None

    def record_upload(self, sha256: str, account: str, purpose: str, file_id: str, now: float) -> None:
        """Remember an upload; a later one of the same bytes replaces it."""
        with self._database.transaction() as execute:
            execute(_RECORD_UPLOAD, (sha256, account, purpose, file_id, now))

    def forget_upload(self, sha256: str, account: str, purpose: str) -> None:
        """Forget an upload whose file is gone."""
        with self._database.transaction() as execute:
            for table in ("adaptkit_upload", "adaptkit_run_upload"):
                execute(
                    f"DELETE FROM {table} WHERE sha256 = ? AND account = ? AND purpose = ?",  # noqa: S608
                    (sha256, account, purpose),
                )

    def use_upload(self, run_id: str, sha256: str, account: str, purpose: str) -> None:
        """Remember that a run uses an upload."""
        with self._database.transaction() as execute:
            execute(_USE_UPLOAD, (run_id, sha256, account, purpose))

    def adopt_upload(self, run_id: str, account: str, purpose: str, file_id: str, now: float) -> None:
        """Remember that a run uses a file by its id alone."""
        known = "SELECT sha256, purpose FROM adaptkit_upload WHERE account = ? AND file_id = ?"
        with self._database.transaction() as execute:
            if not execute(known, (account, file_id)):
                execute(_RECORD_UPLOAD, (f"file:{file_id}", account, purpose, file_id, now))
            for sha256, called in execute(known, (account, file_id)):  # by each key that it goes under
                execute(_USE_UPLOAD, (run_id, sha256, account, called))

    def uploads_of(self, run_id: str) -> list[Upload]:
        """The files that a run uses."""
        rows = self._database.read(f"{_SELECT_UPLOAD} WHERE run.id = ? ORDER BY upload.purpose", (run_id,))
        return [_upload(row) for row in rows]

    def unused_uploads(self) -> list[Upload]:
        """Files that were uploaded for runs which have all ended, oldest first."""
        rows = self._database.read(f"{_SELECT_UPLOAD} ORDER BY upload.at, upload.file_id, run.created_at", ())
        users: dict[tuple[object, ...], list[Sequence[object]]] = {}
        for row in rows:
            users.setdefault(tuple(row[:4]), []).append(row)
        return [
            _upload(uses[-1]) for uses in users.values() if all(decoded(use[-1], Status).is_terminal for use in uses)
        ]

    def history(self, run_id: str) -> list[Transition]:
        """Everything that happened to a run, oldest first."""
        rows = self._database.read(
            "SELECT at, what, detail FROM adaptkit_event WHERE run_id = ? ORDER BY seq", (run_id,)
        )
        return [decoded(dict(zip(("at", "what", "detail"), row, strict=True)), Transition) for row in rows]

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
            yield execute, _run(rows[0]), _owner(owner), decoded(until or 0.0, float)


_NEWEST_FIRST = "ORDER BY created_at DESC, attempt DESC, id DESC"


def _settled(run: Run, seen: dict[str, object]) -> bool:
    return run.status.is_terminal or all(getattr(run, name) == value for name, value in seen.items())


def _run(row: Sequence[object]) -> Run:
    values = dict(zip(_FIELDS, row, strict=False))
    values["uncertain"] = bool(values["uncertain"])  # SQLite has no booleans
    return decoded(values, Run)


def _upload(row: Sequence[object]) -> Upload:
    return decoded(dict(zip(Upload.__struct_fields__, row, strict=False)), Upload)


def _owner(value: object) -> str | None:
    return None if value is None else decoded(value, str)


def _save(execute: Execute, run: Run, what: str, detail: str) -> Run:
    stage, status = run.stage.value, run.status.value
    changed = (stage, status, run.raw_status, run.job_id, run.message, run.updated_at, run.uncertain)
    execute(_UPDATE_RUN, (*changed, run.id))
    audit(execute, run.id, run.updated_at, what, detail)
    return run

"""The journal's deployments, over either database; see `adaptkit.journal.protocol.Deployments` for the promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from adaptkit.errors import JournalError
from adaptkit.journal.database import Database, Execute, audit, decoded, new_tag, storable, ulid
from adaptkit.journal.protocol import DeploymentRecord
from adaptkit.types import DeploymentSnapshot

__all__ = ["SqlDeployments"]

_FIELDS = DeploymentRecord.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
# S608: put together from the names of fields, nothing from outside.
_SELECT = f"SELECT {_COLUMNS} FROM adaptkit_deployment"  # noqa: S608
_INSERT = (
    f"INSERT INTO adaptkit_deployment ({_COLUMNS}) VALUES ({', '.join('?' for _ in _FIELDS)}) "  # noqa: S608
    "ON CONFLICT (identity, attempt) DO NOTHING"
)
_UPDATE = (
    "UPDATE adaptkit_deployment SET status = ?, raw_status = ?, deployment_id = ?, answers_as = ?, hourly_usd = ?, "
    "message = ?, updated_at = ? WHERE id = ?"
)
_NEWEST_FIRST = "ORDER BY created_at DESC, attempt DESC, id DESC"


class SqlDeployments:
    """What is kept running, and billed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        *,
        identity: str,
        target: str | None,
        backend: str,
        account: str,
        config: str,
        model_id: str,
        hourly_usd: float | None,
        now: float,
    ) -> tuple[DeploymentRecord, bool]:
        """Get the deployment of this identity that may answer and False, or a new record and True."""
        with self._database.transaction() as execute:
            while True:
                rows = execute(f"{_SELECT} WHERE identity = ? ORDER BY attempt DESC LIMIT 1", (identity,))
                newest = _record(rows[0]) if rows else None
                if newest and newest.status not in ("stopping", "stopped", "failed"):
                    return newest, False
                record = DeploymentRecord(
                    id=ulid(now),
                    identity=identity,
                    attempt=newest.attempt + 1 if newest else 1,
                    tag=new_tag(),
                    target=target,
                    backend=backend,
                    account=account,
                    config=config,
                    model_id=model_id,
                    status="requested",
                    hourly_usd=hourly_usd,
                    created_at=now,
                    updated_at=now,
                )
                execute(_INSERT, msgspec.structs.astuple(record))
                if execute("SELECT 1 FROM adaptkit_deployment WHERE id = ?", (record.id,)):
                    audit(execute, record.id, now, "requested", f"attempt {record.attempt}, tag {record.tag}")
                    return record, True
                # another machine took this attempt's number between our two statements: look at what it made

    def hear(self, record_id: str, heard: DeploymentSnapshot, now: float) -> DeploymentRecord:
        """Record what the host says."""
        with self._locked(record_id) as (execute, known):
            if known.deployment_id not in (None, heard.id):
                raise JournalError(
                    f"deployment record {record_id} is {known.deployment_id!r}; it cannot also be {heard.id!r}"
                )
            if known.deployment_id is not None and known.status == "stopped":
                return known
            news = msgspec.structs.replace(
                known,
                status=heard.status,
                raw_status=storable(heard.raw_status),
                deployment_id=heard.id,
                answers_as=known.answers_as if heard.answers_as is None else heard.answers_as,
                hourly_usd=known.hourly_usd if heard.hourly_usd is None else heard.hourly_usd,
                message=None if heard.message is None else storable(heard.message),
            )
            return _save(execute, known, news, now)

    def doubt(self, record_id: str, now: float) -> DeploymentRecord:
        """Record that the answer was lost and that nothing was found, if nothing else is known by now."""
        with self._locked(record_id) as (execute, known):
            if known.status != "requested":
                return known
            return _save(execute, known, msgspec.structs.replace(known, raw_status="answer lost"), now)

    def end(self, record_id: str, word: str, message: str | None, now: float) -> DeploymentRecord:
        """Record that there is no deployment, unless the host has one."""
        with self._locked(record_id) as (execute, known):
            if known.status != "requested":
                return known
            said = None if message is None else storable(message)
            ended = msgspec.structs.replace(known, status="stopped", raw_status=storable(word), message=said)
            return _save(execute, known, ended, now)

    def get(self, record_id: str) -> DeploymentRecord | None:
        """The record of this id."""
        return self._first("WHERE id = ?", (record_id,))

    def find(self, backend: str, id_or_tag: str) -> DeploymentRecord | None:
        """The newest record of ``backend`` with this id of the host's, or with this tag."""
        where = f"WHERE backend = ? AND (deployment_id = ? OR tag = ?) {_NEWEST_FIRST}"
        return self._first(where, (backend, id_or_tag, id_or_tag))

    def live(self) -> list[DeploymentRecord]:
        """All that may cost money, newest first."""
        rows = self._database.read(f"{_SELECT} WHERE status <> ? {_NEWEST_FIRST}", ("stopped",))
        return [_record(row) for row in rows]

    def _first(self, where: str, parameters: Sequence[object]) -> DeploymentRecord | None:
        rows = self._database.read(f"{_SELECT} {where} LIMIT 1", parameters)
        return _record(rows[0]) if rows else None

    @contextmanager
    def _locked(self, record_id: str) -> Iterator[tuple[Execute, DeploymentRecord]]:
        with self._database.transaction() as execute:
            rows = execute(f"{_SELECT} WHERE id = ?{self._database.row_lock}", (record_id,))
            if not rows:
                raise JournalError(f"the journal has no deployment {record_id!r}")
            yield execute, _record(rows[0])


def _record(row: Sequence[object]) -> DeploymentRecord:
    return decoded(dict(zip(_FIELDS, row, strict=True)), DeploymentRecord)


def _save(execute: Execute, known: DeploymentRecord, news: DeploymentRecord, now: float) -> DeploymentRecord:
    if news == known:
        return known
    saved = msgspec.structs.replace(news, updated_at=now)
    changed = (saved.status, saved.raw_status, saved.deployment_id, saved.answers_as, saved.hourly_usd, saved.message)
    execute(_UPDATE, (*changed, now, saved.id))
    where = f"deployment {saved.deployment_id}, " if saved.deployment_id else ""
    audit(execute, saved.id, now, "observed", f"{where}{known.status} to {saved.status} ({saved.raw_status})")
    return saved

"""The journal's tables, and how a journal of an older adaptkit is brought up to date."""

from __future__ import annotations

from adaptkit.errors import JournalError
from adaptkit.journal.database import Execute

__all__ = ["SCHEMA_VERSION", "VERSION_TABLE", "prepare_schema"]

VERSION_TABLE = "adaptkit_schema_version"
_FIRST = (
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
_DEPLOYMENTS = (
    """CREATE TABLE adaptkit_deployment (
        id TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        tag TEXT NOT NULL UNIQUE,
        target TEXT,
        backend TEXT NOT NULL,
        account TEXT NOT NULL,
        config TEXT NOT NULL,
        model_id TEXT NOT NULL,
        status TEXT NOT NULL,
        raw_status TEXT NOT NULL,
        deployment_id TEXT,
        answers_as TEXT,
        hourly_usd DOUBLE PRECISION,
        message TEXT,
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        UNIQUE (identity, attempt)
    )""",
    """CREATE TABLE adaptkit_run_upload (
        run_id TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        account TEXT NOT NULL,
        purpose TEXT NOT NULL,
        PRIMARY KEY (run_id, sha256, account, purpose)
    )""",
)
#: What each version added, in order: a new journal gets all of it, an older one what it lacks.
_VERSIONS = (_FIRST, _DEPLOYMENTS)
SCHEMA_VERSION = len(_VERSIONS)


def prepare_schema(execute: Execute, *, exists: bool) -> None:
    """Make the tables, or those that a journal of an older adaptkit lacks.

    Raises:
        JournalError: a newer adaptkit wrote the journal, or it does not say which did.
    """
    found = [version for (version,) in execute("SELECT version FROM adaptkit_schema_version", ())] if exists else [0]
    if len(found) != 1 or found[0] not in range(SCHEMA_VERSION + 1):
        what = "was written by another version of adaptkit, most likely a newer one"
        raise JournalError(
            f"the journal {what} (its schema is {found}, this adaptkit reads {SCHEMA_VERSION}): upgrade adaptkit, or "
            f"name another journal"
        )
    if found[0] == SCHEMA_VERSION:
        return
    for added in _VERSIONS[found[0] :]:
        for statement in added:
            execute(statement, ())
    execute("DELETE FROM adaptkit_schema_version", ())
    execute("INSERT INTO adaptkit_schema_version (version) VALUES (?)", (SCHEMA_VERSION,))

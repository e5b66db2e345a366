"""The journal in PostgreSQL, for machines that share jobs.

The URL may hold a password, so it lives in one closure and is in no message, attribute or cause. Autocommit is on, so
a read never leaves a transaction open; what belongs together is begun and committed by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from adaptkit.errors import JournalError
from adaptkit.journal.database import Execute
from adaptkit.journal.protocol import Journal
from adaptkit.journal.schema import VERSION_TABLE, prepare_schema
from adaptkit.journal.shared import Shared
from adaptkit.journal.sql import SqlJournal

__all__ = ["Connection", "connect", "open_postgres", "reason"]

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
_DEFAULTS = {"connect_timeout": 10, "keepalives_idle": 30, "application_name": "adaptkit"}
# A process that hangs inside a transaction, or a machine that vanished, must not hold the others up for ever.
_SETTINGS = ("SET lock_timeout = '30s'", "SET idle_in_transaction_session_timeout = '60s'")
_SCHEMA_LOCK = 0x61646170746B6974  # "adaptkit": one maker of tables at a time


def open_postgres(url: str) -> Journal:
    """Open the journal in this database; make its tables (``adaptkit_…``) if they are not there.

    Raises:
        JournalError: see `adaptkit.journal.open_journal`.
    """

    def opened() -> Connection:
        connection = connect(url)
        for setting in _SETTINGS:
            connection.execute(setting)
        return connection

    database = _Postgres(Shared(opened))
    try:
        with database.transaction() as execute:
            execute("SELECT pg_advisory_xact_lock(?)", (_SCHEMA_LOCK,))
            exists = execute("SELECT to_regclass(?) IS NOT NULL", (VERSION_TABLE,))[0][0]
            prepare_schema(execute, exists=exists)
    except BaseException:
        database.close()
        raise
    return SqlJournal(database)


def connect(url: str) -> Connection:
    """A connection to a database. What a URL says wins over the defaults."""
    parts: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url), "client_encoding": "UTF8"}
    # no prepared statements: a pooler may hand out another session
    return psycopg.connect(**parts, autocommit=True, prepare_threshold=None)


class _Postgres:
    """The `Database` behind a connection."""

    row_lock = " FOR UPDATE"

    def __init__(self, shared: Shared[Connection]) -> None:
        self._shared = shared

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        with _said_clearly(), self._shared.use() as lent:
            # READ COMMITTED: after waiting for another's row lock, the next statement sees what that one committed.
            connection = self._resilient(lent, "BEGIN ISOLATION LEVEL READ COMMITTED", ())[0]
            try:
                yield lambda statement, parameters: _rows(_execute(connection, statement, parameters))
                connection.execute("COMMIT")
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise

    def read(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with _said_clearly(), self._shared.use() as connection:
            return _rows(self._resilient(connection, statement, parameters)[1])

    def close(self) -> None:
        self._shared.close()

    def _resilient(
        self, connection: Connection, statement: str, parameters: Sequence[object]
    ) -> tuple[Connection, psycopg.Cursor[tuple[Any, ...]]]:
        """Run what changes nothing, once more on a new connection if the old one turns out to be dropped."""
        try:
            return connection, _execute(connection, statement, parameters)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
        connection = self._shared.renew()
        return connection, _execute(connection, statement, parameters)


def _execute(connection: Connection, statement: str, parameters: Sequence[object]) -> psycopg.Cursor[tuple[Any, ...]]:
    return connection.execute(statement.replace("?", "%s").encode(), parameters)


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.description else []


@contextmanager
def _said_clearly() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        # No cause: psycopg's errors hold the connection, and that the password.
        raise JournalError(
            f"the PostgreSQL journal cannot be used: {reason(error)}. See that the server runs, that the URL names "
            f"it, and that the role may use the database; what was committed is safe"
        ) from None


def reason(error: psycopg.Error) -> str:
    """What the server or libpq said, without anything that it quotes: that could be a piece of the URL."""
    said = (error.diag.message_primary or str(error)).rpartition("failed: ")[2]
    first = re.sub(r"""["'].*["']""", '"…"', said.strip().partition("\n")[0]) or "it gave no reason"
    return f"{first.rstrip('.')} ({type(error).__name__}{', ' + error.sqlstate if error.sqlstate else ''})"

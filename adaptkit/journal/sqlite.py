"""The journal in a SQLite file, for the processes of one machine.

Rollback journal, not WAL: SQLite before 3.51.3 can corrupt a WAL database that several connections write
(sqlite.org/wal.html), and a handful of writes per job need no more. ``synchronous=FULL`` makes a commit survive a loss
of power.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from adaptkit.errors import JournalError
from adaptkit.journal.database import Execute
from adaptkit.journal.mounts import file_system, is_network, mount_table
from adaptkit.journal.protocol import Journal
from adaptkit.journal.schema import VERSION_TABLE, prepare_schema
from adaptkit.journal.shared import Shared
from adaptkit.journal.sql import SqlJournal

__all__ = ["open_sqlite"]

_BUSY_SECONDS = 30.0
_PRAGMAS = (
    "journal_mode = DELETE",
    "synchronous = FULL",
    "fullfsync = ON",  # macOS: fsync alone stops at the drive's cache
    "trusted_schema = OFF",  # a database file is input like any other
    "cell_size_check = ON",
)
_NOT_WRITABLE = "it cannot be written: see that the file and its folder are yours, or name another journal"
_DAMAGED = (
    "it is no database or is damaged: restore it from a backup, or move it away and attach running jobs by their "
    "references"
)
_ADVICE = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {_BUSY_SECONDS:.0f} s: see which, and try again",
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: "the disk is full: make room and try again; what was committed is safe",
    sqlite3.SQLITE_IOERR: "the disk does not take it: see that it has room and works; what was committed is safe",
}


def open_sqlite(path: Path) -> Journal:
    """Open the journal in this file; make it (0600) and its folders (0700) if they are not there.

    Raises:
        JournalError: see `adaptkit.journal.open_journal`.
    """
    path = path.resolve()
    _refuse_network(path)
    _create(path)
    database = _Sqlite(path)
    try:
        with database.transaction() as execute:
            tables = {name for (name,) in execute("SELECT name FROM sqlite_master", ())}
            if tables and VERSION_TABLE not in tables:
                raise JournalError(f"{path} is another program's database: name another file for the journal")
            prepare_schema(execute, exists=bool(tables))
    except BaseException:
        database.close()
        raise
    return SqlJournal(database)


def _refuse_network(path: Path) -> None:
    kind = file_system(PurePosixPath(path), mount_table())
    if kind and is_network(kind):
        raise JournalError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold and a job could be paid "
            f"for twice: put the journal on a local disk, or where machines share it use PostgreSQL "
            f"(pip install 'adaptkit[postgres]', then postgresql://…)"
        )


_creating = threading.Lock()


def _create(path: Path) -> None:
    """Make an empty file that only its owner can read.

    Closing any handle of a file drops this process's locks on it (fcntl(2)), so nobody in this process may open the
    database while it is being made, and a file that is there is not opened here at all.
    """
    try:
        for folder in [*reversed(path.parents)]:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        with _creating, suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be made: {error.strerror}; name another place") from error


class _Sqlite:
    """The `Database` of one file."""

    row_lock = ""  # BEGIN IMMEDIATE lets one writer in at a time

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared = Shared(self._connect)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        with self._said_clearly(), self._shared.use() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield lambda statement, parameters: connection.execute(statement, parameters).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def read(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._said_clearly(), self._shared.use() as connection:
            return connection.execute(statement, parameters).fetchall()

    def close(self) -> None:
        self._shared.close()

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # text that is no text has no code
            advice = _ADVICE.get(code & 0xFF, "it cannot be used")
            raise JournalError(f"the journal {self._path}: {advice} (SQLite says: {error})") from error

"""The journal: which runs were begun, how far they got, which data is already where.

`open_journal` is the way in; `adaptkit.journal.protocol` says what a journal promises.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from adaptkit.errors import ConfigError, MissingDependencyError
from adaptkit.journal.protocol import DeploymentRecord, Journal, LeaseLost, Run, Stage, Transition, Upload
from adaptkit.journal.sqlite import open_sqlite

__all__ = ["DeploymentRecord", "Journal", "LeaseLost", "Run", "Stage", "Transition", "Upload", "open_journal"]


def open_journal(url: str) -> Journal:
    """Open a journal, and make it if it is not there.

    Args:
        url: A path or ``sqlite:///absolute/path`` for one machine; ``postgresql://user:password@host/database`` where
            several machines share jobs (the extra ``postgres``).

    Raises:
        ConfigError: the URL is of another kind.
        MissingDependencyError: a PostgreSQL URL without psycopg.
        JournalError: it cannot be opened or made, is damaged, was written by a newer adaptkit, or lies on a network
            file system, where SQLite's locks do not hold.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return open_sqlite(Path(url).expanduser())
    if scheme == "sqlite" and rest.startswith("/"):
        return open_sqlite(Path("/" + unquote(rest).lstrip("/")))
    if scheme in ("postgresql", "postgres"):
        try:
            from adaptkit.journal.postgres import open_postgres  # noqa: PLC0415  psycopg is an extra
        except ImportError:
            raise MissingDependencyError("a PostgreSQL journal", "psycopg", "postgres") from None
        return open_postgres(url)
    # The URL itself is not repeated: it may hold a password.
    raise ConfigError("a journal is a path, sqlite:///absolute/path or postgresql://user:password@host/database")

"""What a journal asks of SQLite and PostgreSQL, and what all of its tables share.

The two databases differ in how a connection is made, how a transaction begins and how a row is locked; that is what a
`Database` is.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import msgspec

from adaptkit.errors import JournalError

__all__ = ["Database", "Execute", "audit", "decoded", "new_tag", "storable", "ulid"]

T = TypeVar("T")

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


_INSERT_EVENT = (
    "INSERT INTO adaptkit_event (run_id, seq, at, what, detail) "
    "SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ? FROM adaptkit_event WHERE run_id = ?"
)


def decoded(value: object, kind: type[T]) -> T:
    """What a column holds; `JournalError` if it makes no sense."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise JournalError(
            f"a row of the journal cannot be read ({error}): the journal is damaged; restore it from a backup, or move "
            f"it away and attach running jobs by their references"
        ) from None


def audit(execute: Execute, row_id: str, at: float, what: str, detail: str) -> None:
    """Write a line of a row's history; the row is locked or new, so nobody else counts the same number."""
    execute(_INSERT_EVENT, (row_id, at, str(what), detail, row_id))


def storable(text: str) -> str:
    """A service's own words without what a database cannot hold: NUL and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(now: float) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, 80 random bits (github.com/ulid/spec)."""
    number = (int(now * 1000) & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def new_tag() -> str:
    """26 random lower-case letters and digits (over 130 bits), a letter first: fit for names, labels and suffixes."""
    letters, both = string.ascii_lowercase, string.ascii_lowercase + string.digits
    return secrets.choice(letters) + "".join(secrets.choice(both) for _ in range(25))

"""One database connection for all threads of a process, and a new one for each forked child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from adaptkit.errors import JournalError

__all__ = ["Shared"]


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


def _journal_closed() -> Exception:
    return JournalError("this journal has been closed: open it again to go on")


class Shared(Generic[C]):
    """Lends a connection to one thread at a time; connects when it is first needed.

    Args:
        connect: Makes a connection that any thread may use.
        closed: Makes the error for whoever comes after `close`.
    """

    def __init__(self, connect: Callable[[], C], closed: Callable[[], Exception] = _journal_closed) -> None:
        self._connect = connect
        self._closed_error = closed
        self._closed = False
        self._lock = threading.Lock()
        self._connection: C | None = None
        _everywhere.add(self)

    @contextmanager
    def use(self) -> Iterator[C]:
        """The connection, for this thread alone until the block ends.

        Raises:
            JournalError: the journal was closed; another error where ``closed`` makes one.
        """
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection

    def renew(self) -> C:
        """Replace a connection that broke; only inside `use`."""
        broken, self._connection = self._connection, None
        if broken is not None:
            broken.close()
        self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Close the connection; again does nothing."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def forked(self) -> None:
        """Leave the parent's connection alone: a child that used or closed it would spoil it for the parent."""
        _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()  # the old one may be held by a thread that does not exist here


_everywhere: WeakSet[Shared[Any]] = WeakSet()
_inherited: list[object] = []  # kept, so that the garbage collector does not close them either


def _after_fork() -> None:
    for shared in list(_everywhere):
        shared.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

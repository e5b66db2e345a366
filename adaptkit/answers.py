"""Answers that were given, kept by what was asked: so that nobody pays for the same answer twice.

A file of its own in the home folder, readable for its owner alone. It holds replies and hashes of what was asked, never
the questions; delete it and everything is asked anew.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.batch_cost import Spent
from adaptkit.errors import ArtifactError
from adaptkit.types import Message, ModelRef, Reply

__all__ = ["Answers", "Kept", "key_of"]

_encode = msgspec.json.Encoder(order="deterministic").encode


class Kept(Reply, frozen=True, kw_only=True):
    """A reply as it is kept: with how long it took, which stays true when the answer is used again.

    Attributes:
        seconds: Until it was complete, tries that failed and pauses apart; ``None`` where nobody measured it, or
            several were answered together.
        first_token_seconds: Until its first piece; ``None`` where it was not streamed.
    """

    seconds: float | None = None
    first_token_seconds: float | None = None

    @classmethod
    def of(cls, reply: Reply, seconds: float | None = None, first_token_seconds: float | None = None) -> Kept:
        """A reply with its times."""
        fields = {name: getattr(reply, name) for name in Reply.__struct_fields__}
        return cls(**fields | {"seconds": seconds, "first_token_seconds": first_token_seconds})


def key_of(
    model: ModelRef,
    account: str,
    messages: Sequence[Message],
    options: ChatOptions,
    *,
    version: str = "",
    repeat: int = 0,
) -> bytes:
    """What makes two questions the same: who is asked, what, how, and which time of several; as SHA-256."""
    more = [part for part in (version, repeat) if part]
    asked = (model.backend, model.id, account, messages, options, *more)
    return hashlib.sha256(_encode(asked)).digest()


class Answers:
    """The file; serves any number of threads and processes.

    Args:
        path: Where; made on first use.

    Raises:
        ArtifactError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._open: sqlite3.Connection | None = None

    def get(self, key: bytes) -> Kept | None:
        """What was answered, ``None`` if nothing was; a reply that an older adaptkit wrote otherwise counts as none."""
        rows = self._run("SELECT reply FROM answer WHERE key = ?", key)
        try:
            return msgspec.json.decode(rows[0][0], type=Kept) if rows else None
        except msgspec.ValidationError:
            return None

    def put(self, key: bytes, reply: Reply) -> None:
        """Keep an answer, a `Kept` with its times, in place of an earlier one."""
        self._run("INSERT OR REPLACE INTO answer (key, reply) VALUES (?, ?)", key, _encode(reply))

    def spent(self, batch: str) -> Spent | None:
        """What the answers of a batch have cost, ``None`` until they are here."""
        rows = self._run("SELECT spent FROM batch WHERE name = ?", batch)
        return msgspec.json.decode(rows[0][0], type=Spent) if rows else None

    def note_spent(self, batch: str, spent: Spent) -> None:
        """Remember that they are here, and what they have cost."""
        self._run("INSERT OR REPLACE INTO batch (name, spent) VALUES (?, ?)", batch, _encode(spent))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def _run(self, statement: str, *parameters: bytes | str) -> list[tuple[bytes]]:
        with self._lock:
            try:
                return self._connection().execute(statement, parameters).fetchall()
            except (sqlite3.Error, OSError) as error:
                raise ArtifactError(
                    f"the answers given so far, {self._path}, cannot be used: {error}. Move the file away, and all is "
                    "asked anew"
                ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            # an answer lost to a power cut is asked for again, so not every one waits for the disk
            opened = sqlite3.connect(self._path, timeout=30.0, isolation_level=None, check_same_thread=False)
            opened.execute("PRAGMA synchronous = OFF")
            opened.execute(
                "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, reply BLOB NOT NULL) WITHOUT ROWID"
            )
            opened.execute(
                "CREATE TABLE IF NOT EXISTS batch (name TEXT PRIMARY KEY, spent BLOB NOT NULL) WITHOUT ROWID"
            )
            self._open = opened
        return self._open

"""Documents in a SQLite file, found by FTS5: nothing to install, nothing to run, one machine.

The journal mode is SQLite's first, not WAL (see `adaptkit.journal.sqlite`): while documents are indexed, questions of
other processes see the old state, and wait at the end for as long as a commit takes.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import mul
from typing import Literal, Self

from adaptkit.errors import RetrievalError
from adaptkit.journal.shared import Shared
from adaptkit.retrieval.chunks import Chunking, in_context
from adaptkit.retrieval.fusion import fuse
from adaptkit.retrieval.indexing import IndexedPassage, Vector, embedded, update
from adaptkit.retrieval.protocol import Changes, Embedder, Passage
from adaptkit.retrieval.term_table import TermTable, require_fts5
from adaptkit.retrieval.terms import Terms, terms_of
from adaptkit.types import Document

__all__ = ["MOST_VECTORS", "Fts5Retriever"]

#: Passages up to which vectors are compared one by one: 0.13 s of a processor at 384 numbers each.
MOST_VECTORS = 10_000

_APPLICATION = 0x61646B72  # "adkr"
_FORMAT = 1
_BUSY_SECONDS = 30.0
_FUSED = 50  # places of either ranking that are looked at
_SCHEMA = """
CREATE TABLE documents (id TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL, position INTEGER NOT NULL, context TEXT NOT NULL,
    text TEXT NOT NULL, embedder TEXT, vector BLOB
);
CREATE INDEX passages_of_document ON passages (document);
"""


class Fts5Retriever:
    """An index in one file.

    Args:
        path: The file; it is made, readable for its owner alone, if it is not there. ``":memory:"`` for none.
        chunking: How documents are cut.
        embedder: Makes vectors, which then have a say beside the words, up to `MOST_VECTORS` passages.

    Raises:
        UnsupportedError: this Python's SQLite has no FTS5.
        RetrievalError: the file cannot be opened, is no index, or is of a newer adaptkit.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, chunking: Chunking | None = None, embedder: Embedder | None = None
    ) -> None:
        self._path = os.fspath(path)
        self._chunking = chunking or Chunking()
        self._embedder = embedder
        self._shared = Shared(
            self._connect, lambda: RetrievalError(f"the index {self._path} has been closed: open it again to go on")
        )
        try:
            with self._transaction("IMMEDIATE") as connection:
                _prepare(connection, self._terms, self._path)
        except BaseException:
            self._shared.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(self, documents: Iterable[Document]) -> Changes:
        """Hold exactly these documents; see `DocumentIndex`.

        Raises:
            DataError: a document cannot be read or stored; nothing has changed then.
            RetrievalError: the file cannot be written, or the embedder failed.
        """
        return self._update(documents, sweep=True)

    def add(self, documents: Iterable[Document]) -> Changes:
        """Hold these documents too; see `DocumentIndex`, and `sync` for what is raised."""
        return self._update(documents, sweep=False)

    def search(self, question: str, k: int = 8) -> list[Passage]:
        """The best passages for a question; any text may be one.

        Raises:
            ValueError: ``k`` is less than 1.
            RetrievalError: the file cannot be read, or the embedder failed.
        """
        if k < 1:
            raise ValueError(f"k = {k}: at least one passage must be asked for")
        # before the connection is held: it may take long
        asked = (self._embedder.name, embedded(self._embedder, [question])[0]) if self._embedder else None
        with self._transaction("DEFERRED") as connection:  # one state of the documents throughout
            found = self._terms.find(question, max(k, _FUSED) if asked else k)
            if asked:
                near = _nearest(connection, *asked, max(k, _FUSED))
                found = fuse([passage for passage, _ in found], near)[:k]
            return [_passage(connection, passage, score) for passage, score in found]

    def close(self) -> None:
        """Let go of the file."""
        self._shared.close()

    def _update(self, documents: Iterable[Document], *, sweep: bool) -> Changes:
        with self._transaction("IMMEDIATE") as connection:
            _renew(connection, self._terms)
            store = _Store(connection, self._terms, self._embedder)
            changes = update(store, documents, self._chunking, self._embedder, sweep=sweep)
            if self._embedder and changes.passages > MOST_VECTORS:
                raise RetrievalError(
                    f"{changes.passages:,} passages are too many to compare their vectors one by one (up to "
                    f"{MOST_VECTORS:,}): leave out the embedder, or use PostgresRetriever; nothing has changed"
                )
            return changes

    def _connect(self) -> sqlite3.Connection:
        _create(self._path)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")  # a file is input like any other
            connection.execute("PRAGMA cell_size_check = ON")
            require_fts5(connection)
            self._terms = TermTable(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[sqlite3.Connection]:
        with self._said_clearly(), self._shared.use() as connection:
            try:
                connection.execute(f"BEGIN {kind}")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RetrievalError(
                f"the index {self._path} cannot be used (SQLite says: {error}): see that it is a file of yours, on a "
                "disk with room, or delete it and index the documents again"
            ) from error


class _Store:
    """`Store` over one connection in a transaction."""

    def __init__(self, connection: sqlite3.Connection, terms: TermTable, embedder: Embedder | None) -> None:
        self._run, self._terms = connection.execute, terms
        self._embedder = embedder.name if embedder else None
        self._run("CREATE TEMP TABLE IF NOT EXISTS wanted (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._run("DELETE FROM wanted")

    def claim(self, document: str) -> bool:
        return self._run("INSERT OR IGNORE INTO wanted VALUES (?)", (document,)).rowcount == 1

    def digest(self, document: str) -> bytes | None:
        row = self._run("SELECT digest FROM documents WHERE id = ?", (document,)).fetchone()
        return None if row is None else row[0]

    def replace(self, document: str, digest: bytes, passages: Iterable[IndexedPassage]) -> None:
        self._remove(document)
        self._run("INSERT INTO documents VALUES (?, ?)", (document, digest))
        for passage in passages:
            chunk, vector = passage.chunk, passage.vector
            blob = None if vector is None else array("f", vector).tobytes()
            row = (document, chunk.position, chunk.context, chunk.text, self._embedder, blob)
            added = self._run("INSERT INTO passages VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
            self._terms.add(added.lastrowid, passage.terms)

    def sweep(self) -> int:
        gone = self._run("SELECT id FROM documents WHERE id NOT IN (SELECT id FROM wanted)").fetchall()
        for (document,) in gone:
            self._remove(document)
        return len(gone)

    def passages(self) -> int:
        return int(self._run("SELECT count(*) FROM passages").fetchone()[0])

    def _remove(self, document: str) -> None:
        rows = self._run("SELECT id, context, text FROM passages WHERE document = ?", (document,)).fetchall()
        for passage, context, text in rows:
            self._terms.remove(passage, terms_of(in_context(context, text)))
        self._run("DELETE FROM passages WHERE document = ?", (document,))
        self._run("DELETE FROM documents WHERE id = ?", (document,))


def _prepare(connection: sqlite3.Connection, terms: TermTable, path: str) -> None:
    """Make the tables, or see that they are ours.

    Raises:
        RetrievalError: they are not.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if not application and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        terms.create()
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        return
    if application != _APPLICATION:
        raise RetrievalError(f"{path} is another program's database: name another file for the index")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise RetrievalError(f"{path} is an index of format {version}, and this adaptkit knows {_FORMAT}: name another")
    _renew(connection, terms)


def _renew(connection: sqlite3.Connection, terms: TermTable) -> None:
    """Make the terms anew from the passages, where another edition made them."""
    if not terms.current():
        terms.create(_all_terms(connection))


def _all_terms(connection: sqlite3.Connection) -> Iterator[tuple[int, Terms]]:
    for passage, context, text in connection.execute("SELECT id, context, text FROM passages"):
        yield passage, terms_of(in_context(context, text))


def _nearest(connection: sqlite3.Connection, embedder: str, vector: Vector, k: int) -> list[int]:
    """Passages by cosine, from the nearest; those that another embedder saw are left out."""
    near: list[tuple[float, int]] = []
    for passage, blob in connection.execute("SELECT id, vector FROM passages WHERE embedder = ?", (embedder,)):
        other = array("f", blob)
        if len(other) == len(vector):
            near.append((-sum(map(mul, vector, other)), passage))
    return [passage for _, passage in sorted(near)[:k]]


def _passage(connection: sqlite3.Connection, passage: int, score: float) -> Passage:
    statement = "SELECT text, document, position, context FROM passages WHERE id = ?"
    text, document, position, context = connection.execute(statement, (passage,)).fetchone()
    return Passage(text, document, score, position, context)


def _create(path: str) -> None:
    """Make an empty file that only its owner can read.

    Raises:
        RetrievalError: its folder is not there, or not ours.
    """
    if path == ":memory:":
        return
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise RetrievalError(f"the index {path} cannot be made: {error.strerror}; name another place") from error

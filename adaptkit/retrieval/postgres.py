"""Documents in PostgreSQL, for machines that share an index, and for more documents than a file should hold.

The terms are those of `adaptkit.retrieval.terms`, in two ``tsvector`` columns; PostgreSQL's own text search knows few
languages and no script without spaces. Its ``ts_rank`` knows no rare words from common ones, so each term's rank is
weighted here by how rare the term is (BM25's inverse document frequency). With an embedder, pgvector finds neighbours
beside that, and both rankings are fused.

The URL may hold a password, so it lives in one closure and is in no message, attribute or cause.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from adaptkit.errors import ConfigError, MissingDependencyError, RetrievalError, UnsupportedError
from adaptkit.journal.shared import Shared
from adaptkit.retrieval.chunks import Chunking
from adaptkit.retrieval.fusion import fuse
from adaptkit.retrieval.indexing import IndexedPassage, Vector, embedded, update
from adaptkit.retrieval.protocol import Changes, Embedder, Passage
from adaptkit.retrieval.terms import terms_to_find
from adaptkit.types import Document

try:
    import psycopg
    import psycopg.sql

    from adaptkit.journal.postgres import Connection, connect, reason
except ImportError:
    raise MissingDependencyError("retrieval from PostgreSQL", "psycopg", "postgres") from None

__all__ = ["PostgresRetriever"]

T = TypeVar("T")

#: Passages that a question's terms may touch, from the rarest term on: bounds the work of a question.
_LOOKED_AT = 50_000
_FUSED = 50  # places of either ranking that are looked at
_PARTS_COUNT = 0.3  # as in `term_table`
_MOST_POSITION, _MOST_PLACES = 16_383, 255  # what a tsvector holds
_MOST_INDEXED = 2_000  # numbers of a vector that pgvector can index; longer ones are compared one by one
_LOCK = 0x61646B72  # "adkr"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS adaptkit_collections (name text PRIMARY KEY, format int NOT NULL, passages bigint NOT NULL);
CREATE TABLE IF NOT EXISTS adaptkit_documents (
    collection text NOT NULL, id text NOT NULL, digest bytea NOT NULL, PRIMARY KEY (collection, id)
);
CREATE TABLE IF NOT EXISTS adaptkit_passages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, collection text NOT NULL, document text NOT NULL,
    position int NOT NULL, context text NOT NULL, text text NOT NULL, words tsvector NOT NULL, parts tsvector NOT NULL,
    FOREIGN KEY (collection, document) REFERENCES adaptkit_documents ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS adaptkit_passages_document ON adaptkit_passages (collection, document);
CREATE INDEX IF NOT EXISTS adaptkit_passages_words ON adaptkit_passages USING gin (words);
CREATE INDEX IF NOT EXISTS adaptkit_passages_parts ON adaptkit_passages USING gin (parts)
"""
_FORMAT = 1
_VECTORS = """
CREATE TABLE IF NOT EXISTS adaptkit_vectors (
    passage bigint PRIMARY KEY REFERENCES adaptkit_passages ON DELETE CASCADE,
    collection text NOT NULL, embedder text NOT NULL, vector vector NOT NULL
)
"""
_COUNT = """
SELECT place, (SELECT count(*) FROM (
    SELECT 1 FROM adaptkit_passages p WHERE p.collection = %(collection)s AND p.{column} @@ term LIMIT %(most)s
) found) FROM unnest(%(terms)s::tsquery[]) WITH ORDINALITY AS asked (term, place)
"""
_RANK = """
SELECT p.id, coalesce((
    SELECT sum(w.weight * ts_rank('{1,1,1,1}', p.words, w.term, 1))
    FROM unnest(%(words)s::tsquery[], %(word_weights)s::float8[]) AS w (term, weight)
), 0) + coalesce((
    SELECT sum(w.weight * ts_rank('{1,1,1,1}', p.parts, w.term, 1))
    FROM unnest(%(parts)s::tsquery[], %(part_weights)s::float8[]) AS w (term, weight)
), 0) AS score
FROM adaptkit_passages p
WHERE p.collection = %(collection)s AND (p.words @@ %(any_word)s::tsquery OR p.parts @@ %(any_part)s::tsquery)
ORDER BY score DESC, p.id LIMIT %(k)s
"""


class PostgresRetriever:
    """One collection of documents in a database; several may share it.

    Args:
        url: ``postgresql://user:password@host/database``.
        collection: Its name.
        chunking: How documents are cut.
        embedder: Makes vectors; wants pgvector in the database.

    Raises:
        UnsupportedError: there is an embedder, and the server has no pgvector.
        RetrievalError: the database cannot be used, or was filled by a newer adaptkit.
    """

    def __init__(
        self,
        url: str,
        *,
        collection: str = "default",
        chunking: Chunking | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        if not collection or "\0" in collection:
            raise ConfigError("a collection needs a name")
        self._collection, self._embedder = collection, embedder
        self._chunking = chunking or Chunking()
        self._shared = Shared(
            lambda: connect(url), lambda: RetrievalError("this index has been closed: open it again to go on")
        )
        try:
            with self._transaction() as connection:
                _prepare(connection, collection)
                if embedder:
                    _prepare_vectors(connection)
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
            RetrievalError: the database cannot be written, or the embedder failed.
        """
        return self._update(documents, sweep=True)

    def add(self, documents: Iterable[Document]) -> Changes:
        """Hold these documents too; see `DocumentIndex`, and `sync` for what is raised."""
        return self._update(documents, sweep=False)

    def search(self, question: str, k: int = 8) -> list[Passage]:
        """The best passages for a question; any text may be one.

        Raises:
            ValueError: ``k`` is less than 1.
            RetrievalError: the database cannot be read, or the embedder failed.
        """
        if k < 1:
            raise ValueError(f"k = {k}: at least one passage must be asked for")
        vector = embedded(self._embedder, [question])[0] if self._embedder else None
        return self._resilient(lambda connection: self._search(connection, question, vector, k))

    def close(self) -> None:
        """Let go of the connection."""
        self._shared.close()

    def _search(self, connection: Connection, question: str, vector: Vector | None, k: int) -> list[Passage]:
        with connection.transaction():  # one state of the documents throughout
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = _lexical(connection, self._collection, question, k if vector is None else max(k, _FUSED))
            if vector is not None and self._embedder is not None:
                near = _nearest(connection, self._collection, self._embedder.name, vector, max(k, _FUSED))
                found = fuse([passage for passage, _ in found], near)[:k]
            return _passages(connection, found)

    def _update(self, documents: Iterable[Document], *, sweep: bool) -> Changes:
        with self._transaction() as connection:
            # one writer of a collection at a time; readers go on with the old state
            connection.execute("SELECT 1 FROM adaptkit_collections WHERE name = %s FOR UPDATE", (self._collection,))
            store = _Store(connection, self._collection, self._embedder)
            return update(store, documents, self._chunking, self._embedder, sweep=sweep)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        self._resilient(lambda connection: connection.execute("SELECT 1"))  # a dropped connection shows here
        with _said_clearly(), self._shared.use() as connection, connection.transaction():
            yield connection

    def _resilient(self, read: Callable[[Connection], T]) -> T:
        """Run what changes nothing, once more on a new connection if the old one turns out to be dropped."""
        with _said_clearly(), self._shared.use() as connection:
            try:
                return read(connection)
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
            return read(self._shared.renew())


class _Store:
    """`Store` over one connection in a transaction."""

    def __init__(self, connection: Connection, collection: str, embedder: Embedder | None) -> None:
        self._connection, self._collection = connection, collection
        self._embedder = embedder.name if embedder else ""
        self._run = connection.execute
        self._run("CREATE TEMP TABLE adaptkit_wanted (id text PRIMARY KEY) ON COMMIT DROP")

    def claim(self, document: str) -> bool:
        return self._run("INSERT INTO adaptkit_wanted VALUES (%s) ON CONFLICT DO NOTHING", (document,)).rowcount == 1

    def digest(self, document: str) -> bytes | None:
        statement = "SELECT digest FROM adaptkit_documents WHERE collection = %s AND id = %s"
        row = self._run(statement, (self._collection, document)).fetchone()
        return None if row is None else bytes(row[0])

    def replace(self, document: str, digest: bytes, passages: Iterable[IndexedPassage]) -> None:
        key = (self._collection, document)
        self._run("DELETE FROM adaptkit_documents WHERE collection = %s AND id = %s", key)
        self._run("INSERT INTO adaptkit_documents VALUES (%s, %s, %s)", (*key, digest))
        statement = """
            INSERT INTO adaptkit_passages (collection, document, position, context, text, words, parts)
            VALUES (%s, %s, %s, %s, %s, %s::tsvector, %s::tsvector) RETURNING id
        """
        for passage in passages:
            chunk, terms = passage.chunk, passage.terms
            row = (*key, chunk.position, chunk.context, chunk.text, _tsvector(terms.words), _tsvector(terms.parts))
            added = self._run(statement, row).fetchone()
            if passage.vector is not None and added is not None:
                self._add_vector(added[0], passage.vector)

    def _add_vector(self, passage: int, vector: Vector) -> None:
        self._index_vectors(len(vector))
        row = (passage, self._collection, self._embedder, _literal(vector))
        self._run("INSERT INTO adaptkit_vectors VALUES (%s, %s, %s, %s::vector)", row)

    def _index_vectors(self, numbers: int) -> None:
        """An index of their own for the vectors of one collection and embedder, so that no filter comes after it."""
        if numbers > _MOST_INDEXED:
            return
        kind = (self._collection, self._embedder, str(numbers))
        name = f"adaptkit_vectors_{hashlib.sha256(chr(0).join(kind).encode()).hexdigest()[:16]}"
        if self._run("SELECT to_regclass(%s)", (name,)).fetchone() != (None,):
            return
        statement = psycopg.sql.SQL(
            "CREATE INDEX {} ON adaptkit_vectors USING hnsw ((vector::vector({})) vector_cosine_ops) "
            "WHERE collection = {} AND embedder = {}"
        ).format(psycopg.sql.Identifier(name), numbers, *map(psycopg.sql.Literal, kind[:2]))
        self._connection.execute(statement)

    def sweep(self) -> int:
        statement = """
            DELETE FROM adaptkit_documents
            WHERE collection = %s AND NOT EXISTS (SELECT 1 FROM adaptkit_wanted w WHERE w.id = adaptkit_documents.id)
        """
        return self._run(statement, (self._collection,)).rowcount

    def passages(self) -> int:
        statement = """
            UPDATE adaptkit_collections SET passages = (SELECT count(*) FROM adaptkit_passages WHERE collection = name)
            WHERE name = %s RETURNING passages
        """
        row = self._run(statement, (self._collection,)).fetchone()
        return 0 if row is None else int(row[0])


def _prepare(connection: Connection, collection: str) -> None:
    """Make the tables, or see that they are ours.

    Raises:
        RetrievalError: a newer adaptkit made them, or the database is not in UTF-8.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    if connection.execute("SHOW server_encoding").fetchone() != ("UTF8",):
        raise RetrievalError("the database is not in UTF-8: make one with ENCODING 'UTF8' and name that")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement.encode())
    insert = "INSERT INTO adaptkit_collections VALUES (%s, %s, 0) ON CONFLICT DO NOTHING"
    connection.execute(insert, (collection, _FORMAT))
    row = connection.execute("SELECT format FROM adaptkit_collections WHERE name = %s", (collection,)).fetchone()
    if row != (_FORMAT,):
        raise RetrievalError(
            f"the collection is of format {row and row[0]}, and this adaptkit knows {_FORMAT}: upgrade"
        )


def _prepare_vectors(connection: Connection) -> None:
    """See that pgvector is there, and make its table.

    Raises:
        UnsupportedError: it is not.
    """
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
        if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone() is None:
            raise UnsupportedError(
                "there is an embedder, and this PostgreSQL server has no pgvector: install it there (Debian: "
                "postgresql-<version>-pgvector), or leave out the embedder"
            )
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(_VECTORS.encode())


def _lexical(connection: Connection, collection: str, question: str, k: int) -> list[tuple[int, float]]:
    (words, parts), beginnings = terms_to_find(question)
    # letters, digits and marks in quotes: nothing in a question is ever read as syntax
    asked = [("words", f"'{word}'") for word in words] + [("words", f"'{start}':*") for start in beginnings]
    asked += [("parts", f"'{part}'") for part in parts]
    kept = _rarest(connection, collection, asked)
    if not kept:
        return []
    values: dict[str, object] = {"collection": collection, "k": k}
    for column, name in (("words", "word"), ("parts", "part")):
        terms = {term: weight for (where, term), weight in kept.items() if where == column}
        values |= {column: list(terms), f"{name}_weights": list(terms.values()), f"any_{name}": " | ".join(terms)}
    return [(int(passage), float(score)) for passage, score in connection.execute(_RANK.encode(), values)]


def _rarest(connection: Connection, collection: str, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The terms to rank by, each with its weight: from the rarest on, while they touch few enough passages."""
    row = connection.execute("SELECT passages FROM adaptkit_collections WHERE name = %s", (collection,)).fetchone()
    total = int(row[0]) if row else 0
    counted: list[tuple[int, tuple[str, str]]] = []
    for column in ("words", "parts"):
        terms = [term for where, term in asked if where == column]
        values = {"collection": collection, "terms": terms, "most": _LOOKED_AT}
        for place, count in connection.execute(_COUNT.format(column=column).encode(), values):
            counted.append((int(count), (column, terms[place - 1])))
    kept: dict[tuple[str, str], float] = {}
    touched = 0
    for count, term in sorted(counted):
        touched += count
        if kept and touched > _LOOKED_AT:
            break
        if count:
            rare = max(math.log((total - count + 0.5) / (count + 0.5)), 1e-6)
            kept[term] = rare * (1.0 if term[0] == "words" else _PARTS_COUNT)
    return kept


def _nearest(connection: Connection, collection: str, embedder: str, vector: Vector, k: int) -> list[int]:
    """Passages by cosine, from the nearest."""
    connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (str(min(k, 1000)),))
    return [int(passage) for (passage,) in connection.execute(_neighbours(collection, embedder, vector, k))]


def _neighbours(collection: str, embedder: str, vector: Vector, k: int) -> psycopg.sql.Composed:
    """Literals, because only those let the planner see that the index of these vectors will do."""
    return psycopg.sql.SQL(
        "SELECT passage FROM adaptkit_vectors WHERE collection = {} AND embedder = {} "
        "ORDER BY vector::vector({numbers}) <=> {}::vector({numbers}) LIMIT {}"
    ).format(*map(psycopg.sql.Literal, (collection, embedder, _literal(vector), k)), numbers=len(vector))


def _passages(connection: Connection, found: Sequence[tuple[int, float]]) -> list[Passage]:
    statement = "SELECT id, text, document, position, context FROM adaptkit_passages WHERE id = ANY(%s)"
    rows: dict[int, Sequence[Any]] = {
        row[0]: row[1:] for row in connection.execute(statement, ([passage for passage, _ in found],))
    }
    made = []
    for passage, score in found:
        text, document, position, context = rows[passage]
        made.append(Passage(text, document, score, position, context))
    return made


def _tsvector(terms: Sequence[str]) -> str:
    """Terms with their places, as PostgreSQL writes them."""
    places: dict[str, list[str]] = {}
    for place, term in enumerate(terms, 1):
        where = places.setdefault(term, [])
        if len(where) < _MOST_PLACES:
            where.append(str(min(place, _MOST_POSITION)))
    return " ".join(f"'{term}':{','.join(where)}" for term, where in places.items())


def _literal(vector: Vector) -> str:
    return f"[{','.join(map(repr, vector))}]"


@contextmanager
def _said_clearly() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        # No cause: psycopg's errors hold the connection, and that the password.
        raise RetrievalError(
            f"the index in PostgreSQL cannot be used: {reason(error)}. See that the server runs, that the URL names "
            "it, and that the role may make tables; what was committed is safe"
        ) from None

"""What every index of documents does alike: find out what changed, cut, embed, count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from adaptkit.errors import DataError, RetrievalError
from adaptkit.retrieval.chunks import Chunk, Chunking, in_context
from adaptkit.retrieval.protocol import Changes, Embedder
from adaptkit.retrieval.terms import Terms, terms_of
from adaptkit.types import Document

__all__ = ["IndexedPassage", "Store", "Vector", "embedded", "update"]

Vector = tuple[float, ...]

_TOGETHER = 64  # texts that are embedded in one call


class IndexedPassage(msgspec.Struct, frozen=True):
    """A passage with all that it is found by."""

    chunk: Chunk
    terms: Terms
    vector: Vector | None


class Store(Protocol):
    """What an index does for `update`, inside one transaction."""

    def claim(self, document: str) -> bool:
        """Note that a document is wanted; ``False`` if it has been before."""
        ...

    def digest(self, document: str) -> bytes | None:
        """What `replace` was told last; ``None`` if the document is not there."""
        ...

    def replace(self, document: str, digest: bytes, passages: Iterable[IndexedPassage]) -> None:
        """Put a document in the place of what was there."""
        ...

    def sweep(self) -> int:
        """Remove the documents that are not wanted, and tell how many."""
        ...

    def passages(self) -> int:
        """How many there are."""
        ...


def update(
    store: Store, documents: Iterable[Document], chunking: Chunking, embedder: Embedder | None, *, sweep: bool
) -> Changes:
    """Bring a store up to date.

    Args:
        store: Where the documents are kept, in a transaction.
        documents: They are read one by one.
        chunking: How they are cut.
        embedder: What makes their vectors, if anything.
        sweep: Whether what is not among the documents goes.

    Raises:
        DataError: a document's text cannot be stored, or an id occurs twice.
        RetrievalError: the embedder did not give what it should.
    """
    settings = f"{chunking.tokens}/{chunking.overlap}/{embedder.name if embedder else ''}".encode()
    waiting = _Waiting(store, embedder)
    added = changed = unchanged = 0
    for document in documents:
        name, digest = _name(document), _digest(document, settings)
        if not store.claim(name):
            raise DataError(f"two documents have the source {name!r}: rename one. Nothing has changed.")
        known = store.digest(name)
        if known == digest:
            unchanged += 1
            continue
        waiting.add(name, digest, list(chunking.chunks(document)))
        added, changed = added + (known is None), changed + (known is not None)
    waiting.flush()
    removed = store.sweep() if sweep else 0
    return Changes(added=added, changed=changed, unchanged=unchanged, removed=removed, passages=store.passages())


class _Waiting:
    """Documents on their way into a store, so many together that an embedder has something to do."""

    def __init__(self, store: Store, embedder: Embedder | None) -> None:
        self._store, self._embedder = store, embedder
        self._documents: list[tuple[str, bytes, list[Chunk]]] = []

    def add(self, document: str, digest: bytes, chunks: list[Chunk]) -> None:
        self._documents.append((document, digest, chunks))
        if sum(len(chunks) for _, _, chunks in self._documents) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        texts = [in_context(chunk.context, chunk.text) for _, _, chunks in self._documents for chunk in chunks]
        vectors = self._vectors(texts)
        for document, digest, chunks in self._documents:
            passages = [
                IndexedPassage(chunk, terms_of(in_context(chunk.context, chunk.text)), next(vectors))
                for chunk in chunks
            ]
            self._store.replace(document, digest, passages)
        self._documents.clear()

    def _vectors(self, texts: Sequence[str]) -> Iterator[Vector | None]:
        for start in range(0, len(texts), _TOGETHER):
            some = texts[start : start + _TOGETHER]
            yield from embedded(self._embedder, some) if self._embedder else [None] * len(some)


def embedded(embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
    """Vectors of length 1, so that their product is the cosine.

    Raises:
        RetrievalError: there are not as many vectors as texts, they differ in length, or one is 0 or not finite.
    """
    vectors = [tuple(map(float, vector)) for vector in embedder.embed(texts)]
    if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
        raise RetrievalError(
            f"the embedder {embedder.name} gave {len(vectors)} vectors of {sorted(set(map(len, vectors)))} numbers for "
            f"{len(texts)} texts: it must give one for each, all of one length"
        )
    return [_unit(vector, embedder) for vector in vectors]


def _unit(vector: Vector, embedder: Embedder) -> Vector:
    length = sum(value * value for value in vector) ** 0.5
    if not 0 < length < float("inf"):
        raise RetrievalError(f"the embedder {embedder.name} gave a vector that is 0 or not finite")
    return tuple(value / length for value in vector)


def _name(document: Document) -> str:
    """What a document is known by.

    Raises:
        DataError: it has no source.
    """
    if not document.source:
        raise DataError(f"the document titled {document.title!r} has no source, by which an index knows it")
    return document.source


def _digest(document: Document, settings: bytes) -> bytes:
    """Changes when the passages would.

    Raises:
        DataError: the text cannot be stored.
    """
    parts = (_name(document), document.title, document.text)
    if any("\0" in part for part in parts):
        raise DataError(f"the document {document.source!r} holds a NUL character: is it a text? Remove it.")
    try:
        return hashlib.sha256(msgspec.json.encode([settings.decode(), *parts])).digest()
    except UnicodeEncodeError:
        raise DataError(
            f"the document {document.source!r} holds one half of a surrogate pair: decode it again."
        ) from None

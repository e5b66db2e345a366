"""What retrieval is to the rest of adaptkit: something that finds passages for a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from adaptkit.retrieval.chunks import in_context
from adaptkit.types import Document

__all__ = ["Changes", "DocumentIndex", "Embedder", "Passage", "Retriever"]


class Passage(msgspec.Struct, frozen=True):
    """A piece of a document that was found.

    Attributes:
        text: As it stands in the document.
        source: Id of the document.
        score: Higher is better. Comparable within one search only.
        position: Where it begins in the document, in characters.
        context: Title and headings above it.
    """

    text: str
    source: str
    score: float
    position: int
    context: str = ""

    def __str__(self) -> str:
        """What a model should read: the passage below its headings."""
        return in_context(self.context, self.text)


@runtime_checkable
class Retriever(Protocol):
    """What the prompt backend asks: all that a search engine of one's own must be able to do."""

    def search(self, question: str, k: int = 8) -> list[Passage]:
        """The ``k`` best passages, best first; fewer where fewer have anything in common with the question."""
        ...


class DocumentIndex(Retriever, Protocol):
    """A retriever that keeps documents. Those that have not changed are not indexed again.

    A change happens whole or not at all, also if the process is killed.
    """

    def sync(self, documents: Iterable[Document]) -> Changes:
        """Hold exactly these documents: new and changed ones are indexed, others go."""
        ...

    def add(self, documents: Iterable[Document]) -> Changes:
        """Hold these documents too; one with an id that is there takes its place."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `sync` or `add` did, in documents; `passages` is how many the index holds now."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0


@dataclass(frozen=True)
class Embedder:
    """A way to turn texts into vectors, such as a model on this machine.

    Attributes:
        name: Of the model and its version. Under another name everything is embedded again.
        embed: Texts to vectors of one length, in order. What it sends where is its own affair: the egress rule does
            not reach into it.
    """

    name: str
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]]

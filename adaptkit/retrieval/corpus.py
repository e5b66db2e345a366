"""Whether documents are to be searched at all: few enough stand in the prompt whole, and are cached there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adaptkit.retrieval.chunks import estimated_tokens
from adaptkit.types import Document

__all__ = ["WHOLE_UNDER", "CorpusSize", "corpus_size"]

#: Estimated tokens under which all of it goes into the prompt: anthropic.com/engineering/contextual-retrieval.
WHOLE_UNDER = 200_000


@dataclass(frozen=True)
class CorpusSize:
    """How much a corpus is. ``print(size)`` shows it with the advice.

    Attributes:
        documents: How many.
        tokens: Estimated; see `adaptkit.retrieval.chunks.estimated_tokens`.
        reads: Tokens that the model reads at most, where known.
    """

    documents: int
    tokens: int
    reads: int | None = None

    @property
    def fits_whole(self) -> bool:
        """Whether all of it in the cached prompt is better than searching: it is small, and leaves half of the room."""
        return self.tokens < WHOLE_UNDER and (self.reads is None or self.tokens <= self.reads // 2)

    def __str__(self) -> str:
        size = f"{self.documents:,} documents, about {self.tokens:,} tokens"
        if self.fits_whole:
            return f"{size}: put all of it into the cached prompt; nothing can be missed then"
        if self.tokens < WHOLE_UNDER:
            return f"{size}: more than half of the {self.reads:,} that the model reads; search it"
        return f"{size}: more than {WHOLE_UNDER:,}; search it"


def corpus_size(documents: Iterable[Document], reads: int | None = None) -> CorpusSize:
    """Measure documents, one by one.

    Args:
        documents: The corpus.
        reads: Tokens that the model reads at most, where known.

    Raises:
        DataError: a document cannot be read.
    """
    count = tokens = 0
    for document in documents:
        count += 1
        tokens += estimated_tokens(document.text) + estimated_tokens(document.title)
    return CorpusSize(count, tokens, reads)

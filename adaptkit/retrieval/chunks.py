"""Documents to passages: cut where the text itself has joints, each with the headings that it stands under.

A passage is a slice of the text, never rewritten. It ends at the end of a section, else of a paragraph, a sentence, a
line, a word; for scripts without spaces at the end of a character. The same text gives the same passages.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from adaptkit.errors import ConfigError
from adaptkit.retrieval.terms import characters
from adaptkit.types import Document

__all__ = ["BYTES_PER_TOKEN", "Chunk", "Chunking", "estimated_tokens", "in_context"]

#: As everywhere in adaptkit: right within a fifth or so for English, further off elsewhere.
BYTES_PER_TOKEN = 4
_MOST_TOKENS = 8_192  # more is no passage, and more than PostgreSQL holds the terms of

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_PARAGRAPH = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
#: Where a part may end, from the best place to the worst: after a sentence, a line, a word.
_JOINTS = (
    re.compile(r"(?<=[.!?…؟۔])[\"'»”’)\]]*\s+|(?<=[。！？।॥။៕។｡])[」』”’）]*\s*"),
    re.compile(r"\n"),
    re.compile(r"\s+"),
)

_Span: TypeAlias = tuple[int, int]


def estimated_tokens(text: str) -> int:
    """About how many tokens a model reads in a text."""
    return -(-_bytes(text) // BYTES_PER_TOKEN)


def in_context(context: str, text: str) -> str:
    """A passage below its headings, as it is searched and read: without them it often doesn't say what it is about."""
    return f"{context}\n\n{text}" if context else text


@dataclass(frozen=True)
class Chunk:
    """A passage before it is indexed.

    Attributes:
        text: A slice of the document.
        context: Title and headings above it, from the outermost: ``Handbook › Parcels › Customs``.
        position: Where it begins in the document, in characters.
    """

    text: str
    context: str
    position: int


@dataclass(frozen=True)
class Chunking:
    """How long passages are.

    Attributes:
        tokens: Most estimated tokens of a passage, without its context.
        overlap: Estimated tokens of whole sentences that are repeated from the end of the passage before, at most.
    """

    tokens: int = 400
    overlap: int = 50

    def __post_init__(self) -> None:
        if not 16 <= self.tokens <= _MOST_TOKENS or not 0 <= self.overlap <= self.tokens // 2:
            raise ConfigError(
                f"passages of {self.tokens} tokens that overlap by {self.overlap}: tokens is 16 to {_MOST_TOKENS:,}, "
                "and overlap at most half of it"
            )

    def chunks(self, document: Document) -> Iterator[Chunk]:
        """The passages of a document in order; none where it holds no text."""
        for headings, start, end in _sections(document.text):
            path = [part for part in (document.title, *headings) if part]
            context = " › ".join(part for at, part in enumerate(path) if part not in path[:at])
            for first, last in self._spans(document.text, start, end):
                text = document.text[first:last]
                lead = len(text) - len(text.lstrip())
                if text := text.strip():
                    yield Chunk(text, context, first + lead)

    def _spans(self, text: str, start: int, end: int) -> Iterator[_Span]:
        """Where the passages of a section are. From half its length on, one would rather end with a paragraph."""
        limit = self.tokens * BYTES_PER_TOKEN
        passage = _Passage(limit, self.overlap * BYTES_PER_TOKEN)
        for first, last in _split(text, (start, end), _PARAGRAPH):
            if passage.size > limit // 2 and not passage.takes(_bytes(text[first:last])):
                yield passage.end()
            for piece in _pieces(text, (first, last), limit):
                length = _bytes(text[slice(*piece)])
                if not passage.takes(length):
                    yield passage.end()
                passage.add(piece, length)
        if passage.new:
            yield passage.end()


class _Passage:
    """A passage that grows by neighbouring pieces; when it ends, its last ones begin the next."""

    def __init__(self, limit: int, overlap: int) -> None:
        self._limit, self._overlap = limit, overlap
        self._pieces: deque[tuple[_Span, int]] = deque()
        self.size = 0
        self.new = False  # whether it holds more than what the one before ended with

    def takes(self, length: int) -> bool:
        """Whether a piece of this length may be added; what is repeated makes room for it."""
        return not self.new or self.size + length <= self._limit

    def add(self, piece: _Span, length: int) -> None:
        if not self.new:
            self._shorten(self._limit - length)
        self._pieces.append((piece, length))
        self.size += length
        self.new = True

    def end(self) -> _Span:
        span = self._pieces[0][0][0], self._pieces[-1][0][1]
        self._shorten(self._overlap)
        self.new = False
        return span

    def _shorten(self, most: int) -> None:
        while self._pieces and self.size > most:
            self.size -= self._pieces.popleft()[1]


def _sections(text: str) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Parts of a text that stand under one heading, their heading with them, and the headings that hold there."""
    path: list[tuple[int, str]] = []
    start = body = at = 0
    fence: str | None = None
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        heading = None if fence or mark else _HEADING.match(line.rstrip("\r\n"))
        if mark and fence is None:
            fence = mark[1]
        elif mark and fence and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = None
        if heading:
            level = len(heading[1])
            # a heading with nothing of its own lives on in the passages of those below it
            if text[body:at].strip() or not path or path[-1][0] >= level:
                yield tuple(name for _, name in path), start, at
            path = [above for above in path if above[0] < level] + [(level, heading[2])]
            start, body = at, at + len(line)
        at += len(line)
    yield tuple(name for _, name in path), start, len(text)


def _split(text: str, span: _Span, joint: re.Pattern[str]) -> Iterator[_Span]:
    """Parts that follow each other without a gap; each ends behind a joint."""
    start, end = span
    for match in joint.finditer(text, start, end):
        if start < match.end() < end:
            yield start, match.end()
            start = match.end()
    if start < end:
        yield start, end


def _pieces(text: str, span: _Span, limit: int, level: int = 0) -> Iterator[_Span]:
    """Sentences; of one that is too long its lines, of such a line its words, of such a word its characters."""
    for piece in _split(text, span, _JOINTS[level]):
        if _bytes(text[slice(*piece)]) <= limit:
            yield piece
        elif level + 1 < len(_JOINTS):
            yield from _pieces(text, piece, limit, level + 1)
        else:
            at = piece[0]
            for sign in characters(text[slice(*piece)]):
                yield at, at + len(sign)
                at += len(sign)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

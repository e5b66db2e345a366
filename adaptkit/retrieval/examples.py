"""Examples for a question: the training rows that are most like it, found as passages are.

A row whose question is held out is never one, however it was answered.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Self

from adaptkit.data.conversations import Conversation, conversation_of, digest, question_digests, question_of
from adaptkit.data.records import Record
from adaptkit.retrieval.protocol import DocumentIndex
from adaptkit.retrieval.term_table import TermTable, require_fts5
from adaptkit.retrieval.terms import terms_of
from adaptkit.types import Document, Message

__all__ = ["SimilarExamples"]

_WIDER = 8  # times as many rows are looked at where they are to be spread over the answers
_MOST_CHARACTERS = 8_000  # of a question in an index, so that it is one passage


class SimilarExamples:
    """Training rows, ready to be asked for those that are like a question.

    Without an index everything is in memory. Threads may share one.

    Args:
        conversations: Questions with their answers, such as those that a model's file holds; equal ones count once.
        apart: Digests of questions that must not be examples.
        index: What finds likeness instead of words alone, such as an index with an embedder. It holds these questions
            and no others afterwards; those that it has held before are not embedded again. It is closed with this.

    Raises:
        UnsupportedError: this Python's SQLite has no FTS5.
        RetrievalError: the index cannot be written, or its embedder failed.
    """

    def __init__(
        self,
        conversations: Iterable[Conversation],
        apart: Collection[bytes] = (),
        *,
        index: DocumentIndex | None = None,
    ) -> None:
        self._rows: list[Conversation] = []
        self._answers: list[bytes] = []
        seen: set[bytes] = set()
        for turns in conversations:
            row = digest(turns)
            if row in seen or digest(question_of(turns)) in apart:
                continue
            seen.add(row)
            self._rows.append(turns)
            self._answers.append(digest(turns[-1:]))
        texts = [_text(question_of(turns)) for turns in self._rows]
        self._finder = _Words(texts) if index is None else _Indexed(index, texts)
        # what stands in when too few rows have anything in common with a question: the same ones every time
        self._others = sorted(range(len(self._rows)), key=lambda at: digest(self._rows[at]))

    @classmethod
    def of(cls, rows: Iterable[Record], held_out: Iterable[Record] = ()) -> Self:
        """From training rows; those that are no conversations of text are left out.

        Args:
            rows: Training rows.
            held_out: Rows whose questions must not be examples.
        """
        conversations = (turns for row in rows if (turns := conversation_of(row)) is not None)
        return cls(conversations, question_digests(held_out))

    def __len__(self) -> int:
        return len(self._rows)

    def choose(self, question: str | Sequence[Message], k: int, *, spread: bool = False) -> tuple[Conversation, ...]:
        """Examples for a question, the likest last, where it stands next to the question.

        Args:
            question: A text, or the conversation so far.
            k: How many. Where fewer rows have anything in common with it, others stand in; fewer come back only where
                there are fewer rows.
            spread: Deal them out over the different answers: the likest row of each answer first, then the second of
                each. For a small set of labels.
        """
        if k < 1:
            return ()
        text = question if isinstance(question, str) else _text(question)
        ranked = self._finder.find(text, k * _WIDER if spread else k)
        if spread:
            ranked = self._dealt(ranked)
        if len(ranked) < k:
            known = set(ranked)
            ranked += [number for number in self._others if number not in known]
        return tuple(self._rows[number] for number in reversed(ranked[:k]))

    def _dealt(self, ranked: list[int]) -> list[int]:
        turns: dict[bytes, int] = {}
        order: list[tuple[int, int]] = []
        for place, number in enumerate(ranked):
            turn = turns[self._answers[number]] = turns.get(self._answers[number], -1) + 1
            order.append((turn, place))
        return [ranked[place] for _, place in sorted(order)]

    def close(self) -> None:
        """Let go of the memory."""
        self._finder.close()


class _Words:
    """Finds rows by what words they share with a question."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        require_fts5(self._connection)
        self._terms = TermTable(self._connection)
        self._connection.execute("BEGIN")
        self._terms.create((number, terms_of(text)) for number, text in enumerate(texts))
        self._connection.execute("COMMIT")

    def find(self, question: str, k: int) -> list[int]:
        """Numbers of rows, the likest first."""
        with self._lock:
            return [number for number, _ in self._terms.find(question, k)]

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()


class _Indexed:
    """Finds rows as an index finds documents."""

    def __init__(self, index: DocumentIndex, texts: Sequence[str]) -> None:
        self._index = index
        documents: dict[str, Document] = {}
        self._numbers: dict[str, list[int]] = {}  # rows that ask the same are found together
        for number, text in enumerate(texts):
            line = _line(text)
            source = hashlib.sha256(line.encode()).hexdigest()
            self._numbers.setdefault(source, []).append(number)
            documents[source] = Document(source=source, text=line)
        index.sync(documents.values())

    def find(self, question: str, k: int) -> list[int]:
        """Numbers of rows, the likest first."""
        found = self._index.search(question, k)
        return [number for passage in found for number in self._numbers[passage.source]][:k]

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()


def _line(text: str) -> str:
    """A text that an index takes for one passage, without headings."""
    plain = text.replace("\0", " ").encode(errors="replace").decode()
    return " ".join(plain.split()).lstrip("# ")[:_MOST_CHARACTERS]


def _text(turns: Sequence[Message]) -> str:
    return "\n".join(turn.text for turn in turns if turn.role not in ("system", "developer"))

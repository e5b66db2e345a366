"""Examples for a question: the training rows that are most like it, found as passages are.

A row whose question is held out is never one, however it was answered.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Self

from adaptkit.data.conversations import Conversation, conversation_of, digest, question_digests, question_of
from adaptkit.data.records import Record
from adaptkit.retrieval.term_table import TermTable, require_fts5
from adaptkit.retrieval.terms import terms_of
from adaptkit.types import Message

__all__ = ["SimilarExamples"]

_WIDER = 8  # times as many rows are looked at where they are to be spread over the answers


class SimilarExamples:
    """Training rows, ready to be asked for those that are like a question.

    Everything is in memory. Threads may share one.

    Args:
        conversations: Questions with their answers, such as those that a model's file holds; equal ones count once.
        apart: Digests of questions that must not be examples.

    Raises:
        UnsupportedError: this Python's SQLite has no FTS5.
    """

    def __init__(self, conversations: Iterable[Conversation], apart: Collection[bytes] = ()) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        require_fts5(self._connection)
        self._rows: list[Conversation] = []
        self._answers: list[bytes] = []
        self._terms = TermTable(self._connection)
        self._connection.execute("BEGIN")
        self._terms.create()
        seen: set[bytes] = set()
        for turns in conversations:
            question, row = question_of(turns), digest(turns)
            if row in seen or digest(question) in apart:
                continue
            seen.add(row)
            self._terms.add(len(self._rows), terms_of(_text(question)))
            self._rows.append(turns)
            self._answers.append(digest(turns[-1:]))
        self._connection.execute("COMMIT")
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
        with self._lock:
            found = self._terms.find(text, k * _WIDER if spread else k)
        ranked = [number for number, _ in found]
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
        self._connection.close()


def _text(turns: Sequence[Message]) -> str:
    return "\n".join(turn.text for turn in turns if turn.role not in ("system", "developer"))

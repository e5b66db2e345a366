"""Rows as conversations: a question and its answer. What is the same question is said here once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from adaptkit.data.records import ChatRecord, CompletionRecord, Record
from adaptkit.types import Message

__all__ = ["Conversation", "conversation_of", "digest", "question_digests", "question_of"]

Conversation: TypeAlias = tuple[Message, ...]


def conversation_of(record: Record) -> Conversation | None:
    """A row as turns of text that end with an answer; ``None`` where it is something else."""
    if isinstance(record, CompletionRecord):
        return (Message(role="user", content=record.prompt), Message(role="assistant", content=record.completion))
    if not isinstance(record, ChatRecord) or record.tools or not record.messages:
        return None
    plain = all(isinstance(turn.content, str) and turn.role != "tool" for turn in record.messages)
    if not plain or record.messages[-1].role != "assistant" or any(turn.tool_calls for turn in record.messages):
        return None
    return tuple(msgspec.structs.replace(turn, weight=None) for turn in record.messages)


def question_of(turns: Conversation) -> Conversation:
    """What stands before the answer, without the system message."""
    return tuple(turn for turn in turns[:-1] if turn.role not in ("system", "developer"))


def digest(turns: Conversation, salt: bytes = b"") -> bytes:
    """A hash of turns; another salt gives another order."""
    return hashlib.sha256(salt + msgspec.json.encode(turns)).digest()


def question_digests(rows: Iterable[Record]) -> set[bytes]:
    """The questions of rows, to keep what asks the same out of the examples."""
    return {digest(question_of(turns)) for row in rows if (turns := conversation_of(row)) is not None}

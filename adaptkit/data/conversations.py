"""Rows as conversations: a question and its answer. What is the same question is said here once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from adaptkit.data.records import ChatRecord, CompletionRecord, Record
from adaptkit.types import AudioPart, Message

__all__ = ["Conversation", "conversation_of", "digest", "question_digests", "question_of"]

Conversation: TypeAlias = tuple[Message, ...]


def conversation_of(record: Record, *, rich: bool = False) -> Conversation | None:
    """A row as turns that end with an answer in text; ``None`` where it is something else.

    Args:
        record: The row.
        rich: Whether turns before the answer may hold images, calls of tools and their results.
    """
    if isinstance(record, CompletionRecord):
        return (Message(role="user", content=record.prompt), Message(role="assistant", content=record.completion))
    if not isinstance(record, ChatRecord) or not record.messages or (record.tools and not rich):
        return None
    last = record.messages[-1]
    if last.role != "assistant" or last.tool_calls or not isinstance(last.content, str):
        return None
    if not all(_fits(turn, rich=rich) for turn in record.messages):
        return None
    return tuple(msgspec.structs.replace(turn, weight=None) for turn in record.messages)


def _fits(turn: Message, *, rich: bool) -> bool:
    if not rich:
        return isinstance(turn.content, str) and turn.role != "tool" and not turn.tool_calls
    return not isinstance(turn.content, tuple) or not any(isinstance(part, AudioPart) for part in turn.content)


def question_of(turns: Conversation) -> Conversation:
    """What stands before the answer, without the system message."""
    return tuple(turn for turn in turns[:-1] if turn.role not in ("system", "developer"))


def digest(turns: Conversation, salt: bytes = b"") -> bytes:
    """A hash of turns; another salt gives another order."""
    return hashlib.sha256(salt + msgspec.json.encode(turns)).digest()


def question_digests(rows: Iterable[Record], *, rich: bool = False) -> set[bytes]:
    """The questions of rows, to keep what asks the same out of the examples."""
    return {digest(question_of(turns)) for row in rows if (turns := conversation_of(row, rich=rich))}

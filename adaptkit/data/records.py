"""The canonical records: what every format is read into and written from.

Text is kept as it came, character by character. A message whose content is a list holding one text part is that text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from adaptkit.types import Message, TextPart

__all__ = ["ChatRecord", "CompletionRecord", "PreferenceRecord", "Record", "TextRecord", "canonical", "turns_of"]


class ChatRecord(msgspec.Struct, frozen=True, tag="chat", tag_field="kind"):
    """A conversation to learn from.

    ``tools`` are JSON objects as OpenAI writes them (``{"type": "function", "function": {…}}``); ``extra`` holds the
    other keys of the row, which graders read.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    parallel_tool_calls: bool | None = None
    extra: Mapping[str, Any] = {}

    kind: ClassVar[str] = "chat"


class PreferenceRecord(msgspec.Struct, frozen=True, tag="preference", tag_field="kind"):
    """A prompt with the answer that is wanted and the one that is not."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    parallel_tool_calls: bool | None = None
    extra: Mapping[str, Any] = {}

    kind: ClassVar[str] = "preference"


class CompletionRecord(msgspec.Struct, frozen=True, tag="completion", tag_field="kind"):
    """A prompt and how it goes on, with no chat around them."""

    prompt: str
    completion: str
    extra: Mapping[str, Any] = {}

    kind: ClassVar[str] = "completion"


class TextRecord(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Plain text, for continued pre-training."""

    text: str
    extra: Mapping[str, Any] = {}

    kind: ClassVar[str] = "text"


Record = ChatRecord | PreferenceRecord | CompletionRecord | TextRecord

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(record: Record) -> bytes:
    """The record as one line of JSON that depends on nothing but its content: no newline, keys in a fixed order."""
    return _encoder.encode(record)


def turns_of(record: Record) -> tuple[Message, ...]:
    """Every message of a record in order; none for completions and text."""
    if isinstance(record, ChatRecord):
        return record.messages
    if isinstance(record, PreferenceRecord):
        return record.prompt + record.chosen + record.rejected
    return ()


def single_text(content: str | tuple[Any, ...] | None) -> str | tuple[Any, ...] | None:
    """Content with a lone text part replaced by its text: the canonical form."""
    if isinstance(content, tuple) and len(content) == 1 and isinstance(content[0], TextPart):
        return content[0].text
    return content

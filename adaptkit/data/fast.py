"""The fast lane: plain chat rows, judged a block at a time after one typed decoder.

Most files hold nothing but text turns. A block in which every row does is taken as a whole; any other block, and any
block that could hide a key that stands twice, goes through `RowReader` row by row, which gives the same records and
says what is wrong. The two lanes agree by a property test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from adaptkit.data.formats import SHAPES
from adaptkit.data.problems import Finding
from adaptkit.data.reading import JsonLines, lines_of
from adaptkit.data.records import ChatRecord, Record
from adaptkit.data.rows import RowReader
from adaptkit.types import Message

__all__ = ["Conversation", "PlainRole", "PlainTurn", "decode_plain", "records"]


PlainRole = Literal["system", "developer", "user", "assistant"]


class PlainTurn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A turn of plain text."""

    role: PlainRole
    content: Annotated[str, msgspec.Meta(min_length=1)]


Conversation = tuple[PlainTurn, ...]


class _PlainRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A row of nothing but plain turns."""

    messages: Annotated[Conversation, msgspec.Meta(min_length=1)]


_decode = msgspec.json.Decoder(_PlainRow).decode


def decode_plain(block: bytes, reader: RowReader) -> list[Conversation] | None:
    """The turns of each row of whole lines if all rows are plain and nothing about them is odd, else ``None``."""
    if not reader.accepts(_OPENAI):
        return None
    try:
        rows = [row.messages for row in map(_decode, lines_of(block))]  # line by line, so that line numbers are true
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None
    if _a_key_twice(block, sum(map(len, rows))):
        return None
    reader.settle(_OPENAI)
    return rows


def records(source: JsonLines, reader: RowReader) -> Iterator[tuple[int, Record | None, list[Finding]]]:
    """Every row of a file with its line number: a record, or what is wrong with it. Blank lines are left out."""
    line = 0
    for block in source.blocks():
        plain = None if block is None else decode_plain(block, reader)
        if plain is not None:
            for line, row in enumerate(plain, line + 1):  # noqa: B020 - goes on counting
                yield line, _record(row), []
            continue
        for raw in (None,) if block is None else lines_of(block):
            line += 1
            if raw is None or (raw and not raw.isspace()):
                yield line, *reader.read(raw)


def _record(turns: Conversation) -> ChatRecord:
    return ChatRecord(messages=tuple([Message(role=turn.role, content=turn.content) for turn in turns]))


def _a_key_twice(block: bytes, turns: int) -> bool:
    """Whether a key stands twice, or nothing can be said.

    A quote, a colon and a quote follow one another only where a key has a string for its value (a quote inside a
    string is escaped), which is twice a turn. Counting that costs a tenth of the decoding.
    """
    spaced = block.count(b'": "')
    return spaced != 2 * turns and spaced + block.count(b'":"') != 2 * turns


_OPENAI = SHAPES["openai"]

"""The fast lane: plain chat rows, decoded a block at a time by one typed decoder.

Most files hold nothing but text turns. A block in which every row does is decoded in one call; any other block, and
any block that could hide something (a key twice, two rows on a line), goes through `RowReader` row by row, which gives
the same records and says what is wrong. The two lanes agree by a property test.
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

__all__ = ["PlainRole", "PlainRow", "PlainTurn", "decode_plain", "records"]


PlainRole = Literal["system", "developer", "user", "assistant"]


class PlainTurn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A turn of plain text."""

    role: PlainRole
    content: str


class PlainRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A row of nothing but plain turns."""

    messages: Annotated[tuple[PlainTurn, ...], msgspec.Meta(min_length=1)]


_decoder = msgspec.json.Decoder(PlainRow)


def decode_plain(block: bytes, reader: RowReader) -> list[PlainRow] | None:
    """The rows of a block of whole lines if all of them are plain and nothing about them is odd, else ``None``."""
    if not reader.accepts(_OPENAI):
        return None
    try:
        rows = _decoder.decode_lines(block)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None
    if not _one_row_a_line(block, len(rows)) or _a_key_twice(block, sum([len(row.messages) for row in rows])):
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


def _record(row: PlainRow) -> ChatRecord:
    return ChatRecord(messages=tuple([Message(role=turn.role, content=turn.content) for turn in row.messages]))


def _one_row_a_line(block: bytes, rows: int) -> bool:
    """Whether there are as many newlines as rows; finding them one by one costs less than counting."""
    position = -1
    for _ in range(rows):
        position = block.find(b"\n", position + 1)
        if position < 0:
            return False
    return position == len(block) - 1


def _a_key_twice(block: bytes, turns: int) -> bool:
    """Whether a key stands twice, or nothing can be said.

    A quote, a colon and a quote follow one another only where a key has a string for its value (a quote inside a
    string is escaped), which is twice a turn. Counting that costs a tenth of the decoding.
    """
    spaced = block.count(b'": "')
    return spaced != 2 * turns and spaced + block.count(b'":"') != 2 * turns


_OPENAI = SHAPES["openai"]

"""Every row of a file: blocks of plain rows as blocks, others through `RowReader` row by row."""

from __future__ import annotations

from collections.abc import Iterator

from adaptkit.data.blocks import Conversation, PlainBlock, plain_block
from adaptkit.data.formats import SHAPES
from adaptkit.data.problems import Finding
from adaptkit.data.reading import JsonLines, lines_of
from adaptkit.data.records import ChatRecord, Record
from adaptkit.data.rows import RowReader
from adaptkit.types import Message

__all__ = ["decode_plain", "records"]


def decode_plain(block: bytes, reader: RowReader) -> PlainBlock | None:
    """What whole lines hold if all rows are plain and may come next, else ``None``."""
    found = plain_block(block) if reader.accepts(_OPENAI) else None
    if found is not None:
        reader.settle(_OPENAI)
    return found


def records(source: JsonLines, reader: RowReader) -> Iterator[tuple[int, Record | None, list[Finding]]]:
    """Every row of a file with its line number: a record, or what is wrong with it. Blank lines are left out."""
    line = 0
    for block in source.blocks():
        plain = None if block is None else decode_plain(block, reader)
        if plain is not None:
            for line, row in enumerate(plain.rows, line + 1):  # noqa: B020 - goes on counting
                yield line, _record(row), []
            continue
        for raw in (None,) if block is None else lines_of(block):
            line += 1
            if raw is None or (raw and not raw.isspace()):
                yield line, *reader.read(raw)


def _record(turns: Conversation) -> ChatRecord:
    return ChatRecord(messages=tuple([Message(role=turn.role, content=turn.content) for turn in turns]))


_OPENAI = SHAPES["openai"]

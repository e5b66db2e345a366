"""Blocks of plain rows, taken as a whole: what can be said of all at once costs little of each.

Plain rows hold text turns and nothing else; most files do. What is said here must be what `RowReader` and `Tally` say
row by row: a property test holds them together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain, filterfalse
from operator import add
from typing import Annotated, Literal

import msgspec

from adaptkit.data.reading import lines_of

__all__ = ["Conversation", "PlainBlock", "PlainRole", "PlainTurn", "plain_block"]


PlainRole = Literal["system", "developer", "user", "assistant"]
_ROLES: tuple[PlainRole, ...] = ("user", "assistant", "system", "developer")  # the most frequent first


class PlainTurn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A turn of plain text."""

    role: PlainRole
    content: Annotated[str, msgspec.Meta(min_length=1)]


Conversation = tuple[PlainTurn, ...]


class _PlainRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A row of nothing but plain turns."""

    messages: Annotated[Conversation, msgspec.Meta(min_length=1)]


class PlainBlock(msgspec.Struct, frozen=True):
    """Plain rows, one or more.

    Attributes:
        rows: Their turns.
        turns: How many each has.
        characters: How long the text of each is.
        roles: Turns by role.
        last: Roles that rows end with.
        text_bytes: Bytes of all text in UTF-8.
    """

    rows: list[Conversation]
    turns: list[int]
    characters: list[int]
    roles: Mapping[PlainRole, int]
    last: frozenset[PlainRole]
    text_bytes: int


_decode = msgspec.json.Decoder(_PlainRow).decode
_UNICODE_ESCAPE = re.compile(
    rb"\\u"
)  # runs at memory speed, from backslash to backslash; `in` takes several times as long


def plain_block(block: bytes) -> PlainBlock | None:
    """What whole lines hold if each is a plain row and nothing about them is odd, else ``None``."""
    try:  # line by line, because `decode_lines` takes two rows on one line
        _decode(block[: block.find(b"\n") + 1] or block)  # soon told where no row is plain
        rows = [row.messages for row in map(_decode, lines_of(block))]
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None
    if not rows:
        return None
    flat = list(chain.from_iterable(rows))
    texts = [turn.content for turn in flat]
    text = "".join(texts)
    escapes = _UNICODE_ESCAPE.search(block) is not None
    if escapes and b"\\u0022" in block:  # a quote that the next line would not count
        return None
    if block.count(b'"') != 2 * len(rows) + 8 * len(flat) + text.count('"'):
        return None  # a key stands twice
    beyond_ascii = _beyond_ascii(texts) if escapes else len(block) - len(block.decode())
    turns = list(map(len, rows))
    roles = [turn.role for turn in flat]
    if turns.count(turns[0]) == len(rows) and roles == roles[: turns[0]] * len(rows):  # all alike, as in most files
        counts, last = _counts(roles[: turns[0]], len(rows)), frozenset([rows[0][-1].role])
        characters = _sums(list(map(len, texts)), turns[0])
    else:
        counts, last = _counts(roles), frozenset([row[-1].role for row in rows])
        characters = _characters(rows)
    return PlainBlock(rows, turns, characters, counts, last, len(text) + beyond_ascii)


def _counts(roles: list[PlainRole], times: int = 1) -> dict[PlainRole, int]:
    return {role: count * times for role in _ROLES if (count := roles.count(role))}


def _sums(lengths: list[int], width: int) -> list[int]:
    """The sums of every ``width`` lengths."""
    sums = lengths[::width]
    for column in range(1, width):
        sums = list(map(add, sums, lengths[column::width]))
    return sums


def _characters(rows: list[Conversation]) -> list[int]:
    characters = []
    for row in rows:  # a loop, because a sum of a list each is twice as slow for a few turns
        length = 0
        for turn in row:
            length += len(turn.content)
        characters.append(length)
    return characters


def _beyond_ascii(texts: list[str]) -> int:
    """How many more bytes than characters the texts have in UTF-8."""
    others = "".join(filterfalse(str.isascii, texts))
    return len(others.encode()) - len(others)

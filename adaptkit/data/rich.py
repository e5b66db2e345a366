"""Rows with tools, calls, names or weights, a block at a time.

Each line is decoded once. One encoding of all of them then proves that no key stood twice, and is what equal rows are
told by. A row with anything to say about it, or with something that this page does not know, is left to `RowReader`
and the rules: a property test holds the ways together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from adaptkit.data.blocks import Conversation, PlainTurn
from adaptkit.data.parsing import MAX_DEPTH, RowFault, brackets, check_depth
from adaptkit.data.records import ChatRecord, Record
from adaptkit.types import Role

__all__ = ["Content", "RichBlock", "content_of", "rich_block"]

_NO_TOOLS = Raw(b"")


class _Function(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    arguments: str | dict[str, Any]


class _Call(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    function: _Function
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class _Turn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Role
    content: str | UnsetType | None = UNSET
    name: str | UnsetType = UNSET
    tool_calls: Annotated[list[_Call], msgspec.Meta(min_length=1)] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    weight: Literal[0, 1] | UnsetType = UNSET


class _Row(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    messages: Annotated[list[_Turn], msgspec.Meta(min_length=1)]
    tools: Raw = _NO_TOOLS
    parallel_tool_calls: bool | UnsetType = UNSET


class _Tools(msgspec.Struct, frozen=True):
    """The tools of a row: their names, how their content is written, and the quotes that they and their key have."""

    names: frozenset[str]
    content: bytes
    quotes: int


#: A row in the one way in which its content is written: all but its tools, and its tools.
Content = tuple[bytes, bytes]


class RichBlock(msgspec.Struct, frozen=True):
    """Rows of a block that there is nothing to say about.

    Attributes:
        taken: For each line of the block, whether its row is among them.
        turns: How many turns each has.
        characters: How long the text of each is.
        roles: The role of every turn.
        text_bytes: Bytes of all text in UTF-8.
        plain: Those that are nothing but plain turns.
        contents: What the others hold.
    """

    taken: list[bool]
    turns: list[int]
    characters: list[int]
    roles: list[Role]
    text_bytes: int
    plain: list[Conversation]
    contents: list[Content]


_decode = msgspec.json.Decoder(_Row).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_tools = msgspec.json.Decoder(Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]).decode
_encoder = msgspec.json.Encoder(order="deterministic")
_encode = _encoder.encode
_QUOTE_BY_NUMBER = re.compile(rb"\\u0022")
_AROUND = 8  # levels of the row around tools and arguments, at most
_SHALLOW = MAX_DEPTH - _AROUND


class _Odd(Exception):
    """There is something to say about the row, or it is not known here."""


_LOOK_CLOSER = (_Odd, RowFault, msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


def rich_block(block: bytes, lines: Sequence[bytes], *, needs_answer: bool) -> RichBlock | None:
    """What can be taken of a block, ``None`` for nothing.

    Args:
        block: The block.
        lines: Its lines.
        needs_answer: Whether a conversation must end with the turn to learn.
    """
    if _QUOTE_BY_NUMBER.search(block) is not None:  # a quote that would not be counted
        return None
    found = [_row(line, needs_answer) for line in lines]
    good = [each for each in found if each is not None]
    if not good:
        return None
    rows = [row for row, _, _ in good]
    again = _encoder.encode_lines(rows)
    taken = [each is not None for each in found]
    there = block if all(taken) else b"".join(compress(lines, taken))
    if there.count(b'"') != again.count(b'"') + sum([fewer for _, _, fewer in good]):
        return None  # a key stands twice
    texts = [[turn.content or "" for turn in row.messages] for row in rows]
    whole = list(map("".join, texts))
    written = zip(good, again.splitlines(), strict=True)
    return RichBlock(
        taken=taken,
        turns=list(map(len, texts)),
        characters=list(map(len, whole)),
        roles=[turn.role for row in rows for turn in row.messages],
        text_bytes=len("".join(whole).encode()),
        plain=[_plain(row) for row, tools, _ in good if tools is None],
        contents=[(content, tools) for (_, tools, _), content in written if tools is not None],
    )


def content_of(record: Record) -> Content | None:
    """What `RichBlock.contents` would hold for a record, ``None`` if such a record is never in it."""
    if not isinstance(record, ChatRecord) or record.extra:
        return None
    turns: list[_Turn] = []
    for turn in record.messages:
        if isinstance(turn.content, tuple):
            return None
        made = _Turn(turn.role, turn.content)
        if turn.name is not None:
            made.name = turn.name
        if turn.tool_calls:
            made.tool_calls = [
                _Call(_Function(call.name, dict(call.arguments)), UNSET if call.id is None else call.id)
                for call in turn.tool_calls
            ]
        if turn.tool_call_id is not None:
            made.tool_call_id = turn.tool_call_id
        if turn.weight is not None:
            made.weight = 1 if turn.weight else 0
        turns.append(made)
    parallel = UNSET if record.parallel_tool_calls is None else record.parallel_tool_calls
    return _encode(_Row(turns, parallel_tool_calls=parallel)), _encode(record.tools) if record.tools else b""


def _plain(row: _Row) -> Conversation:
    return tuple([PlainTurn(turn.role, turn.content) for turn in row.messages])  # type: ignore[arg-type]  # they are


def _row(line: bytes, needs_answer: bool) -> tuple[_Row, bytes | None, int] | None:
    """A row as its content is written but for its tools, these, and how many quotes more its line had.

    The tools are ``None`` where the row is plain, and all is where it must be looked at more closely.
    """
    try:
        row = _decode(line)
        text = bytes(row.tools)
        if not text:
            more, plain = _judged(row.messages, None, needs_answer)
            return row, None if plain and row.parallel_tool_calls is UNSET else b"", more
        tools = _known_tools(text) if len(text) <= _REMEMBERED else _tools(text)
        row.tools = _NO_TOOLS
        more, _ = _judged(row.messages, tools.names, needs_answer)
    except _LOOK_CLOSER:
        return None
    return row, tools.content, tools.quotes + more


def _judged(turns: list[_Turn], declared: frozenset[str] | None, needs_answer: bool) -> tuple[int, bool]:
    """Hold turns to the rules: how many quotes more they had, and whether all are plain.

    Raises:
        _Odd, RowFault, msgspec.MsgspecError, ValueError: there is something to say.
    """
    more, plain, learns = 0, True, not needs_answer
    waiting: list[str | UnsetType] = []  # calls without an answer
    for turn in turns:
        role = turn.role
        if role == "tool":
            waiting.remove(turn.tool_call_id)
            plain = False
        elif waiting or turn.tool_call_id is not UNSET:
            raise _Odd
        if role == "assistant":
            learns = learns or turn.weight != 0
            if turn.tool_calls is not UNSET:
                more += _called(turn, turn.tool_calls, declared, waiting)
                plain = False
                continue
        elif turn.tool_calls is not UNSET or turn.weight is not UNSET:
            raise _Odd
        if turn.content is UNSET or not turn.content:
            raise _Odd
        plain = plain and turn.name is turn.weight is UNSET
    if not learns or (needs_answer and role != "assistant"):
        raise _Odd
    return more, plain


def _called(turn: _Turn, calls: list[_Call], declared: frozenset[str] | None, waiting: list[str | UnsetType]) -> int:
    """Write calls as their content is written; how many quotes more they had. Raises as `_judged` does."""
    more = 0
    for call in calls:
        function = call.function
        if call.id is UNSET or (declared is not None and function.name not in declared):
            raise _Odd
        waiting.append(call.id)
        if call.type is not UNSET:
            call.type = UNSET
            more += 4
        arguments = function.arguments
        if isinstance(arguments, str):
            function.arguments = _decode_object(arguments)
            more += 2
            if arguments.count("{") + arguments.count("[") > _SHALLOW:
                _refuse_deep(function.arguments)
        else:
            _refuse_deep(arguments)
    if turn.content is UNSET:
        turn.content = None
        more -= 2
    return more


def _tools(text: bytes) -> _Tools:
    """The tools of a row that has no quote by number. Raises as `_judged` does."""
    tools = _decode_tools(text)
    content = _encode(tools)
    quotes = content.count(b'"')
    if quotes != text.count(b'"'):  # a key stands twice
        raise _Odd
    if brackets(text) > _SHALLOW:
        _refuse_deep(tools)
    try:
        names = [tool["function"]["name"] for tool in tools]
    except (KeyError, TypeError):
        raise _Odd from None
    if {*map(type, names)} != {str}:
        raise _Odd
    return _Tools(frozenset(names), content, quotes + 2)


#: Most files have the same tools in every row.
_known_tools = lru_cache(maxsize=32)(_tools)
_REMEMBERED = 1 << 16


def _refuse_deep(value: Any) -> None:
    """Refuse what would be too deep in a row, and a little more."""
    for _ in range(_AROUND):
        value = [value]
    check_depth(value)

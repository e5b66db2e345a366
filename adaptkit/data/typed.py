"""Good chat rows of OpenAI's shape, with tools, calls and weights or without, read by a typed decoder.

`read` knows the rows that need nothing said about them, in a fraction of the time that it takes to look at a row key by
key. Whatever is odd it leaves to the readers of `adaptkit.data.formats`, which say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from adaptkit.data.formats.messages import read_tools
from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import MAX_DEPTH, RowFault, brackets, no_key_lost, parse_object
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord
from adaptkit.types import Message, Role, ToolCall

__all__ = ["read"]

# A key with null is told from one that is not there, so that a row encoded again has the keys that it came with.
_Text = str | None | UnsetType


class _Function(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    name: str
    arguments: Raw


class _Call(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    function: _Function
    id: _Text = UNSET
    type: Literal["function"] | UnsetType | None = UNSET


class _Turn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    role: Role
    content: _Text = UNSET
    name: _Text = UNSET
    tool_calls: tuple[_Call, ...] | UnsetType | None = UNSET
    tool_call_id: _Text = UNSET
    weight: Literal[0, 1] | UnsetType | None = UNSET


class _Row(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    messages: Annotated[tuple[_Turn, ...], msgspec.Meta(min_length=1)]
    tools: Raw = Raw(b"")
    parallel_tool_calls: bool | UnsetType | None = UNSET


_decode = msgspec.json.Decoder(_Row).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_AROUND_ARGUMENTS = 6  # levels of the row around the arguments of a call


class _Odd(Exception):
    """There is something to say about the row."""


def read(line: bytes) -> ChatRecord | None:
    """The record of a line, or ``None`` if it must be looked at more closely."""
    try:
        row = _decode(line)
        if not no_key_lost(line, _encode(row)):
            return None
        return ChatRecord(
            messages=tuple([_message(turn) for turn in row.messages]),
            tools=_tools(bytes(row.tools)) if row.tools else (),
            parallel_tool_calls=None if row.parallel_tool_calls is UNSET else row.parallel_tool_calls,
        )
    except (_Odd, RowFault, msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None


def _message(turn: _Turn) -> Message:
    role, content, calls, weight = turn.role, turn.content, turn.tool_calls, turn.weight
    if content and turn.name is turn.tool_call_id is calls is weight is UNSET:  # most turns by far
        return Message(role=role, content=content)
    call_id = None if turn.tool_call_id is UNSET else turn.tool_call_id
    if (
        (calls and role != "assistant")
        or (call_id is not None and role != "tool")
        or (weight is not None and weight is not UNSET and role != "assistant")
        or (not isinstance(content, str) and not calls)
    ):
        raise _Odd
    return Message(
        role=role,
        content=None if content is UNSET else content,
        name=None if turn.name is UNSET else turn.name,
        tool_calls=tuple([_call(call) for call in calls]) if calls else (),
        tool_call_id=call_id,
        weight=None if weight is None or weight is UNSET else float(weight),
    )


def _call(call: _Call) -> ToolCall:
    function = call.function
    given = bytes(function.arguments)
    if given.startswith(b'"'):
        given = _decode_text(given).encode()
    elif brackets(given) > MAX_DEPTH - _AROUND_ARGUMENTS:
        raise _Odd
    return ToolCall(name=function.name, arguments=parse_object(given), id=None if call.id is UNSET else call.id)


def _tools(tools: bytes) -> tuple[Mapping[str, Any], ...]:
    findings: list[Finding] = []
    found = read_tools(Node(parse_object(b'{"tools":%b}' % tools), findings))
    if findings:
        raise _Odd
    return found

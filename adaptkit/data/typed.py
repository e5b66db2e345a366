"""Good chat and preference rows, with tools, calls and weights or without, read by typed decoders.

`read` knows the rows that need nothing said about them, in a fraction of the time that it takes to look at a row key by
key. Whatever is odd it leaves to the readers of `adaptkit.data.formats`, which say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from adaptkit.data.formats.messages import read_tools
from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import MAX_DEPTH, RowFault, brackets, no_key_lost, parse_object
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, PreferenceRecord, Record
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


_Turns = Annotated[tuple[_Turn, ...], msgspec.Meta(min_length=1)]


class _Chat(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    messages: _Turns
    tools: Raw = Raw(b"")
    parallel_tool_calls: bool | UnsetType | None = UNSET


class _Preference(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    input: _Chat
    preferred_output: _Turns
    non_preferred_output: _Turns


class _TrlPreference(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    prompt: str | _Turns
    chosen: str | _Turns
    rejected: str | _Turns
    tools: Raw = Raw(b"")


_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_AROUND_ARGUMENTS = 8  # levels of the row around the arguments of a call, at most


class _Odd(Exception):
    """There is something to say about the row."""


def read(line: bytes, shape: str) -> Record | None:
    """The record of a line.

    Args:
        line: The line.
        shape: Name of the shape that rows have.

    Returns:
        The record, or ``None`` if the row must be looked at more closely.
    """
    if shape not in _READERS:
        return None
    decode, record = _READERS[shape]
    try:
        row = decode(line)
        return record(row) if no_key_lost(line, _encode(row)) else None
    except (_Odd, RowFault, msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None


def _chat(row: _Chat) -> ChatRecord:
    return ChatRecord(
        messages=_messages(row.messages),
        tools=_tools(row.tools),
        parallel_tool_calls=None if row.parallel_tool_calls is UNSET else row.parallel_tool_calls,
    )


def _preference(row: _Preference) -> PreferenceRecord:
    given = _chat(row.input)
    return PreferenceRecord(
        prompt=given.messages,
        chosen=_messages(row.preferred_output),
        rejected=_messages(row.non_preferred_output),
        tools=given.tools,
        parallel_tool_calls=given.parallel_tool_calls,
    )


def _trl_preference(row: _TrlPreference) -> PreferenceRecord:
    return PreferenceRecord(
        prompt=_messages(row.prompt, "user"),
        chosen=_messages(row.chosen, "assistant"),
        rejected=_messages(row.rejected, "assistant"),
        tools=_tools(row.tools),
    )


#: For each shape that is known here, what decodes a line and what makes it a record.
_READERS: Mapping[str, tuple[Callable[[bytes], Any], Callable[[Any], Record]]] = {
    "openai": (msgspec.json.Decoder(_Chat).decode, _chat),
    "openai-preference": (msgspec.json.Decoder(_Preference).decode, _preference),
    "trl-preference": (msgspec.json.Decoder(_TrlPreference).decode, _trl_preference),
}


def _messages(turns: str | tuple[_Turn, ...], role: Role = "user") -> tuple[Message, ...]:
    """Turns as messages; a string is one turn of the role."""
    if isinstance(turns, str):
        return (Message(role=role, content=turns),)
    return tuple([_message(turn) for turn in turns])


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


def _tools(tools: Raw) -> tuple[Mapping[str, Any], ...]:
    if not tools:
        return ()
    # as deep inside as tools ever stand, so that the depth of the row is not exceeded
    value = parse_object(b'{"input":{"tools":%b}}' % bytes(tools))["input"]
    findings: list[Finding] = []
    found = read_tools(Node(value, findings))
    if findings:
        raise _Odd
    return found

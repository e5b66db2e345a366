"""The rows of Amazon Bedrock (Converse, and Anthropic's for Claude there) and Google Vertex (Gemini).

All are written for text conversations. Their tuning formats have no documented place for weights, names or OpenAI's
image addresses; tools differ by model family there, so they are refused instead of guessed.
Sources: docs.aws.amazon.com/bedrock/latest/userguide/preparing-text-data.html and
cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from adaptkit.data.formats.chat import refuse_features
from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import shorten
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, CompletionRecord, Record, TextRecord, single_text
from adaptkit.types import Message, Part, Role, TextPart

__all__ = [
    "cannot_anthropic",
    "cannot_bedrock",
    "cannot_vertex",
    "read_anthropic",
    "read_bedrock",
    "read_bedrock_text",
    "read_vertex",
    "write_anthropic",
    "write_bedrock",
    "write_vertex",
]

SCHEMA = "bedrock-conversation-2024"
_REFUSED = {"extra", "tools", "parallel_tool_calls", "developer", "weights", "names", "images", "audio"}


def read_bedrock(row: Node) -> ChatRecord:
    """``schemaVersion``, ``system`` and ``messages`` whose content is a list of text blocks."""
    row.refuse_others({"schemaVersion", "system", "messages"})
    if row.text("schemaVersion") not in (SCHEMA, None):
        row.at("schemaVersion").problem("schema-version", "this version is not known.", f"Write {SCHEMA!r}.")
    system = row.at("system").items() if row.has("system") else ()
    turns = [Message(role="system", content=text) for block in system if (text := _block(block)) is not None]
    roles: dict[str, Role] = {"user": "user", "assistant": "assistant"}
    turns += _read_turns(row.at("messages"), roles, "content")
    return ChatRecord(messages=tuple(turns))


def read_bedrock_text(row: Node) -> TextRecord:
    """``{"input": …}``, the row of continued pre-training."""
    return TextRecord(text=row.text("input") or "", extra=row.others({"input"}))


def write_bedrock(record: Record) -> dict[str, Any]:
    """A Converse row for chats; ``prompt`` and ``completion``, or ``input``, for plain records."""
    if isinstance(record, CompletionRecord):
        return {"prompt": record.prompt, "completion": record.completion}
    if isinstance(record, TextRecord):
        return {"input": record.text}
    assert isinstance(record, ChatRecord)  # noqa: S101 - the table of formats says so
    system, turns = _system_first(record)
    out: dict[str, Any] = {"schemaVersion": SCHEMA}
    if system:
        out["system"] = [{"text": turn.content} for turn in system]
    out["messages"] = [{"role": turn.role, "content": _blocks(turn)} for turn in turns]
    return out


def read_anthropic(row: Node) -> ChatRecord:
    """``system`` as text, and ``messages`` of the roles user and assistant."""
    row.refuse_others({"system", "messages"})
    system = row.text("system") if row.has("system") else None
    turns = [] if system is None else [Message(role="system", content=system)]
    roles: dict[str, Role] = {"user": "user", "assistant": "assistant"}
    for item in row.at("messages").items():
        role, content = item.text("role"), item.text("content")
        if role is not None and role not in roles:
            item.at("role").problem("unknown-role", f"{shorten(role)} is not a role here.", "Use user or assistant.")
        elif role is not None and content is not None:
            turns.append(Message(role=roles[role], content=content))
    if row.at("messages").value == []:
        row.at("messages").problem("no-messages", "there are no messages.", "Remove the row.")
    return ChatRecord(messages=tuple(turns))


def write_anthropic(record: Record) -> dict[str, Any]:
    """A row for Claude: plain text, the system message apart."""
    assert isinstance(record, ChatRecord)  # noqa: S101 - the table of formats says so
    system, turns = _system_first(record)
    out: dict[str, Any] = {"system": system[0].content} if system else {}
    out["messages"] = [{"role": turn.role, "content": turn.content} for turn in turns]
    return out


def read_vertex(row: Node) -> ChatRecord:
    """``systemInstruction`` and ``contents`` of the roles user and model."""
    row.refuse_others({"systemInstruction", "contents"}, "Only text conversations are read from this format.")
    turns: list[Message] = []
    if row.has("systemInstruction") and row.at("systemInstruction").is_object():
        instruction = row.at("systemInstruction")
        instruction.refuse_others({"role", "parts"})
        content = _parts(instruction.at("parts"))
        if content is not None:
            turns.append(Message(role="system", content=content))
    turns += _read_turns(row.at("contents"), {"user": "user", "model": "assistant"}, "parts")
    return ChatRecord(messages=tuple(turns))


def write_vertex(record: Record) -> dict[str, Any]:
    """A Gemini row."""
    assert isinstance(record, ChatRecord)  # noqa: S101 - the table of formats says so
    system, turns = _system_first(record)
    out: dict[str, Any] = {}
    if system:
        out["systemInstruction"] = {"role": "system", "parts": _blocks(system[0])}
    out["contents"] = [
        {"role": "model" if turn.role == "assistant" else "user", "parts": _blocks(turn)} for turn in turns
    ]
    return out


def cannot_bedrock(record: Record) -> Iterator[Finding]:
    """Text turns with the system messages in front."""
    yield from refuse_features(record, "bedrock", _REFUSED)
    yield from _order(record, "bedrock")
    if isinstance(record, ChatRecord):
        for index, turn in enumerate(record.messages):
            if turn.role == "system" and isinstance(turn.content, tuple):
                yield Finding(
                    "cannot-express",
                    f"$.messages[{index}].content",
                    "bedrock would make each part of a system message a message of its own.",
                    "Join the parts.",
                )


def cannot_anthropic(record: Record) -> Iterator[Finding]:
    """User and assistant in turn, each one text, after one system message at most."""
    yield from refuse_features(record, "anthropic", _REFUSED)
    yield from _order(record, "anthropic")
    if not isinstance(record, ChatRecord):
        return
    system, turns = _system_first(record)
    if len(system) > 1:
        yield Finding("cannot-express", "$.messages[1]", "anthropic holds one system message.", "Join them.")
    for index, turn in enumerate(record.messages):
        if not isinstance(turn.content, str):
            yield Finding(
                "cannot-express", f"$.messages[{index}].content", "anthropic holds one text a turn.", "Join the parts."
            )
    for number, turn in enumerate(turns):
        if turn.role in ("user", "assistant") and turn.role != ("user", "assistant")[number % 2]:
            yield Finding(
                "cannot-express",
                f"$.messages[{len(system) + number}].role",
                "anthropic holds user and assistant in turn, the user first.",
                "Join the turns of one role.",
            )


def cannot_vertex(record: Record) -> Iterator[Finding]:
    """Text turns after one system message at most."""
    yield from refuse_features(record, "vertex", _REFUSED)
    yield from _order(record, "vertex")
    if isinstance(record, ChatRecord) and len(_system_first(record)[0]) > 1:
        yield Finding("cannot-express", "$.messages[1]", "vertex holds one system message.", "Join them.")


def _order(record: Record, name: str) -> Iterator[Finding]:
    if not isinstance(record, ChatRecord):
        return
    system, turns = _system_first(record)
    if not turns:
        yield Finding("cannot-express", "$.messages", f"{name} needs a turn beside the system message.", "Add it.")
    for index, turn in enumerate(turns, len(system)):
        if turn.role == "system":
            yield Finding(
                "cannot-express",
                f"$.messages[{index}].role",
                f"{name} holds system messages only in front.",
                "Move it, or make it a user turn.",
            )


def _system_first(record: ChatRecord) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    system = tuple(takewhile(lambda turn: turn.role == "system", record.messages))
    return system, record.messages[len(system) :]


def _blocks(turn: Message) -> list[dict[str, str]]:
    if isinstance(turn.content, tuple):
        return [{"text": part.text} for part in turn.content if isinstance(part, TextPart)]
    return [{"text": turn.content or ""}]


def _read_turns(node: Node, roles: dict[str, Role], key: str) -> Iterator[Message]:
    if node.value == []:
        node.problem("no-messages", "there are no messages.", "Remove the row.")
    for item in node.items():
        if not item.is_object():
            continue
        item.refuse_others({"role", key})
        role, content = item.text("role"), _parts(item.at(key))
        if role is not None and role not in roles:
            item.at("role").problem(
                "unknown-role", f"{shorten(role)} is not a role here.", f"Roles are {' and '.join(roles)}."
            )
        elif role is not None and content is not None:
            yield Message(role=roles[role], content=content)


def _parts(node: Node) -> str | tuple[Part, ...] | None:
    texts = tuple(TextPart(text=text) for item in node.items() if (text := _block(item)) is not None)
    if node.value == []:
        node.problem("empty-content", "there are no parts.", "Write at least one.")
    content = single_text(texts)
    return content if content != () else None


def _block(node: Node) -> str | None:
    if not node.is_object():
        return None
    node.refuse_others({"text"}, "Only text is read from this format.")
    return node.text("text")

"""Formats of strings: text, prompt and completion, ShareGPT, Alpaca."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptkit.data.formats.chat import refuse_features
from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import shorten
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, CompletionRecord, Record, TextRecord
from adaptkit.types import Message, Role

__all__ = [
    "cannot_alpaca",
    "cannot_sharegpt",
    "read_alpaca",
    "read_completion",
    "read_sharegpt",
    "read_text",
    "write_alpaca",
    "write_completion",
    "write_sharegpt",
    "write_text",
]

_SHAREGPT: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
}
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
_ONLY_TEXT = {"tools", "parallel_tool_calls", "developer", "weights", "names", "parts", "images", "audio"}


def read_text(row: Node) -> TextRecord:
    """``{"text": …}``."""
    return TextRecord(text=row.text("text") or "", extra=row.others({"text"}))


def write_text(record: Record) -> dict[str, Any]:
    """``{"text": …}``."""
    assert isinstance(record, TextRecord)  # noqa: S101 - the table of formats says so
    return {"text": record.text, **record.extra}


def read_completion(row: Node) -> CompletionRecord:
    """``{"prompt": …, "completion": …}`` as strings."""
    return CompletionRecord(
        prompt=row.text("prompt") or "",
        completion=row.text("completion") or "",
        extra=row.others({"prompt", "completion"}),
    )


def write_completion(record: Record) -> dict[str, Any]:
    """``{"prompt": …, "completion": …}``."""
    assert isinstance(record, CompletionRecord)  # noqa: S101 - the table of formats says so
    return {"prompt": record.prompt, "completion": record.completion, **record.extra}


def read_sharegpt(row: Node) -> ChatRecord:
    """``conversations`` of ``from`` and ``value``. Tool turns have no agreed form there and are refused."""
    turns: list[Message] = []
    if row.has("system"):
        turns.append(Message(role="system", content=row.text("system")))
    for item in row.at("conversations").items():
        if not item.is_object():
            continue
        item.refuse_others({"from", "value"})
        speaker, value = item.text("from"), item.text("value")
        if speaker is not None and speaker not in _SHAREGPT:
            item.at("from").problem(
                "unknown-role",
                f"{shorten(speaker)} is not a speaker that ShareGPT rows agree on.",
                "Known are system, human, user, gpt, chatgpt and assistant; write tool turns in OpenAI's format.",
            )
        elif speaker is not None and value is not None:
            turns.append(Message(role=_SHAREGPT[speaker], content=value))
    if row.value.get("conversations") == []:
        row.at("conversations").problem("no-messages", "there are no messages.", "Remove the row.")
    return ChatRecord(messages=tuple(turns), extra=row.others({"conversations", "system"}))


def write_sharegpt(record: Record) -> dict[str, Any]:
    """``conversations`` with the speakers system, human and gpt."""
    assert isinstance(record, ChatRecord)  # noqa: S101 - the table of formats says so
    return {
        "conversations": [{"from": _SPEAKERS[turn.role], "value": turn.content} for turn in record.messages],
        **record.extra,
    }


def cannot_sharegpt(record: Record) -> Iterator[Finding]:
    """Only plain turns have a place."""
    yield from refuse_features(record, "sharegpt", _ONLY_TEXT)


def read_alpaca(row: Node) -> ChatRecord:
    """``instruction``, ``input`` and ``output``: the user's turn is instruction, empty line, input."""
    instruction, given = row.text("instruction"), row.text("input", required=False)
    output, system = row.text("output"), row.text("system", required=False)
    if row.value.get("history"):
        row.at("history").problem(
            "unknown-key",
            "rows with a history are not Alpaca's own.",
            "Write them as OpenAI messages or ShareGPT conversations.",
        )
    question = f"{instruction or ''}\n\n{given}" if given else instruction or ""
    turns = [Message(role="system", content=system)] if system else []
    turns += [Message(role="user", content=question), Message(role="assistant", content=output or "")]
    return ChatRecord(messages=tuple(turns), extra=row.others({"instruction", "input", "output", "system", "history"}))


def write_alpaca(record: Record) -> dict[str, Any]:
    """The question as ``instruction``, ``input`` empty, the answer as ``output``."""
    assert isinstance(record, ChatRecord)  # noqa: S101 - the table of formats says so
    *system, question, answer = record.messages
    out = {"system": system[0].content} if system else {}
    return {**out, "instruction": question.content, "input": "", "output": answer.content, **record.extra}


def cannot_alpaca(record: Record) -> Iterator[Finding]:
    """One question and one answer, after a system message at most."""
    yield from refuse_features(record, "alpaca", _ONLY_TEXT)
    roles = [turn.role for turn in record.messages] if isinstance(record, ChatRecord) else []
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        yield Finding(
            "cannot-express",
            "$.messages",
            "alpaca holds one question and one answer, after a system message at most.",
            "Choose another format.",
        )
    elif roles[0] == "system" and isinstance(record, ChatRecord) and not record.messages[0].content:
        yield Finding(
            "cannot-express", "$.messages[0].content", "alpaca cannot hold an empty system message.", "Remove it."
        )

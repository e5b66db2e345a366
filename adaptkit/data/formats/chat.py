"""OpenAI's rows, and those of Mistral and TRL, which are the same with fewer or other freedoms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.data.formats.messages import read_messages, read_tools, write_message
from adaptkit.data.formats.row import Node
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record, TextRecord, turns_of
from adaptkit.types import AudioPart, ImagePart, Message

__all__ = [
    "cannot_mistral",
    "cannot_trl",
    "features",
    "read_openai_chat",
    "read_openai_preference",
    "read_trl_completion",
    "read_trl_preference",
    "refuse_features",
    "write_mistral",
    "write_openai",
    "write_trl",
]


def read_openai_chat(row: Node) -> ChatRecord:
    """``messages``, ``tools``, ``parallel_tool_calls``; other keys are kept for graders."""
    if row.has("functions"):
        row.at("functions").problem(
            "deprecated-functions",
            "functions is the retired form of tools.",
            'Write {"tools": [{"type": "function", "function": …}]}.',
        )
    return ChatRecord(
        messages=read_messages(row.at("messages")),
        tools=read_tools(row),
        parallel_tool_calls=row.boolean("parallel_tool_calls"),
        extra=row.others({"messages", "tools", "parallel_tool_calls", "functions"}),
    )


def read_openai_preference(row: Node) -> PreferenceRecord:
    """``input`` with messages and tools, ``preferred_output``, ``non_preferred_output``."""
    given = row.at("input")
    if not given.is_object():
        given = Node({"messages": []}, [])
    given.refuse_others({"messages", "tools", "parallel_tool_calls"})
    return PreferenceRecord(
        prompt=read_messages(given.at("messages")),
        chosen=read_messages(row.at("preferred_output")),
        rejected=read_messages(row.at("non_preferred_output")),
        tools=read_tools(given),
        parallel_tool_calls=given.boolean("parallel_tool_calls"),
        extra=row.others({"input", "preferred_output", "non_preferred_output"}),
    )


def read_trl_preference(row: Node) -> PreferenceRecord:
    """``prompt``, ``chosen``, ``rejected`` as messages; as strings they are one user and one assistant turn each."""
    return PreferenceRecord(
        prompt=_turns(row, "prompt", "user"),
        chosen=_turns(row, "chosen", "assistant"),
        rejected=_turns(row, "rejected", "assistant"),
        tools=read_tools(row),
        extra=row.others({"prompt", "chosen", "rejected", "tools"}),
    )


def read_trl_completion(row: Node) -> ChatRecord:
    """``prompt`` and ``completion`` as messages. TRL trains on the completion alone, so turns before it weigh 0."""
    prompt = read_messages(row.at("prompt"))
    context = tuple(_unweighted(turn) for turn in prompt)
    return ChatRecord(
        messages=context + read_messages(row.at("completion")),
        tools=read_tools(row),
        extra=row.others({"prompt", "completion", "tools"}),
    )


def write_openai(record: Record) -> dict[str, Any]:
    """The row that OpenAI documents for the kind of record."""
    if isinstance(record, ChatRecord):
        return {"messages": [write_message(turn) for turn in record.messages], **_options(record), **record.extra}
    if isinstance(record, PreferenceRecord):
        return {
            "input": {"messages": [write_message(turn) for turn in record.prompt], **_options(record)},
            "preferred_output": [write_message(turn) for turn in record.chosen],
            "non_preferred_output": [write_message(turn) for turn in record.rejected],
            **record.extra,
        }
    return _plain(record)


def write_mistral(record: Record) -> dict[str, Any]:
    """The row of Mistral's training format: conversations, or plain text for continued pre-training."""
    if isinstance(record, ChatRecord):
        return {"messages": [write_message(turn) for turn in record.messages], **_options(record)}
    return _plain(record)


def write_trl(record: Record) -> dict[str, Any]:
    """The columns that TRL's trainers read; arguments of tool calls are objects there."""
    if isinstance(record, ChatRecord):
        return {"messages": _for_trl(record.messages), **_options(record), **record.extra}
    if isinstance(record, PreferenceRecord):
        return {
            "prompt": _for_trl(record.prompt),
            "chosen": _for_trl(record.chosen),
            "rejected": _for_trl(record.rejected),
            **_options(record),
            **record.extra,
        }
    return _plain(record)


def cannot_mistral(record: Record) -> Iterator[Finding]:
    """What Mistral's format has no place for."""
    yield from refuse_features(record, "mistral", {"audio", "extra", "parallel_tool_calls", "developer"})
    for index, turn in enumerate(turns_of(record)):
        if any(call.id is None for call in turn.tool_calls):
            yield Finding(
                "cannot-express",
                f"$.messages[{index}].tool_calls",
                "mistral: a call needs an id.",
                "Add ids of 9 letters and digits.",
            )


def cannot_trl(record: Record) -> Iterator[Finding]:
    """What TRL's trainers would drop without a word."""
    yield from refuse_features(record, "trl", {"weights", "images", "audio", "parallel_tool_calls"})


def features(record: Record) -> Iterator[tuple[str, str]]:
    """What a record uses beyond plain text turns, each with the JSON path in canonical terms."""
    if record.extra:
        yield "extra", "$"
    if isinstance(record, ChatRecord | PreferenceRecord):
        if record.tools:
            yield "tools", "$.tools"
        if record.parallel_tool_calls is not None:
            yield "parallel_tool_calls", "$.parallel_tool_calls"
    for index, turn in enumerate(turns_of(record)):
        path = f"$.messages[{index}]"
        if turn.role == "developer":
            yield "developer", f"{path}.role"
        if turn.role == "tool" or turn.tool_calls:
            yield "tools", path
        if turn.weight is not None:
            yield "weights", f"{path}.weight"
        if turn.name is not None:
            yield "names", f"{path}.name"
        if isinstance(turn.content, tuple):
            yield "parts", f"{path}.content"
            for kind, name in ((ImagePart, "images"), (AudioPart, "audio")):
                if any(isinstance(part, kind) for part in turn.content):
                    yield name, f"{path}.content"


_WORDS = {
    "extra": "keys beyond the format's own",
    "tools": "tools",
    "parallel_tool_calls": "parallel_tool_calls",
    "developer": "the role developer",
    "weights": "weights",
    "names": "names of speakers",
    "parts": "messages of several parts",
    "images": "images",
    "audio": "audio",
}


def refuse_features(record: Record, name: str, refused: set[str]) -> Iterator[Finding]:
    """A finding for each feature that a format has no place for."""
    for feature, path in features(record):
        if feature in refused:
            yield Finding(
                "cannot-express",
                path,
                f"{name} has no place for {_WORDS[feature]}.",
                "Remove it, or choose another format.",
            )


def _options(record: ChatRecord | PreferenceRecord) -> dict[str, Any]:
    out: dict[str, Any] = {"tools": record.tools} if record.tools else {}
    if record.parallel_tool_calls is not None:
        out["parallel_tool_calls"] = record.parallel_tool_calls
    return out


def _plain(record: Record) -> dict[str, Any]:
    if isinstance(record, CompletionRecord):
        return {"prompt": record.prompt, "completion": record.completion, **record.extra}
    if isinstance(record, TextRecord):
        return {"text": record.text, **record.extra}
    raise TypeError(f"{type(record).__name__} is not plain text")


def _for_trl(turns: tuple[Message, ...]) -> list[Mapping[str, Any]]:
    return [write_message(turn, arguments_as_text=False) for turn in turns]


def _turns(row: Node, key: str, role: str) -> tuple[Message, ...]:
    if row.has(key) and isinstance(row.value[key], str):
        return read_messages(row.instead(key, [{"role": role, "content": row.value[key]}]))
    return read_messages(row.at(key))


def _unweighted(turn: Message) -> Message:
    if turn.role != "assistant":
        return turn
    return Message(role="assistant", content=turn.content, name=turn.name, tool_calls=turn.tool_calls, weight=0.0)

"""Records as hypothesis sees them: any text, any kind, every feature."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from adaptkit.data import ChatRecord, CompletionRecord, PreferenceRecord, TextRecord
from adaptkit.types import AudioPart, ImagePart, Message, TextPart, ToolCall

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=10)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | numbers | texts | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
extras = st.dictionaries(names.map("x_".__add__), values.filter(lambda value: value is not None), max_size=2)

text_parts = st.builds(TextPart, text=texts)
images = st.builds(
    ImagePart,
    url=st.just("https://example.org/a.png") | st.just("data:image/png;base64,AA=="),
    detail=st.sampled_from([None, "low", "high", "auto"]),
)
audio = st.builds(AudioPart, data=st.just("AA=="), format=st.sampled_from(["wav", "mp3"]))
several_texts = st.lists(text_parts, min_size=2, max_size=3).map(tuple)
media = st.tuples(text_parts | images | audio, images | audio)

calls = st.builds(ToolCall, name=names, arguments=objects, id=st.none() | names)
tools = st.lists(
    st.builds(
        lambda name, schema: {"type": "function", "function": {"name": name, "parameters": schema}}, names, objects
    ),
    max_size=2,
).map(tuple)

plain_turns = st.builds(Message, role=st.sampled_from(["user", "assistant", "system"]), content=texts)
turns = plain_turns | st.one_of(
    st.builds(
        Message,
        role=st.sampled_from(["system", "developer", "user"]),
        content=texts | several_texts,
        name=st.none() | names,
    ),
    st.builds(Message, role=st.just("user"), content=media),
    st.builds(Message, role=st.just("assistant"), content=texts, weight=st.sampled_from([None, 0.0, 1.0])),
    st.builds(
        Message,
        role=st.just("assistant"),
        content=st.none() | texts,
        tool_calls=st.lists(calls, min_size=1, max_size=2).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), content=texts, tool_call_id=st.none() | names),
)


def conversations(of: st.SearchStrategy[Message] = turns) -> st.SearchStrategy[tuple[Message, ...]]:
    return st.lists(of, min_size=1, max_size=4).map(tuple)


chats = st.builds(
    ChatRecord, messages=conversations(), tools=tools, parallel_tool_calls=st.none() | st.booleans(), extra=extras
)
plain_chats = st.builds(ChatRecord, messages=conversations(plain_turns))
preferences = st.builds(
    PreferenceRecord,
    prompt=conversations(),
    chosen=conversations(),
    rejected=conversations(),
    tools=tools,
    parallel_tool_calls=st.none() | st.booleans(),
    extra=extras,
)
completions = st.builds(CompletionRecord, prompt=texts, completion=texts, extra=extras)
plain_texts = st.builds(TextRecord, text=texts, extra=extras)
kinds = {"chat": chats | plain_chats, "preference": preferences, "completion": completions, "text": plain_texts}


@st.composite
def odd(draw: st.DrawFn, rows: st.SearchStrategy[Any]) -> Any:
    """A row in which up to two values are others than they were: of another type, null, empty, gone or new."""
    row = draw(rows)
    for _ in range(draw(st.integers(0, 2))):
        place, step = draw(st.sampled_from(list(_places(row))))
        if draw(st.booleans()):
            place[step] = draw(values | st.sampled_from(["", 0, 1, 1.0, True, [], {}, "function", "tool", '{"a": 1}']))
        elif isinstance(place, dict):
            place[draw(st.sampled_from(["name", "weight", "tool_calls", "tool_call_id", "content", "id", "x"]))] = draw(
                st.sampled_from([None, "", "a", 0, 1, 1.0, []])
            )
        else:
            del place[step]
        if not isinstance(row, dict) or not row:
            break
    return row


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where something stands in a value: what holds it, and under what key or index."""
    steps = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield value, step
        yield from _places(value[step])

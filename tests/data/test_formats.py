"""Every format is read into records, and records are written so that they read back equal or are refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data import ChatRecord, CompletionRecord, Dataset, PreferenceRecord, TextRecord, message_from
from adaptkit.data.formats import FORMATS, unwritable
from adaptkit.errors import ConfigError, DataError
from adaptkit.types import ImagePart, Message, TextPart, ToolCall
from tests.data import strategies as some


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, 2.5]}'}}],
}
ROWS = {
    "openai": (
        {
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}],
            "answer_key": 7,
        },
        ChatRecord((user("a"), assistant("b", weight=1.0)), extra={"answer_key": 7}),
        "openai",
    ),
    "openai parts": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": "https://x.org/i", "detail": "low"}},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "b"}], "refusal": None},
            ]
        },
        ChatRecord(
            (
                Message(role="user", content=(TextPart(text="a"), ImagePart(url="https://x.org/i", detail="low"))),
                assistant("b"),
            )
        ),
        "openai",
    ),
    "openai tools": (
        {
            "messages": [
                {"role": "user", "content": "a"},
                CALL,
                {"role": "tool", "tool_call_id": "c1", "content": "3"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "parallel_tool_calls": False,
        },
        ChatRecord(
            (
                user("a"),
                Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": [1, 2.5]}, id="c1"),)),
                Message(role="tool", content="3", tool_call_id="c1"),
            ),
            ({"type": "function", "function": {"name": "f"}},),
            parallel_tool_calls=False,
        ),
        "openai",
    ),
    "openai preference": (
        {
            "input": {"messages": [{"role": "user", "content": "q"}], "tools": []},
            "preferred_output": [{"role": "assistant", "content": "+"}],
            "non_preferred_output": [{"role": "assistant", "content": "-"}],
        },
        PreferenceRecord((user("q"),), (assistant("+"),), (assistant("-"),)),
        "openai",
    ),
    "trl preference": (
        {
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "+"}],
            "rejected": [{"role": "assistant", "content": "-"}],
        },
        PreferenceRecord((user("q"),), (assistant("+"),), (assistant("-"),)),
        "trl",
    ),
    "trl preference strings": (
        {"prompt": "q", "chosen": "+", "rejected": "-"},
        PreferenceRecord((user("q"),), (assistant("+"),), (assistant("-"),)),
        "trl",
    ),
    "trl completion": (
        {
            "prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "w"}],
            "completion": [{"role": "assistant", "content": "a"}],
        },
        ChatRecord((user("q"), assistant("w", weight=0.0), assistant("a"))),
        "trl",
    ),
    "completion": ({"prompt": "q", "completion": " a"}, CompletionRecord("q", " a"), "prompt-completion"),
    "text": ({"text": "t", "source": "s"}, TextRecord("t", {"source": "s"}), "text"),
    "sharegpt": (
        {"id": "1", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        ChatRecord((user("q"), assistant("a")), extra={"id": "1"}),
        "sharegpt",
    ),
    "alpaca": (
        {"instruction": "do", "input": "this", "output": "done"},
        ChatRecord((user("do\n\nthis"), assistant("done"))),
        "alpaca",
    ),
    "bedrock": (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "s"}],
            "messages": [
                {"role": "user", "content": [{"text": "q"}]},
                {"role": "assistant", "content": [{"text": "a"}]},
            ],
        },
        ChatRecord((Message(role="system", content="s"), user("q"), assistant("a"))),
        "bedrock",
    ),
    "vertex": (
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
            "contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}],
        },
        ChatRecord((Message(role="system", content="s"), user("q"), assistant("a"))),
        "vertex",
    ),
}
REFUSED = {
    "role": ({"messages": [{"role": "usr", "content": "a"}]}, "unknown-role", "$.messages[0].role"),
    "function role": (
        {"messages": [{"role": "function", "name": "f", "content": "a"}]},
        "deprecated-functions",
        "$.messages[0].role",
    ),
    "functions": (
        {"messages": [{"role": "user", "content": "a"}], "functions": [{"name": "f"}]},
        "deprecated-functions",
        "$.functions",
    ),
    "function_call": (
        {"messages": [{"role": "assistant", "content": "", "function_call": {"name": "f"}}]},
        "deprecated-functions",
        "$.messages[0].function_call",
    ),
    "no messages": ({"messages": []}, "no-messages", "$.messages"),
    "messages no array": ({"messages": {"role": "user"}}, "wrong-type", "$.messages"),
    "message no object": ({"messages": ["a"]}, "wrong-type", "$.messages[0]"),
    "content number": ({"messages": [{"role": "user", "content": 3}]}, "wrong-type", "$.messages[0].content"),
    "content missing": ({"messages": [{"role": "user"}]}, "missing-key", "$.messages[0].content"),
    "role missing": ({"messages": [{"content": "a"}]}, "missing-key", "$.messages[0].role"),
    "other key": ({"messages": [{"role": "user", "content": "a", "mood": "x"}]}, "unknown-key", "$.messages[0].mood"),
    "weight on user": ({"messages": [{"role": "user", "content": "a", "weight": 1}]}, "weight", "$.messages[0].weight"),
    "weight half": (
        {"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]},
        "weight",
        "$.messages[0].weight",
    ),
    "weight boolean": (
        {"messages": [{"role": "assistant", "content": "a", "weight": True}]},
        "weight",
        "$.messages[0].weight",
    ),
    "arguments": (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{'a': 1}"}}]}]},
        "tool-arguments",
        "$.messages[0].tool_calls[0].function.arguments",
    ),
    "arguments list": (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
        "tool-arguments",
        "$.messages[0].tool_calls[0].function.arguments",
    ),
    "image on assistant": (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://x.org/i"}}]}
            ]
        },
        "media-role",
        "$.messages[0].content",
    ),
    "image file": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        "image-url",
        "$.messages[0].content[0].image_url.url",
    ),
    "part": (
        {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
        "unknown-part",
        "$.messages[0].content[0].type",
    ),
    "tool": (
        {"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]},
        "tool-definition",
        "$.tools[0]",
    ),
    "sharegpt tool": (
        {"conversations": [{"from": "function_call", "value": "{}"}]},
        "unknown-role",
        "$.conversations[0].from",
    ),
    "sharegpt weight": (
        {"conversations": [{"from": "gpt", "value": "a", "weight": 0}]},
        "unknown-key",
        "$.conversations[0].weight",
    ),
    "alpaca history": ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, "unknown-key", "$.history"),
    "completion mixed": ({"prompt": "q", "completion": 1}, "wrong-type", "$.completion"),
}


@pytest.mark.parametrize(("row", "record", "name"), ROWS.values(), ids=ROWS)
def test_rows_become_canonical_records(row: dict[str, Any], record: Any, name: str) -> None:
    data = Dataset.of([row])
    assert list(data) == [record]
    assert (data.format, data.kind) == (name, record.kind)


@pytest.mark.parametrize(("row", "rule", "path"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(row: dict[str, Any], rule: str, path: str) -> None:
    problems = Dataset.of([row]).check().problems
    assert [(problem.rule, problem.path, problem.line) for problem in problems] == [(rule, path, 1)]


def test_arguments_as_text_and_as_an_object_are_the_same() -> None:
    as_object = {**CALL, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}
    assert Dataset.of([{"messages": [CALL]}]).fingerprint == Dataset.of([{"messages": [as_object]}]).fingerprint


def test_every_problem_of_a_row_is_named_at_once() -> None:
    row = {"messages": [{"role": "usr", "content": 1}, {"role": "assistant", "content": "a", "weight": 2, "x": 1}]}
    assert [problem.path for problem in Dataset.of([row]).check().problems] == [
        "$.messages[0].role",
        "$.messages[0].content",
        "$.messages[1].x",
        "$.messages[1].weight",
    ]


def test_a_file_of_mixed_formats_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"prompt": "a", "completion": "b"}\n{"text": "c"}\n')
    assert [(p.line, p.rule) for p in Dataset.open(path).check().problems] == [(2, "mixed-formats")]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(data=st.data())
def test_what_a_format_writes_reads_back_equal(name: str, data: st.DataObject) -> None:
    form = FORMATS[name]
    kind = data.draw(st.sampled_from(sorted(form.kinds)))
    records = data.draw(st.lists(some.kinds[kind], min_size=1, max_size=3))
    refused = [record for record in records if any(unwritable(record, form))]
    target = io.BytesIO()
    if refused:
        with pytest.raises(DataError) as caught:
            Dataset.of(records).write(target, name)
        assert not target.getvalue()
        assert {problem.line for problem in caught.value.problems} == {
            number for number, record in enumerate(records, 1) if any(unwritable(record, form))
        }
        return
    written = Dataset.of(records).write(target, name)
    again = Dataset.of(_rows(target.getvalue()), format=name)
    assert written.rows == len(records)
    assert list(again) == records
    assert again.fingerprint == Dataset.of(records).fingerprint


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if "chat" in form.kinds])
@settings(max_examples=40)
@given(record=some.plain_chats)
def test_plain_conversations_are_carried_by_every_chat_format_that_has_room(name: str, record: ChatRecord) -> None:
    roles = [turn.role for turn in record.messages]
    fits = {
        "alpaca": roles in (["user", "assistant"], ["system", "user", "assistant"]),
        "bedrock": "system" not in roles[roles.count("system") :]
        and roles[: roles.count("system")] == ["system"] * roles.count("system"),
        "anthropic": all(
            role == ("user", "assistant")[at % 2] for at, role in enumerate(roles[roles[0] == "system" :])
        ),
        "vertex": roles.count("system") <= 1 and "system" not in roles[1:],
    }.get(name, True)
    if name in ("anthropic", "bedrock", "vertex") and set(roles) == {"system"}:
        fits = False
    if name == "alpaca" and roles[0] == "system" and not record.messages[0].content:
        fits = False
    assert (not list(unwritable(record, FORMATS[name]))) == fits


def _rows(data: bytes) -> list[Any]:
    return [msgspec.json.decode(line) for line in data.splitlines()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sharegpt", assistant("a", weight=0.0)),
        ("alpaca", assistant("a", weight=0.0)),
        ("trl", assistant("a", weight=0.0)),
        ("bedrock", assistant("a", weight=0.0)),
        ("mistral", Message(role="developer", content="a")),
        ("sharegpt", Message(role="user", content="a", name="n")),
    ],
)
def test_what_has_no_place_is_refused_on_every_row(name: str, message: Message, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="without loss") as caught:
        Dataset.of([ChatRecord((user("q"), message))] * 3).write(target, name)
    assert sorted({problem.line for problem in caught.value.problems if problem.line}) == [1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_openai_wants_arguments_as_text_and_trl_as_an_object() -> None:
    record = ChatRecord((user("q"), Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": 1}),))))
    kinds = {}
    for name in ("openai", "trl"):
        out = io.BytesIO()
        Dataset.of([record]).write(out, name)
        kinds[name] = _rows(out.getvalue())[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert kinds == {"openai": '{"a":1}', "trl": {"a": 1}}


def test_anthropic_rows_are_read_where_the_format_is_named() -> None:
    row = {"system": "s", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    record = ChatRecord((Message(role="system", content="s"), user("q"), assistant("a")))
    assert list(Dataset.of([row], format="anthropic")) == [record]
    out = io.BytesIO()
    Dataset.of([record]).write(out, "anthropic")
    assert _rows(out.getvalue()) == [row]
    wrong = {"messages": [{"role": "tool", "content": "q"}, {"role": "user", "content": 3}]}
    rules = [problem.rule for problem in Dataset.of([wrong, {"messages": []}], format="anthropic").check().problems]
    assert rules == ["unknown-role", "wrong-type", "no-messages"]
    twice = ChatRecord((user("q"), user("q"), assistant("a")))
    assert [finding.path for finding in unwritable(twice, FORMATS["anthropic"])] == [
        "$.messages[1].role",
        "$.messages[2].role",
    ]


def test_unknown_formats_name_the_nearest() -> None:
    for attempt in (lambda: Dataset.of([], format="opnai"), lambda: Dataset.of([]).write(io.BytesIO(), "opnai")):
        with pytest.raises(ConfigError, match="'openai'"):
            attempt()


def test_a_single_message_is_read_or_refused() -> None:
    assert message_from({"role": "user", "content": "a"}) == user("a")
    with pytest.raises(DataError) as caught:
        message_from({"role": "usr"})
    assert {problem.rule for problem in caught.value.problems} == {"unknown-role"}

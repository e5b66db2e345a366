"""Data against what mistral-common takes for fine-tuning: every problem placed, none that it does not have."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import Dataset, builtin
from adaptkit.backends.mistral_checks import MistralRule, record_rules
from adaptkit.data import DataRules, Problem
from adaptkit.data.records import ChatRecord, PreferenceRecord, TextRecord
from adaptkit.data.rules import common_findings
from adaptkit.errors import DataError
from adaptkit.types import ImagePart, Message, ToolCall

from .test_tokens import TOOLS, call, opened, result, said, user

Folders = Callable[[str], Path]


def check_mistral(dataset: Dataset, folder: Path) -> list[Problem]:
    return list(dataset.check(rules=DataRules(record_rules=record_rules(folder))).problems)


@cache
def rule(folder: Path) -> MistralRule:
    return MistralRule(folder)


def rules_broken(folder: Path, messages: list[Message], tools: Any = ()) -> list[tuple[str, str]]:
    found = rule(folder)(ChatRecord(messages=tuple(messages), tools=tuple(tools)))
    return [(finding.rule, finding.path) for finding in found]


def both(text: str, key: str) -> Message:
    return Message(
        role="assistant", content=text, tool_calls=(ToolCall(name="find_parcel", arguments={"number": 1}, id=key),)
    )


LONG = "call_123456"
ID = "aaaaaaaa1"


@pytest.mark.parametrize(
    ("messages", "tools", "broken"),
    [
        ([user("a"), said("b")], (), {}),
        ([user("a"), said("b", 0), user("c"), said("d", 1)], (), {}),
        ([user("a"), said("b", 0.5)], (), {1: "refused", 3: "refused", 7: "refused", 13: "refused"}),
        (
            [user("a"), both("b", ID), result("c", ID), said("d")],
            TOOLS,
            {1: "tools tools tools text-and-calls", 3: "text-and-calls"},
        ),
        (
            [user("a"), call(1, LONG), result("c", LONG), said("d")],
            TOOLS,
            {1: "tools tools tools", 3: "call-id call-id", 7: "call-id call-id"},
        ),
        ([user("a"), call(1, None)], TOOLS, {1: "tools tools", 13: "call-id"}),
        ([user("a"), Message(role="assistant")], (), {1: "empty", 3: "empty", 7: "empty", 13: "empty"}),
        (
            [user("a"), said("b"), user("c"), call(1, ID), result("d", ID), said("e")],
            TOOLS,
            {1: "tools early-answers tools tools", 3: "early-answers", 7: "early-answers"},
        ),
    ],
)
def test_versions_differ(tokenizer_folder: Folders, messages: list[Message], tools: Any, broken: Any) -> None:
    for version, name in {1: "v1", 3: "v3", 7: "v7", 13: "v13"}.items():
        found = [rule.removeprefix("mistral-") for rule, _ in rules_broken(tokenizer_folder(name), messages, tools)]
        assert sorted(found) == sorted(broken.get(version, "").split()), name


def test_problems_are_placed(tokenizer_folder: Folders) -> None:
    folder = tokenizer_folder("v3")
    wrong = Message(role="assistant", tool_calls=(ToolCall(name="bad name", arguments={}, id=LONG),))
    assert rules_broken(folder, [user("a"), wrong, result("b", LONG), said("c")]) == [
        ("mistral-name", "$.messages[1].tool_calls[0].function.name"),
        ("mistral-call-id", "$.messages[1].tool_calls[0].id"),
        ("mistral-call-id", "$.messages[2].tool_call_id"),
    ]
    bad = ({"type": "function", "function": {"name": "no spaces please"}},)
    assert rules_broken(folder, [user("a"), said("b")], bad) == [("mistral-name", "$.tools[0].function.name")]
    seen = Message(role="user", content=(ImagePart(url="https://example.com/a.png"),))
    assert rules_broken(folder, [seen, said("b")]) == [("mistral-part", "$.messages[0].content")]


def test_what_only_mistral_common_knows(tokenizer_folder: Folders) -> None:
    schema = {"type": "function", "function": {"name": "f", "parameters": {"type": "no such type"}}}
    for name in ("v3", "v13"):
        assert rules_broken(tokenizer_folder(name), [user("a"), said("b")], [schema]) == [
            ("mistral-refused", "$.messages")
        ]


def test_both_answers_of_a_preference(tokenizer_folder: Folders) -> None:
    pair = PreferenceRecord(prompt=(user("a"),), chosen=(said("b"),), rejected=(both("c", ID),))
    found = list(rule(tokenizer_folder("v3"))(pair))
    assert [finding.path for finding in found] == ["$.rejected[0]"]
    asked = (user("a"), both("c", ID), result("d", ID), user("e"))
    pair = PreferenceRecord(prompt=asked, chosen=(said("b"),), rejected=(said("c"),))
    assert [each.path for each in rule(tokenizer_folder("v3"))(pair)] == ["$.prompt[1]"], "said once"
    assert list(rule(tokenizer_folder("v3"))(TextRecord(text="anything"))) == []


def test_a_data_set(tokenizer_folder: Folders, tmp_path: Path) -> None:
    def turn(role: str, content: str) -> dict[str, Any]:
        return {"role": role, "content": content}

    key = {"id": "TOP SECRET", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rows = [
        {"messages": [turn("user", "a"), turn("assistant", "b")]},
        {"messages": [turn("user", "a"), turn("assistant", "b") | {"tool_calls": [key]}]},
        {"messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c")]},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = check_mistral(Dataset.open(file), tokenizer_folder("v3"))
    assert [(problem.line, problem.rule) for problem in problems] == [
        (2, "mistral-text-and-calls"),
        (2, "mistral-call-id"),
        (3, "no-answer"),
    ]
    assert all(problem.fix for problem in problems)
    assert "SECRET" not in "".join(str(problem) for problem in problems)
    assert [problem.line for problem in check_mistral(Dataset.open(file), builtin.path("tiny"))] == [3]
    assert record_rules(builtin.path("tiny")) == ()


IDS = st.sampled_from([ID, "aaaaaaaa2", LONG, "", "null", None])
CALLS = st.builds(
    lambda content, keys: Message(
        role="assistant",
        content=content,
        tool_calls=tuple(ToolCall(name="find_parcel", arguments={}, id=key) for key in keys),
    ),
    st.sampled_from([None, "", "b"]),
    st.lists(IDS, max_size=2),
)
RESULTS = st.builds(lambda key: Message(role="tool", content="c", tool_call_id=key), IDS)
TURNS = st.one_of(
    st.just(user("a")),
    st.just(Message(role="system", content="s")),
    st.builds(said, st.sampled_from(["b", ""]), st.sampled_from([None, 0, 0.5, 1])),
    CALLS,
    RESULTS,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=6), st.booleans(), st.sampled_from(["v2", "v3", "v7", "v11", "v13"]))
def test_what_has_no_problem_is_encoded_and_what_has_one_is_refused(
    tokenizer_folder: Folders, turns: list[Message], tools: bool, name: str
) -> None:
    folder = tokenizer_folder(name)
    record = ChatRecord(messages=tuple(turns), tools=TOOLS if tools else ())
    findings = list(rule(folder)(record))
    own = [finding for finding in findings if finding.severity == "error"]
    common = [finding for finding in common_findings(record) if finding.severity == "error"]
    # the assistant's turns in a row become one or not, as their weights are: those are refused either way
    sure = [finding for finding in own if finding.rule not in ("mistral-empty", "mistral-text-and-calls")]
    if sure and not common:
        with pytest.raises(DataError):
            opened(folder).conversation(record.messages, record.tools)
    elif not own and not common:
        opened(folder).conversation(record.messages, record.tools)

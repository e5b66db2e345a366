"""Blocks of rows with tools, calls, names and weights: taken where the rules have nothing to say, and only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data import Dataset
from adaptkit.data.check import DataRules, check
from adaptkit.data.formats import SHAPES
from adaptkit.data.reading import find_sources, lines_of
from adaptkit.data.records import turns_of
from adaptkit.data.rich import content_of, rich_block
from adaptkit.data.rows import RowReader
from adaptkit.data.rules import common_findings
from tests.data.strategies import names, objects, odd, texts, words
from tests.data.test_lanes import CALL, END, GOOD, TOOL, openai_rows, spelled

CALLS = [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
ANSWERS = [{"role": "tool", "content": "3", "tool_call_id": "c"}, END]


@st.composite
def good(draw: st.DrawFn) -> dict[str, Any]:
    """A row with calls and their answers, in any spelling that is no fault."""
    functions = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    turns: list[dict[str, Any]] = [{"role": "user", "content": draw(words)}]
    for _ in range(draw(st.integers(0, 2))):
        ids = draw(st.lists(names, min_size=1, max_size=2, unique=True))
        calls = []
        for each in ids:
            given = draw(objects)
            arguments = given if draw(st.booleans()) else json.dumps(given, indent=draw(st.sampled_from([None, 1])))
            kind = {"type": "function"} if draw(st.booleans()) else {}
            function = {"name": draw(st.sampled_from(functions)), "arguments": arguments}
            calls.append({"id": each, **kind, "function": function})
        content = draw(st.sampled_from([{}, {"content": None}]) | texts.map(lambda text: {"content": text}))
        turns.append({"role": "assistant", **content, "tool_calls": calls})
        answered = draw(st.permutations(ids))
        turns += [{"role": "tool", "tool_call_id": each, "content": draw(words)} for each in answered]
    weight = draw(st.sampled_from([{}, {"weight": 1}, {"name": "n"}]))
    turns.append({"role": "assistant", "content": draw(words), **weight})
    tools = [
        {"type": "function", "function": {"name": name, "description": draw(texts), "parameters": draw(objects)}}
        for name in functions
    ]
    return {"messages": turns, **({"tools": tools} if draw(st.booleans()) else {})}


def block_of(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def taken(block: bytes, *, needs_answer: bool = True) -> list[bool]:
    lines = lines_of(block)
    found = rich_block(block, lines, needs_answer=needs_answer)
    return [False] * len(lines) if found is None else found.taken


@settings(max_examples=200, deadline=None)
@given(row=good(), ascii_only=st.booleans(), dense=st.booleans())
def test_good_rows_are_taken(row: Any, ascii_only: bool, dense: bool) -> None:
    line = spelled(row, ascii_only=ascii_only, dense=dense)
    assert taken(line.encode()) == ["\\u0022" not in line]


@settings(max_examples=300, deadline=None)
@given(row=odd(good() | openai_rows), ascii_only=st.booleans(), dense=st.booleans(), needs_answer=st.booleans())
def test_what_is_taken_has_no_fault_and_counts_as_the_careful_way_counts(
    row: Any, ascii_only: bool, dense: bool, needs_answer: bool
) -> None:
    line = spelled(row, ascii_only=ascii_only, dense=dense).encode()
    found = rich_block(line, [line], needs_answer=needs_answer)
    if found is None:
        return
    with patch("adaptkit.data.typed.read", return_value=None):
        record, findings = RowReader(shape=SHAPES["openai"]).read(line)
    assert record is not None
    assert not [*findings, *common_findings(record, needs_answer=needs_answer)]
    turns = turns_of(record)
    text = "".join(turn.text for turn in turns)
    assert (found.turns, found.characters, found.text_bytes) == ([len(turns)], [len(text)], len(text.encode()))
    assert found.roles == [turn.role for turn in turns]
    if found.plain:
        assert [(turn.role, turn.content) for turn in found.plain[0]] == [(turn.role, turn.content) for turn in turns]
        assert (record.tools, record.parallel_tool_calls, found.contents) == ((), None, [])
    else:
        assert found.contents == [content_of(record)]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*CALLS, END]},  # nobody answers
        {"messages": [{"role": "user", "content": "q"}, *ANSWERS]},  # nobody asked
        {"messages": [*CALLS, {**ANSWERS[0], "tool_call_id": "d"}, END]},
        {"messages": [*CALLS, *ANSWERS[:1]]},
        {"messages": [*CALLS, *ANSWERS], "tools": [{"type": "function", "function": {"name": "g"}}]},
        {"messages": [*CALLS, *ANSWERS], "tools": [{"type": "function", "name": "f"}]},
        {"messages": [*CALLS, *ANSWERS], "tools": [{"function": {"name": 1}}]},
        {"messages": [{**END, "weight": 0}]},
        {"messages": [{"role": "user", "content": ""}, END]},
        {"messages": [END], "x": 1},
        {"messages": []},
    ],
    ids=str,
)
def test_a_row_with_something_to_say_is_left_and_its_neighbours_are_not(row: Any) -> None:
    assert taken(block_of(GOOD, row, GOOD)) == [True, False, True]


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"name": "n"', '"name": "m", "name":"n"'),
        ('"weight": 1', '"weight": 0, "weight": 1'),
        ('"type": "object"', '"type": "array", "type": "object"'),
        ('"content": null', '"content": null, "content": null'),
        ('\\"a\\": [', '\\"a\\": 1, \\"a\\": ['),
        ('"id": "c"', '"id": "\\u0022\\u0022", "id": "c"'),
        ('"type": "function", "function": {"name": "f", "arg', '"function": {"name": "f", "name": "f", "arg'),
        ('"tools"', '"tools": [], "tools"'),
    ],
)
def test_a_key_twice_is_left_to_the_careful_way(once: str, twice: str, tmp_path: Path) -> None:
    line = json.dumps(GOOD)
    assert once in line
    block = block_of(GOOD, GOOD).decode() + line.replace(once, twice, 1) + "\n"
    assert taken(block.encode()) in ([False] * 3, [True, True, False])
    path = tmp_path / "a.jsonl"
    path.write_text(block_of(GOOD).decode() + block)
    (problem, *_) = Dataset.open(path).check().problems
    assert (problem.line, problem.rule) in ((4, "duplicate-key"), (4, "tool-arguments"))


@pytest.mark.parametrize("levels", [80, *range(88, 102), 120])
def test_depth_is_that_of_the_row(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = {"a": deep}
    call = {"id": "c", "function": {"name": "f", "arguments": deep}}
    text = {"id": "c", "function": {"name": "f", "arguments": json.dumps(deep)}}
    written = json.dumps(json.dumps(deep)).encode()
    as_text = block_of({"messages": [{**END, "tool_calls": [text]}]})
    for line in (
        block_of({"messages": [{**END, "tool_calls": [call]}]}),
        as_text,
        as_text.replace(written, written.replace(b"{", b"\\u007b")),
        block_of({"messages": [END], "tools": [{"function": {"name": "f", "parameters": deep}}]}),
    ):  # fmt: skip
        if taken(line) == [True]:
            with patch("adaptkit.data.typed.read", return_value=None):
                assert RowReader(shape=SHAPES["openai"]).read(line)[0] is not None
        else:
            assert levels > 85


def test_equal_rows_are_found_whichever_way_they_came(tmp_path: Path) -> None:
    """The same content, spelled so that one is taken with its block and another is not."""
    named = json.dumps(GOOD)
    spellings = [
        named,
        named.replace('"content": null, ', ""),
        named.replace('"role": "user"', '"tool_calls": null, "role": "user"'),
        named.replace('"weight": 1', '"weight": 1.0'),
        json.dumps({**GOOD, "tools": [{"function": TOOL["function"], "type": "function"}]}),
        named.replace(', "type": "function", "function": {"name": "f", "arg', ', "function": {"name": "f", "arg'),
        named.replace('\\"a\\": [1, 2.5, null]', '\\"a\\":[1,2.5,null]'),
        json.dumps(GOOD, separators=(",", ":")),
        named.replace('"content": "q"', '"content": [{"type": "text", "text": "q"}]'),
    ]
    assert len(set(spellings)) == len(spellings)
    assert len({*map(tuple, map(taken, map(str.encode, spellings)))}) == 2, "some are taken, some are not"
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps({"messages": [END]}), *spellings, json.dumps({"messages": [END]})]))
    report = Dataset.open(path).check()
    assert report.ok
    assert report.stats.duplicates == len(spellings) - 1 + 1


def test_problems_stand_in_the_order_of_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    key = {**GOOD, "messages": [{"role": "user", "content": "sk-ant-" + "a" * 30}, END]}
    bad = {"messages": [*CALLS, END]}
    path.write_bytes(block_of(GOOD, bad, key, GOOD, bad, key) + b"\n" + block_of(GOOD))
    report = Dataset.open(path).check()
    assert [(problem.line, problem.rule) for problem in report.problems if problem.line] == [
        (2, "tool-reply"),
        (3, "secret"),
        (5, "tool-reply"),
        (6, "secret"),
        (7, "blank-line"),
    ]
    assert report.stats.rows == 7


def test_rules_for_rich_rows_are_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(block_of(GOOD, GOOD, GOOD))
    seen: list[Any] = []
    rules = DataRules(rich_rules=(lambda record: seen.append(record) or (),))
    assert check(find_sources([path]), None, rules).ok
    assert len(seen) == 3
    mistral = check(find_sources([path]), None, DataRules(format="mistral"))
    with patch("adaptkit.data.tally.rich_block", return_value=None):
        assert list(mistral.problems) == list(check(find_sources([path]), None, DataRules(format="mistral")).problems)

"""The quick ways through the data say what the careful one says, and leave to it what they do not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data import Dataset, typed
from adaptkit.data.formats import FORMATS, SHAPES
from adaptkit.data.records import canonical
from adaptkit.data.rows import RowReader
from tests.data.strategies import chats, odd, plain_chats, preferences, words


def rows_of(records: st.SearchStrategy[Any], form: str) -> st.SearchStrategy[Any]:
    """Rows as JSON has them."""
    return records.map(FORMATS[form].write).map(json.dumps).map(json.loads)


openai_rows = rows_of(chats | plain_chats, "openai")
strings = st.fixed_dictionaries({"prompt": words, "chosen": words, "rejected": words})
rows_by_shape = {
    "openai": openai_rows,
    "openai-preference": rows_of(preferences, "openai"),
    "trl-preference": rows_of(preferences, "trl") | strings,
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, 2.5, null]}'}}
END = {"role": "assistant", "content": "a"}
GOOD = {
    "messages": [
        {"role": "user", "content": "q", "name": "n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "3", "tool_call_id": "c"},
        {**END, "weight": 1},
    ],
    "tools": [TOOL],
    "parallel_tool_calls": False,
}


def spelled(row: Any, *, ascii_only: bool, dense: bool) -> str:
    return json.dumps(row, ensure_ascii=ascii_only, separators=(",", ":") if dense else None)


def careful(line: bytes, shape: str) -> Any:
    with patch("adaptkit.data.typed.read", return_value=None):
        return RowReader(shape=SHAPES[shape]).read(line)


@pytest.mark.parametrize("shape", rows_by_shape)
@settings(max_examples=200, deadline=None)
@given(data=st.data(), ascii_only=st.booleans(), dense=st.booleans())
def test_what_the_typed_reader_takes_the_careful_one_takes_too(
    shape: str, data: st.DataObject, ascii_only: bool, dense: bool
) -> None:
    line = spelled(data.draw(odd(rows_by_shape[shape])), ascii_only=ascii_only, dense=dense).encode()
    found = typed.read(line, shape)
    if found is not None:
        assert careful(line, shape) == (found, [])
    assert RowReader(shape=SHAPES[shape]).read(line) == careful(line, shape)


@pytest.mark.parametrize("change", [{}, {"parallel_tool_calls": None}, {"tools": None}, {"tools": []}], ids=str)
def test_good_rows_take_the_quick_way(change: dict[str, Any]) -> None:
    line = json.dumps({**GOOD, **change}).encode()
    assert typed.read(line, "openai") == careful(line, "openai")[0] is not None


def test_good_preferences_take_the_quick_way() -> None:
    turns = {"preferred_output": [END], "non_preferred_output": [{**END, "content": "b"}]}
    given = json.dumps({"input": GOOD, **turns}).encode()
    assert typed.read(given, "openai-preference") == careful(given, "openai-preference")[0] is not None
    strings = b'{"prompt": "q", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}'
    assert typed.read(strings, "trl-preference") == careful(strings, "trl-preference")[0] is not None


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": "q", "tool_call_id": ""},
        {"role": "user", "content": "q", "tool_calls": [CALL]},
        {"role": "tool", "content": "q", "weight": 1},
        {"role": "assistant", "weight": 0.5, "content": "a"},
        {"role": "assistant", "weight": True, "content": "a"},
        {"role": "assistant", "tool_calls": []},
        {"role": "user", "content": None},
        {"role": "critic", "content": "q"},
        {"role": "user", "content": "q", "x": 1},
        {"role": "assistant", "tool_calls": [{**CALL, "type": "code"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]},
    ],
    ids=str,
)
def test_a_turn_with_something_wrong_is_left_to_the_careful_reader(turn: dict[str, Any]) -> None:
    line = json.dumps({"messages": [turn, END]}).encode()
    assert typed.read(line, "openai") is None
    assert careful(line, "openai")[0] is None


def test_both_readers_make_the_same_of_a_weight() -> None:
    lines = [json.dumps({"messages": [{**END, "weight": weight}]}).encode() for weight in (1, 1.0)]
    first, second = typed.read(lines[0], "openai"), careful(lines[1], "openai")[0]
    assert first is not None
    assert canonical(first) == canonical(second)


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"name": "n"', '"name": "m", "name":"n"'),
        ('"weight": 1', '"weight": 0, "weight": 1'),
        ('"type": "object"', '"type": "array", "type": "object"'),
        ('"content": null', '"content": null, "content": null'),
        ('\\"a\\": [', '\\"a\\": 1, \\"a\\": ['),
        ('"id": "c"', '"id": "\\u0022\\u0022", "id": "c"'),
        ('"name": "n"', '"name": "", "name": "\\u0022\\u0022\\u0022\\u0022"'),  # four quotes more and four less
        ('"tools"', '"tools": [], "tools"'),
    ],
)
def test_a_key_twice_is_left_to_the_careful_reader(once: str, twice: str) -> None:
    line = json.dumps(GOOD).replace(once, twice, 1).encode()
    assert once in json.dumps(GOOD)
    assert typed.read(line, "openai") is None
    record, findings = RowReader(shape=SHAPES["openai"]).read(line)
    assert record is None
    assert [finding.rule for finding in findings] in (["duplicate-key"], ["tool-arguments"])


@pytest.mark.parametrize("levels", [80, *range(90, 102), 120])
def test_depth_is_counted_from_the_row(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = {"a": deep}
    tool = {"function": {"name": "f", "parameters": deep}}
    call = {"function": {"name": "f", "arguments": deep}}
    chat_rows = ({"messages": [{**END, "tool_calls": [call]}]}, {"messages": [END], "tools": [tool]})
    for row in chat_rows:
        outputs = {"preferred_output": [END], "non_preferred_output": [{**END, "content": "b"}]}
        for line, shape in (
            (json.dumps(row).encode(), "openai"),
            (json.dumps({"input": row, **outputs}).encode(), "openai-preference"),
        ):
            assert RowReader(shape=SHAPES[shape]).read(line) == careful(line, shape)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\xff"', "[NaN]", "1e999", "[1e400]", '{"a":1,"a":2}'])
def test_what_is_decoded_late_is_judged_all_the_same(text: str) -> None:
    for place in ('"arguments": "{}"', '"parameters": {}'):
        row = {
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        }
        line = json.dumps(row).replace(place, f"{place.split(':')[0]}: {text}").encode("latin-1")
        assert typed.read(line, "openai") is None
        assert RowReader(shape=SHAPES["openai"]).read(line)[0] is None


@pytest.mark.parametrize("shape", rows_by_shape)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_checks_by_every_way_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, shape: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("lanes") / "a.jsonl"
    rows = data.draw(st.lists(st.tuples(odd(rows_by_shape[shape]), st.booleans(), st.booleans()), max_size=6))
    path.write_text("\n".join(spelled(row, ascii_only=ascii_only, dense=dense) for row, ascii_only, dense in rows))
    quick = Dataset.open(path).check()
    with patch("adaptkit.data.fast.decode_plain", return_value=None):
        rich = Dataset.open(path).check()
    with (
        patch("adaptkit.data.fast.decode_plain", return_value=None),
        patch("adaptkit.data.tally.rich_block", return_value=None),
    ):
        typed_only = Dataset.open(path).check()
        with patch("adaptkit.data.typed.read", return_value=None):
            slow = Dataset.open(path).check()
    for report in (quick, rich, typed_only):
        assert list(report.problems) == list(slow.problems)
        assert report.stats == slow.stats


def test_rows_as_long_as_one_another_need_not_be_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    firsts = ["system", "user", "user", "developer"]
    rows = [{"messages": [{"role": role, "content": "é" * n}, END]} for n, role in enumerate(firsts, 1)]
    path.write_text("\n".join(map(json.dumps, rows)))
    stats = Dataset.open(path).check().stats
    assert stats.roles == {"system": 1, "user": 2, "developer": 1, "assistant": 4}
    assert stats == msgspec.structs.replace(Dataset.of(rows).check().stats, files=stats.files)

"""Every odd thing that a file may hold has a verdict, the same in `check`, in iteration, and in both lanes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.data import Dataset
from adaptkit.data.parsing import MAX_DEPTH, MAX_LINE
from adaptkit.errors import DataError

GOOD = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes"}]}'
DEEP = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes"}],"x":%s}'


def nested(levels: int) -> bytes:
    return DEEP % (b"[" * levels + b"]" * levels)


def in_text(raw: bytes) -> bytes:
    return GOOD.replace(b"Hi", raw)


BAD = {
    "bom-inside": (b"\xef\xbb\xbf" + GOOD, "byte-order-mark"),
    "bytes": (in_text(b"\xff"), "bad-utf8"),
    "encoded-surrogate": (in_text(b"\xed\xa0\x80"), "bad-utf8"),
    "utf-16": (GOOD.decode().encode("utf-16-le"), "control-character"),
    "nul": (in_text(b"\x00"), "control-character"),
    "control": (in_text(b"\x1b"), "control-character"),
    "nul-after": (GOOD + b"\x00", "control-character"),
    "lone-surrogate": (in_text(rb"\ud83d"), "lone-surrogate"),
    "nan": (DEEP % b"NaN", "not-a-number"),
    "infinity": (DEEP % b"-Infinity", "not-a-number"),
    "huge-float": (DEEP % b"1e999", "not-a-number"),
    "huge-int": (DEEP % (b"9" * 6000), "not-a-number"),
    "key-twice": (GOOD.replace(b'"role":"user"', b'"role":"system","role":"user"'), "duplicate-key"),
    "content-twice": (GOOD.replace(b'"content":"Hi"', b'"content":"a","content":"Hi"'), "duplicate-key"),
    "key-twice-deep": (DEEP % rb'{"a":1,"b":"\"","a":1}', "duplicate-key"),
    "key-twice-escaped": (DEEP % rb'{"a":1,"\u0061":1}', "duplicate-key"),
    "too-deep": (nested(MAX_DEPTH + 1), "too-deep"),
    "far-too-deep": (nested(100_000), "too-deep"),
    "truncated": (GOOD[:-3], "not-json"),
    "two-values": (GOOD + GOOD, "not-json"),
    "single-quotes": (GOOD.replace(b'"', b"'"), "not-json"),
    "array": (b"[" + GOOD + b"]", "not-an-object"),
    "string": (b'"hello"', "not-an-object"),
    "null": (b"null", "not-an-object"),
    "unknown-keys": (b'{"mesages":[]}', "unknown-format"),
    "empty-object": (b"{}", "unknown-format"),
}
FINE = {
    "nul-escape": in_text(rb"\u0000"),
    "pair": in_text(rb"\ud83d\ude00"),
    "nested": nested(MAX_DEPTH - 2),
    "blanks": b"  \t" + GOOD + b"  ",
    "null-key": GOOD[:-1] + b',"tools":null}',
    "slash": in_text(rb"a\/b"),
    "escaped-key": GOOD.replace(b'"role"', rb'"r\u006fle"'),
    "looks-like-a-key": in_text(rb"\": \"role\": "),
    "backslashes": in_text(rb"\\\" \\"),
    "big-integer": DEEP % b"123456789012345678901234567890",
}


def file(tmp_path: Path, data: bytes) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    return Dataset.open(path)


@pytest.mark.parametrize(("line", "rule"), BAD.values(), ids=BAD)
def test_bad_lines_are_problems_on_their_line(tmp_path: Path, line: bytes, rule: str) -> None:
    data = file(tmp_path, b"\n".join([GOOD, GOOD, line, GOOD]))
    report = data.check()
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert [(problem.line, problem.rule) for problem in errors] == [(3, rule)]
    assert errors[0].file is not None
    assert errors[0].file.endswith("rows.jsonl")
    assert report.stats.rows == 4
    with pytest.raises(DataError) as caught:
        list(data)
    assert [(problem.line, problem.rule) for problem in caught.value.problems] == [(3, rule)]


@pytest.mark.parametrize("line", FINE.values(), ids=FINE)
def test_odd_but_good_lines_are_rows(tmp_path: Path, line: bytes) -> None:
    data = file(tmp_path, b"\n".join([GOOD, line, GOOD]))
    assert data.check().ok, str(data.check())
    assert len(data) == 3


def test_a_nul_escape_is_kept(tmp_path: Path) -> None:
    (record,) = file(tmp_path, FINE["nul-escape"])
    assert record.messages[0].content == "\0"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
        GOOD + b"\r\n" + GOOD + b"\r\n",
        GOOD + b"\n" + GOOD,
        GOOD + b"\n" + GOOD + b"\n",
    ],
    ids=["bom-first", "crlf", "no-final-newline", "plain"],
)
def test_ends_of_lines_and_a_first_bom_are_no_matter(tmp_path: Path, data: bytes) -> None:
    found = file(tmp_path, data)
    assert not [problem for problem in found.check().problems if problem.rule != "duplicate-rows"]
    assert found.check().stats.duplicates == 1
    assert found.fingerprint == Dataset.of([json.loads(GOOD)] * 2).fingerprint


def test_empty_lines_are_warned_of_and_not_counted(tmp_path: Path) -> None:
    report = file(tmp_path, GOOD + b"\n\n \t\n" + GOOD + b"\n\n").check()
    assert report.ok
    assert [(p.line, p.rule) for p in report.problems][:3] == [(2, "blank-line"), (3, "blank-line"), (5, "blank-line")]
    assert report.stats.rows == 2


def test_pretty_printed_json_is_refused_at_its_first_line(tmp_path: Path) -> None:
    text = json.dumps(json.loads(GOOD), indent=1).encode()
    report = file(tmp_path, text + b"\n" + GOOD + b"\n").check()
    assert report.problems[0].rule == "not-json"
    assert report.problems[0].line == 1


def test_ten_megabytes_are_a_line_and_seventeen_are_not(tmp_path: Path) -> None:
    long, longer = in_text(b"x" * 10_000_000), in_text(b"x" * (MAX_LINE + 1))
    report = file(tmp_path, b"\n".join([GOOD, long, longer, GOOD, longer])).check()
    assert [(problem.line, problem.rule) for problem in report.problems if problem.severity == "error"] == [
        (3, "line-too-long"),
        (5, "line-too-long"),
    ]
    assert report.stats.rows == 5
    assert report.stats.characters.max == 10_000_003


@given(
    st.lists(
        st.binary(max_size=60)
        | st.text(max_size=40).map(str.encode)
        | st.just(GOOD)
        | st.builds(
            lambda at, byte: GOOD[:at] + byte + GOOD[at + 1 :], st.integers(0, len(GOOD)), st.binary(max_size=2)
        ),
        max_size=8,
    )
)
def test_no_bytes_raise_anything(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = Dataset.open(path).check()
    unreadable = {
        problem.line
        for problem in report.problems
        if problem.severity == "error" and problem.rule not in ("no-rows", "no-answer", "empty-content")
    }
    if unreadable:
        with pytest.raises(DataError):
            list(Dataset.open(path))
    else:
        assert len(list(Dataset.open(path))) == report.stats.rows


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(st.characters()) | st.binary(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "messages",
                        "role",
                        "content",
                        "tools",
                        "tool_calls",
                        "function",
                        "arguments",
                        "type",
                        "weight",
                        "prompt",
                        "completion",
                        "chosen",
                        "rejected",
                        "input",
                        "conversations",
                        "from",
                        "value",
                        "text",
                        "contents",
                        "parts",
                        "schemaVersion",
                        "instruction",
                        "output",
                        "preferred_output",
                        "non_preferred_output",
                        "system",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_value_raises_anything(value: object) -> None:
    assert Dataset.of([value]).check().stats.rows == 1  # type: ignore[list-item]

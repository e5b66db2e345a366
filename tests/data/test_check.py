"""The report: rules, figures, bounded memory, and that every way through the data says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data import DataRules, Dataset, Finding, Problem, Record, Report, duplicates, ranges, reading
from adaptkit.data.duplicates import Distinct, HashLog
from adaptkit.data.parsing import quotes
from adaptkit.data.problems import ProblemList
from adaptkit.data.records import turns_of
from adaptkit.data.secrets import find_secrets, may_hold_secret
from adaptkit.data.stats import Sample
from adaptkit.errors import DataError


def chat(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def call(*ids: str | None) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": "{}"}, **({"id": one} if one else {})}
            for one in ids
        ],
    }


def reply(to: str | None) -> dict[str, Any]:
    return {"role": "tool", "content": "3", **({"tool_call_id": to} if to else {})}


GOOD = chat(("user", "q"), ("assistant", "a"))
END = {"role": "assistant", "content": "a"}


def rules_of(report: Report, *, warnings: bool = False) -> list[tuple[str, str]]:
    return [(p.rule, p.path) for p in report.problems if warnings or p.severity == "error"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (GOOD, []),
        (chat(("user", "q")), [("no-answer", "$.messages[0].role")]),
        (chat(("assistant", "a"), ("user", "q")), [("no-answer", "$.messages[1].role")]),
        (chat(("user", "q"), ("assistant", "")), [("empty-content", "$.messages[1].content")]),
        ({"messages": [{"role": "user", "content": "q"}, {**END, "weight": 0}]}, [("nothing-to-learn", "$.messages")]),
        ({"messages": [{**END, "weight": 0}, END]}, []),
        ({"messages": [call("a", "b"), reply("b"), reply("a"), END]}, []),
        ({"messages": [call(None), reply(None), END]}, []),
        ({"messages": [call("a")]}, []),
        ({"messages": [call("a"), END]}, [("tool-reply", "$.messages[0].tool_calls")]),
        ({"messages": [call("a", "b"), reply("a"), END]}, [("tool-reply", "$.messages[0].tool_calls")]),
        (
            {"messages": [call("a"), reply("x"), END]},
            [("tool-reply", "$.messages[1].tool_call_id"), ("tool-reply", "$.messages[0].tool_calls")],
        ),
        ({"messages": [reply("x"), END]}, [("tool-reply", "$.messages[0].tool_call_id")]),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, [("same-answers", "$")]),
        ({"prompt": "q", "chosen": [{"role": "user", "content": "a"}], "rejected": "b"}, [("no-answer", "$.chosen")]),
        ({"prompt": "q", "completion": ""}, [("empty-content", "$.completion")]),
        ({"text": ""}, [("empty-content", "$.text")]),
    ],
)
def test_common_rules(row: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert rules_of(Dataset.of([row]).check()) == expected


def test_rules_of_a_backend() -> None:
    def short(record: Record) -> list[Finding]:
        return [Finding("too-short", "$", "it is too short.")] if record.kind == "chat" else []

    data = Dataset.of([GOOD] * 3)
    assert rules_of(data.check(rules=DataRules(min_rows=4))) == [("too-few-rows", "$")]
    assert rules_of(data.check(rules=DataRules(max_rows=2))) == [("too-many-rows", "$")]
    assert rules_of(data.check(rules=DataRules(kinds=frozenset({"text"})))) == [("wrong-kind", "$")]
    assert rules_of(data.check(rules=DataRules(record_rules=(short,)))) == [("too-short", "$")] * 3
    assert not rules_of(Dataset.of([chat(("user", "q"))]).check(rules=DataRules(needs_answer=False)))
    assert rules_of(
        Dataset.of([chat(("developer", "d"), ("assistant", "a"))]).check(rules=DataRules(format="mistral"))
    ) == [("cannot-express", "$.messages[0].role")]


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD))
    assert rules_of(Dataset.open(path).check(rules=DataRules(max_bytes=20))) == [("too-large", "$")]


def test_figures() -> None:
    rows = [chat(("system", "ab"), ("user", "é" * 8), ("assistant", "cd")), GOOD, GOOD, chat(("user", "q"), ("x", "y"))]
    report = Dataset.of(rows).check()
    stats = report.stats
    assert (stats.rows, stats.kind, stats.format, stats.duplicates) == (4, "chat", "openai", 1)
    assert stats.roles == {"system": 1, "user": 3, "assistant": 3}
    assert (stats.turns.min, stats.turns.max, stats.turns.p50) == (2, 3, 2)
    assert (stats.characters.min, stats.characters.max, stats.characters.mean) == (2, 12, 16 / 3)
    assert stats.tokens == (20 + 4) // 4 + 4 * 7
    assert "unknown-role" in str(report)
    with pytest.raises(DataError) as caught:
        report.raise_if_bad()
    assert len(caught.value.problems) == len(report.problems)


def test_equal_rows_are_duplicates_however_they_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    spelled = [
        '{"messages":[{"role":"user","content":"\\u0071é"},{"role":"assistant","content":"a"}]}',
        '{"messages": [{"content": "qé", "role": "user"}, {"role": "assistant", "content": "a"}], "tools": []}',
        json.dumps(chat(("user", "qé"), ("assistant", "a")), indent=None),
        json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "qé"}]}, END]}),
    ]
    path.write_text("\n".join(spelled))
    assert Dataset.open(path).check().stats.duplicates == 3


# A key in a test must not look like one to those who scan repositories.
KEYS = {
    "anthropic-key": "sk-ant-" + "api03-" + "aB3" * 10,
    "openai-key": "sk-" + "proj-" + "aB3" * 10,
    "aws-access-key": "AKI" + "A" + "B3" * 8,
    "github-token": "gh" + "p_" + "aB3" * 12,
    "slack-token": "xox" + "b-" + "12345-" * 4,
    "google-key": "AI" + "za" + "Sy9_x" * 7,
    "huggingface-token": "h" + "f_" + "aB3" * 11,
    "stripe-key": "sk_" + "live_" + "aB3" * 8,
    "private-key": "-----BEGIN " + "RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items(), ids=KEYS)
@pytest.mark.parametrize("more", [{}, {"x": 1}], ids=["fast", "slow"])
def test_keys_are_found_and_never_repeated(tmp_path: Path, kind: str, key: str, more: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    rows = [GOOD, chat(("user", f"use {key} please"), ("assistant", "no"), **more), GOOD]
    path.write_text("\n".join(map(json.dumps, rows)))
    for data in (Dataset.open(path), Dataset.of(rows)):
        report = data.check()
        assert report.stats.secrets == {kind: 1}
        (found,) = [problem for problem in report.problems if problem.rule == "secret"]
        assert (found.line, found.severity) == (2, "warning")
        assert key[8:] not in str(report) + repr(list(report.problems))


@given(st.binary(max_size=40), st.sampled_from(list(KEYS.values())), st.binary(max_size=40))
def test_the_quick_look_never_misses_what_the_pattern_finds(before: bytes, key: str, after: bytes) -> None:
    block = before + key.encode() + after
    assert not list(find_secrets(block)) or may_hold_secret(block)


def test_ordinary_words_are_no_keys() -> None:
    text = b"a task-oriented risk-averse desk-bound AKIA hf_hub sk-learn ghp_ xoxo- -----BEGIN CERTIFICATE-----"
    assert not list(find_secrets(text))


plain = st.lists(
    st.tuples(
        st.sampled_from(["system", "user", "assistant", "developer", "tool", "usr"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(plain, st.booleans(), st.booleans()), max_size=6))
def test_both_lanes_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("lanes") / "a.jsonl"
    values = [chat(*turns) for turns, _, _ in rows]
    path.write_text(
        "\n".join(
            json.dumps(value, ensure_ascii=escape, separators=(",", ":") if dense else None)
            for value, (_, escape, dense) in zip(values, rows, strict=True)
        )
    )
    fast, slow = Dataset.open(path), Dataset.of(values)
    one, two = fast.check(), slow.check()
    assert [(p.rule, p.line, p.path, p.message) for p in one.problems if p.rule != "no-rows"] == [
        (p.rule, p.line, p.path, p.message) for p in two.problems if p.rule != "no-rows"
    ]
    assert msgspec.structs.replace(one.stats, files=()) == two.stats
    if one.ok:
        assert list(fast) == list(slow)


@settings(max_examples=150, deadline=None)
@given(glue=st.lists(st.sampled_from(["\n", "", "\n\n", "\r\n", " ", "\n "]), max_size=5), spread=st.integers(-1, 4))
def test_rows_not_a_line_each_are_never_taken_for_plain(
    tmp_path_factory: pytest.TempPathFactory, glue: list[str], spread: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    row = json.dumps(chat(("user", "q"), ("assistant", "a")))
    text = "".join(row.replace("[", "[\n") + mark if n == spread else row + mark for n, mark in enumerate(glue))
    path.write_text(text)
    quick = Dataset.open(path).check()
    with patch("adaptkit.data.fast.decode_plain", return_value=None):
        careful = Dataset.open(path).check()
    assert (list(quick.problems), quick.stats) == (list(careful.problems), careful.stats)


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"content"', '"content": "x", "content"'),
        ('"role": "user"', '"role":"user", "role": "user"'),
        ('"role": "user"', '"role" :\t"user", "role": "user"'),
        ('"role": "user"', '"r\\u006fle": "user", "role": "user"'),
        ('"say ', '"\\u0022\\u0022", "content": "\\u0022\\u0022\\u0022\\u0022'),  # four quotes less and four more
        ('"messages"', '"messages": [{"role": "user", "content": "q"}], "messages"'),
    ],
)
def test_a_key_twice_is_found_in_the_midst_of_plain_rows(tmp_path: Path, once: str, twice: str) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(chat(("user", f'say "{n}"\n'), ("assistant", "a\\b"))) for n in range(3000)]
    lines[1500] = lines[1500].replace(once, twice, 1)
    path.write_text("\n".join(lines))
    assert [(p.line, p.rule) for p in Dataset.open(path).check().problems] == [(1501, "duplicate-key")]


@given(st.text(st.sampled_from('"\\\\aé'), max_size=9), st.booleans())
def test_quotes_are_those_at_the_ends_of_strings(text: str, ascii_only: bool) -> None:
    assert quotes(json.dumps({"a": text, text: 1}, ensure_ascii=ascii_only).encode()) == (2 if text == "a" else 6)


def test_ranges_of_bytes_in_two_processes_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"]
    for number, path in enumerate(paths):
        rows = [
            json.dumps(chat(("user", f"{number} {n % 450} é\n"), ("assistant", "a" * (n % 90)))) for n in range(2000)
        ]
        leak = json.dumps(chat(("user", KEYS["openai-key"]), ("assistant", "a")))
        rows[1990:1990] = ["", "{", leak, '{"text": "a"}']
        path.write_text("\n".join(rows) + "\n" * (number % 2))
    monkeypatch.setattr(ranges, "_cores", lambda: 1)
    one = Dataset.open(*paths).check()
    monkeypatch.setattr(ranges, "_cores", lambda: 2)
    monkeypatch.setattr(ranges, "_LARGE", 1)
    started = []
    monkeypatch.setattr(ranges, "_start", lambda folder, start=ranges._start: started.append(1) or start(folder))
    two = Dataset.open(*paths).check()
    assert len(started) == 2
    assert one.stats == two.stats
    assert list(one.problems) == list(two.problems)
    assert one.stats.duplicates > 1000


def test_one_process_does_it_all_when_no_other_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD))
    monkeypatch.setattr(ranges, "_cores", lambda: 2)
    monkeypatch.setattr(ranges, "_LARGE", 1)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert Dataset.open(path).check().stats.rows == 2


@pytest.mark.parametrize("size", [16, 61, 4096])
def test_the_size_of_blocks_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + "\r\n".join(json.dumps(chat(("user", "q" * n), ("assistant", "é"))) for n in range(60)).encode()
    )
    expected = Dataset.open(path).check()
    monkeypatch.setattr(reading, "_BLOCK", size)
    report = Dataset.open(path).check()
    assert report.stats == expected.stats
    assert len(Dataset.open(path)) == 60


def test_problems_beyond_memory_are_kept_in_order() -> None:
    problems = ProblemList(in_memory=10)
    all_of_them = [Problem(rule="r", message=str(n), line=n) for n in range(1000)]
    for problem in all_of_them[:700]:
        problems.append(problem)
    assert problems[699].line == 699
    for problem in all_of_them[700:]:
        problems.append(problem)
    assert list(problems) == all_of_them
    assert problems[-1] == all_of_them[-1]
    assert list(problems[5:15]) == all_of_them[5:15]
    assert problems.errors == 1000
    with pytest.raises(IndexError):
        problems[1000]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)))
def test_distinct_hashes_are_counted(values: list[int]) -> None:
    log, few = HashLog(), Distinct()
    log.extend(values)
    few.extend(values)
    assert log.distinct() == few.count() == len(set(values))


def test_distinct_hashes_are_counted_beyond_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(duplicates, "_FIT", 50)
    monkeypatch.setattr(duplicates, "_SPILL", 300)
    monkeypatch.setattr(duplicates, "_CHUNK", 64)
    values = [hash(f"{n % 1500}") for n in range(4000)] + [7] * 200
    log, other = HashLog(), HashLog()
    log.extend(values[:1000])
    other.extend(values[1000:])
    other.save(str(tmp_path / "hashes"))
    log.merge(str(tmp_path / "hashes"))
    assert len(log) == len(values)
    assert log.distinct() == len(set(values))
    many, more = Distinct(), Distinct()
    for start in range(0, 3000, 40):
        many.extend(values[start : start + 40])
    more.extend(values[3000:3020])
    more.save(str(tmp_path / "few"))
    many.merge(str(tmp_path / "few"), 20)
    assert (many.total, many.count()) == (3020, len(set(values[:3020])))


@given(st.lists(st.lists(st.integers(0, 10**9), max_size=40), max_size=6))
def test_samples_of_few_values_are_exact(groups: list[list[int]]) -> None:
    sample, merged = Sample(), Sample()
    for group in groups:
        sample.extend(group)
        part = Sample()
        part.extend(group)
        merged.merge(part.state())
    everything = sorted(value for group in groups for value in group)
    assert sample.lengths() == merged.lengths()
    if everything:
        found = sample.lengths()
        assert (found.min, found.max) == (everything[0], everything[-1])
        assert found.p50 == everything[len(everything) // 2]


def test_samples_of_many_values_are_close() -> None:
    sample = Sample()
    for start in range(0, 500_000, 777):
        sample.extend(list(range(start, min(start + 777, 500_000))))
    found = sample.lengths()
    assert (found.min, found.max, found.mean) == (0, 499_999, 249_999.5)
    assert abs(found.p50 - 250_000) < 5_000
    assert abs(found.p95 - 475_000) < 5_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_memory_is_bounded(tmp_path: Path, bad: bool) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(60_000):
            file.write(
                json.dumps(
                    chat(
                        ("user", f"question {number} " + "x" * 100),
                        ("assistant" if not bad or number % 2 else "bot", "a" * 40),
                    )
                )
                + "\n"
            )
    code = """
import sys
from adaptkit.data import Dataset
import adaptkit.data.check
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
before = peak()
report = Dataset.open(sys.argv[1]).check()
print(peak() - before, len(report.problems))
"""
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    used, problems = map(int, out.stdout.split())
    assert problems == (30_000 if bad else 0)
    assert used < 60 * 1024


def test_rules_for_rich_rows_leave_plain_rows_alone(tmp_path: Path) -> None:
    looked_at: list[Record] = []

    def rule(record: Record) -> Iterator[Finding]:
        looked_at.append(record)
        if any(isinstance(turn.content, tuple) for turn in turns_of(record)):
            yield Finding("rich", "$", "it has an image.")

    plain = [chat(("user", f"{number}?"), ("assistant", "!")) for number in range(500)]
    image = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    path = tmp_path / "data.jsonl"
    rows = [*plain, chat(("user", image), ("assistant", "!"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = Dataset.open(path).check(rules=DataRules(rich_rules=(rule,)))
    assert [(problem.rule, problem.line) for problem in report.problems if problem.rule == "rich"] == [("rich", 501)]
    assert len(looked_at) < 10, "plain rows were looked at one by one"

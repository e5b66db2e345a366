"""Opening, splitting, fingerprints and writing of whole data sets."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.data import ChatRecord, Dataset, TextRecord, duplicates
from adaptkit.errors import AdaptkitError, ConfigError, DataError
from adaptkit.types import Message
from tests.data import strategies as some


def chat(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_files_globs_gzip_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [chat(number) for number in range(7)]
    one = write(tmp_path / "one.jsonl", rows)
    write(tmp_path / "part-2.jsonl", rows[3:])
    write(tmp_path / "part-1.jsonl", rows[:3])
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(one.read_bytes(), mtime=0))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "one.parquet")
    prints = {
        Dataset.open(one).fingerprint,
        Dataset.open(tmp_path / "part-*.jsonl").fingerprint,
        Dataset.open(tmp_path / "one.jsonl.gz").fingerprint,
        Dataset.open(tmp_path / "one.parquet").fingerprint,
        Dataset.open(tmp_path / "part-1.jsonl", tmp_path / "part-2.jsonl").fingerprint,
        Dataset.of(rows).fingerprint,
        Dataset.of(list(Dataset.open(one))).fingerprint,
    }
    assert len(prints) == 1
    report = Dataset.open(tmp_path / "one.parquet").check()
    assert report.ok
    assert report.stats.rows == 7


def test_a_hugging_face_dataset_is_read_as_it_is() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [chat(number) for number in range(3)]
    data = Dataset.of(datasets.Dataset.from_list(rows))
    assert data.fingerprint == Dataset.of(rows).fingerprint
    assert len(data) == 3


def test_a_generator_is_read_once_and_kept() -> None:
    data = Dataset.of(chat(number) for number in range(3))
    assert len(data) == len(list(data)) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, "there is no file"),
        ("a.csv", b"a,b", r"\.csv files are not read"),
        ("a.jsonl.gz", b"not gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "abc"}', mtime=0)[:-9], "cannot be"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
        ("nothing-*.jsonl", None, "no file matches"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        Dataset.open(path).check()


def test_folders_and_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        Dataset.open(tmp_path)
    with pytest.raises(DataError, match="no file was named"):
        Dataset.open()
    with pytest.raises(ConfigError, match="list of rows"):
        Dataset.of("rows.jsonl")  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat(1)])
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        list(Dataset.open(path))


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_a_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    report = Dataset.open(path).check()
    assert [problem.rule for problem in report.problems if problem.severity == "error"] == ["no-rows"]
    with pytest.raises(DataError, match="holds no row"):
        _ = Dataset.open(path).kind


def test_a_file_with_a_glob_in_its_name_is_opened_as_it_is(tmp_path: Path) -> None:
    assert len(Dataset.open(write(tmp_path / "a[1].jsonl", [chat(1)]))) == 1


@given(
    rows=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    more=st.lists(st.integers(0, 60), max_size=20),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_a_split_is_a_partition_stable_under_additions(
    rows: list[int], more: list[int], share: float, seed: int
) -> None:
    train, test = (list(part) for part in Dataset.of([chat(row) for row in rows]).split(share, seed))
    assert len(train) + len(test) == len(rows)
    assert not {record.messages for record in train} & {record.messages for record in test}
    shuffled = rows + more
    random.Random(seed).shuffle(shuffled)
    _, later = Dataset.of([chat(row) for row in shuffled]).split(share, seed)
    assert {record.messages for record in test} <= {record.messages for record in later}


def test_shares_and_seeds_of_splits() -> None:
    data = Dataset.of([chat(number) for number in range(4000)])
    train, test = data.split(0.2)
    assert 700 < len(test) < 900
    assert len(train) + len(test) == 4000
    assert data.split(0.2, seed=1)[1].fingerprint != test.fingerprint
    assert data.split(0.2)[1].fingerprint == test.fingerprint
    half, _ = train.split(0.5)
    assert 1500 < len(half) < 1700, "a split of a split decides anew"
    report = test.check()
    assert report.stats.rows == len(test)
    assert train.write(io.BytesIO()).rows == len(train)


@pytest.mark.parametrize("share", [0, 1, -0.5, 20])
def test_a_share_is_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ConfigError):
        Dataset.of([chat(1)]).split(share)


def _shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, _shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


@given(record=some.kinds["chat"] | some.kinds["preference"], rng=st.randoms(use_true_random=False))
def test_fingerprints_see_content_and_not_spelling(record: Any, rng: random.Random) -> None:
    out = io.BytesIO()
    Dataset.of([record]).write(out)
    row = _shuffled(json.loads(out.getvalue()), rng)
    spelled = json.loads(json.dumps(row, indent=rng.choice([None, 3]), ensure_ascii=rng.random() < 0.5))
    assert Dataset.of([spelled]).fingerprint == Dataset.of([record]).fingerprint


def test_the_order_of_rows_counts_and_so_does_each_row() -> None:
    a, b = TextRecord("a"), TextRecord("b")
    prints = {Dataset.of(rows).fingerprint for rows in ([a, b], [b, a], [a], [a, a], [TextRecord("ab")])}
    assert len(prints) == 5


def test_a_changed_file_has_a_new_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat(1)])
    data = Dataset.open(path)
    before = data.fingerprint
    assert data.fingerprint == before
    write(path, [chat(1), chat(2)])
    assert data.fingerprint != before
    assert len(data) == 2


def test_what_is_written_is_said_and_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    written = Dataset.of([chat(1), chat(2)]).write(path)
    data = path.read_bytes()
    assert (written.rows, written.bytes, written.sha256) == (2, len(data), hashlib.sha256(data).hexdigest())
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    with pytest.raises(DataError):
        Dataset.of([chat(1), {"messages": []}]).write(path)
    assert path.read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_full_disk_and_a_missing_folder_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        Dataset.of([chat(1)]).write(tmp_path / "no" / "out.jsonl")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        Dataset.of([chat(1)]).write(full)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"text": float("nan")}, "not-a-number"),
        ({"text": "\ud800"}, "lone-surrogate"),
        ({"text": b"x"}, "not-json"),
        ({"text": "a", 1: "b"}, "not-json"),
        ("text", "not-an-object"),
    ],
)
def test_rows_from_python_are_held_to_what_json_can_say(row: Any, rule: str) -> None:
    assert rule == Dataset.of([row]).check().problems[0].rule


def test_records_that_lie_about_their_types_are_refused() -> None:
    bad = ChatRecord((Message(role="user", content="\ud800"),))
    with pytest.raises(AdaptkitError):
        list(Dataset.of([bad]))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.booleans())
def test_distinct_rows_are_the_first_of_their_like(numbers: list[int], few: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if few:  # so that hashes are split into buckets
            patch.setattr(duplicates, "_FIT", 3)
            patch.setattr(duplicates, "_SPILL", 4)
        data = Dataset.of([chat(number) for number in numbers])
        found = [record.messages[0].content for record in data.distinct()]
        assert found == [f"q{number}" for number in dict.fromkeys(numbers)]
        assert len(data.distinct()) == len(data) - data.check().stats.duplicates
        assert data.distinct().check().stats.duplicates == 0


def test_distinct_keeps_rows_that_differ_in_any_key_and_does_not_move_a_split(tmp_path: Path) -> None:
    rows = [chat(number) for number in range(40)]
    path = write(tmp_path / "x.jsonl", [*rows, {**rows[0], "metadata": "other"}, rows[1]])
    data = Dataset.open(path)
    assert len(data.distinct()) == 41
    train, test = data.split(0.3)
    once_train, once_test = data.distinct().split(0.3)
    assert len(list(once_train)) + len(list(once_test)) == 41
    assert list(once_test) == list(test.distinct())
    assert list(once_train) == list(train.distinct())
    path.write_text(json.dumps(rows[2]) + "\n")
    assert len(data.distinct()) == 1, "a file that has changed is looked at anew"


def test_distinct_remembers_only_what_repeats(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"text": f"{number} " * 200}) + "\n")
        file.write(json.dumps({"text": "7 " * 200}) + "\n")
    data = Dataset.open(tmp_path / "large.jsonl").distinct()
    tracemalloc.start()
    try:
        rows = sum(1 for _ in data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 20_000
    assert peak < 6e6, "of 20 MB of rows hardly anything is held"

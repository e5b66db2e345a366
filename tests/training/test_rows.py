"""The corpus on disk, and which of it each step learns from."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.backends.training.corpus import MARKER, Corpus, write
from adaptkit.backends.training.encode import Pair
from adaptkit.backends.training.rows import IGNORED, Documents, Examples, Pairs, segments
from adaptkit.errors import ArtifactError, DataError

example = st.lists(st.tuples(st.integers(0, 99_999), st.booleans()), min_size=1, max_size=30).map(
    lambda tokens: Encoded([token for token, _ in tokens], [learn for _, learn in tokens])
)
examples = st.lists(example, min_size=1, max_size=25)


settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")
home = tempfile.TemporaryDirectory()  # of the module: Hypothesis makes many corpora in one test


def corpus_of(said: list[Encoded], vocabulary: int = 100_000) -> Corpus:
    return write(Path(tempfile.mkdtemp(dir=home.name)) / "corpus", said, vocabulary)


def numbered(count: int, length: int, first: int = 0) -> list[Encoded]:
    """Every token once, in documents of equal length."""
    return [
        Encoded(list(range(start, start + length)), [True] * length)
        for start in range(first, first + count * length, length)
    ]


@given(examples)
def test_what_is_written_is_read(said: list[Encoded]) -> None:
    corpus = corpus_of(said)
    assert (corpus.examples, corpus.tokens) == (len(said), sum(map(len, said)))
    assert corpus.lengths().tolist() == [len(one) for one in said]
    for number, one in enumerate(said):
        ids, flags = corpus.example(number)
        assert ids.tolist() == one.ids
        assert [bool(flag & 1) for flag in flags] == one.learn
        assert [bool(flag & 2) for flag in flags] == [at == 0 for at in range(len(one))]


@pytest.mark.parametrize(("vocabulary", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_ids_are_as_wide_as_the_vocabulary_needs(tmp_path: Path, vocabulary: int, width: int) -> None:
    last = vocabulary - 1
    corpus = write(tmp_path / "corpus", [Encoded([0, last], [True, True])], vocabulary)
    assert corpus.example(0)[0].tolist() == [0, last]
    assert (tmp_path / "corpus" / "tokens.bin").stat().st_size == 2 * width


def test_ids_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="10 tokens"):
        write(tmp_path / "corpus", [Encoded([10], [True])], 10)
    assert not (tmp_path / "corpus").exists()


def test_no_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        write(tmp_path / "corpus", [], 10)


def test_a_corpus_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    class Cancelled(Exception): ...

    def between() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise Cancelled

    seen: list[int] = []
    with pytest.raises(Cancelled):
        write(tmp_path / "corpus", numbered(5, 4), 100, between)
    assert not (tmp_path / "corpus").exists()
    made = write(tmp_path / "corpus", numbered(5, 4), 100)  # what was left of the first is in nobody's way
    assert made.examples == 5
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert write(tmp_path / "corpus", numbered(9, 4), 100).examples == 5  # once made, it stays


@pytest.mark.parametrize("name", ["tokens.bin", "flags.bin", "ends.bin", MARKER])
def test_a_damaged_corpus_is_not_opened(tmp_path: Path, name: str) -> None:
    write(tmp_path / "corpus", numbered(5, 4), 100)
    file = tmp_path / "corpus" / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="no whole corpus"):
        Corpus(tmp_path / "corpus")


def test_writing_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptkit.backends.training.corpus._PROGRESS", 0.0)
    told: list[tuple[int, int]] = []
    write(tmp_path / "corpus", numbered(3, 4), 100, tell=lambda *count: told.append(count))
    assert told == [(1, 4), (2, 8), (3, 12)]


@given(examples, st.integers(2, 40), st.integers(1, 7))
def test_packing_loses_no_token(said: list[Encoded], max_length: int, batch_size: int) -> None:
    rows = Documents(corpus_of(said), max_length, batch_size=batch_size, epochs=1, seed=1)
    seen = sorted(row for step in range(rows.steps) for row in rows.of_step(step))
    assert seen == list(range(rows.own.count))
    batches = [rows.batch([row]) for row in seen]
    stream = [token for batch in batches for token in batch.tensors["input_ids"][0].tolist()]
    assert stream == [token for one in said for token in one.ids]
    assert all(batch.tensors["input_ids"].shape[1] <= max_length for batch in batches)
    assert sum(batch.tokens for batch in batches) == len(stream)


@given(examples, st.integers(2, 40))
def test_packed_documents_know_nothing_of_each_other(said: list[Encoded], max_length: int) -> None:
    rows = Documents(corpus_of(said), max_length, batch_size=100, epochs=1, seed=1)
    batch = rows.batch(range(rows.own.count))
    first = {sum(map(len, said[:number])) for number in range(len(said))}
    learn = [flag for one in said for flag in one.learn]
    place = position = 0
    for row in range(rows.own.count):
        ids = batch.tensors["input_ids"][row].tolist()[: sum(map(len, said)) - row * max_length]
        for column, token in enumerate(ids):
            position = 0 if column == 0 or place in first else position + 1
            told = batch.tensors["position_ids"][row, column] if "position_ids" in batch.tensors else column
            assert told == position
            label = int(batch.tensors["labels"][row, column])
            assert label == (token if learn[place] and position else IGNORED)
            place += 1
    assert batch.items == int((batch.tensors["labels"] != IGNORED).sum())


@given(
    st.integers(1, 60), st.integers(1, 40), st.floats(0.01, 0.9), st.integers(1, 8), st.integers(1, 3),
)  # fmt: skip
def test_replay_has_its_share(own: int, general: int, share: float, batch_size: int, epochs: int) -> None:
    text, replay = corpus_of(numbered(own, 4)), corpus_of(numbered(general, 4))
    rows = Documents(text, 4, batch_size=batch_size, epochs=epochs, seed=0, replay=replay, share=share)
    wanted = round(own * share / (1 - share))
    replayed: Counter[int] = Counter()
    for epoch in range(epochs):
        seen = [
            row for step in range(epoch * rows.per_epoch, (epoch + 1) * rows.per_epoch) for row in rows.of_step(step)
        ]
        assert sorted(row for row in seen if row < own) == list(range(own))
        assert sum(row >= own for row in seen) == wanted
        for end in range(1, len(seen) + 1):  # evenly: never more than one row from its share of what went before
            assert abs(sum(row >= own for row in seen[:end]) - end * wanted / len(seen)) < 1
        replayed.update(row - own for row in seen if row >= own)
    # no row a second time before all were there once more
    assert max(replayed.values(), default=0) - min((replayed[row] for row in range(general)), default=0) <= 1


def test_replayed_rows_are_the_other_text() -> None:
    rows = Documents(corpus_of(numbered(8, 4)), 4, batch_size=4, epochs=1, seed=0,
                     replay=corpus_of(numbered(3, 4, first=1000)), share=0.5)  # fmt: skip
    ids = [rows.batch([row]).tensors["input_ids"][0, 0] for step in range(rows.steps) for row in rows.of_step(step)]
    assert sum(int(first) >= 1000 for first in ids) == 8 == len(ids) / 2


@pytest.mark.parametrize("kind", ["documents", "examples", "pairs"])
def test_the_rows_of_a_step_follow_from_its_number(kind: str) -> None:
    corpus, general = corpus_of(numbered(31 * 3, 5)), corpus_of(numbered(4, 5))

    def made(seed: int = 3) -> Documents | Examples | Pairs:
        how = {"batch_size": 4, "epochs": 3, "seed": seed}
        if kind == "documents":
            return Documents(corpus, 7, replay=general, share=0.2, **how)
        return Examples(corpus, **how) if kind == "examples" else Pairs(corpus, **how)

    rows = made()
    whole = [rows.of_step(step) for step in range(rows.steps)]
    for step in (0, 1, rows.per_epoch - 1, rows.per_epoch, rows.steps - 1):
        fresh = made()
        assert [fresh.of_step(at) for at in range(step, rows.steps)] == whole[step:]
    first, second = whole[: rows.per_epoch], whole[rows.per_epoch : 2 * rows.per_epoch]
    assert first != second
    assert [made(4).of_step(step) for step in range(rows.steps)] != whole


@given(examples, st.integers(1, 6), st.integers(1, 3))
def test_every_example_is_learned_once_an_epoch(said: list[Encoded], batch_size: int, epochs: int) -> None:
    rows = Examples(corpus_of(said), batch_size=batch_size, epochs=epochs, seed=0)
    for epoch in range(epochs):
        steps = [rows.of_step(epoch * rows.per_epoch + step) for step in range(rows.per_epoch)]
        assert sorted(row for step in steps for row in step) == list(range(len(said)))
        assert all(len(step) <= batch_size for step in steps)
    assert max(len(said[row]) for row in rows.of_step(0)) == max(map(len, said))
    batch = rows.batch(rows.of_step(0))
    for at, row in enumerate(rows.of_step(0)):
        one = said[row]
        assert batch.tensors["input_ids"][at, : len(one)].tolist() == one.ids
        labels = [token if learn else IGNORED for token, learn in zip(one.ids, one.learn, strict=True)]
        assert batch.tensors["labels"][at].tolist()[1 : len(one)] == labels[1:]
        assert (batch.tensors["labels"][at, len(one) :] == IGNORED).all()
    assert "position_ids" not in batch.tensors


def test_lengths_that_are_alike_go_together() -> None:
    lengths = [1 + (7 * number) % 50 for number in range(400)]
    rows = Examples(corpus_of([Encoded([1] * n, [True] * n) for n in lengths]), batch_size=4, epochs=1, seed=0)
    filled = [max(batch) * 4 - sum(batch) for batch in ([lengths[row] for row in rows.of_step(k)] for k in range(100))]
    assert sum(filled) < 0.1 * sum(lengths)


def test_pairs_are_laid_out_chosen_first() -> None:
    pairs = [Pair([1, 2], [3, 4], [5]), Pair([6], [7], [8, 9])]
    rows = Pairs(corpus_of(list(segments(pairs))), batch_size=2, epochs=1, seed=0)
    batch = rows.batch([0, 1])
    assert batch.tensors["input_ids"].tolist() == [[1, 2, 3, 4], [6, 7, 0, 0], [1, 2, 5, 0], [6, 8, 9, 0]]
    no = IGNORED
    assert batch.tensors["labels"].tolist() == [[no, no, 3, 4], [no, 7, no, no], [no, no, 5, no], [no, 8, 9, no]]
    assert (batch.items, batch.tokens) == (2, 4 + 2 + 3 + 3)
    assert "position_ids" not in batch.tensors


_MEMORY = """
import json, resource, sys
from pathlib import Path
import torch
from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.backends.training.corpus import write
from adaptkit.backends.training.rows import Documents

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

most = 0
def look(*_):
    global most
    most = max(most, held())

document = Encoded([31 * at % 60_000 for at in range(7000)], [True] * 7000)
folder = Path(sys.argv[1])
small = Documents(write(folder / "small", [document] * 100, 60_000, look), 4096, batch_size=16, epochs=1, seed=0)
small.batch(small.of_step(0))
before = most = held()
corpus = write(folder / "large", (document for _ in range(2500)), 60_000, look)
rows = Documents(corpus, 4096, batch_size=16, epochs=1, seed=0)
tokens = 0
for step in range(rows.steps):
    tokens += rows.batch(rows.of_step(step)).tokens
    look()
print(json.dumps([tokens, most - before]))
"""


def test_memory_stays_flat_while_a_corpus_is_written_and_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tokens, grown = json.loads(done.stdout)
    assert tokens == 2500 * 7000
    assert sum(file.stat().st_size for file in (tmp_path / "large").iterdir()) > 50_000_000
    assert grown < 8_000_000

"""Exact match and the Wilson interval, against published and exactly computed figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import Client, DataError, Dataset, JobRef
from adaptkit.score import Score, score, wilson
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_an_interval_holds_its_share_and_mirrors(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
    assert low < high
    mirrored = wilson(total - correct, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("total", [20, 160])
def test_coverage_is_about_95_percent(total: int) -> None:
    """Summed over the binomial distribution rather than drawn: exact, and the same every time."""
    held = [wilson(k, total) for k in range(total + 1)]
    coverages = []
    for step in range(1, 100):
        p = step / 100
        chances = (math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(total + 1))
        coverages.append(sum(chance for chance, (low, high) in zip(chances, held, strict=True) if low <= p <= high))
    assert sum(coverages) / len(coverages) == pytest.approx(0.95, abs=0.01)
    assert min(coverages) > 0.83  # known to dip near the ends: Brown, Cai, DasGupta, Stat. Sci. 16 (2001)


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="no score"):
        Score.of(correct, total)


def chat(question: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def client(tmp_path):
    service = ScriptedService()
    targets = {"echo": ScriptedConfig(service=service.name, reply=" {text}\n", states=("succeeded",))}
    with Client(targets=targets, home=tmp_path, clock=FakeClock()) as client:
        client.service = service
        yield client


@pytest.mark.parametrize("together", [1, 3, 64])
def test_counts_exact_answers(client, together: int) -> None:
    model = client.submit("echo", Dataset.of([chat("a", "b")])).result()
    rows = [chat("one", "one"), chat("two", "Two"), chat("three", "three "), chat("four", "4"), chat("ünï", "ünï")]
    found = score(model, Dataset.of(rows), together=together)
    assert (found.correct, found.total) == (3, 5)
    assert found == Score.of(3, 5)
    assert str(found) == f"60.0% (3 of 5; 95 %: {found.low:.1%} to {found.high:.1%})"


def test_the_last_answer_of_a_conversation_is_the_expected_one(client) -> None:
    model = client.submit("echo", Dataset.of([chat("a", "b")])).result()
    first, second = chat("x", "not asked")["messages"], chat("y", "y")["messages"]
    assert score(model, Dataset.of([{"messages": [*first, *second]}])).correct == 1


@pytest.mark.parametrize(
    "rows", [[], [{"text": "plain"}], [chat("a", "b"), {"messages": [{"role": "user", "content": "?"}]}]]
)
def test_what_cannot_be_scored_is_refused(client, rows) -> None:
    model = client.submit("echo", Dataset.of([chat("a", "b")])).result()
    with pytest.raises(DataError):
        score(model, Dataset.of(rows))
    assert client.service.requests()["chat"] == 0
    assert isinstance(client.jobs()[0].ref, JobRef)

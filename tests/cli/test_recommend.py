"""``adaptkit recommend``, as people and as scripts use it."""

from __future__ import annotations

import msgspec

from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.results import Comparison, Competitor, Interval, Question
from tests.cli.conftest import Shop


def found(shop: Shop, score: float) -> None:
    half = min(0.02, 1 - score)
    prompted = Competitor(
        name="evil\x1b[2J", ref="", rung="prompt", score=Interval(value=score, low=score - half, high=score + half)
    )
    asked = tuple(Question(number=n, question="q", expected="a") for n in range(100))
    Comparison(metric="exact_match", questions=asked, competitors=(prompted,)).save(shop.folder / "c.json")


def test_a_verdict_with_its_reasons_and_what_would_change_it(shop: Shop) -> None:
    found(shop, 0.97)
    said = shop.run("recommend", "data.jsonl", "--goal", "0.9", "--comparison", "c.json").stdout
    assert said.startswith("prompt: prompting is enough\n")
    assert "Prompting scores at least 95.0%, and the goal is 90.0%" in said
    assert "what would change this:\n" in said


def test_without_a_comparison_it_says_what_to_measure(shop: Shop) -> None:
    said = shop.run("recommend", "data.jsonl", "--candidate", "gpt-6\x1b[2J-luna", "--calls-per-month", "1000").stdout
    assert said.startswith("measure first: ")
    assert "-luna" in said


def test_json_is_a_recommendation_that_a_report_takes(shop: Shop) -> None:
    found(shop, 0.5)
    written = shop.run("recommend", "data.jsonl", "--goal", "0.9", "--comparison", "c.json", "--json").stdout
    advice = msgspec.json.decode(written, type=Recommendation)
    assert advice.verdict == "prompt"
    assert advice.facts["rows"] is not None
    (shop.folder / "advice.json").write_text(written)
    shop.run("report", "c.json", "--recommendation", "advice.json", "-o", "page.html")
    assert advice.headline in (shop.folder / "page.html").read_text()


def test_bad_input_is_refused_with_its_exit_code(shop: Shop) -> None:
    shop.run("recommend", "data.jsonl", "--goal", "7", code=2)
    shop.run("recommend", "none.jsonl", code=3)
    (shop.folder / "c.json").write_text("{}")
    assert "is no comparison" in shop.run("recommend", "data.jsonl", "--comparison", "c.json", code=4).stderr

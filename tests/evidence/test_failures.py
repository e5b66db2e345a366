"""What kind of wrong an answer is, as far as words tell."""

from __future__ import annotations

import pytest

from adaptkit.evidence.failures import Failures, failures
from adaptkit.evidence.results import Answered, Comparison, Competitor, Interval, Question


def sort(pairs: list[tuple[str, str, str | None]], told: tuple[str, ...] = (), score: float = 0.0) -> Failures:
    """Failures on (question, expected, answer)."""
    questions = tuple(Question(number=n, question=q, expected=e) for n, (q, e, _) in enumerate(pairs))
    answers = tuple(Answered(question=n, text=a, score=score) for n, (_, _, a) in enumerate(pairs))
    who = Competitor(name="m", ref="", rung="prompt", score=Interval(value=0, low=0, high=0), answers=answers)
    return failures(Comparison(metric="x", questions=questions, competitors=(who,)), who, told)


def test_a_label_that_is_none_is_format_and_another_label_is_skill() -> None:
    pairs = [("q", label, answer) for label in ("red", "blue") for answer in ("It is red.", "green", "blue", "red")]
    found = sort(pairs)
    assert found.counts == {"format": 4, "skill": 4}
    assert found.mostly is None
    assert found.share("format") == 0.5


@pytest.mark.parametrize("answer", ["Anna, 30", '{"name": "Anna"}', "[1]", "{", '{"name": "A", "age": 1, "x": 2}'])
def test_json_with_other_fields_is_format(answer: str) -> None:
    expected = [f'{{"name": "N{n}", "age": {n}}}' for n in range(3)]
    assert sort([("q", each, answer) for each in expected]).mostly == "format"


def test_json_with_the_fields_is_not_format() -> None:
    pairs = [(f"N{n} is {n}", f'{{"name": "N{n}", "age": {n}}}', '{"name": "X", "age": 9}') for n in range(3)]
    assert sort(pairs).mostly == "skill"


def test_words_that_stand_nowhere_are_a_missing_fact() -> None:
    pairs = [("When was it founded?", "Founded 1987 in Rotterdam by Jansen", "I do not know")]
    assert sort(pairs).mostly == "missing_fact"
    assert sort(pairs, told=("Rotterdam: Jansen founded it in 1987",)).mostly == "skill"


def test_right_answers_and_errors_are_none() -> None:
    assert sort([("q", "a", "a")], score=1.0) == Failures(wrong=0, counts={})
    assert sort([("q", "a", None)]).wrong == 0
    assert sort([]).share("skill") == 0.0

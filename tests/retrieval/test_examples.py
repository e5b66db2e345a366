"""Examples for a question: like it, spread where asked, never held out; and how many, by measurement."""

import threading

import pytest

from adaptkit.backends.prompt.choose import choose
from adaptkit.data import ChatRecord, CompletionRecord
from adaptkit.data.conversations import conversation_of, question_of
from adaptkit.errors import ConfigError, DataError
from adaptkit.retrieval import SimilarExamples, measure
from adaptkit.retrieval.measure import exact
from adaptkit.types import Message


def row(question, answer, system=None):
    turns = [Message(role="system", content=system)] if system else []
    return ChatRecord((*turns, Message(role="user", content=question), Message(role="assistant", content=answer)))


ROWS = [
    row("my parcel has not come", "delivery"),
    row("where is my parcel now", "delivery"),
    row("the parcel came broken", "damage"),
    row("the mirror is broken", "damage"),
    row("I forgot my password", "account"),
    row("包裹在哪里", "delivery"),
]


def questions(examples):
    return [turns[-2].text for turns in examples]


def test_the_likest_stands_last():
    examples = SimilarExamples.of(ROWS)
    assert questions(examples.choose("where is the parcel", 2))[-1] == "where is my parcel now"
    assert questions(examples.choose("密码和包裹", 1)) == ["包裹在哪里"]
    assert questions(examples.choose([Message(role="user", content="password")], 1)) == ["I forgot my password"]
    assert examples.choose("anything", 0) == ()


def test_others_stand_in_where_too_few_are_like_it():
    examples = SimilarExamples.of(ROWS)
    found = examples.choose("password", 4)
    assert len(set(found)) == 4
    assert questions(found)[-1] == "I forgot my password"
    assert found == SimilarExamples.of(reversed(ROWS)).choose("password", 4)
    assert len(examples.choose("password", 99)) == len(examples) == len(ROWS)


def test_examples_can_be_spread_over_the_answers():
    examples = SimilarExamples.of(ROWS)
    asked = "where is my parcel, it has not come, my parcel came broken"
    near, spread = examples.choose(asked, 3), examples.choose(asked, 3, spread=True)
    assert len({turns[-1].text for turns in near}) == 2
    assert len({turns[-1].text for turns in spread}) == 3


def test_a_held_out_question_is_never_an_example_whatever_its_answer():
    held_out = [row("where is my parcel now", "something else", system="Be brief.")]
    examples = SimilarExamples.of([*ROWS, CompletionRecord("where is my parcel now", "delivery")], held_out)
    assert "where is my parcel now" not in questions(examples.choose("where is my parcel now", 99))
    assert len(examples) == len(ROWS) - 1


def test_rows_that_are_no_conversations_are_left_out_and_equal_ones_count_once():
    odd = ChatRecord((Message(role="user", content="no answer"),))
    assert len(SimilarExamples.of([*ROWS, *ROWS, odd])) == len(ROWS)
    kept = [conversation_of(each) for each in ROWS]
    assert SimilarExamples(kept).choose("parcel", 3) == SimilarExamples.of(ROWS).choose("parcel", 3)


def test_threads_may_share_one():
    examples, found = SimilarExamples.of(ROWS), []
    threads = [
        threading.Thread(target=lambda: found.extend(examples.choose("parcel", 2) for _ in range(50))) for _ in range(8)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 400
    assert len(set(found)) == 1


# -- how many, by measurement ---------------------------------------------------------------------------------------

TRAIN = [row(f"item {at} costs {at % 7}", str(at % 7)) for at in range(200)]
VALIDATION = [row(f"thing item {at} price", str(at % 7)) for at in range(60)]


def echo(prompts):
    """Answers as its examples do where one holds the number that is asked about."""
    for prompt in prompts:
        number = prompt.question[-1].text.split()[2]
        known = [turns[-1].text for turns in prompt.examples if turns[-2].text.split()[1] == number]
        yield known[-1] if known else "?"


def selectors():
    similar = SimilarExamples.of(TRAIN, VALIDATION)
    return {
        "fixed": lambda question, count: choose(TRAIN, count, 0, VALIDATION).conversations,
        "chosen": similar.choose,
    }


def test_the_best_setting_is_found_and_shown_with_its_interval():
    calls = []

    def answer(prompts):
        calls.append(len(prompts))
        return list(echo(prompts))

    measured = measure(answer, VALIDATION, selectors(), counts=(4, 0, 1))
    assert [(each.how, each.count) for each in measured.tried] == [
        ("none", 0), ("fixed", 1), ("chosen", 1), ("fixed", 4), ("chosen", 4),
    ]  # fmt: skip
    assert calls == [60] * 5
    assert (measured.winner.how, measured.winner.count) == ("chosen", 1)
    assert measured.winner.score.correct == 60
    assert measured.winner.score.low < 1.0
    assert measured.cheaper is measured.winner
    shown = str(measured)
    assert "100.0% (60 of 60; 95 %:" in shown
    assert shown.count("<- best") == 1


def test_what_cannot_be_told_apart_is_said():
    """Two settings of which one is a little better: chance, and the one with fewer examples is named."""

    def answer(prompts):
        right = 40 + (3 if prompts[0].examples else 0)
        return [turns.messages[-1].text if at < right else "?" for at, turns in enumerate(VALIDATION)]

    measured = measure(answer, VALIDATION, selectors(), counts=(0, 1))
    assert (measured.winner.count, measured.winner.how) == (1, "fixed")
    assert measured.cheaper.count == 0
    assert "not told apart" in str(measured)


def test_another_metric_may_judge():
    def contains(said, wanted):
        return wanted in said

    found = measure(lambda prompts: ["the answer is 3"] * 60, VALIDATION, selectors(), counts=(0,), metric=contains)
    assert found.winner.score.correct == sum(each.messages[-1].text == "3" for each in VALIDATION)
    assert exact(" 3\n", "3")
    assert not exact("33", "3")


def test_a_held_out_example_stops_the_measuring_before_anything_is_asked():
    leaky = {"chosen": SimilarExamples.of([*TRAIN, *VALIDATION]).choose}
    with pytest.raises(DataError, match="'chosen' chose an example whose question is a validation question"):
        measure(lambda prompts: pytest.fail("asked"), VALIDATION, leaky, counts=(1,))


def test_measuring_nothing_is_refused():
    with pytest.raises(DataError, match="no validation row"):
        measure(echo, [], selectors())
    for chosen, counts in (({}, (1,)), (selectors(), ()), (selectors(), (-1,))):
        with pytest.raises(ConfigError):
            measure(echo, VALIDATION, chosen, counts=counts)
    with pytest.raises(ConfigError, match="gave 1 replies to 60"):
        measure(lambda prompts: ["x"], VALIDATION, selectors())


def test_the_rule_of_what_is_the_same_question_is_that_of_fixed_examples():
    held_out = [row("where is my parcel now", "x")]
    fixed = choose(ROWS, 99, 0, held_out).conversations
    similar = SimilarExamples.of(ROWS, held_out).choose("parcel", 99)
    assert {question_of(turns) for turns in fixed} == {question_of(turns) for turns in similar}

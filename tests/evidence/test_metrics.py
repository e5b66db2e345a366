"""What is right, how right, and the figures of a whole set, against independent references."""

from __future__ import annotations

import math

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.errors import ConfigError
from adaptkit.evidence.measures import confusion, macro_f1, set_measures
from adaptkit.metrics import METRICS, metric_named

NEAR = pytest.approx


@pytest.mark.parametrize(
    ("metric", "expected", "answer", "score"),
    [
        ("exact_match", "C7", " C7\n", 1),
        ("exact_match", "C7", "c7", 0),
        ("label", "Refund request", ' "refund  Request."\n', 1),
        ("label", "refund", "refunds", 0),
        ("contains", "C7", "It is c7, I think", 1),
        ("regex", r"C\d+", "C17", 1),
        ("regex", r"C\d+", "It is C17", 0),
        ("regex", r"a.*b", "a\nb", 1),
        ("json_valid", "", ' {"a": [1]} ', 1),
        ("json_valid", "", '```json\n{"a": 1}\n```', 0),
        ("json_fields", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 0.5),
        ("json_fields", '{"a": 1}', '{"a": 1, "c": 0}', 0.5),
        ("json_fields", '{"a": 1}', "a is 1", 0),
        ("chrf", "a house by the lake", "a house by the lake", 1),
        ("bleu", "a house", "a house", 1),
        ("chrf", "a house", "", 0),
    ],
)
def test_answers_score(metric, expected, answer, score):
    verdict = metric_named(metric)(expected, answer)
    assert verdict.score == NEAR(score)
    assert (verdict.feedback == "right") == (score == 1)


def test_an_expected_answer_that_a_metric_cannot_read_is_refused():
    with pytest.raises(ConfigError, match="regular expressions"):
        metric_named("regex")("(", "(")
    with pytest.raises(ConfigError, match="JSON objects with fields"):
        metric_named("json_fields")("no", "no")
    with pytest.raises(ConfigError, match="there is no metric 'rouge'; there are exact_match, label"):
        metric_named("rouge")


@given(st.sampled_from(sorted(set(METRICS) - {"regex", "json_fields"})), st.text(max_size=40), st.text(max_size=40))
def test_any_answer_has_a_score(metric, expected, answer):
    assert 0.0 <= metric_named(metric)(expected, answer).score <= 1.0
    if metric in ("exact_match", "label", "contains"):
        assert metric_named(metric)(expected, expected).score == 1.0


VOCABULARY = ["the", "a", "house", "lake", "by", "runs", "red", "বাড়ি", "घर"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8))
def test_translation_figures_are_sacrebleus(pairs):
    expected, answers = (list(side) for side in zip(*pairs, strict=True))
    found = set_measures("chrf", expected, answers)
    assert found["bleu"] == NEAR(sacrebleu.corpus_bleu(answers, [expected]).score / 100, abs=1e-9)
    assert found["chrf"] == NEAR(sacrebleu.corpus_chrf(answers, [expected], word_order=2).score / 100, abs=1e-9)
    one = sacrebleu.sentence_chrf(answers[0], [expected[0]], word_order=2).score / 100
    assert metric_named("chrf")(expected[0], answers[0]).score == NEAR(min(one, 1), abs=1e-9)


LABELS = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(LABELS, st.sampled_from(["a", "b", "c", "x", "y"])), min_size=1, max_size=40))
def test_macro_f1_is_the_mean_of_f1_by_label(pairs):
    expected, given_ = zip(*pairs, strict=True)
    by_label = []
    for label in set(expected):
        hit = sum(e == g == label for e, g in pairs)
        precision = hit / given_.count(label) if given_.count(label) else 0.0
        recall = hit / expected.count(label)
        by_label.append(2 * precision * recall / (precision + recall) if hit else 0.0)
    assert macro_f1(expected, given_) == NEAR(math.fsum(by_label) / len(by_label), abs=1e-9)


def test_labels_have_accuracy_and_free_answers_do_not():
    expected, answers = ["Billing", "billing", "delivery", "Delivery"], ["billing.", "delivery", "delivery", "other"]
    assert set_measures("label", expected, answers) == {"accuracy": 0.5, "macro_f1": NEAR((2 / 3 + 0.5) / 2)}
    assert confusion(expected, answers)["billing", "delivery"] == 1
    assert set_measures("exact_match", ["a", "b", "c"], ["a", "b", "c"]) == {}
    assert set_measures("my_own", expected, answers) == {}
    assert set_measures("json_fields", ["{}", "{}"], ['{"a": 1}', "no"]) == {"json_valid": 0.5}

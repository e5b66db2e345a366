"""Intervals that hold the truth as often as they say, and tests that agree with scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from adaptkit.evidence import statistics
from adaptkit.evidence.statistics import detectable, difference, holm, mean_interval

NEAR = pytest.approx
BITS = st.lists(st.integers(0, 1), min_size=1, max_size=60)
PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
GRADED = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=11)


@given(BITS, st.sampled_from([0.8, 0.95, 0.99]))
def test_a_share_has_wilsons_interval(scores, level):
    interval = mean_interval(scores, level=level)
    low, high = proportion_confint(sum(scores), len(scores), alpha=1 - level, method="wilson")
    assert (interval.low, interval.high) == (NEAR(max(low, 0), abs=1e-9), NEAR(min(high, 1), abs=1e-9))
    assert (interval.value, interval.method) == (NEAR(sum(scores) / len(scores)), "Wilson")


@given(PAIRS)
def test_right_and_wrong_answers_get_mcnemars_exact_test(pairs):
    one, other = zip(*pairs, strict=True)
    _, p, test = difference(one, other)
    table = [[pairs.count((1, 1)), pairs.count((1, 0))], [pairs.count((0, 1)), pairs.count((0, 0))]]
    assert p == NEAR(min(1.0, mcnemar(table, exact=True).pvalue), abs=1e-9)
    assert test == "exact McNemar"


@settings(deadline=None, max_examples=40)
@given(GRADED)
def test_few_graded_answers_get_every_swap(pairs):
    one, other = (np.array(side) / 16 for side in zip(*pairs, strict=True))  # never 1, and sums that are exact
    _, p, test = difference(one, other)

    def mean(a, b, axis):
        return (a - b).mean(axis=axis)

    whole = stats.permutation_test((one, other), mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    if test == "paired permutation":
        assert p == NEAR(whole.pvalue, abs=1e-9)
    else:
        assert set(one) | set(other) == {0}  # the only scores here that are right or wrong


def test_many_graded_answers_get_draws_that_come_close_to_scipys():
    random = np.random.default_rng(5)
    one = random.beta(3, 2, 60)
    other = np.clip(one - random.normal(0.03, 0.12, 60), 0, 1)
    _, p, _ = difference(one, other)
    wanted = stats.permutation_test(
        (one, other), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    assert 0.01 < wanted < 0.4
    assert p == NEAR(wanted, abs=0.015)
    assert difference(one, other)[1] == p  # seeded


def test_a_group_counts_once():
    one, other = [0.9, 0.8, 0.7, 0.6], [0.5, 0.5, 0.5, 0.5]
    groups = ["a", "b", "c", "d"]
    alone = difference(one, other, groups)
    copied = difference(one * 50, other * 50, groups * 50)
    assert copied[1:] == alone[1:] == (0.125, "paired permutation by group")
    assert (copied[0].low, copied[0].high) == (NEAR(alone[0].low), NEAR(alone[0].high))
    assert difference(one * 50, other * 50)[1] < 0.001


def test_one_group_says_nothing():
    assert (mean_interval([1, 1, 1], ["a"] * 3).low, mean_interval([1, 1, 1], ["a"] * 3).high) == (0.0, 1.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_correction_is_statsmodels(p):
    assert holm(p) == NEAR(list(multipletests(p, method="holm")[1]), abs=1e-9)


def test_no_tests_need_no_correction():
    assert holm([]) == []


@pytest.mark.parametrize(("questions", "share"), [(40, 0.2), (100, 0.2), (400, 0.2), (1000, 0.1), (60, 0.5)])
def test_the_detectable_difference_is_found_with_the_power_that_it_names(questions, share):
    """Simulated: such a difference is found four times in five."""
    delta = detectable(questions, share_differing=share)
    differing = max(share, delta)
    shares = [(differing + delta) / 2, (differing - delta) / 2, 1 - differing]
    drawn = np.random.default_rng(2).multinomial(questions, shares, 4000)
    tested = {(won, lost): mcnemar([[0, won], [lost, 0]], exact=True).pvalue for won, lost, _ in set(map(tuple, drawn))}
    assert np.mean([tested[won, lost] <= 0.05 for won, lost, _ in drawn]) == NEAR(0.8, abs=0.02)


def test_a_small_set_shows_only_what_all_differing_answers_show():
    assert 0.6 < detectable(10) < 0.8  # six that all go one way are needed
    assert detectable(5) == 1.0
    assert detectable(100_000) < 0.01
    with pytest.raises(ValueError, match="no questions"):
        detectable(0)


@pytest.mark.parametrize(
    ("scores", "groups", "says"),
    [
        ([], None, "0 scores"),
        ([0.5], ["a", "b"], "1 scores and 2 groups"),
        ([1.1], None, "0 to 1"),
        ([float("nan")], None, "0 to 1"),
    ],
)
def test_what_has_no_interval_is_refused(scores, groups, says):
    with pytest.raises(ValueError, match=says):
        mean_interval(scores, groups)


def test_unequal_lengths_are_no_pairs():
    with pytest.raises(ValueError, match="cannot be paired"):
        difference([1, 0], [1])


# coverage: nominal 95 % ---------------------------------------------------------------------------------------------

GRADES = {
    "even": (lambda r, n: r.random(n), 0.5),
    "ends": (lambda r, n: r.beta(0.5, 0.5, n), 0.5),
    "middle": (lambda r, n: r.beta(4, 3, n), 4 / 7),
    "mostly right": (lambda r, n: np.where(r.random(n) < 0.8, 1.0, r.random(n)), 0.9),
    "mostly wrong": (lambda r, n: np.where(r.random(n) < 0.85, 0.0, r.beta(2, 2, n)), 0.075),
}
PAIRED = {
    "no ties": (lambda r, n: (r.beta(3, 2, n), r.beta(2, 3, n)), 0.2),
    "half ties": (lambda r, n: _tied(r, n, 0.5), 0.5 * 0.2),
}


def _tied(random, n, share):
    one, other = random.beta(3, 2, n), random.beta(2, 3, n)
    return one, np.where(random.random(n) < share, one, other)


def _right(random, n, won, lost):
    drawn = random.random(n)
    one = np.where(drawn < won, 1.0, np.where(drawn < won + lost, 0.0, 1.0))
    other = np.where(drawn < won, 0.0, 1.0)
    return one, other


def held(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


@pytest.mark.parametrize("n", [20, 100])
def test_wilsons_interval_holds_the_truth_averaged_over_shares(n):
    """Exactly, by the binomial: for one share it is now above and now below, since only n + 1 counts can come about."""
    intervals = [mean_interval([1] * right + [0] * (n - right)) for right in range(n + 1)]
    shares = np.linspace(0.02, 0.98, 193)
    counts = np.arange(n + 1)
    covered = [
        sum(stats.binom.pmf(k, n, share) for k, i in zip(counts, intervals, strict=True) if i.low <= share <= i.high)
        for share in shares
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("kind", GRADES)
def test_intervals_of_grades_hold_the_truth(kind, n):
    draw, truth = GRADES[kind]
    random = np.random.default_rng(11)
    assert 0.93 <= held([mean_interval(draw(random, n)) for _ in range(3000)], truth) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("kind", PAIRED)
def test_intervals_of_differences_hold_the_truth_with_ties(kind, n, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 1)  # p is not looked at
    draw, truth = PAIRED[kind]
    random = np.random.default_rng(12)
    intervals = [difference(*draw(random, n), level=0.95)[0] for _ in range(1500)]
    assert 0.93 <= held(intervals, truth) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_intervals_of_differences_between_right_and_wrong_hold_the_truth_averaged_over_shares(n):
    random = np.random.default_rng(15)
    shares = random.uniform([0.05, 0.02], [0.45, 0.3], (4000, 2))
    held_it = [held([difference(*_right(random, n, won, lost))[0]], won - lost) for won, lost in shares]
    assert 0.93 <= np.mean(held_it) <= 0.97


@pytest.mark.parametrize("clusters", [12, 40])
def test_intervals_by_group_hold_the_truth_where_those_by_question_do_not(clusters):
    random = np.random.default_rng(13)
    by_group, by_question = [], []
    for _ in range(2000):
        groups = np.repeat(np.arange(clusters), random.integers(1, 11, clusters))
        scores = (random.random(len(groups)) < random.beta(4, 2, clusters)[groups]) * 1.0
        by_group.append(mean_interval(scores, groups.tolist()))
        by_question.append(mean_interval(scores))
    assert 0.93 <= held(by_group, 2 / 3) <= 0.97
    assert held(by_question, 2 / 3) < 0.93


def test_a_test_errs_as_often_as_it_says():
    random = np.random.default_rng(14)
    found = [difference(random.random(12), random.random(12))[1] < 0.05 for _ in range(1500)]
    assert 0.035 <= np.mean(found) <= 0.065

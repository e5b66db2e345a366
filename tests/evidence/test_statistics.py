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


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 1000).map(lambda each: each / 1000), min_size=1, max_size=20))
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


def _right(n, won, lost):
    one = np.ones(n)
    other = np.ones(n)
    other[:won] = 0
    one[won : won + lost] = 0
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
def test_intervals_of_differences_between_right_and_wrong_hold_the_truth(n):
    """Exactly, over all results that can come about: averaged over shares, and for no share far less than said."""
    counts = [(won, lost) for won in range(n + 1) for lost in range(n + 1 - won)]
    ends = [difference(*_right(n, won, lost))[0] for won, lost in counts]
    low, high = (np.array([getattr(each, end) for each in ends]) for end in ("low", "high"))
    results = np.array([(won, lost, n - won - lost) for won, lost in counts])

    def coverage(won, lost):
        held_it = (low <= won - lost + 1e-12) & (won - lost - 1e-12 <= high)
        return float(stats.multinomial.pmf(results, n, [won, lost, 1 - won - lost]) @ held_it)

    usual = [coverage(won, lost) for won in np.linspace(0.05, 0.45, 9) for lost in np.linspace(0.02, 0.3, 8)]
    assert 0.93 <= np.mean(usual) <= 0.97
    hardly = [coverage(share * part, share * (1 - part)) for share in (0.02, 0.05, 0.1, 0.2) for part in (0, 0.3, 0.5)]
    assert min(*usual, *hardly) >= 0.92


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


@pytest.mark.parametrize("groups", [12, 40])
@pytest.mark.parametrize(("sizes", "least"), [("one to six", 0.93), ("a few have most", 0.91), ("one has half", 0.88)])
def test_intervals_by_group_hold_the_truth_in_groups_of_unequal_size(sizes, least, groups, monkeypatch):
    """Means and differences. Where one group has half of the questions that is 0.89: docs/evidence.md."""
    monkeypatch.setattr(statistics, "DRAWS", 1)  # p is not looked at
    random = np.random.default_rng(16)
    draw = {
        "one to six": lambda: random.integers(1, 7, groups),
        "one has half": lambda: np.r_[3 * groups, random.integers(1, 6, groups - 1)],
        "a few have most": lambda: np.minimum(60, np.ceil(random.pareto(1, groups))).astype(int),
    }[sizes]
    means, differences = [], []
    for _ in range(1500):
        members = np.repeat(np.arange(groups), draw())
        one, other = (
            (random.random(len(members)) < random.beta(a, b, groups)[members]) * 1.0 for a, b in ((4, 2), (3, 3))
        )
        means.append(mean_interval(one, members.tolist()))
        differences.append(difference(one, other, members.tolist())[0])
    for covered in (held(means, 2 / 3), held(differences, 2 / 3 - 1 / 2)):
        assert least <= covered <= 0.97


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_the_variance_by_groups_is_bells_and_mccaffreys(sizes, random):
    """Their bias and degrees of freedom, from the matrices that they define, against the closed form."""
    total, shares = sum(sizes), np.array(sizes) / sum(sizes)
    residual = (np.eye(len(sizes)) - np.outer(shares, np.ones(len(sizes)))) @ np.diag(np.sqrt(sizes))
    matrix = residual.T @ residual
    freedom = np.trace(matrix) ** 2 / np.trace(matrix @ matrix)
    second, third = (shares**2).sum(), (shares**3).sum()
    assert total / np.trace(matrix) == NEAR(1 / (1 - second), rel=1e-9)
    assert (1 - second) ** 2 / (second + second**2 - 2 * third) == NEAR(freedom, rel=1e-9)
    members = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.array([0.3 + 0.4 * random.random() for _ in members])
    mean = scores.mean()
    sums = np.bincount(members, scores - mean)
    variance = ((sums**2).sum() / total**2 + statistics._PRIOR_MEAN / 4 / len(sizes) ** 2) / (1 - second)
    z = stats.t.isf(0.025, freedom)
    worth = mean * (1 - mean) / min(variance, mean * (1 - mean) * second / (1 - second))
    interval = mean_interval(scores, members.tolist())
    wanted = proportion_confint(mean * worth, worth, alpha=2 * stats.norm.sf(z), method="wilson")
    assert (interval.low, interval.high) == NEAR(wanted, abs=1e-9)


def test_a_test_errs_as_often_as_it_says():
    random = np.random.default_rng(14)
    found = [difference(random.random(12), random.random(12))[1] < 0.05 for _ in range(1500)]
    assert 0.035 <= np.mean(found) <= 0.065


@pytest.mark.parametrize("count", [2, 20, 100])
def test_at_the_ends_of_the_scale_an_interval_narrows_with_the_number_of_questions(count):
    ones, zeros = [1.0] * count, [0.0] * count
    every, _, _ = difference(ones, zeros)
    most, _, _ = difference([1.0] * (count - 1) + [0.0], zeros)
    assert every.value == every.high == 1.0
    assert 1 - 16 / count < every.low < 1.0
    wilson = mean_interval([1.0] * (count - 1) + [0.0])
    for found in (every, most, wilson):
        assert {type(found.value), type(found.low), type(found.high)} == {float}, "and can be written into a file"
    assert every.low > most.low - 0.2
    alone = list(range(count))
    graded = mean_interval(ones, alone)
    assert graded.low == pytest.approx((difference(ones, zeros, alone)[0].low + 1) / 2)
    assert mean_interval(zeros, list(range(count))).high == pytest.approx(1 - graded.low)

"""Which rung is next: every rule fires where it should and not where it should not, and there is always a reason."""

from __future__ import annotations

import ast
import string
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import Client, Dataset, builtin
from adaptkit.errors import ConfigError
from adaptkit.evidence import rules as rules_module
from adaptkit.evidence.facts import NAMES, Constraints, gain
from adaptkit.evidence.recommend import decide
from adaptkit.evidence.results import Answered, Comparison, Competitor, Difference, Interval, Question
from adaptkit.evidence.rules import Condition, Fact, Rule, fired, read, rules
from adaptkit.testing import FakeClock

TABLE = {rule.id: rule for rule in rules()}
DECIDING = [rule for rule in rules() if rule.decides is not None]

PROMPT_FAILS: dict[str, Fact] = {"goal": 0.9, "prompt": 0.4, "prompt_low": 0.3, "prompt_meets_goal": "no"}
PROMPT_MEETS: dict[str, Fact] = {"goal": 0.9, "prompt": 0.97, "prompt_low": 0.94, "prompt_meets_goal": "yes"}
TUNED: dict[str, Fact] = {"fine_tune": 0.8, "fine_tune_better": "yes", "fine_tune_gain_points": 20.0}
HOSTED: dict[str, Fact] = {"hosting_price": "$8 an hour (f)", "prompted_price": "$0.001 a call (p)"}

#: For each rule: facts on which it fires (for a deciding rule: decides), and a change after which it does not.
CASES: dict[str, tuple[dict[str, Fact], dict[str, Fact]]] = {
    "nothing-needed": (
        {"goal": 0.5, "base": 0.9, "base_low": 0.8, "base_meets_goal": "yes"},
        {"base_meets_goal": "unclear"},
    ),
    "prompt-meets-goal": (PROMPT_MEETS | TUNED, {"prompt_meets_goal": "unclear"}),
    "train-beats-fine-tune": (
        PROMPT_FAILS | TUNED | {"train": 0.95, "train_better": "yes", "train_gain_points": 10.0},
        {"fine_tune_meets_goal": "yes"},
    ),
    "fine-tune-over-budget": (
        PROMPT_FAILS | {"rows": 5000, "fine_tune_usd": 20.0, "fine_tune_price": "$5 (h)", "budget": 10.0},
        {"budget": 20.0},
    ),
    "fine-tune-better": (PROMPT_FAILS | TUNED, {"fine_tune_better": "no"}),
    "fine-tune-not-shown-better": ({"prompt": 0.4, "fine_tune": 0.5, "fine_tune_better": "no"}, {"goal": 0.9}),
    "script-not-in-vocabulary": (PROMPT_FAILS | {"rows": 5000, "script_missing": "yes"}, {"script_missing": "some"}),
    "facts-are-missing": (
        PROMPT_FAILS | {"rows": 5000, "failures": "missing_fact", "missing_facts": 0.8},
        {"failures": "skill"},
    ),
    "fine-tune-untried": (PROMPT_FAILS | {"rows": 300}, {"rows": 299}),
    "too-few-examples": (PROMPT_FAILS | {"rows": 299}, {"rows": 300}),
    "nothing-reaches-the-goal": (PROMPT_FAILS | {"fine_tune": 0.5, "fine_tune_better": "no"}, TUNED),
    "set-too-small": (PROMPT_FAILS | {"prompt_meets_goal": "unclear", "questions": 20}, {"prompt_meets_goal": "yes"}),
    "prompt-unmeasured": ({"base": 0.2}, {"prompt": 0.3}),
    "no-goal": ({"prompt": 0.4}, {"goal": 0.9}),
    "nothing-measured": ({}, {"base": 0.2}),
    "fine-tune-misses-goal": (
        {"fine_tune": 0.6, "goal": 0.9, "fine_tune_meets_goal": "no"},
        {"fine_tune_meets_goal": "unclear"},
    ),
    "train-not-shown-better": ({"train": 0.6, "train_better": "no"}, {"train_better": "yes"}),
    "failures-of-format": ({"failures": "format", "wrong_format": 0.9}, {"failures": "skill"}),
    "failures-of-skill": ({"failures": "skill", "wrong_skill": 0.9}, {"failures": "format"}),
    "data-stays-here": ({"egress": "none", "local_candidates": "yes"}, {"egress": "hosts"}),
    "data-stays-here-and-nobody-is-here": ({"egress": "none", "local_candidates": "no"}, {"egress": "anywhere"}),
    "data-may-not-go-there": ({"barred": "together"}, {"barred": None}),
    "more-data-helps": ({"curve": "more_data", "doubling_points": 5.0}, {"curve": "enough"}),
    "more-data-hardly-helps": ({"curve": "higher_rung", "doubling_points": 0.1}, {"curve": "not_shown"}),
    "volume-pays-for-hosting": (HOSTED | {"calls_per_month": 7e6, "break_even_calls": 6e6}, {"calls_per_month": 5e6}),
    "volume-does-not-pay-for-hosting": (
        HOSTED | {"calls_per_month": 5e6, "break_even_calls": 6e6},
        {"calls_per_month": 6e6},
    ),
    "prompt-too-slow": ({"prompt_seconds": 2.0, "seconds_allowed": 1.0}, {"seconds_allowed": 2.0}),
    "candidate-retires": ({"retires_in_days": 50, "retires": "gpt-4o is switched off"}, {"retires_in_days": 180}),
    "language-costs-more": (
        {"language_ratio": 2.5, "language_unit": "word", "language_candidate": "t"},
        {"language_ratio": 1.9},
    ),
    "script-partly-missing": (
        {"script_missing": "some", "missing_scripts": "khmer", "language_candidate": "t"},
        {"script_missing": "no"},
    ),
    "language-not-counted": ({"uncounted": "gpt"}, {"uncounted": None}),
    "corpus-for-continued-training": (
        {"language_ratio": 3.0, "tokens": 100_000_000, "kind": "text"},
        {"tokens": 99_999_999},
    ),
    "fine-tune-forgets": ({"forgets": "yes", "forgotten_points": 20.0}, {"forgets": "no"}),
    "clearly-detectable": ({"detectable_points": 20, "questions": 40}, {"detectable_points": 10}),
}


def deciding(facts: dict[str, Fact]) -> str:
    return fired(facts)[0].id


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_rule_fires_on_one_case_and_not_on_another(name: str) -> None:
    on, change = CASES[name]
    rule = TABLE[name]
    assert rule.fires(on)
    if rule.decides is None:
        assert not rule.fires(on | change)
        assert rule in fired(on)
    else:
        assert deciding(on) == name
        assert deciding(on | change) != name
        assert decide(on).verdict == rule.decides
    assert rule.reason(on).fact


def test_every_case_is_a_rule() -> None:
    assert set(CASES) == set(TABLE)
    assert len(TABLE) == len(rules()), "two rules have the same id"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_a_sentence_only_tells_facts_that_a_condition_says_are_known(rule: Rule) -> None:
    known: set[str] = set()
    for condition in map(Condition.parse, rule.when):
        assert condition.fact in NAMES
        if condition.sign not in ("!=", "is unknown"):
            known |= {condition.fact, str(condition.value)}
    told = {
        field
        for text in (rule.sentence, rule.source)
        for _, field, _, _ in string.Formatter().parse(text)
        if field is not None
    }
    assert told <= known
    assert rule.headline if rule.decides else not rule.headline
    assert rule.source


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_a_word_in_a_condition_is_no_fact_by_accident(rule: Rule) -> None:
    for condition in map(Condition.parse, rule.when):
        if condition.sign in ("==", "!=") and isinstance(condition.value, str):
            assert condition.value not in NAMES


def test_nothing_evaluates_code() -> None:
    tree = ast.parse(Path(rules_module.__file__).read_text())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "getattr", "__import__"}


@pytest.mark.parametrize(
    "text", ["", "rows", "rows >", "rows >= 3 4", "rows is", "Rows > 1", "__import__('os')", "rows > 1 and goal > 1"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no condition"):
        Condition.parse(text)
    with pytest.raises(ConfigError):
        read(f'[[rule]]\nid = "x"\nwhen = [{text!r}]\nsentence = ""\nsource = ""\n')


@pytest.mark.parametrize(
    ("text", "facts", "holds"),
    [
        ("rows >= 3", {"rows": 3}, True),
        ("rows >= 1_000", {"rows": 999}, False),
        ("rows >= 3", {}, False),
        ("rows >= 3", {"rows": "many"}, False),
        ("goal < prompt", {"goal": 0.2, "prompt": 0.3}, True),
        ("goal < prompt", {"goal": 0.2, "prompt": None}, False),
        ("goal < prompt", {"goal": 0.2}, False),
        ("kind == text", {"kind": "text"}, True),
        ("kind == text", {}, False),
        ("kind != text", {}, True),
        ("kind is unknown", {"kind": None}, True),
        ("kind is known", {"kind": "text"}, True),
        ("kind is known", {}, False),
    ],
)
def test_conditions(text: str, facts: dict[str, Fact], holds: bool) -> None:
    assert Condition.parse(text).holds(facts) is holds


def test_a_table_that_decides_nothing_says_so() -> None:
    with pytest.raises(ConfigError, match="no rule of the table decides"):
        fired({}, ())


_WORDS = {
    **{name: ["yes", "no", "unclear"] for name in NAMES if name.endswith("_meets_goal")},
    **{name: ["yes", "no"] for name in NAMES if name.endswith("_better")},
    "failures": ["format", "missing_fact", "skill"],
    "script_missing": ["yes", "some", "no"],
    "egress": ["none", "hosts", "anywhere"],
    "local_candidates": ["yes", "no"],
    "forgets": ["yes", "no"],
    "kind": ["chat", "text", "completion", "preference"],
    "curve": ["more_data", "higher_rung", "enough", "not_shown"],
    **{
        name: ["something"]
        for name in ("language_unit", "language_candidate", "missing_scripts", "uncounted", "barred", "retires",
                     "fine_tune_price", "hosting_price", "prompted_price")
    },
}  # fmt: skip
_COUNTS = ("rows", "tokens", "questions", "retires_in_days")


def _values(name: str) -> st.SearchStrategy[Any]:
    if name in _WORDS:
        return st.none() | st.sampled_from(_WORDS[name])
    if name in _COUNTS:
        return st.none() | st.integers(-1000, 10**10)
    return st.none() | st.floats(-1e9, 1e9)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({name: _values(name) for name in NAMES}))
def test_any_facts_give_one_verdict_with_a_reason(facts: dict[str, Fact]) -> None:
    found = decide(facts)
    assert found == decide(dict(reversed(facts.items())))
    assert found.verdict in ("prompt", "fine-tune", "train", "measure first")
    assert found.reasons
    assert all(reason.fact and reason.source and reason.rule in TABLE for reason in found.reasons)
    assert str(found)
    if facts["prompt_meets_goal"] == "yes" and facts["prompt_low"] is not None and facts["goal"] is not None:
        assert found.verdict == "prompt", "a higher rung only where the lower one misses the goal"


# from a comparison ----------------------------------------------------------------------------------------------------


def competitor(name: str, rung: Any, score: float, half: float = 0.05, **more: Any) -> Competitor:
    return Competitor(
        name=name, ref="", rung=rung, score=Interval(value=score, low=score - half, high=score + half), **more
    )


def against(one: str, other: str, value: float, half: float = 0.05) -> Difference:
    interval = Interval(value=value, low=value - half, high=value + half)
    return Difference(one=one, other=other, difference=interval, p=0.01, adjusted=0.01, test="t", won=1, lost=0, tied=0)


def compared(*competitors: Competitor, differences: tuple[Difference, ...] = (), **more: Any) -> Comparison:
    questions = tuple(Question(number=n, question=f"q{n}", expected="yes") for n in range(200))
    given = {"questions": questions, "detectable": 0.05} | more
    return Comparison(metric="exact_match", competitors=competitors, differences=differences, **given)


NONE, PROMPT, BAD_PROMPT = (
    competitor("n", "none", 0.1),
    competitor("p", "prompt", 0.97, 0.02),
    competitor("p", "prompt", 0.4),
)
LORA, FULL = competitor("l", "fine-tune", 0.8), competitor("f", "train", 0.82)
DATA = Dataset.of(
    [{"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": "yes"}]} for n in range(400)]
)


@pytest.fixture
def client(tmp_path: Path) -> Any:
    with Client(targets={"l": {"backend": "lora"}}, home=tmp_path, clock=FakeClock()) as opened:
        yield opened


def test_prompting_is_enough(client: Client) -> None:
    found = client.recommend(DATA, goal=0.9, comparison=compared(NONE, PROMPT, LORA))
    assert (found.verdict, found.headline) == ("prompt", "prompting is enough")
    assert "95.0%" in found.reasons[0].fact
    assert found.expected is None


def test_fine_tuning_is_recommended_with_its_paired_gain(client: Client) -> None:
    both = compared(NONE, BAD_PROMPT, LORA, FULL, differences=(against("l", "p", 0.4), against("f", "l", 0.02)))
    found = client.recommend(DATA, goal=0.9, comparison=both)
    assert found.verdict == "fine-tune"
    assert found.expected == both.differences[0].difference
    assert "expected gain: +40.0 points (35.0 to 45.0)" in str(found)


def test_full_training_only_where_it_beats_fine_tuning(client: Client) -> None:
    both = compared(BAD_PROMPT, LORA, FULL, differences=(against("l", "p", 0.4), against("f", "l", 0.2)))
    assert client.recommend(DATA, goal=0.9, comparison=both).verdict == "train"


def test_a_difference_is_read_from_either_side(client: Client) -> None:
    worse = compared(BAD_PROMPT, LORA, differences=(against("p", "l", 0.1, 0.02),))
    found = gain(worse, "fine-tune")
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((-0.1, -0.12, -0.08))
    assert gain(worse, "train") is None
    assert gain(worse, "prompt") is None


def test_without_a_pair_nothing_is_claimed(client: Client) -> None:
    facts = client.recommend(DATA, goal=0.9, comparison=compared(BAD_PROMPT, LORA)).facts
    assert facts["fine_tune_better"] is None
    assert facts["fine_tune"] == 0.8


def test_an_interval_around_the_goal_wants_more_questions(client: Client) -> None:
    found = client.recommend(DATA, goal=0.4, comparison=compared(BAD_PROMPT))
    assert found.verdict == "measure first"
    assert "200 questions" in found.reasons[0].fact


def test_nothing_measured_wants_a_comparison(client: Client) -> None:
    found = client.recommend(DATA)
    assert found.verdict == "measure first"
    assert any(reason.rule == "nothing-measured" for reason in found.reasons)
    assert found.facts["rows"] == 400


def test_latency_and_what_was_forgotten_are_evidence(client: Client) -> None:
    slow = competitor("p", "prompt", 0.4, seconds={"p50": 1.0, "p95": 3.0})
    general = compared(slow, LORA, differences=(against("p", "l", 0.3),))
    both = compared(slow, LORA, differences=(against("l", "p", 0.4),), general=general)
    found = client.recommend(DATA, goal=0.9, constraints={"seconds": 2.0}, comparison=both)
    fired_rules = {reason.rule for reason in found.reasons}
    assert {"prompt-too-slow", "fine-tune-forgets"} <= fired_rules
    assert found.facts["forgotten_points"] == pytest.approx(30)


def test_a_shutdown_in_a_comparison_is_told(client: Client) -> None:
    today = datetime.fromtimestamp(FakeClock().time(), UTC).date()
    dying = competitor("p", "prompt", 0.97, 0.02, shutdown=(today + timedelta(days=30)).isoformat())
    found = client.recommend(DATA, goal=0.9, comparison=compared(dying))
    assert any(reason.rule == "candidate-retires" and "p is switched off" in reason.fact for reason in found.reasons)
    assert found.facts["retires_in_days"] == 30


def test_hosting_against_prompting_by_the_table_with_its_dates(tmp_path: Path) -> None:
    targets = {
        "tuned": {
            "backend": "fireworks", "account": "me", "model": "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "deploy": {"hardware": "H100"},
        }
    }  # fmt: skip
    with Client(targets=targets, home=tmp_path) as client:
        asked = {"calls_per_month": 1e9, "prompt_tokens": 2000, "answer_tokens": 100}
        names = ["tuned", "anthropic:claude-haiku-5-5"]
        found = client.recommend(DATA, constraints=asked, candidates=names)
        few = client.recommend(DATA, constraints=asked | {"calls_per_month": 10}, candidates=names)
    a_call = (2000 * 0.1 + 100 * 0.5) / 1e6
    assert found.facts["break_even_calls"] == pytest.approx(8 * 730 / a_call)
    (reason,) = [each for each in found.reasons if each.rule == "volume-pays-for-hosting"]
    assert "2026-10-07" in reason.source
    assert "2026-11-25" in reason.source
    assert any(each.rule == "volume-does-not-pay-for-hosting" for each in few.reasons)
    assert found.facts["uncounted"] == ("accounts/fireworks/models/llama-v3p1-8b-instruct, anthropic:claude-haiku-5-5")


def test_a_call_that_was_measured_costs_what_it_cost(tmp_path: Path) -> None:
    answers = tuple(Answered(question=n, text="yes", score=1.0) for n in range(200))
    paid = competitor("p", "prompt", 0.4, answers=answers, usd=0.5)
    target = {
        "backend": "fireworks", "account": "me", "model": "accounts/fireworks/models/llama-v3p1-8b-instruct",
        "deploy": {"hardware": "H100"},
    }  # fmt: skip
    with Client(targets={"tuned": target}, home=tmp_path) as client:
        found = client.recommend(DATA, goal=0.9, comparison=compared(paid))
    assert found.facts["break_even_calls"] == pytest.approx(8 * 730 / 0.0025)
    assert "as measured (p)" in str(found.facts["prompted_price"])


def test_a_training_above_the_budget_is_not_recommended(tmp_path: Path) -> None:
    target = {
        "backend": "fireworks", "account": "me", "model": "accounts/fireworks/models/llama-v3p1-8b-instruct",
        "epochs": 3,
    }  # fmt: skip
    with Client(targets={"tuned": target}, home=tmp_path) as client:
        bad = compared(BAD_PROMPT)
        dear = client.recommend(DATA, goal=0.9, budget=1e-6, comparison=bad)
        fine = client.recommend(DATA, goal=0.9, budget=100, comparison=bad)
    assert dear.reasons[0].rule == "fine-tune-over-budget"
    assert "2026-10-07" in dear.reasons[0].source
    assert fine.verdict == "fine-tune"


def test_a_target_that_is_switched_off_soon_is_told(tmp_path: Path) -> None:
    target = {"backend": "openai", "model": "gpt-4o-mini-2024-07-18"}
    clock = FakeClock(datetime(2026, 11, 25, tzinfo=UTC).timestamp())
    with Client(targets={"t": target}, home=tmp_path, clock=clock) as client:
        found = client.recommend(DATA)
    assert found.facts["retires"] == "gpt-4o-mini-2024-07-18 is switched off on 2027-01-14"
    assert found.facts["retires_in_days"] == 50
    assert any(reason.rule == "candidate-retires" for reason in found.reasons)


def test_a_learning_curve_is_evidence_and_brings_its_comparison(client: Client) -> None:
    from adaptkit.evidence.learning_curve import LearningCurve

    curve = LearningCurve(
        points=(), comparison=compared(BAD_PROMPT), verdict="more data", headline="",
        per_doubling=Interval(value=0.06, low=0.01, high=0.1),
    )  # fmt: skip
    found = client.recommend(DATA, goal=0.9, curve=curve)
    assert found.facts["prompt"] == 0.4
    assert any("+6.0 points" in reason.fact for reason in found.reasons)


def test_what_the_policy_bars_is_not_looked_at_and_said_so(tmp_path: Path) -> None:
    targets = {
        "away": {"backend": "fireworks", "account": "me", "model": "accounts/f/models/x-8b"},
        "here": {"backend": "lora"},
    }
    with Client(targets=targets, home=tmp_path, egress="none") as client:
        found = client.recommend(DATA)
    told = {reason.rule for reason in found.reasons}
    assert {"data-may-not-go-there", "data-stays-here"} <= told
    assert found.facts["barred"] == "away"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"goal": 1.5}, "goal is 1.5"),
        ({"goal": float("nan")}, "goal is nan"),
        ({"budget": -1.0}, "budget is -1"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"constraints": {"volume": 3}}, "calls_per_month"),
        ({"constraints": {"seconds": "fast"}}, "seconds"),
    ],
)
def test_what_is_no_goal_budget_or_constraint_is_refused(client: Client, asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client.recommend(DATA, **asked)


def test_constraints_may_be_values() -> None:
    assert Constraints.of(None) == Constraints()
    assert Constraints.of({"seconds": 2}) == Constraints(seconds=2)


def test_failures_are_read_off_the_answers(client: Client) -> None:
    answers = tuple(Answered(question=n, text="Certainly! yes", score=0.0) for n in range(200))
    found = client.recommend(DATA, goal=0.9, comparison=compared(competitor("p", "prompt", 0.0, 0.02, answers=answers)))
    assert found.facts["failures"] == "format"
    assert any(reason.rule == "failures-of-format" for reason in found.reasons)


def test_the_table_on_disk_is_the_table() -> None:
    text = files("adaptkit.evidence").joinpath("rules.toml").read_text()
    assert [rule["id"] for rule in tomllib.loads(text)["rule"]] == [rule.id for rule in rules()]


def test_a_recommendation_for_the_bundled_task_names_its_scripts(client: Client) -> None:
    pytest.importorskip("transformers")
    found = client.recommend(Dataset.open(builtin.task("languages").train), candidates=["builtin:tiny"])
    assert found.facts["missing_scripts"] == "devanagari"
    assert found.facts["script_missing"] == "some"

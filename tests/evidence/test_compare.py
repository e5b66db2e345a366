"""Comparing models: everybody is asked everything once, and what cannot be compared is refused before anybody is."""

import hashlib
import math
import threading

import anyio
import msgspec
import pytest

from adaptkit import (
    AdaptkitWarning,
    AsyncClient,
    AuthenticationError,
    Client,
    ConfigError,
    DataError,
    Dataset,
    ModelRef,
    RateLimitError,
)
from adaptkit.adapter import ChatOptions
from adaptkit.answers import Answers, Kept, key_of
from adaptkit.errors import BackendError
from adaptkit.metrics import Verdict
from adaptkit.testing import FakeClock, ScriptedConfig
from adaptkit.types import Event, Message, Reply, Usage
from tests.evidence.conftest import echoes, row, sentence, training

pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")


def by_name(comparison):
    return {each.name: each for each in comparison.competitors}


@pytest.fixture
def interfere(client):
    """Let a function of target, text and turn see every question; what it returns is raised."""
    heard, lock = [], threading.Lock()

    def listen(answer=lambda target, text, turn: None):
        for name in client.targets:
            adapter = client._target(name)

            def chat(model_id, messages, options, name=name, asks=adapter.chat):
                with lock:
                    turn = heard.count((name, messages[-1].text))
                    heard.append((name, messages[-1].text))
                error = answer(name, messages[-1].text, turn)
                if error is not None:
                    raise error
                return asks(model_id, messages, options)

            adapter.chat = chat
        return heard

    return listen


def test_two_models_on_the_same_questions(client):
    held = echoes(40, right=lambda number: number % 4 > 0)
    found = client.compare(["echo", "mute"], held, training=training())
    echo, mute = found.competitors
    assert (echo.name, mute.name) == ("echo", "mute")
    assert (echo.score.value, mute.score.value) == (0.75, 0.0)
    assert echo.score.low < 0.75 < echo.score.high
    assert [question.number for question in found.questions] == list(range(40))
    assert found.questions[1].question == found.questions[1].expected == sentence(1)
    assert [answer.text for answer in echo.answers] == [sentence(number) for number in range(40)]
    assert echo.usage == Usage(input_tokens=320, output_tokens=320)
    (difference,) = found.differences
    assert (difference.one, difference.other) == ("echo", "mute")
    assert (difference.won, difference.lost, difference.tied) == (30, 0, 10)
    assert difference.difference.value == pytest.approx(0.75)
    assert difference.adjusted == difference.p < 1e-6
    assert found.fingerprint == held.fingerprint
    assert found.profile["rows"] == 40
    assert found.versions["adaptkit"]
    assert found.created_at == client._clock.time()


def test_which_is_better_is_named_first_and_pairs_are_corrected_for(client):
    found = client.compare(["mute", "echo"], echoes(30))
    assert [(each.one, each.other) for each in found.differences] == [("echo", "mute")]
    names = {"a": "echo", "b": "mute", "c": "echo"}
    found = client.compare(names, echoes(30))
    assert list(by_name(found)) == ["a", "b", "c"]
    assert {frozenset((each.one, each.other)) for each in found.differences} == {
        frozenset("ab"), frozenset("ac"), frozenset("bc")
    }  # fmt: skip
    assert all(each.difference.value >= 0 and each.adjusted >= each.p for each in found.differences)


def test_what_is_known_of_how_a_model_was_made(client, service):
    echo = by_name(client.compare(["echo"], echoes(5)))["echo"]
    assert echo.rung == "fine-tune"
    assert echo.base == "scripted-1"
    assert echo.losses == ((1, 0.9), (2, 0.4))
    assert echo.training_seconds == 3.0  # the scripted service's events are a second apart
    assert echo.training_usd is None  # nobody has a price for it
    again = by_name(client.compare([echo.ref], echoes(5)))["echo"]
    assert (again.rung, again.losses) == (echo.rung, echo.losses), "the run is found by the model too"


def test_what_answers_cost_by_a_table(client, service, tmp_path):
    plain = client.compare(["echo", "mute"], echoes(10))
    assert [each.usd for each in plain.competitors] == [0.0, 0.0], "nothing leaves this machine"
    assert plain.prices == ()
    model = ModelRef.parse(plain.competitors[0].ref).id
    (tmp_path / "prices.toml").write_text(
        f'[[chat]]\nservice = "scripted"\nmodel = "{model}"\ninput = 1.0\noutput = 5.0\n'
        'date = 2026-11-20\nsource = "a letter"\n'
        '[[price]]\nwhat = "training"\nbackend = "scripted"\nusd = 1000.0\ndate = 2026-11-20\nsource = "a letter"\n'
    )
    with Client(targets=dict(client.targets), home=client.home, prices=tmp_path / "prices.toml") as other:
        found = other.compare(["echo", "mute"], echoes(10), training=training())
        blind = other.compare(["echo"], echoes(10))
    echo, mute = found.competitors
    assert echo.answers[0].usd == pytest.approx((8 * 1 + 8 * 5) / 1e6)
    assert echo.usd == pytest.approx(480 / 1e6)
    assert mute.usd == 0.0
    assert [(card.model, card.source) for card in found.prices] == [(model, "a letter")]
    assert echo.training_usd == pytest.approx(other.estimate("echo", training()).usd)
    assert echo.training_usd > 0
    assert blind.competitors[0].training_usd is None, "nobody knows how many tokens it learned from"


def test_who_sends_to_others_without_a_price_costs_nobody_knows_what(service, clock, tmp_path):
    config = ScriptedConfig(
        service=service.name, reply="{text}", hosts=("api.example.com",), shutdown_date="2027-01-06"
    )
    with Client(targets={"t": config}, home=tmp_path, clock=clock) as client:
        client.submit("t", training()).result()
        (found,) = client.compare(["t"], echoes(4)).competitors
        assert found.usd is None
        assert found.shutdown == "2027-01-06"


def test_the_latest_model_of_a_target_is_meant(client):
    first = client.compare(["echo"], echoes(3)).competitors[0].ref
    newer = client.submit("echo", Dataset.of([row("other", "data")])).result()
    assert client.compare(["echo"], echoes(3)).competitors[0].ref == str(newer.ref) != first


def test_a_job_that_has_ended_since_is_found(service, clock, tmp_path):
    targets = {"late": ScriptedConfig(service=service.name, states=("queued", "succeeded"), reply="{text}")}
    with Client(targets=targets, home=tmp_path, clock=clock) as client:
        client.submit("late", training())
        assert client.compare(["late"], echoes(3)).competitors[0].score.value == 1.0


def test_a_job_under_way_is_not_waited_for_and_said(service, clock, tmp_path):
    targets = {"t": ScriptedConfig(service=service.name, reply="{text}")}
    with Client(targets=targets, home=tmp_path, clock=clock) as client:
        older = client.submit("t", training()).result()
    targets = {"t": ScriptedConfig(service=service.name, states=("running",), epochs=2)}
    with Client(targets=targets, home=tmp_path, clock=clock) as client:
        newer = client.submit("t", training())
        found = client.compare(["t"], echoes(3))
        assert found.competitors[0].ref == str(older.ref)
        assert any(f"t: a newer job, {newer.id}, is running" in note for note in found.warnings)


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ([], "no model to compare"),
        ("echo", "a list of models"),
        (["ecko"], "Did you mean 'echo'|did you mean"),
        (["echo", "echo"], "several are called echo"),
        (['{"kind":"model","v":9,"backend":"x","id":"y"}'], "ModelRef"),
    ],
)
def test_models_that_are_none(client, interfere, models, complaint):
    heard = interfere()
    with pytest.raises(ConfigError, match=complaint):
        client.compare(models, echoes(3))
    assert heard == []


def test_a_target_without_a_model_says_what_to_do(service, clock, tmp_path):
    targets = {
        "new": ScriptedConfig(service=service.name),
        "sick": ScriptedConfig(service=service.name, states=("failed",)),
    }
    with Client(targets=targets, home=tmp_path, clock=clock) as client:
        with pytest.raises(ConfigError, match="adaptkit submit new DATA"):
            client.compare(["new"], echoes(3))
        client.submit("sick", training()).wait()
        with pytest.raises(ConfigError, match="none of its jobs has succeeded, and the latest is failed"):
            client.compare(["sick"], echoes(3))


def test_held_out_rows_that_cannot_be_compared_on_are_all_named(client, interfere, tmp_path):
    heard = interfere()
    file = tmp_path / "held.jsonl"
    file.write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
        '{"messages": [{"role": "user", "content": "no answer"}]}\n'
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "  "}]}\n'
    )
    with pytest.raises(DataError) as refused:
        client.compare(["echo"], Dataset.open(file))
    assert [problem.line for problem in refused.value.problems] == [2, 3]
    with pytest.raises(DataError, match="cannot be compared on"):
        client.compare(["echo"], Dataset.of([{"text": "prose"}]))
    with pytest.raises(ConfigError, match="there is no metric"):
        client.compare(["echo"], echoes(3), metric="exakt")
    with pytest.raises(ConfigError, match="JSON object"):
        client.compare(["echo"], echoes(3), metric="json_fields")
    with pytest.raises(ConfigError, match="at least 1"):
        client.compare(["echo"], echoes(3), repeats=0)
    assert heard == []


def test_nobody_is_asked_twice(client, interfere):
    heard = interfere()
    held = echoes(20)
    first = client.compare(["echo", "mute"], held)
    assert len(heard) == 40
    assert client.compare(["echo", "mute"], held) == first
    assert len(heard) == 40
    client.compare(["echo"], echoes(21))
    assert len(heard) == 41, "one more question is one more request, whatever its answer's length"


def test_repeats_are_kept_apart_and_count_once(client, interfere):
    heard = interfere()
    found = client.compare(["echo"], echoes(10), repeats=3)
    assert len(heard) == 30
    (echo,) = found.competitors
    assert [(answer.question, answer.repeat) for answer in echo.answers][:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert echo.usage.output_tokens == 240
    once = client.compare(["echo"], echoes(10))
    assert len(heard) == 30, "the first of several is the one of one"
    assert once.competitors[0].score == echo.score, "three answers to ten questions are not thirty questions"


def test_an_error_scores_nothing_and_is_said(client, interfere):
    def answer(target, text, turn):
        return BackendError("this one is not liked") if (target, text) == ("echo", sentence(3)) else None

    heard = interfere(answer)
    found = client.compare(["echo", "mute"], echoes(10))
    echo = found.competitors[0]
    assert echo.score.value == 0.9
    assert echo.answers[3].error == "this one is not liked"
    assert (echo.answers[3].score, echo.answers[3].text) == (0.0, None)
    assert any("echo gave no answer 1 times" in note and "not liked" in note for note in found.warnings)
    heard.clear()
    client.compare(["echo", "mute"], echoes(10))
    assert heard == [("echo", sentence(3))], "what failed is asked again, and nothing else"


def test_what_ends_it_says_whose_it_is(client, interfere):
    interfere(lambda target, text, turn: AuthenticationError("no such key") if target == "mute" else None)
    with pytest.raises(AuthenticationError, match="mute: no such key"):
        client.compare(["echo", "mute"], echoes(5))


def test_a_rate_limit_is_waited_for(client, interfere, clock):
    interfere(lambda target, text, turn: RateLimitError("slow", retry_after=30.0) if turn == 0 else None)
    found = client.compare(["echo"], echoes(4))
    assert found.competitors[0].score.value == 1.0
    assert clock.monotonic() >= 29.0


def test_how_long_an_answer_took_is_kept_with_it(client, interfere, clock):
    def slowly(target, text, turn):
        clock.advance(2.0 if text == sentence(0) else 0.5)

    interfere(slowly)
    first = client.compare(["echo"], echoes(10), concurrency=1, timed=0)
    seconds = [answer.seconds for answer in first.competitors[0].answers]
    assert seconds[0] == pytest.approx(2.0)
    assert seconds[1:] == pytest.approx([0.5] * 9)
    assert first.competitors[0].seconds == pytest.approx({"p50": 0.5, "p95": 2.0})
    again = client.compare(["echo"], echoes(10), concurrency=1, timed=0)
    assert [answer.seconds for answer in again.competitors[0].answers] == seconds


def test_streamed_once_more_to_time_the_first_piece(client, service, clock):
    before = service.requests()["stream"]
    (echo,) = client.compare(["echo"], echoes(10), timed=3).competitors
    assert service.requests()["stream"] - before == 3
    assert [answer.question for answer in echo.answers if answer.first_token_seconds is not None] == [0, 3, 6]
    client.compare(["echo"], echoes(10), timed=3)
    assert service.requests()["stream"] - before == 3, "kept beside the answer"
    assert client.compare(["mute"], echoes(10)).competitors[0].first_token_seconds == {}


def test_what_an_older_adaptkit_kept_is_read_without_times(tmp_path):
    answers = Answers(tmp_path / "answers.db")
    key = key_of(ModelRef(backend="x", id="y"), "a", [Message(role="user", content="?")], ChatOptions())
    answers._run("SELECT 1")
    answers.put(key, Reply(text="old"))
    assert answers.get(key) == Kept(text="old")
    answers.put(key, Kept.of(Reply(text="new", usage=Usage(output_tokens=3)), 1.5, 0.2))
    assert answers.get(key) == Kept(text="new", usage=Usage(output_tokens=3), seconds=1.5, first_token_seconds=0.2)
    asked = [Message(role="user", content="?")]
    keys = {key_of(ModelRef(backend="x", id="y"), "a", asked, ChatOptions(), repeat=n) for n in range(3)}
    assert len(keys) == 3
    assert key in keys
    asked = ["x", "y", "a", asked, ChatOptions()]
    always = hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).digest()
    assert key == always, "the first time has the key that it always had, so nothing is paid for again"
    answers.close()


def test_a_metric_of_the_users_own(client):
    def first_word(expected, given):
        return Verdict(float(expected.split()[0] == given.split()[0]), "first word")

    found = client.compare(["echo"], echoes(5), metric=first_word)
    assert found.metric == "first_word"
    assert found.competitors[0].score.value == 1.0
    with pytest.raises(ConfigError, match="between 0 and 1"):
        client.compare(["echo"], echoes(5), metric=lambda expected, given: Verdict(3.0, ""))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        client.compare(["echo"], echoes(5), metric=lambda expected, given: Verdict(math.nan, ""))


class Waiting:
    """A metric that asks somebody, as a judge does."""

    __name__, waits = "waiting", True

    def __init__(self, parties, error=None):
        self.together, self.error = threading.Barrier(parties), error

    def __call__(self, expected, given):
        if self.error:
            raise self.error
        self.together.wait(timeout=10)
        return Verdict(float(expected == given), "")


def test_a_metric_that_waits_does_so_for_several_at_a_time(client):
    metric = Waiting(4)
    found = client.compare(["echo"], echoes(8, right=lambda n: n != 5), metric=metric, concurrency=4)
    assert not metric.together.broken
    assert [answer.score for answer in found.competitors[0].answers] == [1.0] * 5 + [0.0] + [1.0] * 2
    with pytest.raises(AuthenticationError) as refused:
        client.compare(["echo"], echoes(8), metric=Waiting(1, AuthenticationError("the judge has no key")))
    assert str(refused.value) == "the judge has no key", "which is not the competitor's fault"


def test_groups_count_together(client):
    rows = [row(sentence(n), sentence(n) if n // 10 != 1 else "x", customer=n // 10) for n in range(40)]
    found = client.compare(["echo", "mute"], Dataset.of(rows), group="customer")
    assert [question.group for question in found.questions][:2] == ["0", "0"]
    plain = client.compare(["echo", "mute"], Dataset.of(rows))
    width = [each.competitors[0].score.high - each.competitors[0].score.low for each in (found, plain)]
    assert width[0] > width[1], "four customers say less than forty"
    assert found.detectable > plain.detectable
    nested = Dataset.of([row(sentence(n), "x", metadata={"doc": str(n % 3)}) for n in range(6)])
    assert [q.group for q in client.compare(["mute"], nested, group="doc").questions] == list("012012")
    with pytest.raises(DataError) as refused:
        client.compare(["echo"], Dataset.of([*rows[:3], row("a", "b")]), group="customer")
    assert [problem.rule for problem in refused.value.problems] == ["no-group"]


def test_a_small_set_is_said_before_anybody_is_asked(client, interfere):
    heard, told = interfere(), []

    def tell(event: Event):
        told.append((event, len(heard)))

    with pytest.warns(AdaptkitWarning, match="small: with 20 questions"):
        found = client.compare(["echo", "mute"], echoes(20), progress=tell)
    assert told[0][1] == 0
    assert told[0][0].kind == "plan"
    assert told[0][0].data["detectable"] == found.detectable
    steps = [event.data for event, _ in told if event.kind == "metrics"]
    assert [data["step"] for data in steps] == [*range(1, 21)] * 2
    assert {data["total_steps"] for data in steps} == {20}
    assert any("small" in note for note in found.warnings)


def test_what_was_forgotten_is_seen(client):
    general = echoes(60, start=500)
    targets = {"before": "echo", "after": "mute"}
    found = client.compare(targets, echoes(60), general=general)
    assert found.general is not None
    assert by_name(found.general)["after"].score.value == 0.0
    assert found.general.general is None
    # both were fine-tuned here, so neither is what the other was made from
    assert not any("forgotten" in note for note in found.warnings)


def test_the_guard_holds_a_tuned_model_against_its_base():
    from adaptkit.evidence.guard import forgotten
    from adaptkit.evidence.results import Comparison, Competitor, Difference, Interval

    def competitor(name, rung, base, value):
        return Competitor(name=name, ref="", rung=rung, base=base, score=Interval(value=value, low=0, high=1))

    def difference(one, other, low):
        interval = Interval(value=0.2, low=low, high=0.3)
        return Difference(
            one=one, other=other, difference=interval, p=0.01, adjusted=0.01, test="", won=2, lost=0, tied=8
        )

    who = (
        competitor("base", "none", "m", 0.9),
        competitor("tuned", "fine-tune", "m", 0.7),
        competitor("other", "prompt", "big", 0.9),
    )
    pairs = (difference("base", "tuned", 0.1), difference("other", "tuned", 0.1))
    told = list(forgotten(Comparison(metric="m", questions=(), competitors=who, differences=pairs)))
    assert len(told) == 1
    assert "tuned has forgotten something: 20.0 points below base" in told[0]
    noise = (difference("base", "tuned", -0.01),)
    assert not list(forgotten(Comparison(metric="m", questions=(), competitors=who, differences=noise)))


def test_questions_that_repeat_are_said(client):
    rows = [row("the same", "x")] * 3 + [row(sentence(1), "y")]
    found = client.compare(["echo"], Dataset.of(rows))
    assert any("2 of 4 held-out questions repeat" in note for note in found.warnings)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_with_await(service, tmp_path, loop):
    if loop == "trio":
        pytest.importorskip("trio")

    async def main():
        targets = {"echo": ScriptedConfig(service=service.name, reply="{text}")}
        async with AsyncClient(targets=targets, home=tmp_path, clock=FakeClock()) as client:
            model = await (await client.submit("echo", training())).result()
            found = await client.compare([model], echoes(5))
            assert found.competitors[0].score.value == 1.0
            assert (await client.compare({"x": model}, echoes(5))).competitors[0].name == "x"

    anyio.run(main, backend=loop)

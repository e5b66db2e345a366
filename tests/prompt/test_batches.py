"""Batches at each vendor, through its official SDK and over real sockets."""

from __future__ import annotations

import json
import logging
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from adaptkit import (
    AsyncClient,
    BackendError,
    Client,
    ConfigError,
    Dataset,
    EgressError,
    Job,
    JobFailed,
    Model,
    SpendError,
    Status,
    SubmissionUncertain,
    UnknownBackendError,
    UnsupportedError,
)
from adaptkit import config as configuration
from adaptkit.adapter import ChatOptions, Context
from adaptkit.backends.prompt.batch import BatchAdapter, BatchConfig, _Length
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.services import batches as api
from adaptkit.cli.exits import Exit
from adaptkit.http import Egress
from adaptkit.prices import Prices
from adaptkit.testing import FakeClock
from adaptkit.types import Usage
from tests.postgres import postgres_server, postgres_url
from tests.prompt.conftest import KEY, rows
from tests.prompt.services import VENDORS, Vendor

__all__ = ["postgres_server", "postgres_url"]

QUESTIONS = ["where is my canary-box-51", "I lost it", "where is my canary-box-51", "hello there"]
SCHEMA = {"type": "object", "properties": {"desk": {"type": "string"}}, "required": ["desk"]}


@dataclass
class Setting:
    vendor: Vendor
    service: Any
    home: Path

    def targets(self, **fields: Any) -> dict[str, Any]:
        table = {"backend": "prompt", "model": self.vendor.model, "base_url": self.vendor.url(self.service)}
        return {"t": {**table, "examples": 2, "instructions": "Name the desk.", "timeout": 2.0, **fields}}

    def client(self, **more: Any) -> Client:
        return Client(targets=self.targets(), home=self.home, clock=FakeClock(), **more)

    def model(self, client: Client) -> Model:
        return client.submit("t", Dataset.of(rows())).result()

    @property
    def held(self) -> list[Any]:
        return list(self.service.batches.held.values())


@pytest.fixture(params=list(VENDORS))
def setting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    vendor = VENDORS[request.param]
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        yield Setting(vendor, service, tmp_path / "home")


def ask(setting: Setting, client: Client, **settings: Any) -> Job:
    return setting.model(client).batch(QUESTIONS, **settings)


def test_questions_go_once_and_answers_come_in_their_order(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        assert job.status in (Status.QUEUED, Status.RUNNING)
        (held,) = setting.held
        assert len(held.requests) == 3  # the same question is asked once
        setting.service.batches.end()
        answers = list(job.answers())
        assert [answer.number for answer in answers] == [0, 1, 2, 3]
        assert [answer.reply.text for answer in answers if answer.reply] == [text.upper() for text in QUESTIONS]
        assert not any(answer.reused for answer in answers)
        assert answers[0].reply is not None
        assert answers[0].reply.usage.input_tokens
        assert job.status is Status.SUCCEEDED


def test_a_batch_asks_what_a_call_asks(setting: Setting) -> None:
    options = {"max_tokens": 77, "schema": SCHEMA}
    with setting.client() as client:
        model = setting.model(client)
        setting.service.say('{"desk": "cards"}')
        model.chat(QUESTIONS[0], schema=SCHEMA, max_tokens=77)
        called = setting.service.requests[-1]
        model.batch(QUESTIONS[:1], **options)
        (request,) = setting.held[0].requests
        body = request.get("params") or request["body"]
        assert {name: each for name, each in called.items() if name not in ("stream",)} == body


def test_a_schema_is_checked_and_a_misfit_is_one_questions_error(setting: Setting) -> None:
    with setting.client() as client:
        job = setting.model(client).batch(QUESTIONS, schema=SCHEMA)
        for text in ('{"desk": "cards"}', "no", '{"desk": "parcels"}'):
            setting.service.say(text)
        setting.service.batches.end()
        answers = list(job.answers())
    assert [answer.reply.parsed if answer.reply else None for answer in answers] == [
        {"desk": "parcels"},
        None,
        {"desk": "parcels"},
        {"desk": "cards"},
    ]
    assert "schema" in str(answers[1].error)


def test_what_a_batch_answered_is_not_asked_again(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end()
        list(job.answers())
        before = len(setting.service.wire.asked)
        mapped = list(client.map(setting.model(client), QUESTIONS))
        assert all(answer.reused for answer in mapped)
        assert all(answer.reused for answer in job.answers())  # and they outlive the vendor's
        assert len(setting.service.wire.asked) == before


def test_the_same_questions_are_one_batch_and_another_process_finds_it(setting: Setting) -> None:
    with setting.client() as client:
        first = ask(setting, client)
        again = ask(setting, client)
        assert (again.id, again.reused) == (first.id, True)
        assert len(setting.held) == 1
        other = ask(setting, client, max_tokens=5)
        assert other.id != first.id
    setting.service.batches.end()
    with Client(home=setting.home, clock=FakeClock()) as elsewhere:
        found = elsewhere.attach(str(first.ref))
        assert len(list(found.answers())) == len(QUESTIONS)


def test_what_was_answered_before_is_not_sent(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        assert all(answer.reply for answer in client.map(model, QUESTIONS[:1]))
        job = model.batch(QUESTIONS)
        assert len(setting.held[0].requests) == 2
        assert "canary-box-51" not in json.dumps(setting.held[0].requests)
        setting.service.batches.end(errored=[2])
        with pytest.warns(match="of 2 questions 1 were answered"):
            answers = list(job.answers())
        assert [answer.reply.text if answer.reply else None for answer in answers] == [
            *(text.upper() for text in QUESTIONS[:3]),
            None,
        ]
        assert [answer.reused for answer in answers] == [True, False, True, False]


def test_with_every_answer_there_the_batch_has_ended_when_it_begins(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        list(client.map(model, QUESTIONS))
        before = len(setting.service.wire.asked)
        job = model.batch(QUESTIONS)
        assert job.status is Status.SUCCEEDED
        assert [answer.reply.text for answer in job.answers() if answer.reply] == [text.upper() for text in QUESTIONS]
        assert all(answer.reused for answer in job.answers())
        assert (model.batch(QUESTIONS).id, model.batch(QUESTIONS).reused) == (job.id, True)
        assert list(job.events())
        assert client.attach(str(job.ref)).wait() is Status.SUCCEEDED
        assert len(setting.service.wire.asked) == before
        (setting.home / "answers.db").unlink()
    with setting.client() as client:  # what is not there any more is asked
        assert setting.model(client).batch(QUESTIONS).id != job.id
        assert len(setting.held[0].requests) == 3


def test_what_is_answered_meanwhile_makes_no_other_batch(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        list(client.map(setting.model(client), QUESTIONS[:1]))
        assert ask(setting, client).id == job.id
        assert len(setting.held) == 1


def test_a_batch_that_was_fetched_is_found_again(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end()
        list(job.answers())
        again = ask(setting, client)
        assert (again.id, again.reused) == (job.id, True)
        assert all(answer.reused for answer in again.answers())


def test_fresh_asks_all_again_and_has_the_new_answers(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        list(client.map(model, ["hello there"]))
        setting.service.say("another answer")
        job = model.batch(["hello there"], fresh=True)
        setting.service.batches.end()
        for _ in range(2):
            assert [answer.reply.text for answer in job.answers() if answer.reply] == ["another answer"]
        assert [answer.reply.text for answer in client.map(model, ["hello there"]) if answer.reply] == [
            "another answer"
        ]


def test_another_prompt_in_the_file_is_another_batch(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        list(client.map(model, QUESTIONS))
        file = Path(model.id)
        file.write_text(file.read_text().replace("Name the desk.", "Name the desk, in Welsh."))
        model.batch(QUESTIONS)
        assert len(setting.held[0].requests) == 3
        assert "in Welsh" in json.dumps(setting.held[0].requests[0])


def test_an_error_is_one_questions_and_quotes_nothing(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end(errored=[1], expired=[2])
        with pytest.warns(match="of 3 questions 1 were answered"):
            answers = list(job.answers())
    assert [answer.reply is not None for answer in answers] == [True, False, True, False]
    assert isinstance(answers[1].error, BackendError)
    assert "invalid" in str(answers[1].error)
    assert "expired" in str(answers[3].error)
    assert not any("canary" in str(answer.error) for answer in answers)


def test_nothing_answered_is_a_failure_and_the_next_call_a_new_attempt(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end(errored=[0, 1, 2])
        assert job.wait() is Status.FAILED
        assert all(answer.error for answer in job.answers())
        assert ask(setting, client).id != job.id


def test_cancelled(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        job.cancel()
        assert job.wait() is Status.CANCELLED
        assert all(answer.error for answer in job.answers())


@pytest.mark.parametrize("word", ["pondering", "validating"])
def test_a_word_nobody_knows_is_kept(setting: Setting, word: str) -> None:
    if word == "validating" and "openai" in setting.vendor.model:
        pytest.skip("known there")
    with setting.client() as client:
        job = ask(setting, client)
        setting.held[0].word = word
        assert job.refresh() is Status.UNKNOWN
        assert job.raw_status == word


WORDS = {
    "anthropic": {"in_progress": "running", "canceling": "running"},
    "openai": {
        "validating": "queued",
        "in_progress": "running",
        "finalizing": "running",
        "cancelling": "running",
        "failed": "failed",
    },
    "mistral": {"QUEUED": "queued", "RUNNING": "running", "CANCELLATION_REQUESTED": "running", "FAILED": "failed"},
}


def test_every_word(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        for word, status in WORDS[setting.vendor.model.partition(":")[0]].items():
            setting.held[0].word = word
            assert job.refresh() == status


def test_a_batch_that_was_refused_as_a_whole(setting: Setting) -> None:
    if "anthropic" in setting.vendor.model:
        pytest.skip("refuses when it is created")
    with setting.client() as client:
        job = ask(setting, client)
        setting.held[0].word = "FAILED" if "mistral" in setting.vendor.model else "failed"
        with pytest.raises(JobFailed):
            list(job.answers())


def test_it_makes_no_model(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end()
        with pytest.raises(UnsupportedError, match="answers"):
            job.result()
        with pytest.raises(UnsupportedError, match="result"):
            client.submit("t", Dataset.of(rows())).answers()


def test_events_tell_how_many_are_done(setting: Setting) -> None:
    with setting.client() as client:
        job = ask(setting, client)
        setting.service.batches.end(errored=[0])
        with pytest.warns(match="were answered"):
            told = [event for event in job.events() if event.kind == "metrics"]
    assert told[-1].data == {"step": 3, "total_steps": 3, "failed": 1}


# exactly once ---------------------------------------------------------------------------------------------------------


def test_on_postgresql_too(setting: Setting, postgres_url: str) -> None:
    def again() -> Job:
        with Client(targets=setting.targets(), home=setting.home, clock=FakeClock(), journal=postgres_url) as client:
            return ask(setting, client)

    setting.service.wire.next("create", "lost")
    if "anthropic" in setting.vendor.model:
        with pytest.raises(SubmissionUncertain):
            again()
        setting.service.batches.end()
    assert again().id == again().id == setting.held[0].id
    assert len(setting.held) == 1


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed_after"])
def test_a_lost_answer_is_looked_for(setting: Setting, fault: Any) -> None:
    with setting.client() as client:
        model = setting.model(client)
        setting.service.wire.next("create", fault)
        if "anthropic" not in setting.vendor.model:
            job = model.batch(QUESTIONS)
        else:  # what carries the tag can be read only once the batch has ended
            with pytest.raises(SubmissionUncertain):
                model.batch(QUESTIONS)
            with pytest.raises(SubmissionUncertain):
                model.batch(QUESTIONS)
            setting.service.batches.end()
            job = model.batch(QUESTIONS)
        assert job.id == setting.held[0].id
        setting.service.batches.end()
        assert all(answer.reply for answer in job.answers())
        assert len(setting.held) == 1
        assert setting.service.wire.count()["create"] == 1


def test_another_batch_is_not_taken_for_a_lost_one(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        model.batch(["something else"])
        setting.service.batches.end()
        setting.service.wire.next("create", "failed")  # it did not run, which nobody can know
        with pytest.raises(SubmissionUncertain):
            model.batch(QUESTIONS)
    assert len(setting.held) == 1


def test_too_many_requests_is_sent_again(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        setting.service.wire.next("create", "rate_limited")
        model.batch(QUESTIONS)
    assert len(setting.held) == 1


KILLED = """
    import os, sys
    from adaptkit import Client, Dataset
    from adaptkit.backends.prompt.batch import BatchAdapter
    home, model, url, step, when = sys.argv[1:]
    real = getattr(BatchAdapter, step)
    def dies(self, *rest):
        if when == "after":
            real(self, *rest)
        os._exit(9)
    setattr(BatchAdapter, step, dies)
    table = {"backend": "prompt", "model": model, "base_url": url, "examples": 0, "instructions": "Name the desk."}
    with Client(targets={"t": table}, home=home) as client:
        made = client.submit("t", Dataset.of([{"prompt": "a", "completion": "b"}])).result()
        made.batch(["one", "two"])
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["upload", "submit"])
def test_a_killed_client_sends_nothing_twice(setting: Setting, step: str, when: str) -> None:
    script, url = textwrap.dedent(KILLED), setting.vendor.url(setting.service)
    command = [sys.executable, "-c", script, str(setting.home), setting.vendor.model, url, step, when]
    assert subprocess.run(command, check=False).returncode == 9
    table = setting.targets(examples=0)
    del table["t"]["timeout"]
    lost = step == "submit" and (when == "before" or "anthropic" in setting.vendor.model)
    with Client(targets=table, home=setting.home, clock=FakeClock()) as client:
        made = client.submit("t", Dataset.of([{"prompt": "a", "completion": "b"}])).result()
        if lost:
            with pytest.raises(SubmissionUncertain):
                made.batch(["one", "two"])
        if lost and when == "after":
            setting.service.batches.end()
        if not (lost and when == "before"):
            made.batch(["one", "two"])
            assert len(setting.held) == 1
    assert len(setting.held) <= 1


# what cannot be -------------------------------------------------------------------------------------------------------


def test_limits_are_refused_before_anything_is_sent(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    with setting.client() as client:
        model = setting.model(client)
        kind = type(api.batches_of(setting.vendor.model.partition(":")[0], _service(model)))
        monkeypatch.setattr(kind, "limits", api.Limits(requests=2, bytes=100))
        before = len(setting.service.wire.asked)
        with pytest.raises(UnsupportedError) as refused:
            model.batch(QUESTIONS)
        assert "3 different questions, and one batch takes 2" in str(refused.value)
        assert "bytes, and one batch takes 100" in str(refused.value)
        assert len(setting.service.wire.asked) == before


def _service(model: Model) -> Any:
    return model._adapter.vendor_service()  # type: ignore[attr-defined]


def test_every_question_that_cannot_be_asked_is_named(setting: Setting) -> None:
    bad = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}]
    with setting.client() as client, pytest.raises(UnsupportedError) as refused:
        setting.model(client).batch([bad, "fine", bad + bad])
    assert "question 0: " in str(refused.value)
    assert "question 2: " in str(refused.value)
    assert not setting.held


def test_others_are_told_of_map(tmp_path: Path, setting: Setting) -> None:
    table = {"backend": "prompt", "model": "large", "base_url": "http://127.0.0.1:1/v1", "examples": 0}
    with Client(targets={"t": table}, home=tmp_path / "other") as client:
        model = client.submit("t", Dataset.of(rows())).result()
        with pytest.raises(UnsupportedError, match=r"client\.map"):
            model.batch(QUESTIONS)


def test_it_is_no_target(tmp_path: Path, setting: Setting) -> None:
    (tmp_path / "adaptkit.toml").write_text('[targets.t]\nbackend = "batch"\nmodel = "x"\n')
    with pytest.raises(ConfigError, match=r"\[targets\.t\] backend: 'batch' is no target; model\.batch\(questions\)"):
        Client(tmp_path / "adaptkit.toml")
    with pytest.raises(UnknownBackendError) as unknown:
        Client(targets={"t": {"backend": "batches"}})
    assert "'batch'" not in str(unknown.value)
    assert " batch," not in str(unknown.value)
    assert "batch" not in configuration.schema()["$defs"]
    listed = subprocess.run([sys.executable, "-m", "adaptkit", "backends"], check=True, capture_output=True, text=True)
    assert "prompt" in listed.stdout
    assert "batch" not in listed.stdout
    with setting.client() as client:
        ref = ask(setting, client).ref
        with pytest.raises(ConfigError, match=r"model\.batch"):
            client.attach(f'{{"backend":"batch","id":"unknown-{ref.id}"}}')


def test_half_the_price() -> None:
    usage, prices = Usage(input_tokens=1_000_000, output_tokens=1_000_000), Prices()
    card = prices.chat("anthropic", "claude-haiku-5-5", usage.input_tokens)
    assert card is not None
    assert prices.batched("anthropic", "claude-haiku-5-5", usage) == pytest.approx((card.usd(usage) or 0) / 2)
    assert prices.batched("nobody", "none", usage) is None


# what it costs --------------------------------------------------------------------------------------------------------


def test_the_cost_is_told_before_anything_is_sent(setting: Setting) -> None:
    vendor, _, name = setting.vendor.model.partition(":")
    with setting.client() as client:
        model = setting.model(client)
        list(client.map(model, QUESTIONS[:1], max_tokens=50))
        before = len(setting.service.wire.asked)
        told = model.batch_cost(QUESTIONS, max_tokens=50)
        assert len(setting.service.wire.asked) == before
        card = Prices().chat(vendor, name)
        assert card is not None
        assert (told.questions, told.output_tokens) == (2, 100)
        assert told.input_tokens > 2 * len("Name the desk.") / 4
        assert told.usd == pytest.approx((told.input_tokens * card.input + 100 * card.output) / 1e6 / 2)
        assert card.source in str(told)
        assert model.batch_cost(QUESTIONS, max_tokens=50, fresh=True).questions == 3
        unknown = model.batch_cost(QUESTIONS)
        assert unknown.usd is None
        assert "max_tokens" in str(unknown)
        picture = [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
        ]
        assert model.batch_cost([picture], max_tokens=50).usd is None


def test_what_a_cache_is_told_to_keep_is_counted_as_written() -> None:
    long, short = _Length(1_000, True), _Length(10, True)
    assert long.usage(5, 512) == Usage(input_tokens=1_000, output_tokens=5, cache_write_tokens=1_000)
    assert short.usage(5, 512) == Usage(input_tokens=10, output_tokens=5)
    assert _Length(1_000, False).usage(5, 512).cache_write_tokens == 0


def test_a_budget_that_is_too_small_sends_nothing(setting: Setting) -> None:
    with setting.client() as client:
        model = setting.model(client)
        before = len(setting.service.wire.asked)
        told = model.batch_cost(QUESTIONS, max_tokens=1000).usd
        assert told
        for budget in (told * 0.9, 0.0, float("nan")):
            with pytest.raises(SpendError, match="up to about"):
                model.batch(QUESTIONS, max_tokens=1000, budget=budget)
        with pytest.raises(SpendError, match="set max_tokens"):
            model.batch(QUESTIONS, budget=1000.0)
        assert len(setting.service.wire.asked) == before
        job = model.batch(QUESTIONS, max_tokens=1000, budget=told * 1.1)
        assert len(setting.held) == 1
        assert model.batch(QUESTIONS, max_tokens=1000, budget=0.0).id == job.id  # it is there already
        list(client.map(model, ["paid already"]))
        assert model.batch(["paid already"], budget=0.0).status is Status.SUCCEEDED
        assert model.batch_cost(["paid already"]).usd == 0.0


def test_afterwards_figures_tell_what_was_paid(setting: Setting) -> None:
    vendor, _, name = setting.vendor.model.partition(":")
    with setting.client() as client:
        model = setting.model(client)
        list(client.map(model, ["paid before"]))
        job = model.batch([*QUESTIONS, "paid before"], schema=None)
        setting.service.batches.end(errored=[1])
        with pytest.warns(match="were answered"):
            answers = list(job.answers())
        paid = [answers[place].reply for place in (0, 3)]  # 2 asks what 0 asks, and 4 was paid before
        usages = [reply.usage for reply in paid if reply]
        (row,) = job.figures()
        assert row["step"] == len(usages) == 2
        assert row["input_tokens"] == sum(usage.input_tokens for usage in usages)
        assert row["usd"] == pytest.approx(sum(Prices().batched(vendor, name, usage) or 0 for usage in usages))
    with Client(home=setting.home) as elsewhere:
        assert elsewhere.attach(str(job.ref)).figures() == [row]


def test_an_answer_that_keeps_no_schema_is_paid_too(setting: Setting) -> None:
    with setting.client() as client:
        job = setting.model(client).batch(["one"], schema=SCHEMA)
        setting.service.say("no")
        setting.service.batches.end()
        assert [answer.reply for answer in job.answers()] == [None]
        (row,) = job.figures()
        assert (row["step"], row["usd"] > 0) == (1, True)


# where it may go ------------------------------------------------------------------------------------------------------

REAL = {
    "anthropic": "api.anthropic.com",
    "openai": "api.openai.com",
    "mistral": "api.mistral.ai",
}


@pytest.mark.parametrize("egress", ["none", ["example.com"]])
def test_the_policy_holds_for_batches(setting: Setting, egress: Any, tmp_path: Path) -> None:
    host = REAL[setting.vendor.model.partition(":")[0]]
    targets = setting.targets(base_url=None)
    with Client(targets=targets, home=setting.home, clock=FakeClock()) as client:
        model = client.submit("t", Dataset.of(rows())).result()  # asks nobody
    with setting.client() as client:
        job = ask(setting, client)
    before = len(setting.service.wire.asked)
    toml = [f"{name} = {json.dumps(value)}" for name, value in targets["t"].items() if value is not None]
    policy = f"[policy]\negress = {json.dumps(egress)}\n[targets.t]\n"
    (tmp_path / "adaptkit.toml").write_text(policy + "\n".join(toml))
    with (
        Client(tmp_path / "adaptkit.toml", home=setting.home) as client,
        pytest.raises(EgressError, match=re.escape(host)),
    ):
        client.model(model.ref).batch(QUESTIONS)
    # and nothing rests on the client having looked: the batch itself looks before it reads a question
    prompt = PromptConfig(**{**targets["t"], "api_key_env": setting.vendor.key_env})
    context = Context(setting.home, Egress.parse(egress))
    batch = BatchAdapter(BatchConfig(model=model.id, prompt=prompt, asked="a"), context, ChatOptions(), None, [0])
    question = Dataset.of([{"messages": [{"role": "user", "content": "one"}]}])
    with closing(batch), pytest.raises(EgressError, match=re.escape(host)):
        batch.prepare(question)
    assert len(setting.service.wire.asked) == before
    assert job.status in (Status.QUEUED, Status.RUNNING)


# secrets, and both colours --------------------------------------------------------------------------------------------


def test_neither_key_nor_question_is_kept(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with setting.client() as client:
        model = setting.model(client)
        setting.service.wire.next("create", "refused")
        with pytest.raises(BackendError) as refused:
            model.batch(QUESTIONS)
        job = model.batch(QUESTIONS)
        seen = repr(job) + str(job.ref) + str(refused.value) + str(pickle.dumps(refused.value))
    files = b"".join(path.read_bytes() for path in setting.home.rglob("*") if path.is_file())
    for secret in (KEY, "canary-box-51"):
        assert secret not in caplog.text
        assert secret not in seen
        assert secret.encode() not in files


def test_async(setting: Setting) -> None:
    async def go() -> list[Any]:
        async with AsyncClient(targets=setting.targets(), home=setting.home, clock=FakeClock()) as client:
            model = await (await client.submit("t", Dataset.of(rows()))).result()
            job = await model.batch(QUESTIONS)
            setting.service.batches.end()
            return [answer async for answer in job.answers()]

    assert [answer.reply.text for answer in anyio.run(go)] == [text.upper() for text in QUESTIONS]


def test_the_command(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "ask.jsonl").write_text('{"prompt": "one", "completion": ""}\n{"prompt": "two", "completion": ""}\n')
    lines = [f"{name} = {json.dumps(value)}" for name, value in setting.targets()["t"].items()]
    (tmp_path / "adaptkit.toml").write_text("[targets.t]\n" + "\n".join(lines))
    with setting.client() as client:
        model = str(setting.model(client).ref)
    command = [sys.executable, "-m", "adaptkit", "batch", "--home", str(setting.home), model, "ask.jsonl"]

    def run(*more: str) -> str:
        return subprocess.run([*command, *more], check=True, cwd=tmp_path, capture_output=True, text=True).stdout

    assert "at most about $" in run("--estimate", "--max-tokens", "9")
    assert not setting.held
    assert json.loads(run())["backend"] == "batch"
    setting.service.batches.end()
    assert [json.loads(line)["text"] for line in run("--wait").splitlines()] == ["ONE", "TWO"]
    assert len(setting.held) == 1
    done = subprocess.run([*command, "--wait"], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "have cost about $" in done.stderr
    refused = subprocess.run([*command, "--fresh", "--budget", "0"], check=False, cwd=tmp_path, capture_output=True)
    assert refused.returncode == Exit.USAGE
    assert len(setting.held) == 1


def test_the_ledger_holds_hashes(setting: Setting) -> None:
    with setting.client() as client:
        ask(setting, client)
    (ledger,) = (setting.home / "batches").glob("*.json")
    assert sorted(json.loads(ledger.read_text())) == ["keys", "order", "schema"]

"""Following a job: waiting, events, time-outs, Ctrl-C, coming back."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Literal

import pytest

from adaptkit import (
    AdaptkitWarning,
    AuthenticationError,
    Client,
    ConfigError,
    JobCancelled,
    JobFailed,
    JobRef,
    JobTimeout,
    ModelRef,
    NotFoundError,
    Status,
    UnsupportedError,
    registry,
)
from adaptkit.adapter import Adapter
from adaptkit.testing import ScriptedAdapter, ScriptedConfig, ScriptedService
from tests.core.conftest import data


def test_waiting_ends_with_the_job(open_client, service):
    job = open_client().submit("t", data())
    assert (job.status, job.raw_status) == (Status.QUEUED, "queued")
    assert job.wait() is Status.SUCCEEDED
    assert job.result().chat("Hello there").text == "You said: Hello there"
    assert service.requests()["poll"] == 2


def test_properties_make_no_request(open_client, service):
    client = open_client()
    job = client.submit("t", data())
    before = service.requests()
    _ = job.id, job.ref, job.status, job.raw_status, job.snapshot, repr(job), client.jobs(), client.pending()
    client.attach(str(job.ref))
    assert service.requests() == before


@pytest.mark.parametrize("verb", ["refresh", "done", "cancel"])
def test_a_method_is_one_request(open_client, service, verb):
    job = open_client(states=("queued", "running")).submit("t", data())
    before = service.requests().total()
    getattr(job, verb)()
    assert service.requests().total() == before + 1


def test_nothing_is_asked_after_the_end(open_client, service):
    job = open_client().submit("t", data())
    job.wait()
    before = service.requests()
    assert job.done()
    assert job.refresh() is Status.SUCCEEDED
    job.cancel()
    assert job.wait(0) is Status.SUCCEEDED
    assert job.restart() is Status.SUCCEEDED
    assert service.requests() == before


def test_a_job_never_leaves_its_end(open_client, service):
    first = open_client(states=("queued", "succeeded", "running"))
    job = first.submit("t", data())
    late = first.attach(str(job.ref))
    job.wait()
    assert late.refresh() is Status.SUCCEEDED, "another handle asks the service, which now says running"
    assert late.raw_status == "succeeded"


def test_born_finished(open_client, service):
    job = open_client(states=("succeeded",)).submit("t", data())
    assert job.done()
    assert job.result(0).chat("x").text
    assert service.requests()["poll"] == 0


def test_a_failure_carries_the_services_words(open_client):
    job = open_client(states=("queued", "failed"), message="row 3 is rude").submit("t", data())
    with pytest.raises(JobFailed, match="row 3 is rude") as caught:
        job.result()
    assert caught.value.ref == job.ref
    assert caught.value.snapshot.raw_status == "failed"
    assert str(job.ref) in str(caught.value)


def test_a_cancelled_job_says_so(open_client):
    job = open_client(states=("queued", "running")).submit("t", data())
    job.cancel()
    job.cancel()
    with pytest.raises(JobCancelled) as caught:
        job.result()
    assert caught.value.ref == job.ref


def test_a_time_out_is_about_the_waiting(open_client, service, clock):
    job = open_client(states=("queued", "running")).submit("t", data())
    with pytest.raises(JobTimeout, match="runs on") as caught:
        job.wait(30)
    assert sum(clock.slept) == pytest.approx(30)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.ref == job.ref
    assert str(job.ref) in str(caught.value)
    assert service.jobs()[0].live
    service.tell(job.id, "succeeded")
    assert job.wait(30) is Status.SUCCEEDED


def test_no_time_at_all_is_one_look(open_client, service):
    job = open_client(states=("queued", "running")).submit("t", data())
    with pytest.raises(JobTimeout):
        job.result(0)
    assert service.requests()["poll"] == 1


def test_a_rate_limit_does_not_outlast_the_time_out(open_client, service, clock):
    job = open_client(states=("queued", "running")).submit("t", data())
    service.next("poll", "rate_limited", retry_after=3600)
    with pytest.raises(JobTimeout):
        job.wait(10)
    assert sum(clock.slept) == pytest.approx(10)


def test_the_service_sets_the_pace(open_client, service, clock):
    open_client(poll_after=11.0).submit("t", data()).wait()
    assert clock.slept == [11.0]
    service.next("poll", "rate_limited", retry_after=13)
    open_client().submit("t", data("x")).wait()
    assert clock.slept[1] == 13


def test_the_pace_slows_down_to_a_minute(open_client, clock):
    job = open_client(states=("running",)).submit("t", data())
    with pytest.raises(JobTimeout):
        job.wait(3600)
    assert 1.5 <= clock.slept[0] <= 2.5
    assert 45 <= clock.slept[-2] <= 75
    assert len(clock.slept) < 80


def test_unknown_words_are_carried(open_client, service):
    job = open_client(states=("queued", "validating", "pondering", "succeeded")).submit("t", data())
    assert job.refresh() is Status.UNKNOWN
    assert job.raw_status == "validating"
    assert not Status.UNKNOWN.is_terminal
    assert job.wait() is Status.SUCCEEDED


@pytest.mark.parametrize("fault", ["broken", "lost", "unreachable", "rate_limited"])
def test_a_transient_poll_is_absorbed_by_wait_and_said_by_refresh(open_client, service, fault):
    job = open_client(states=("queued", "running", "running", "succeeded")).submit("t", data())
    service.next("poll", fault)
    with pytest.raises(Exception, match=str(job.id)) as caught:
        job.refresh()
    assert caught.value.transient
    assert caught.value.ref == job.ref
    assert job.status is Status.QUEUED
    service.next("poll", fault, times=4)
    assert job.wait() is Status.SUCCEEDED


def test_another_fault_ends_the_waiting_and_not_the_job(open_client, service):
    job = open_client().submit("t", data())
    service.next("poll", "unauthorized")
    with pytest.raises(AuthenticationError) as caught:
        job.wait()
    assert caught.value.ref == job.ref
    assert job.status is Status.QUEUED
    assert job.wait() is Status.SUCCEEDED


def test_a_missing_job(open_client, service):
    job = open_client().submit("t", data())
    service.forget(job.id)
    for ask in (job.refresh, job.cancel, job.wait):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.ref == job.ref


def test_a_paused_job_is_said_once(open_client, service):
    job = open_client(states=("running", "paused", "succeeded")).submit("t", data())
    with pytest.warns(AdaptkitWarning, match="paused") as said, pytest.raises(JobTimeout):
        job.wait(300)
    assert len(said) == 1
    assert job.restart() is Status.SUCCEEDED


def test_events_are_history_and_then_live(open_client, service):
    job = open_client(states=("queued", "running", "wondering", "succeeded"), losses=(2.0, 1.0)).submit("t", data())
    told = list(job.events())
    assert [event.message for event in told if event.kind == "status"] == [
        "queued",
        "running",
        "wondering",
        "succeeded",
    ]
    assert [event.data["loss"] for event in told if event.kind == "metrics"] == [2.0, 1.0]
    assert len({event.id for event in told}) == len(told)
    assert list(job.events()) == told, "the history of a job that has ended is the same, and then it is over"


def test_events_come_as_they_happen(open_client, service):
    job = open_client(states=("queued", "running")).submit("t", data())
    stream = job.events()
    assert next(stream).message == "queued"
    assert next(stream).message == "running"
    service.tell(job.id, "succeeded")
    assert [event.message for event in stream] == ["succeeded"]


def test_events_survive_faults(open_client, service):
    job = open_client().submit("t", data())
    service.next("events", "broken", times=2)
    service.next("poll", "broken", times=2)
    assert [event.message for event in job.events()] == ["queued", "running", "succeeded"]


class QuietConfig(ScriptedConfig):
    backend: Literal["quiet"] = "quiet"


class QuietAdapter(Adapter[QuietConfig]):
    """A backend with nothing but the five methods."""

    backend = "quiet"
    config_type = QuietConfig
    destinations = ()

    def __init__(self, config, context):
        super().__init__(config, context)
        self._scripted = ScriptedAdapter(config, context)

    def upload(self, file):
        return self._scripted.upload(file)

    def submit(self, plan, uploads, tag):
        return self._scripted.submit(plan, uploads, tag)

    def poll(self, job_id):
        return self._scripted.poll(job_id)

    def cancel(self, job_id):
        self._scripted.cancel(job_id)

    def retrieve(self, job_id):
        return self._scripted.retrieve(job_id)


def test_a_backend_of_five_methods(open_client, service, monkeypatch):
    monkeypatch.setitem(registry._BUILT_IN, "quiet", f"{__name__}:QuietAdapter")
    states = ("queued", "running", "running", "running", "succeeded")
    targets = {"t": QuietConfig(service=service.name, states=states)}
    job = open_client(client={"targets": targets}).submit("t", data())
    assert [event.data["status"] for event in job.events()] == ["running", "succeeded"], "changes of status are told"
    model = job.result()
    for ask in (model.chat, model.stream):
        with pytest.raises(UnsupportedError, match="quiet"):
            ask("Hello?")
    with pytest.raises(UnsupportedError, match="quiet"):
        model.generate(["Hello?"])


def test_coming_back_with_and_without_the_journal(open_client, service, tmp_path):
    job = open_client().submit("t", data())
    for journal in (None, tmp_path / "another.db"):
        client = open_client(client={"journal": journal})
        found = client.attach(str(job.ref))
        assert found.ref == job.ref
        assert found.submitted_at == (job.submitted_at if journal is None else None)
        assert found.result().ref == job.result().ref
    assert found.status is Status.SUCCEEDED


def test_without_the_journal_nothing_is_known_before_the_first_look(open_client, service, tmp_path):
    job = open_client().submit("t", data())
    found = open_client(client={"journal": tmp_path / "another.db"}).attach(job.ref)
    assert found.status is Status.UNKNOWN
    assert found.refresh() is Status.RUNNING
    assert open_client(client={"journal": tmp_path / "another.db"}).jobs() == []


def test_a_job_of_a_target_that_is_gone_is_known_by_the_journal(open_client, service):
    job = open_client().submit("t", data())
    client = open_client(client={"targets": {}})
    assert [known.id for known in client.jobs()] == [job.id]
    assert client.attach(str(job.ref)).wait() is Status.SUCCEEDED


def test_the_configuration_of_then_is_used_and_not_that_of_today(open_client, service, tmp_path):
    job = open_client().submit("t", data())
    elsewhere = ScriptedService(tmp_path / "elsewhere.db")
    client = open_client(client={"targets": {"t": ScriptedConfig(service=elsewhere.name)}})
    assert client.attach(str(job.ref)).wait() is Status.SUCCEEDED


def test_nothing_says_how_to_reach_a_job(open_client):
    ref = JobRef(backend="scripted", id="job-1")
    with pytest.raises(ConfigError, match="add a target"):
        open_client(client={"targets": {}}).attach(ref)
    two = {name: ScriptedConfig(service=name) for name in ("one", "two")}
    with pytest.raises(ConfigError, match="one, two"):
        open_client(client={"targets": two}).attach(ref)
    named = JobRef(backend="scripted", id="job-1", target="two")
    assert open_client(client={"targets": two}).attach(named).ref == named


@pytest.mark.parametrize(
    "text",
    ["", "job-1", "{}", '{"kind":"model","v":1,"backend":"x","id":"y"}', '{"kind":"job","v":2,"backend":"x","id":"y"}',
     '{"kind":"job","v":1,"backend":"","id":"y"}', '{"kind":"job","v":1,"backend":"x","id":"y","key":"z"}', "\ud800",
     '{"kind":"job","v":1,"backend":"x"}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_reference(open_client, text):
    with pytest.raises(ConfigError):
        open_client().attach(text)


def test_models_by_reference(open_client, service):
    model = open_client().submit("t", data()).result()
    again = open_client().model(str(model.ref))
    assert again.id == model.id
    assert "".join(again.stream("one two")) == again.chat("one two").text == "You said: one two"
    assert again.chat([{"role": "user", "content": "a"}], max_tokens=2).finish_reason == "length"
    assert [reply.text for reply in again.generate(["a", "b"])] == ["You said: a", "You said: b"]
    with pytest.raises(NotFoundError):
        open_client().model(ModelRef(backend="scripted", id="model-of-nothing")).chat("x")
    for verb, arguments in {"export": ("gguf", "x"), "download": ("x",), "delete": ()}.items():
        with pytest.raises(UnsupportedError, match="scripted"):
            getattr(again, verb)(*arguments)


def test_a_model_that_is_slow_to_appear(open_client, service):
    job = open_client().submit("t", data())
    service.next("retrieve", "broken", times=2)
    assert job.result().id == f"model-of-{job.id}"


def test_jobs_newest_first(open_client, clock):
    client = open_client()
    ids = []
    for note in "abc":
        ids.append(client.submit("t", data(note)).id)
        clock.advance(1)
    assert [job.id for job in client.jobs()] == ids[::-1]


def test_ctrl_c_stops_the_waiting_and_not_the_job(tmp_path):
    service = ScriptedService(tmp_path / "service.db")
    program = f"""
        from adaptkit import Client
        from adaptkit.testing import ScriptedConfig
        from tests.core.conftest import data
        config = ScriptedConfig(service={service.name!r}, states=("queued", "running"), poll_after=0.05)
        job = Client(targets={{"t": config}}, home={str(tmp_path)!r}).submit("t", data())
        print(job.ref, flush=True)
        job.wait()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    ref = process.stdout.readline().strip()
    while service.requests()["poll"] < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5
    assert "KeyboardInterrupt" in said
    assert service.requests()["cancel"] == 0
    (remote,) = service.jobs()
    assert remote.live
    service.tell(remote.id, "succeeded")
    with Client(targets={"t": ScriptedConfig(service=service.name)}, home=tmp_path) as client:
        assert client.attach(ref).wait(10) is Status.SUCCEEDED


def test_a_fault_that_is_no_backend_error_is_not_hidden(open_client, monkeypatch):
    def broken(self, job_id):
        raise ZeroDivisionError

    job = open_client().submit("t", data())
    monkeypatch.setattr(ScriptedAdapter, "poll", broken)
    with pytest.raises(ZeroDivisionError):
        job.wait()

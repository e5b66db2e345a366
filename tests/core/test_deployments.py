"""Deployments: never implicit, never twice, never forgotten."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from adaptkit import (
    AdaptkitWarning,
    AsyncClient,
    BackendError,
    Client,
    ConfigError,
    DeploymentFailed,
    DeploymentRef,
    DeploymentTimeout,
    ModelRef,
    RateLimitError,
    ServiceError,
    SpendError,
    SubmissionUncertain,
    UnsupportedError,
    prices,
)
from adaptkit.steps import SystemClock
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedDeploy, ScriptedService
from tests.core.conftest import data


@pytest.fixture
def model_of(open_client):
    """A model whose deployments are as the settings say."""

    def model(client=None, **deploy):
        settings = {"client": client} if client else {}
        return open_client(deploy=ScriptedDeploy(**deploy), **settings).submit("t", data()).result()

    return model


def costing(service):
    return [known.id for known in service.deployments() if known.costs]


def test_without_confirmation_nothing_is_sent(model_of, service, monkeypatch, tmp_path):
    model = model_of()
    with pytest.raises(SpendError, match="not known") as caught:
        model.deploy()
    assert "confirm_spend=True" in str(caught.value)
    assert isinstance(caught.value, PermissionError)
    table = tmp_path / "prices.toml"
    table.write_text(
        '[[price]]\nwhat = "hosting"\nbackend = "scripted"\nunit = "scripted-gpu"\nusd = 9.5\ndate = 2026-11-01\n'
        'source = "here"\n'
    )
    monkeypatch.setattr(prices, "_own", lambda: prices._read(table))
    with pytest.raises(SpendError, match=r"\$9\.50 an hour.*here, 2026-11-01"):
        model.deploy(confirm_spend=False)
    assert service.requests()["deploy"] == 0
    with model.deploy(confirm_spend=True) as running:
        assert running.hourly_usd == 9.5


def test_a_deployment_answers_and_is_stopped_at_the_end(open_client, service, clock):
    client = open_client(deploy=ScriptedDeploy(needed=True, hourly_usd=12.0, states=("starting", "starting", "ready")))
    model = client.submit("t", data()).result()
    with pytest.raises(UnsupportedError, match="confirm_spend=True"):
        model.chat("Hello")
    with model.deploy(confirm_spend=True) as running:
        assert (running.status, running.raw_status, running.hourly_usd) == ("ready", "ready", 12.0)
        assert running.chat("Hello").text == "You said: Hello"
        assert "".join(running.stream("Hello")) == "You said: Hello"
        assert [reply.text for reply in running.generate(["a", "b"])] == ["You said: a", "You said: b"]
        assert client.model(str(running.model.ref)).chat("x").text == "You said: x"
        (listed,) = client.deployments()
        assert (listed.ref, listed.hourly_usd) == (running.ref, 12.0)
        assert listed.since.timestamp() == pytest.approx(clock.time(), abs=3600)
    assert running.status == "stopping"
    assert costing(service) == []
    (listed,) = client.deployments()  # until the host says that it is gone
    assert listed.refresh() == "stopped"
    assert client.deployments() == []
    asked = service.requests()
    running.refresh()
    running.stop()
    listed.stop()
    assert service.requests()["undeploy"] == asked["undeploy"]


def test_properties_make_no_request(model_of, open_client, service):
    running = model_of().deploy(confirm_spend=True)
    before = service.requests()
    _ = running.id, running.ref, running.status, running.raw_status, running.snapshot, running.since, repr(running)
    client = open_client()
    client.deployments()
    assert client.deployment(str(running.ref)).status == "starting"
    assert service.requests() == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_whatever_happens_inside_it_is_stopped(model_of, service, error):
    with pytest.raises(error), model_of().deploy(confirm_spend=True):
        raise error
    assert costing(service) == []


def test_one_that_does_not_get_ready_is_stopped(model_of, service, clock):
    with (
        pytest.raises(DeploymentTimeout, match="runs on") as caught,
        model_of(states=("starting",)).deploy(confirm_spend=True, timeout=300),
    ):
        pytest.fail("it is not ready")
    assert isinstance(caught.value, TimeoutError)
    assert sum(clock.slept) <= 310
    assert costing(service) == []


def test_one_that_fails_is_stopped_and_says_why(model_of, open_client, service):
    model = model_of(states=("starting", "failed"), message="out of GPUs")
    with pytest.raises(DeploymentFailed, match="out of GPUs"), model.deploy(confirm_spend=True):
        pytest.fail("it has failed")
    assert costing(service) == []


def test_waiting_is_not_the_deployment(model_of, service):
    running = model_of(states=("starting",)).deploy(confirm_spend=True)
    with pytest.raises(DeploymentTimeout) as caught:
        running.wait(10)
    assert caught.value.ref == running.ref
    assert costing(service) == [running.id]
    service.tell_deployment(running.id, "ready")
    service.next("deployment", "broken", times=6)
    assert running.wait(3600) is running
    service.tell_deployment(running.id, "resting")
    assert running.refresh() == "unknown"
    assert running.raw_status == "resting"


def test_what_cannot_be_stopped_is_said_with_its_price(model_of, open_client, service):
    running = model_of(hourly_usd=7.0).deploy(confirm_spend=True)
    service.next("undeploy", "unauthorized")
    with pytest.raises(DeploymentFailed, match=r"\$7\.00 an hour.*the key is not valid") as caught, running:
        raise ZeroDivisionError
    assert isinstance(caught.value.__context__.__context__, ZeroDivisionError)
    assert running.id in str(caught.value)
    assert "adaptkit deployments --stop" in str(caught.value)
    assert isinstance(caught.value.__cause__, BackendError)
    assert costing(service) == [running.id]
    (listed,) = open_client().deployments()
    listed.stop()
    assert costing(service) == []


def test_stopping_is_tried_again(model_of, service):
    running = model_of().deploy(confirm_spend=True)
    service.next("undeploy", "broken", times=2)
    service.next("undeploy", "lost")
    running.stop()
    assert costing(service) == []


def test_the_same_deployment_is_given_back(model_of, open_client, service):
    model = model_of()
    first = model.deploy(confirm_spend=True)
    again = open_client().model(str(model.ref)).deploy(confirm_spend=True)
    assert (first.reused, again.reused) == (False, True)
    assert first.ref == again.ref
    assert len(service.deployments()) == 1


@pytest.mark.parametrize("end", ["stopped", "failed", "stopping", "gone"])
def test_one_that_is_over_is_not_given_back(model_of, service, clock, end):
    model = model_of()
    first = model.deploy(confirm_spend=True)
    if end == "gone":
        clock.advance(3600)
        service.forget_deployment(first.id)
    else:
        service.tell_deployment(first.id, end)
    second = model.deploy(confirm_spend=True)
    assert second.id != first.id
    assert not second.reused


def test_a_host_that_lists_late_is_no_proof_that_it_is_gone(model_of, open_client, service, clock):
    running = model_of().deploy(confirm_spend=True)
    service.forget_deployment(running.id)
    assert running.refresh() == "starting"
    clock.advance(3600)
    assert running.refresh() == "stopped"
    assert open_client().deployments() == []


@pytest.mark.parametrize("hidden", [0, 1, 4])
@pytest.mark.parametrize("guarantee", ["reconcilable", "exactly_once"])
def test_a_lost_answer_is_found_by_its_tag(model_of, service, guarantee, hidden):
    service.next("deploy", "lost")
    running = model_of(guarantee=guarantee, hidden_finds=hidden).deploy(confirm_spend=True)
    assert [known.id for known in service.deployments()] == [running.id]
    assert running.wait().chat("x").text == "You said: x"


def test_not_found_is_uncertain_and_nothing_is_sent_again(model_of, open_client, service):
    model = model_of()
    service.next("deploy", "broken")
    with pytest.raises(SubmissionUncertain) as caught:
        model.deploy(confirm_spend=True)
    assert caught.value.tag in str(caught.value)
    with pytest.raises(SubmissionUncertain):
        model.deploy(confirm_spend=True)
    assert service.requests()["deploy"] == 1
    (listed,) = open_client().deployments()
    assert (listed.id, listed.status, listed.raw_status) == (caught.value.tag, "unknown", "answer lost")
    with pytest.warns(AdaptkitWarning, match=caught.value.tag):
        listed.stop()
    assert open_client().deployments() == []
    assert model.deploy(confirm_spend=True).id == service.deployments()[0].id


def test_uncertain_is_healed_when_the_deployment_shows_up_late(model_of, open_client, service):
    model = model_of(hidden_finds=7)
    service.next("deploy", "lost")
    with pytest.raises(SubmissionUncertain):
        model.deploy(confirm_spend=True)
    running = model.deploy(confirm_spend=True)
    assert running.reused
    assert [known.id for known in service.deployments()] == [running.id]


def test_stopping_what_was_uncertain_looks_once_more(model_of, open_client, service):
    service.next("deploy", "lost")
    with pytest.raises(SubmissionUncertain) as caught:
        model_of(hidden_finds=5).deploy(confirm_spend=True)
    open_client().deployment(DeploymentRef(backend="scripted", id=caught.value.tag)).stop()
    assert costing(service) == []


def test_without_search_a_lost_answer_is_uncertain_at_once(model_of, service, clock):
    model = model_of(guarantee="at_most_once_manual")
    slept = len(clock.slept)
    service.next("deploy", "lost")
    with pytest.raises(SubmissionUncertain, match="console"):
        model.deploy(confirm_spend=True)
    assert len(clock.slept) == slept
    assert service.requests()["find_deployments"] == 0


def test_exactly_once_sends_the_same_tag_again(model_of, service):
    service.next("deploy", "broken")
    running = model_of(guarantee="exactly_once").deploy(confirm_spend=True)
    assert service.requests()["deploy"] == 2
    assert [known.id for known in service.deployments()] == [running.id]


@pytest.mark.parametrize("fault", ["refused", "quota", "unauthorized"])
def test_a_refusal_is_no_deployment(model_of, open_client, service, fault):
    model = model_of()
    service.next("deploy", fault, message="no room")
    with pytest.raises(BackendError, match="no room"):
        model.deploy(confirm_spend=True)
    assert open_client().deployments() == []
    assert model.deploy(confirm_spend=True).id == costing(service)[0]


@pytest.mark.parametrize("fault", ["refused", "quota", "unreachable", "rate_limited"])
def test_what_becomes_of_a_second_sending_says_nothing_of_the_first(model_of, open_client, service, fault):
    model = model_of(guarantee="exactly_once", hidden_finds=1000)
    service.next("deploy", "lost")
    service.next("deploy", fault, times=3, retry_after=1)
    with pytest.raises(BackendError):
        model.deploy(confirm_spend=True)
    assert len(open_client().deployments()) == 1, "it may cost money"
    while service.requests()["deploy"] < 4:
        with pytest.raises(BackendError):
            model.deploy(confirm_spend=True)
    assert [model.deploy(confirm_spend=True).id] == costing(service)


def test_what_never_ran_is_tried_again_and_then_forgotten(model_of, open_client, service, clock):
    model = model_of()
    service.next("deploy", "rate_limited", retry_after=7)
    running = model.deploy(confirm_spend=True)
    assert 7 in clock.slept
    running.stop()
    service.next("deploy", "rate_limited", retry_after=3600)
    with pytest.raises(RateLimitError):
        model.deploy(confirm_spend=True)
    assert [known.id for known in open_client().deployments()] == [running.id], "only the one that is being stopped"


def test_ctrl_c_before_anything_ran_leaves_nothing_in_doubt(model_of, open_client, service, monkeypatch):
    class Stopped(FakeClock):
        def sleep(self, seconds):
            raise KeyboardInterrupt

    model = model_of()
    again = open_client(client={"clock": Stopped()}).model(str(model.ref))
    service.next("deploy", "rate_limited", retry_after=60)
    with pytest.raises(KeyboardInterrupt):
        again.deploy(confirm_spend=True)
    assert open_client().deployments() == []


def test_a_search_that_goes_on_failing_leaves_it_to_be_healed(model_of, service):
    model = model_of()
    service.next("deploy", "lost")
    service.next("find_deployments", "broken", times=5)
    with pytest.raises(ServiceError):
        model.deploy(confirm_spend=True)
    assert [model.deploy(confirm_spend=True).id] == costing(service)


def test_models_that_cannot_be_deployed(tmp_path):
    client = Client(targets={}, home=tmp_path)
    model = client.model(ModelRef(backend="lora", id="builtin:tiny"))
    with pytest.raises(UnsupportedError, match="lora"):
        model.deploy(confirm_spend=True)


def test_coming_back_without_the_journal(model_of, open_client, service, tmp_path):
    running = model_of().deploy(confirm_spend=True).wait()
    found = open_client(client={"journal": tmp_path / "other.db"}).deployment(str(running.ref))
    assert (found.since, found.hourly_usd) == (None, None)
    with pytest.raises(DeploymentFailed, match="refresh"):
        _ = found.model
    assert found.chat("x").text == "You said: x"
    found.stop()
    assert costing(service) == []
    service.forget_deployment(running.id)
    assert found.refresh() == "stopped"


def test_what_is_no_reference(open_client):
    with pytest.raises(ConfigError, match="DeploymentRef"):
        open_client().deployment('{"kind":"job","v":1,"backend":"x","id":"y"}')


def test_ctrl_c_in_a_real_process_stops_it(tmp_path):
    service = ScriptedService(tmp_path / "service.db")
    config = f"ScriptedConfig(service={service.name!r})"
    program = f"""
        import time
        from adaptkit import Client
        from adaptkit.testing import ScriptedConfig
        from tests.core.conftest import data
        with Client(targets={{"t": {config}}}, home={str(tmp_path)!r}) as client:
            model = client.submit("t", data()).result()
            with model.deploy(confirm_spend=True) as running:
                print(running.ref, flush=True)
                time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    ref = DeploymentRef.parse(process.stdout.readline())
    assert costing(service) == [ref.id]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert costing(service) == []
    service.close()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_cancelled_task_stops_it(service, tmp_path, loop):
    if loop == "trio":
        pytest.importorskip("trio")

    async def main():
        targets = {"t": ScriptedConfig(service=service.name)}
        async with AsyncClient(targets=targets, home=tmp_path, clock=FakeClock()) as client:
            model = await (await client.submit("t", data())).result()
            with pytest.raises(SpendError):
                await model.deploy()
            with anyio.CancelScope() as scope:
                async with await model.deploy(confirm_spend=True) as running:
                    assert (await running.chat("Hello")).text == "You said: Hello"
                    assert "".join([piece async for piece in running.stream("Hello")]) == "You said: Hello"
                    assert [reply.text for reply in await running.generate(["a"])] == ["You said: a"]
                    (listed,) = await client.deployments()
                    assert (listed.ref, listed.status) == (running.ref, "ready")
                    assert (await client.deployment(str(running.ref))).since == running.since
                    scope.cancel()
                    await anyio.sleep(60)
            assert scope.cancelled_caught
            assert running.status == "stopping"
            assert await running.refresh() == "stopped"

    anyio.run(main, backend=loop)
    assert costing(service) == []


def test_threads_at_once_start_one(open_client, service):
    settings = {"latency": 0.02, "settle_seconds": 2.0, "client": {"clock": SystemClock()}}
    model = open_client(poll_after=0.01, **settings).submit("t", data()).result()
    with ThreadPoolExecutor(5) as pool:
        made = list(pool.map(lambda _: model.deploy(confirm_spend=True), range(5)))
    assert len({running.id for running in made}) == 1
    assert len(service.deployments()) == 1
    assert [running.reused for running in made].count(False) == 1

"""`AsyncClient` is `Client` with ``await``: the same names, the same behaviour, and waiting that holds no thread."""

import inspect
import threading

import anyio
import pytest

from adaptkit import (
    AsyncClient,
    AsyncDeployment,
    AsyncJob,
    AsyncModel,
    Client,
    Deployment,
    Job,
    JobFailed,
    JobRef,
    JobTimeout,
    Model,
    ModelRef,
    Status,
)
from adaptkit.steps import SystemClock
from adaptkit.testing import FakeClock, ScriptedConfig
from tests.core.conftest import data

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def public(kind):
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("sync", "other"), [(Client, AsyncClient), (Job, AsyncJob), (Model, AsyncModel), (Deployment, AsyncDeployment)]
)
def test_the_same_names_and_arguments(sync, other, loop):
    here, there = public(sync), public(other)
    assert here.keys() == there.keys()
    for name, member in here.items():
        twin = there[name]
        assert isinstance(member, property) == isinstance(twin, property), name
        if isinstance(member, property):
            continue
        # annotations differ in the handles that they name
        for one, two in zip(*(inspect.signature(it).parameters.values() for it in (member, twin)), strict=True):
            assert (one.name, one.kind, one.default) == (two.name, two.kind, two.default), name
        waits = inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
        assert waits or name == "events", f"{name} blocks"
    if sync is Client:
        assert inspect.signature(sync).parameters.keys() == inspect.signature(other).parameters.keys()


@pytest.fixture
def run(loop, service, tmp_path):
    """Run an async function with a client whose settings are given."""

    def with_client(do, clock=None, **settings):
        async def main():
            targets = {"t": ScriptedConfig(service=service.name, **settings)}
            async with AsyncClient(targets=targets, home=tmp_path, clock=clock or FakeClock()) as client:
                return await do(client)

        return anyio.run(main, backend=loop)

    return with_client


def test_the_whole_way(run, service):
    async def do(client):
        plan = await client.plan("t", data())
        assert plan.files[0].rows == 12
        service.next("submit", "lost")
        service.next("poll", "broken")
        job = await client.submit("t", data())
        assert (await client.submit("t", data())).reused
        told = [event.message async for event in job.events()]
        assert told == ["queued", "running", "succeeded"]
        model = await job.result()
        assert (await model.chat("Hello")).text == "You said: Hello"
        assert "".join([piece async for piece in model.stream("Hello")]) == "You said: Hello"
        assert [reply.text for reply in await model.generate(["a"])] == ["You said: a"]
        assert (await (await client.model(str(model.ref))).chat("x")).text
        found = await client.attach(str(job.ref))
        assert await found.done()
        assert [known.id for known in await client.jobs()] == [job.id]
        assert await client.pending() == []
        await found.cancel()
        assert found.status is Status.SUCCEEDED

    run(do)
    assert set(service.jobs_per_tag().values()) == {1}


def test_it_asks_and_hears_what_the_sync_client_does(run, service, open_client):
    async def do(client):
        job = await client.submit("t", data())
        told = [(event.kind, event.message, event.data) async for event in job.events()]
        return told, job.snapshot.message, (await (await job.result()).chat("Hello")).text, job.status

    heard = run(do, message="all of it")
    asked = service.requests()
    job = open_client(message="all of it").submit("t", data("once more"))
    told = [(event.kind, event.message, event.data) for event in job.events()]
    assert heard == (told, job.snapshot.message, job.result().chat("Hello").text, job.status)
    assert service.requests() == asked + asked


def test_the_other_powers(run, service):
    async def do(client):
        job = await client.submit("t", data())
        await job.pause()
        assert await job.refresh() is Status.PAUSED
        await job.resume()
        await job.wait()
        ((model, step, metrics),) = await job.checkpoints()
        assert (step, metrics) == (1, {"loss": 0.5})
        assert await job.figures() == [{"step": 1.0, "loss": 0.5}]
        assert (await model.chat("Hello")).text == "You said: Hello"
        assert await model.shutdown_date() is None
        (upload,) = await client.uploads()
        await client.delete_upload(upload)
        assert await job.delete_data() == []
        running = await model.deploy(confirm_spend=True)
        assert (running.id, running.reused, running.hourly_usd) == (running.ref.id, False, None)
        assert (await running.wait()).raw_status == running.snapshot.raw_status == "ready"
        assert (await running.model.chat("Hello")).text == "You said: Hello"
        assert running.since == (await client.deployments())[0].since
        await running.stop()
        assert await running.refresh() == running.status == "stopped"

    run(do, losses=(0.5,))
    assert service.uploads() == {}


def test_errors_are_the_same(run):
    async def failing(client):
        with pytest.raises(JobFailed, match="too rude"):
            await (await client.submit("t", data())).result()

    async def slow(client):
        with pytest.raises(JobTimeout):
            await (await client.submit("t", data("slow"))).result(10)

    run(failing, states=("queued", "failed"), message="too rude")
    run(slow, states=("queued", "running"))


def test_cancelling_a_wait_leaves_the_job(run, service):
    async def do(client):
        job = await client.submit("t", data())
        with anyio.move_on_after(0.3) as scope:
            await job.wait()
        assert scope.cancelled_caught
        assert service.requests()["cancel"] == 0
        service.tell(job.id, "succeeded")
        assert await job.wait() is Status.SUCCEEDED

    run(do, clock=SystemClock(), states=("queued", "running"), poll_after=0.05)


def test_cancelling_a_submit_loses_nothing(run, service):
    """However early a task is cancelled, the next submit ends with one job."""

    async def do(client):
        for number in range(12):
            with anyio.move_on_after(number * 0.01):
                await client.submit("t", data(str(number)))
            await client.submit("t", data(str(number)))

    run(do, latency=0.01)
    assert len(service.jobs()) == 12
    assert set(service.jobs_per_tag().values()) == {1}


def test_a_thousand_waiting_jobs_hold_few_threads(run, service):
    ids = [
        service.submit(
            f"tag{number}", {}, states=("running", "running", "succeeded"), message=None, losses=(), reply="",
            hidden=0, same_tag_same_job=False,
        ).id
        for number in range(1000)
    ]  # fmt: skip
    before = most = threading.active_count()  # other tests of this process may have left some

    async def do(client):
        nonlocal most
        jobs = [await client.attach(JobRef(backend="scripted", id=job_id, target="t")) for job_id in ids]

        async def count():
            nonlocal most
            while True:
                most = max(most, threading.active_count())
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as counting:
            counting.start_soon(count)
            async with anyio.create_task_group() as waiting:
                for job in jobs:
                    waiting.start_soon(job.wait)
            counting.cancel_scope.cancel()
        assert all(job.status is Status.SUCCEEDED for job in jobs)

    run(do, clock=SystemClock(), poll_after=0.5)
    assert most - before < 60


def test_more_questions_are_under_way_than_a_loop_has_usual_threads(loop):
    together = threading.Barrier(60)  # anyio has 40

    class Waiting:
        def chat(self, *_, **__):
            together.wait(timeout=10)

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(together.parties):
                model = Model(ModelRef(backend="waiting", id="m"), Waiting(), None, FakeClock())
                tasks.start_soon(AsyncModel(model).chat, "a")

    anyio.run(main, backend=loop)
    assert not together.broken

"""Jobs are made, recorded, and begun: each once, whoever dies or is not heard on the way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import (
    AdaptkitWarning,
    AsyncClient,
    BackendError,
    Client,
    Dataset,
    JobError,
    JobFailed,
    JobTimeout,
    QuotaError,
    ServiceError,
    Status,
)
from adaptkit.backends.mistral.hosted import jobs
from adaptkit.steps import SystemClock
from adaptkit.testing import FakeClock, FakeMistralJobs, HastyClock
from tests.hosted.test_crashes import JOURNAL, forked
from tests.mistral.hosted.rig import ROWS, config

WAITING = ("QUEUED", "STARTED", "VALIDATING")


def data(note="?"):
    row = {"messages": [{"role": "user", "content": note}, {"role": "assistant", "content": "!"}]}
    return Dataset.of([*ROWS, row])


def operations(fake, *kinds):
    return [name for name, _ in fake.wire.asked if name in kinds]


def test_a_job_is_recorded_before_it_is_begun(fake, hosted):
    fake.jobs.script[:] = ["QUEUED", "STARTED", "VALIDATING", "VALIDATED", "QUEUED", "RUNNING", "SUCCESS"]
    client = hosted()
    adapter, known = client._target("t"), []
    start = adapter.start
    adapter.start = lambda job_id: (known.append([job.id for job in client.jobs()]), start(job_id))[1]
    job = client.submit("t", data())
    assert known
    assert all(each == [job.id] for each in known)
    assert fake.begun == {job.id: 1}
    assert fake.jobs.all[job.id].body["auto_start"] is False
    assert (job.status, job.raw_status) == (Status.QUEUED, "QUEUED")
    assert operations(fake, "submit", "start") == ["submit", "start"]
    assert job.wait(36000) is Status.SUCCEEDED


def test_what_is_begun_and_queued_again_is_not_begun_twice(fake, hosted):
    fake.jobs.script[:] = ["QUEUED", "VALIDATED", *["QUEUED"] * 5, "RUNNING", "SUCCESS"]
    job = hosted().submit("t", data())
    again = hosted().submit("t", data())
    assert (again.id, again.reused, again.status) == (job.id, True, Status.QUEUED)
    assert fake.begun == {job.id: 1}
    assert fake.wire.count()["start"] == 1


def test_a_refused_validation_is_told_in_its_words(fake, hosted):
    fake.jobs.script[:] = ["QUEUED", "VALIDATING", "FAILED_VALIDATION"]
    job = hosted().submit("t", data())
    assert (job.status, job.raw_status) == (Status.FAILED, "FAILED_VALIDATION")
    with pytest.raises(JobFailed, match=fake.failure):
        job.result()
    assert fake.begun == {}
    assert fake.wire.count()["start"] == 0


def test_an_unknown_word_is_waited_out(fake, hosted):
    fake.jobs.script[:] = ["QUEUED", "MEDITATING", "VALIDATED", "RUNNING"]
    hosted().submit("t", data())
    assert list(fake.begun.values()) == [1]


def test_a_job_that_begins_by_itself_is_left_alone(fake, hosted):
    client = hosted()
    adapter = client._target("t")
    job = fake.jobs.add("x", {**jobs.body(config(fake)), "training_files": [], "auto_start": True})
    heard = adapter.start(job.id)
    assert heard is not None
    assert heard.status is Status.QUEUED
    assert fake.begun == {}


def test_an_answer_that_is_behind_is_not_taken_for_waiting(fake, hosted):
    client = hosted()
    fake.jobs.script[:] = ["VALIDATED", "VALIDATED"]
    job = fake.jobs.add("x", {**jobs.body(config(fake)), "training_files": []})
    heard = client._target("t").start(job.id)
    assert heard is not None
    assert (heard.status, heard.raw_status) == (Status.QUEUED, "VALIDATED")


def test_validation_that_never_ends_is_given_up_and_gone_on_with(fake, hosted):
    fake.jobs.script[:] = ["QUEUED"]
    client = hosted()
    with pytest.raises(ServiceError, match="nothing was paid") as caught:
        client.submit("t", data())
    (job,) = client.jobs()
    assert caught.value.ref == job.ref
    fake.jobs.tell(job.id, "VALIDATED", "RUNNING")
    assert hosted().submit("t", data()).id == job.id
    assert fake.begun == {job.id: 1}


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed_after", "html", "failed", "conflict", "rate_limited"])
def test_a_lost_beginning_is_looked_at_and_not_sent_again_in_vain(fake, hosted, fault):
    fake.wire.next("start", fault)
    job = hosted().submit("t", data())
    carried_out = fault in ("lost", "truncated", "failed_after", "html")
    assert fake.begun == {job.id: 1}
    assert fake.wire.count()["start"] == (1 if carried_out else 2)
    assert hosted().submit("t", data()).id == job.id
    assert fake.begun == {job.id: 1}


@pytest.mark.parametrize(("fault", "error"), [("quota", QuotaError), ("refused", BackendError)])
def test_a_refused_beginning_leaves_a_job_that_waits(fake, hosted, fault, error):
    fake.wire.next("start", fault)
    with pytest.raises(error) as caught:
        hosted().submit("t", data())
    (job,) = hosted().jobs()
    assert caught.value.ref == job.ref
    assert fake.begun == {}
    assert hosted().submit("t", data()).id == job.id
    assert fake.begun == {job.id: 1}
    assert len(fake.jobs.all) == 1


def left_waiting(fake, client):
    fake.wire.next("start", "refused")
    with pytest.raises(BackendError):
        client.submit("t", data())
    (job,) = client.jobs()
    return job


def test_waiting_begins_nothing_and_resuming_does(fake, hosted):
    job = left_waiting(fake, hosted())
    with pytest.warns(AdaptkitWarning, match=r"paused \(VALIDATED\)"), pytest.raises(JobTimeout):
        job.wait(100)
    assert (job.status, fake.begun) == (Status.PAUSED, {})
    job.resume()
    assert job.wait(36000) is Status.SUCCEEDED
    job.resume()
    assert fake.begun == {job.id: 1}


def test_resuming_what_is_not_validated_yet_is_refused(fake, hosted):
    fake.jobs.script[:] = ["QUEUED"]
    client = hosted()
    with pytest.raises(ServiceError):
        client.submit("t", data())
    with pytest.raises(JobError, match="cannot be begun yet"):
        client.jobs()[0].resume()


def test_a_job_that_was_cancelled_while_it_waited_is_not_begun(fake, hosted):
    job = left_waiting(fake, hosted())
    job.cancel()
    job.wait(36000)
    other = hosted().submit("t", data())
    assert other.id != job.id, "the next attempt"
    assert fake.begun == {other.id: 1}


def test_the_awaiting_client_begins_too(fake, tmp_path):
    fake.jobs.script[:] = ["QUEUED", "VALIDATING", "VALIDATED", "RUNNING", "SUCCESS"]

    async def submitted() -> None:
        client = AsyncClient(targets={"t": config(fake)}, home=tmp_path, clock=HastyClock())
        async with client:
            made: list[str] = []

            async def submit() -> None:
                made.append((await client.submit("t", data())).id)

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(submit)
            assert len(set(made)) == 1
            assert fake.begun == {made[0]: 1}
            job = (await client.jobs())[0]
            assert (await (await job.result(36000)).chat("Hello?")).text == "HELLO?"

    anyio.run(submitted)


@given(st.lists(st.sampled_from([*WAITING, "VALIDATED"]), max_size=6), st.sampled_from([*jobs.STATUSES, "OTHER"]))
def test_a_job_stands_where_its_history_says(before, word):
    told = [{"name": "status-updated", "data": {"status": each}, "created_at": 5} for each in before]
    for events in (told, told[::-1]):
        job = {"id": "j", "status": word, "auto_start": False, "events": events}
        stands = jobs.standing(job)
        if word == "VALIDATED":
            assert stands == "ready"
            assert jobs.snapshot(job).status is Status.PAUSED
        elif word in (*WAITING, "OTHER"):
            assert stands == ("begun" if "VALIDATED" in before else "waiting")
        else:
            assert stands == "begun"
        assert jobs.standing({**job, "auto_start": True}) == "begun"


# death ----------------------------------------------------------------------------------------------------------------

#: A call of the journal or of the adapter, which time, and whether death comes before or after it.
POINTS = [
    *((name, 1, when) for name in ("submit", "accept", "start", "release") for when in ("before", "after")),
    *((name, turn, when) for name in ("observe", "_job") for turn in (1, 2) for when in ("before", "after")),
    *(("start", 2, when) for when in ("before", "after")),
]


def dies(home: Path, fake: FakeMistralJobs, note: str, name: str, turn: int, when: str) -> bool:
    """Submit in a process that kills itself at a call; whether it did."""

    def submit() -> None:
        client = Client(targets={"t": config(fake)}, home=home, clock=FakeClock(time.time()))
        holder = client._open_journal() if name in (*JOURNAL, "observe") else client._target("t")
        call, calls = getattr(holder, name), iter(range(1, 1000))

        def deadly(*args: object, **kwargs: object) -> object:
            last = next(calls) == turn
            if last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = call(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        object.__setattr__(holder, name, deadly)
        client.submit("t", data(note))

    return os.WIFSIGNALED(forked(submit))


def test_killed_at_every_point_of_both_phases(fake, tmp_path):
    fake.jobs.script[:] = ["QUEUED", "VALIDATING", "VALIDATED", "QUEUED", "RUNNING", "SUCCESS"]
    with Client(targets={"t": config(fake)}, home=tmp_path, clock=SystemClock()) as client:
        client.plan("t", data())  # what is imported late is imported before the forks
    for number, point in enumerate(POINTS):
        note, before = f"point {number}", set(fake.jobs.all)
        assert dies(tmp_path, fake, note, *point), f"never came to {point}"
        with Client(targets={"t": config(fake)}, home=tmp_path, clock=FakeClock(time.time())) as client:
            job = client.submit("t", data(note))
            assert set(fake.jobs.all) - before == {job.id}, point
            assert fake.begun[job.id] == 1, point
            assert job.id in {known.id for known in client.jobs()}
            assert job.wait(36000) is Status.SUCCEEDED
    assert set(fake.begun.values()) == {1}
    assert len(fake.begun) == len(POINTS)

"""What should be known of a job: said once, told in the stream, kept in the journal."""

import warnings
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from adaptkit import AdaptkitWarning, AsyncClient, JobTimeout
from adaptkit.testing import FakeClock, ScriptedConfig
from tests.core.conftest import data


def said(caught):
    return [str(each.message) for each in caught if issubclass(each.category, AdaptkitWarning)]


@pytest.fixture
def heard():
    """Every warning, as often as it is given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: said(caught)


NOTES = ("epochs = 3 was asked for, and the host runs 2", "it stopped early")


def test_notes_are_warned_of_once_by_whoever_hears_them_first(open_client, heard):
    client = open_client(notes=NOTES)
    job = client.submit("t", data())
    assert heard() == [f"job {job.id}: {note}" for note in NOTES]
    job.wait()
    client.submit("t", data()).wait()
    open_client(notes=NOTES).attach(str(job.ref)).result()
    assert len(heard()) == 2


def test_notes_are_in_the_audit_trail_and_in_the_stream(open_client, heard):
    client = open_client(notes=NOTES)
    job = client.submit("t", data())
    told = list(job.events())
    for again in (job, open_client(notes=NOTES).attach(str(job.ref))):
        stream = list(again.events())
        assert [event.message for event in stream if event.kind == "warning"] == list(NOTES)
        assert {event.id for event in stream} == {event.id for event in told}
        assert len({event.id for event in stream}) == len(stream)
    (run,) = client._open_journal().runs()
    noted = [line.detail for line in client._open_journal().history(run.id) if line.what == "noted"]
    assert noted == list(NOTES)


def test_a_note_that_comes_late_is_told_when_it_comes(open_client, service, heard, monkeypatch):
    client = open_client(states=("queued", "running"))
    job = client.submit("t", data())
    stream = job.events()
    assert [next(stream).message for _ in range(2)] == ["queued", "running"]
    monkeypatch.setattr(client._target("t"), "config", ScriptedConfig(service=service.name, notes=NOTES[1:]))
    event = next(stream)
    assert (event.kind, event.message) == ("warning", NOTES[1])
    service.tell(job.id, "succeeded")
    assert [event.message for event in stream] == ["succeeded"]
    assert heard() == [f"job {job.id}: {NOTES[1]}"]


def test_a_job_that_the_journal_does_not_know_is_warned_of_once_a_handle(open_client, heard, tmp_path):
    job = open_client(notes=NOTES).submit("t", data())
    stranger = open_client(client={"journal": tmp_path / "other.db"}, notes=NOTES).attach(str(job.ref))
    stranger.refresh()
    stranger.refresh()
    assert len(heard()) == 4
    assert [event.message for event in stranger.events() if event.kind == "warning"] == list(NOTES)


def test_warnings_as_errors_lose_no_job(open_client, service):
    client = open_client(notes=NOTES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AdaptkitWarning):
            client.submit("t", data())
    with pytest.warns(AdaptkitWarning, match=NOTES[1]):
        assert client.submit("t", data()).id == service.jobs()[0].id
    assert len(service.jobs()) == 1


# stalled ----------------------------------------------------------------------------------------------------------


def test_a_job_that_does_not_move_is_reported_once_while_it_is_waited_for(open_client, service, clock, heard):
    job = open_client(states=("queued", "running")).submit("t", data())
    for _ in range(20):
        with pytest.raises(JobTimeout):
            job.wait(1800)
    (warning,) = heard()
    assert "stalled" in warning
    assert "60 min" in warning
    looks = service.requests()["events"]
    assert looks <= 11, "a look an hour is enough"
    assert [event.kind for event in _until_now(job, service)].count("warning") == 1


def _until_now(job, service):
    service.tell(job.id, "succeeded")
    return list(job.events())


def test_a_job_that_does_not_move_is_reported_while_it_is_followed(open_client, service, clock, heard):
    job = open_client(client={"stall_after": 300.0}, states=("queued", "running")).submit("t", data())
    stream = job.events()
    assert [next(stream).message for _ in range(2)] == ["queued", "running"]
    begun = clock.time()
    event = next(stream)
    assert (event.kind, "stalled" in event.message) == ("warning", True)
    assert 300 < clock.time() - begun < 300 + 80
    assert len(heard()) == 1
    service.tell(job.id, "succeeded")
    assert [event.message for event in stream] == ["succeeded"]


def test_a_job_that_moves_is_not_reported(open_client, service, clock, heard):
    job = open_client(states=("queued", "running")).submit("t", data())
    for _ in range(10):
        with pytest.raises(JobTimeout):
            job.wait(3000)
        service.tell(job.id, "running")
        job.refresh()
    assert heard() == []


@pytest.mark.parametrize(
    ("stall_after", "states"), [(None, ("queued", "running")), (3600.0, ("queued", "pondering")), (3600.0, ("queued",))]
)
def test_what_is_not_expected_to_move_is_not_reported(open_client, clock, heard, stall_after, states):
    job = open_client(client={"stall_after": stall_after}, states=states).submit("t", data())
    with pytest.raises(JobTimeout):
        job.wait(36000)
    assert heard() == []


def test_a_look_that_fails_does_not_end_the_waiting(open_client, service, heard):
    job = open_client(states=("queued", "running")).submit("t", data())
    service.next("events", "broken", times=5)
    with pytest.raises(JobTimeout):
        job.wait(36000)
    assert len(heard()) == 1


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_both_colours_report(service, tmp_path, heard, loop):
    if loop == "trio":
        pytest.importorskip("trio")

    async def main():
        targets = {"t": ScriptedConfig(service=service.name, states=("queued", "running"), notes=NOTES[:1])}
        async with AsyncClient(targets=targets, home=tmp_path, clock=FakeClock(), stall_after=60.0) as client:
            job = await client.submit("t", data())
            with pytest.raises(JobTimeout):
                await job.wait(3600)
            service.tell(job.id, "succeeded")
            assert [event.kind async for event in job.events()].count("warning") == 2

    anyio.run(main, backend=loop)
    assert len(heard()) == 2


# switched off -----------------------------------------------------------------------------------------------------

TODAY = datetime.fromtimestamp(FakeClock().time(), UTC).date()


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (TODAY + timedelta(days=180), "in 180 days"),
        (TODAY + timedelta(days=1), "in 1 days"),
        (TODAY - timedelta(days=3), "since"),
        (TODAY + timedelta(days=181), None),
        (None, None),
    ],
)
def test_a_model_that_is_switched_off_soon_is_warned_of(open_client, service, heard, day, words):
    client = open_client(shutdown_date=day)
    client.plan("t", data())
    assert not service.requests()
    job = client.submit("t", data())
    told = heard()
    assert len(told) == (words is not None)
    if words:
        assert words in told[0]
        assert "scripted-1" in told[0]
        assert str(day) in told[0]
    job.wait()
    assert service.requests()["shutdown_date"] == 1
    before = service.requests()
    again = open_client(shutdown_date=day).attach(str(job.ref))
    assert service.requests() == before
    assert [told.split("switches")[1] for told in heard()] == [told.split("switches")[1] for told in heard()[:1]] * 2
    model = again.result()
    assert len(heard()) == 3 * (words is not None)
    assert service.requests()["shutdown_date"] == 2
    if words:
        assert model.id in heard()[2]
    open_client(shutdown_date=day).model(model.ref)
    assert len(heard()) == 4 * (words is not None)
    assert model.shutdown_date() == day


@pytest.mark.parametrize("fault", ["broken", "unauthorized", "rate_limited", "unreachable", "lost"])
def test_not_knowing_the_day_is_in_nobodys_way(open_client, service, heard, clock, fault):
    client = open_client(shutdown_date=date(2027, 2, 1))
    service.next("shutdown_date", fault, times=2)
    assert client.submit("t", data()).result().id
    assert service.requests()["shutdown_date"] == 2
    assert heard() == []


def test_a_known_job_is_not_asked_about(open_client, service):
    client = open_client(shutdown_date=date(2030, 2, 1))
    client.submit("t", data())
    client.submit("t", data())
    assert service.requests()["shutdown_date"] == 1


def test_a_model_whose_host_tells_no_day(open_client):
    assert open_client().submit("t", data()).result().shutdown_date() is None

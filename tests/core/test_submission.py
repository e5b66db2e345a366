"""Submitting: get or create, and what happens when the answer is lost, late or no."""

import threading
import warnings

import pytest

from adaptkit import (
    AdaptkitWarning,
    BackendError,
    Client,
    ConnectionFailedError,
    Dataset,
    JournalError,
    NotFoundError,
    RateLimitError,
    ServiceError,
    Status,
    SubmissionUncertain,
)
from adaptkit.journal import Stage
from adaptkit.steps import SystemClock
from adaptkit.testing import ScriptedAdapter, ScriptedConfig
from tests.core.conftest import data


def only_once(service):
    assert set(service.jobs_per_tag().values()) <= {1}, service.jobs()
    return service.jobs()


def test_the_same_run_is_one_job(open_client, service):
    client = open_client()
    first = client.submit("t", data())
    again = client.submit("t", data())
    other_process = open_client().submit("t", data())
    assert not first.reused
    assert again.reused
    assert other_process.reused
    assert first.id == again.id == other_process.id
    assert len(only_once(service)) == 1
    assert service.requests()["upload"] == 1


def test_a_finished_run_is_reused(open_client, service):
    client = open_client()
    model = client.submit("t", data()).result()
    again = client.submit("t", data())
    assert again.reused
    assert again.result().ref == model.ref


@pytest.mark.parametrize(
    ("change", "same"),
    [({"epochs": 1}, True), ({"epochs": 2}, False), ({"seed": 1}, False), ({"model": "scripted-2"}, False)],
)
def test_identity_is_the_configuration_without_defaults(open_client, service, change, same):
    first = open_client().submit("t", data())
    second = open_client(**change).submit("t", data())
    assert (first.id == second.id) is same


def test_identity_is_the_data_and_not_how_it_is_written(open_client, tmp_path):
    spaced, tight = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    tight.write_text('{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n' * 3)
    spaced.write_text('{"messages": [{"content": "a", "role": "user"}, {"content": "b", "role": "assistant"}]}\n' * 3)
    client = open_client()
    assert client.submit("t", Dataset.open(tight)).id == client.submit("t", Dataset.open(spaced)).id
    assert client.submit("t", data("other")).id != client.submit("t", Dataset.open(tight)).id


def test_identity_counts_the_held_out_file_by_content(open_client, tmp_path):
    row = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    for name, text in {"one": row * 2, "copy": row * 2, "other": row * 3}.items():
        (tmp_path / name).with_suffix(".jsonl").write_text(text)
    jobs = {
        name: open_client(validation=str(tmp_path / f"{name}.jsonl")).submit("t", data()).id
        for name in ("one", "copy", "other")
    }
    assert jobs["one"] == jobs["copy"] != jobs["other"]


def test_fresh_starts_a_new_attempt(open_client, service):
    client = open_client()
    first = client.submit("t", data())
    second = client.submit("t", data(), fresh=True)
    assert first.id != second.id
    assert not second.reused
    assert client.submit("t", data()).id == second.id, "the newest attempt is the run's"
    assert service.requests()["upload"] == 1, "the same content is uploaded once"
    assert len(only_once(service)) == 2


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("word", ["failed", "cancelled"])
def test_after_a_bad_end_the_next_submit_starts_anew(open_client, service, word, seen):
    client = open_client(states=("queued", word))
    first = client.submit("t", data())
    if seen:
        first.wait()
    second = client.submit("t", data())
    assert second.id != first.id
    assert not second.reused


def test_a_job_that_the_service_lost_is_said_so(open_client, service):
    client = open_client()
    job = client.submit("t", data())
    service.forget(job.id)
    with pytest.raises(NotFoundError) as caught:
        client.submit("t", data())
    assert caught.value.ref == job.ref
    assert client.submit("t", data(), fresh=True).id != job.id


def test_a_failed_look_at_a_known_job_does_not_matter(open_client, service):
    client = open_client()
    job = client.submit("t", data())
    service.next("poll", "broken")
    assert client.submit("t", data()).id == job.id


@pytest.mark.parametrize("hidden", [0, 1, 4])
@pytest.mark.parametrize("guarantee", ["reconcilable", "exactly_once"])
def test_a_lost_answer_is_found_by_its_tag(open_client, service, clock, guarantee, hidden):
    client = open_client(guarantee=guarantee, hidden_finds=hidden)
    service.next("submit", "lost")
    job = client.submit("t", data())
    assert [remote.id for remote in only_once(service)] == [job.id]
    assert service.requests()["submit"] == 1
    assert sum(clock.slept) <= 60
    assert not job.reused
    assert not client.pending()


def test_a_service_that_ignores_the_filter_does_not_confuse(open_client, service):
    client = open_client(ignore_filter=True)
    others = {client.submit("t", data(str(number))).id for number in range(3)}
    service.next("submit", "lost")
    job = client.submit("t", data("mine"))
    assert job.id not in others
    assert len(only_once(service)) == 4


def test_reconcilable_and_not_found_is_uncertain_and_nothing_is_sent_again(open_client, service, clock):
    client = open_client()
    service.next("submit", "broken")
    with pytest.raises(SubmissionUncertain) as caught:
        client.submit("t", data())
    assert sum(clock.slept) == pytest.approx(60)
    assert caught.value.tag in str(caught.value)
    assert "fresh=True" in str(caught.value)
    assert isinstance(caught.value.__cause__, ServiceError)
    (run,) = client.pending()
    assert (run.tag, run.stage, run.uncertain) == (caught.value.tag, Stage.SUBMITTING, True)
    with pytest.raises(SubmissionUncertain):
        open_client().submit("t", data())
    assert service.requests()["submit"] == 1
    job = client.submit("t", data(), fresh=True)
    assert [remote.id for remote in only_once(service)] == [job.id]


def test_uncertain_is_healed_when_the_job_shows_up_late(open_client, service):
    client = open_client(hidden_finds=7)
    service.next("submit", "lost")
    with pytest.raises(SubmissionUncertain):
        client.submit("t", data())
    job = open_client(hidden_finds=7).submit("t", data())
    assert [remote.id for remote in only_once(service)] == [job.id]
    assert job.reused
    assert not client.pending()


def test_two_jobs_with_one_tag_are_reported(open_client, service):
    client = open_client()
    service.next("submit", "broken")
    with pytest.raises(SubmissionUncertain) as caught:
        client.submit("t", data())
    paid_twice = [
        service.submit(
            caught.value.tag,
            {},
            states=("running",),
            message=None,
            losses=(),
            reply="",
            hidden=0,
            same_tag_same_job=False,
        ).id
        for _ in range(2)
    ]
    with pytest.warns(AdaptkitWarning, match=paid_twice[1]):
        assert client.submit("t", data()).id == paid_twice[0]


def test_exactly_once_sends_the_same_tag_again(open_client, service):
    client = open_client(guarantee="exactly_once")
    service.next("submit", "broken")
    job = client.submit("t", data())
    assert service.requests()["submit"] == 2
    assert [remote.id for remote in only_once(service)] == [job.id]


def test_exactly_once_gives_up_in_the_end_and_the_next_submit_heals(open_client, service):
    client = open_client(guarantee="exactly_once", hidden_finds=1000)
    service.next("submit", "lost", times=3)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    (remote,) = only_once(service)
    assert open_client(guarantee="exactly_once", hidden_finds=1000).submit("t", data()).id == remote.id


@pytest.mark.parametrize("fault", ["quota", "refused", "unreachable", "rate_limited"])
def test_what_becomes_of_a_second_sending_says_nothing_of_the_first(open_client, service, fault):
    settings = {"guarantee": "exactly_once", "hidden_finds": 1000}
    service.next("submit", "lost")
    service.next("submit", fault, times=3, retry_after=1)
    with pytest.raises(BackendError):
        open_client(**settings).submit("t", data())
    (remote,) = only_once(service)
    while service.requests()["submit"] < 4:  # what is left of the faults
        with pytest.raises(BackendError):
            open_client(**settings).submit("t", data())
    assert open_client(**settings).submit("t", data()).id == remote.id
    assert len(only_once(service)) == 1


@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_an_answer_that_cannot_be_written_down_is_found_again(open_client, service, monkeypatch, guarantee):
    """A full disk after the job was made must not make another."""
    client = open_client(guarantee=guarantee)

    def full(*args, **kwargs):
        raise JournalError("the disk is full")

    monkeypatch.setattr(client._open_journal(), "accept", full)
    with pytest.raises(JournalError):
        client.submit("t", data())
    job = open_client(guarantee=guarantee).submit("t", data())
    assert [remote.id for remote in only_once(service)] == [job.id]


def test_without_search_a_lost_answer_is_uncertain_at_once(open_client, service, clock):
    client = open_client(guarantee="at_most_once_manual")
    service.next("submit", "lost")
    for _ in range(2):
        with pytest.raises(SubmissionUncertain, match="console"):
            client.submit("t", data())
    assert clock.slept == []
    assert len(only_once(service)) == 1
    assert service.requests()["find"] == 0


def test_a_search_that_fails_is_tried_again(open_client, service):
    client = open_client()
    service.next("submit", "lost")
    service.next("find", "broken", times=3)
    assert client.submit("t", data()).id == only_once(service)[0].id


def test_a_search_that_goes_on_failing_leaves_the_run_to_be_healed(open_client, service):
    client = open_client()
    service.next("submit", "lost")
    service.next("find", "broken", times=5)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    assert client.submit("t", data()).id == only_once(service)[0].id


def test_a_rate_limit_is_waited_for(open_client, service, clock):
    service.next("submit", "rate_limited", retry_after=7)
    open_client().submit("t", data())
    assert clock.slept == [7]
    assert len(only_once(service)) == 1


def test_a_long_rate_limit_is_the_callers_to_wait_for(open_client, service, clock):
    client = open_client()
    service.next("submit", "rate_limited", retry_after=3600)
    with pytest.raises(RateLimitError) as caught:
        client.submit("t", data())
    assert caught.value.retry_after == 3600
    assert clock.slept == []
    assert client.pending()[0].stage is Stage.UPLOADING, "nothing is in doubt"
    client.submit("t", data())
    assert len(only_once(service)) == 1


def test_no_connection_is_tried_again_and_then_said(open_client, service):
    client = open_client()
    service.next("submit", "unreachable", times=3)
    with pytest.raises(ConnectionFailedError):
        client.submit("t", data())
    client.submit("t", data())
    assert len(only_once(service)) == 1
    assert service.requests()["find"] == 0, "nothing ran, so there is nothing to look for"


@pytest.mark.parametrize("fault", ["refused", "unauthorized", "quota"])
def test_a_refusal_ends_the_attempt(open_client, service, fault):
    client = open_client()
    service.next("submit", fault, message="no, thank you")
    with pytest.raises(BackendError, match="no, thank you"):
        client.submit("t", data())
    (run,) = client.pending()
    assert (run.status, run.message) == (Status.FAILED, "no, thank you")
    assert service.requests()["submit"] == 1, "a refusal is not argued with"
    client.submit("t", data())
    assert len(only_once(service)) == 1


def test_uploads_are_tried_again_and_not_repeated(open_client, service):
    client = open_client()
    service.next("upload", "broken", times=2)
    client.submit("t", data())
    assert service.requests()["upload"] == 3
    client.submit("t", data(), fresh=True)
    assert service.requests()["upload"] == 3


def test_an_upload_that_goes_on_failing_is_said_and_costs_nothing(open_client, service):
    client = open_client()
    service.next("upload", "broken", times=3)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    assert service.requests()["submit"] == 0
    client.submit("t", data())
    assert len(only_once(service)) == 1


def test_a_file_that_the_service_lost_is_sent_again(open_client, service):
    client = open_client()
    client.submit("t", data())
    service.forget_uploads()
    client.submit("t", data(), fresh=True)
    assert service.requests()["upload"] == 2
    assert len(only_once(service)) == 2


def test_what_is_uploaded_is_what_the_plan_said(open_client, service, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text('{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n')
    client = open_client(validation=str(held_out))
    plan = client.plan("t", data())
    assert not service.requests()
    client.submit("t", data())
    sizes = {len(content) for content in service.uploads().values()}
    assert sizes == {file.size for file in plan.files}
    assert [file.purpose for file in plan.files] == ["train", "validation"]
    (remote,) = service.jobs()
    assert remote.uploads.keys() == {"train", "validation"}


def test_a_paused_job_goes_on_by_submit(open_client, service):
    client = open_client(states=("running", "paused", "running", "succeeded"))
    job = client.submit("t", data())
    assert job.refresh() is Status.PAUSED
    again = client.submit("t", data())
    assert again.reused
    assert again.status is Status.RUNNING
    assert job.wait() is Status.SUCCEEDED
    assert service.requests()["restart"] == 1


@pytest.mark.parametrize("shared", [True, False])
def test_many_threads_submit_one_job(open_client, service, shared):
    """On the real clock: on a fake one a lease runs out while its holder works."""
    settings = {"latency": 0.02, "client": {"clock": SystemClock()}}
    one = open_client(**settings)
    clients = [one if shared else open_client(**settings) for _ in range(6)]
    ids, barrier = [], threading.Barrier(len(clients))

    def submit(client: Client) -> None:
        barrier.wait()
        ids.append(client.submit("t", data()).id)

    threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == len(clients)
    assert len(set(ids)) == 1
    assert service.requests()["submit"] == 1


def test_who_waited_for_a_refusal_hears_of_it(open_client, service):
    settings = {"latency": 0.1, "client": {"clock": SystemClock()}}
    service.next("submit", "refused", message="not today")
    said = []

    def submit() -> None:
        try:
            open_client(**settings).submit("t", data())
        except BackendError as error:
            said.append(error.message.partition("\n")[0])

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # either it waited for the first and hears the same, or it came after it and began the next attempt
    assert said in (["not today"], ["not today"] * 2)
    assert len(only_once(service)) == 2 - len(said)


def test_a_plan_warns_once_a_submit(open_client, monkeypatch):
    monkeypatch.setattr(ScriptedAdapter, "warnings", lambda self, files: ["twelve rows are few"])
    client = open_client()
    assert client.plan("t", data()).warnings == ("twelve rows are few",)
    with pytest.warns(AdaptkitWarning, match="twelve rows are few"):
        client.submit("t", data())


def test_nothing_warns_without_reason(open_client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_client().submit("t", data()).result()


def test_the_account_is_part_of_where_an_upload_is(open_client, service, monkeypatch):
    for key in ("first", "second"):
        monkeypatch.setenv("KEY", key)
        open_client(api_key_env="KEY").submit("t", data(), fresh=True)
    assert service.requests()["upload"] == 2


def test_a_configuration_given_as_a_mapping(service, tmp_path, clock):
    targets = {"t": {"backend": "scripted", "service": service.name}}
    with Client(targets=targets, home=tmp_path, clock=clock) as client:
        assert client.targets["t"] == ScriptedConfig(service=service.name)
        client.submit("t", data())

"""What some backends can do beyond the five: halt and go on, checkpoints, deleting data."""

import pytest

from adaptkit import (
    AuthenticationError,
    BackendError,
    JobError,
    NotFoundError,
    ServiceError,
    Status,
    UnsupportedError,
    registry,
)
from adaptkit.testing import ScriptedService
from tests.core.conftest import data
from tests.core.test_following import QuietAdapter, QuietConfig


def test_pause_and_resume(open_client, service):
    job = open_client(states=("queued", "running", "running", "running", "succeeded")).submit("t", data())
    assert job.refresh() is Status.RUNNING
    before = service.requests().total()
    job.pause()
    assert service.requests().total() == before + 1
    job.pause()
    assert job.refresh() is Status.PAUSED
    assert job.refresh() is Status.PAUSED
    job.resume()
    assert job.refresh() is Status.RUNNING
    assert job.wait() is Status.SUCCEEDED
    before = service.requests()
    job.pause()
    job.resume()
    assert service.requests() == before, "nothing is asked of a job that has ended"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_request_that_goes_wrong_names_the_job(open_client, service, verb):
    job = open_client(states=("queued", "running")).submit("t", data())
    service.next(verb, "unauthorized")
    with pytest.raises(AuthenticationError) as caught:
        getattr(job, verb)()
    assert caught.value.ref == job.ref
    assert job.status is Status.QUEUED


def test_checkpoints_are_models(open_client, service):
    job = open_client(losses=(2.0, 1.0)).submit("t", data())
    (first, second) = job.checkpoints()
    model, step, metrics = first
    assert (step, metrics) == (1, {"loss": 2.0})
    assert model.ref.target == "t"
    assert model.chat("Hello").text == "You said: Hello"
    assert second[0].id != model.id
    assert service.requests()["checkpoints"] == 1
    service.forget(job.id)
    with pytest.raises(NotFoundError) as caught:
        job.checkpoints()
    assert caught.value.ref == job.ref


def test_a_backend_without_these_says_so(open_client, service, monkeypatch):
    monkeypatch.setitem(registry._BUILT_IN, "quiet", f"{QuietAdapter.__module__}:QuietAdapter")
    client = open_client(client={"targets": {"t": QuietConfig(service=service.name)}})
    job = client.submit("t", data())
    for verb in ("pause", "resume", "checkpoints", "delete_data"):
        with pytest.raises(UnsupportedError, match="quiet"):
            getattr(job, verb)()
    model = job.result()
    with pytest.raises(UnsupportedError, match="quiet"):
        model.deploy(confirm_spend=True)
    assert model.shutdown_date() is None
    (upload,) = client.uploads()
    with pytest.raises(UnsupportedError, match="quiet"):
        client.delete_upload(upload)
    assert client.uploads() == [upload]


# data -------------------------------------------------------------------------------------------------------------


def test_the_data_of_a_job_is_deleted_once_it_has_ended(open_client, service):
    client = open_client()
    job = client.submit("t", data())
    with pytest.raises(JobError, match="cancel it first") as caught:
        job.delete_data()
    assert caught.value.ref == job.ref
    job.wait()
    (file_id,) = service.uploads()
    assert job.delete_data() == [file_id]
    assert service.uploads() == {}
    assert job.delete_data() == []
    assert client.submit("t", data(), fresh=True).id != job.id, "and is sent again where it is needed again"
    assert len(service.uploads()) == 1


def test_data_that_another_job_uses_stays(open_client, service):
    client = open_client(states=("queued", "running"))
    first, second = client.submit("t", data()), client.submit("t", data(), fresh=True)
    first.cancel()
    first.wait()
    assert first.delete_data() == []
    assert len(service.uploads()) == 1
    second.cancel()
    second.wait()
    assert len(first.delete_data()) == 1


def test_a_job_that_the_journal_does_not_know_has_no_known_data(open_client, service, tmp_path):
    job = open_client().submit("t", data())
    stranger = open_client(client={"journal": tmp_path / "other.db"}).attach(str(job.ref))
    stranger.wait()
    with pytest.raises(UnsupportedError, match="does not know which files"):
        stranger.delete_data()
    assert len(service.uploads()) == 1


def test_files_that_no_job_uses_are_offered(open_client, service, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text('{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n')
    client = open_client(validation=str(held_out))
    job = client.submit("t", data())
    assert client.uploads() == []
    job.wait()
    before = service.requests()
    offered = client.uploads()
    assert service.requests() == before
    assert {upload.purpose for upload in offered} == {"train", "validation"}
    assert {upload.file_id for upload in offered} == set(service.uploads())
    service.next("delete_data", "broken", times=2)
    client.delete_upload(offered[0])
    assert client.uploads() == offered[1:]
    service.next("delete_data", "unauthorized")
    with pytest.raises(AuthenticationError):
        client.delete_upload(offered[1])
    assert client.uploads() == offered[1:], "it is there still"
    client.delete_upload(offered[1])
    assert service.uploads() == {}
    assert client.uploads() == []


def test_a_refusal_says_which_files_are_left_and_how_to_delete_them(open_client, service):
    client = open_client()
    service.next("submit", "refused", message="closed since March")
    with pytest.raises(BackendError, match="closed since March") as caught:
        client.submit("t", data())
    (file_id,) = service.uploads()
    assert file_id in str(caught.value)
    assert "adaptkit uploads --delete" in str(caught.value)
    assert [upload.file_id for upload in client.uploads()] == [file_id]
    (run,) = client.pending()
    assert run.message == "closed since March"
    service.next("submit", "lost")
    service.next("find", "broken", times=5)
    with pytest.raises(ServiceError) as caught:
        client.submit("t", data())
    assert "adaptkit uploads" not in str(caught.value), "a job may be using them"
    assert client.uploads() == []


def test_a_refusal_does_not_offer_what_another_job_uses(open_client, service):
    client = open_client()
    client.submit("t", data())
    service.next("submit", "quota")
    with pytest.raises(BackendError) as caught:
        client.submit("t", data(), fresh=True)
    assert "adaptkit uploads" not in str(caught.value)


def test_the_account_of_a_file_is_the_one_it_is_deleted_at(open_client, service, tmp_path):
    other = ScriptedService(tmp_path / "other.db")
    for name in (service.name, other.name):
        open_client(client={"targets": {"t": _config(name)}}).submit("t", data()).wait()
    client = open_client(client={"targets": {}})
    for upload in client.uploads():
        client.delete_upload(upload)
    assert service.uploads() == other.uploads() == {}


def _config(name):
    return {"backend": "scripted", "service": name}


def test_jobs_that_make_their_own_model_take_none(open_client):
    job = open_client(states=("queued", "running")).submit("t", data())
    with pytest.raises(UnsupportedError, match="make their own"):
        job.register("./model")
    assert job.status is Status.QUEUED

"""Jobs that an account has already: listed, and brought into the journal as if they had been submitted from here."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import anyio
import pytest

from adaptkit import AdaptkitWarning, AsyncClient, Client, ConfigError, ServiceError, Status, UnsupportedError, registry
from adaptkit.adapter import Context
from adaptkit.testing import ScriptedAdapter, ScriptedConfig
from adaptkit.types import OwnedJob, Snapshot
from tests.core.conftest import data


@pytest.fixture
def foreign(service):
    """Make a job that no journal knows."""

    def make(*states, files=None):
        return service.submit(
            f"theirs-{len(service.jobs())}", files or {}, states=states, message=None, losses=(), reply="{text}!",
            hidden=0, same_tag_same_job=False,
        )  # fmt: skip

    return make


def test_an_inventory_lists_jobs_files_and_models(open_client, service, foreign):
    file_id = service.upload("train", b"{}\n")
    old, new = foreign("succeeded", files={"train": file_id}), foreign("running")
    owned = open_client(shutdown_date=date(2027, 1, 14)).inventory("t")
    assert [job.snapshot.job_id for job in owned.jobs] == [new.id, old.id]
    assert owned.jobs[1].recipe["reply"] == "{text}!"
    assert [(file.id, file.bytes) for file in owned.files] == [(file_id, 3)]
    assert [(model.id, model.shutdown_date) for model in owned.models] == [(f"model-of-{old.id}", date(2027, 1, 14))]


def test_an_adopted_job_is_like_any_other(open_client, service, foreign):
    file_id = service.upload("train", b"{}\n")
    remote = foreign("running", "running", "succeeded", files={"train": file_id})
    client = open_client()
    (owned,) = client.inventory("t").jobs
    job = client.adopt("t", owned)
    assert (job.id, job.status, job.reused) == (remote.id, Status.RUNNING, False)

    asked = service.requests()
    later = open_client()
    assert [known.id for known in later.jobs()] == [remote.id]
    assert later.pending() == []
    assert later.uploads() == [], "a running job uses its file"
    found = later.attach(str(job.ref))
    assert service.requests() == asked, "nothing was asked beyond the list"
    assert found.result().chat("hello").text == "hello!", "the recipe is the job's own"
    (upload,) = later.uploads()
    assert upload.file_id == file_id
    later.delete_upload(upload)
    assert service.uploads() == {}
    assert found.delete_data() == []


def test_adopting_again_changes_nothing_but_the_news(open_client, service, foreign):
    remote = foreign("queued", "succeeded", files={"train": service.upload("train", b"{}\n")})
    client = open_client()
    first = client.adopt("t", client.inventory("t").jobs[0])
    service.poll(remote.id)
    again = client.adopt("t", client.inventory("t").jobs[0])
    assert (again.id, again.reused, again.status) == (first.id, True, Status.SUCCEEDED)
    assert len(client.jobs()) == len(client.uploads()) == 1


def test_many_at_once_adopt_one(open_client, service, foreign):
    foreign("queued", files={"train": service.upload("train", b"{}\n")})
    (owned,) = open_client().inventory("t").jobs
    clients = [open_client() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda client: client.adopt("t", owned), clients))
    assert len(open_client().jobs()) == 1


def test_a_submitted_job_is_known(open_client, service):
    client = open_client()
    job = client.submit("t", data())
    (owned,) = client.inventory("t").jobs
    adopted = client.adopt("t", owned)
    assert (adopted.ref, adopted.reused) == (job.ref, True)
    journal = client._open_journal()
    assert len(journal.uploads_of(journal.runs()[0].id)) == 1, "one file, under the key that it was uploaded with"


def test_a_job_whose_answer_was_lost_is_known_by_its_tag(open_client, service):
    client = open_client(settle_seconds=0)
    service.next("submit", "lost")
    service.next("find", "broken", times=5)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    (owned,) = client.inventory("t").jobs
    assert client.adopt("t", owned).reused
    assert client.pending() == []
    assert client.submit("t", data()).reused
    assert len(service.jobs()) == 1


def test_a_file_of_two_jobs_is_unused_when_both_have_ended(open_client, service, foreign):
    file_id = service.upload("train", b"{}\n")
    running = foreign("running", files={"train": file_id})
    foreign("succeeded", files={"train": file_id, "validation": file_id})
    client = open_client()
    for owned in client.inventory("t").jobs:
        client.adopt("t", owned)
    assert client.uploads() == []
    service.tell(running.id, "succeeded")
    client.attach(str(client.jobs()[-1].ref)).wait()
    for job in client.jobs():
        job.wait()
    assert [upload.file_id for upload in client.uploads()] == [file_id]


def test_a_recipe_that_cannot_be_expressed_leaves_the_targets_own(open_client):
    owned = OwnedJob(snapshot=Snapshot(job_id="j", status=Status.RUNNING, raw_status="on"), recipe={"epochs": "auto"})
    client = open_client(epochs=2)
    with pytest.warns(AdaptkitWarning, match="cannot express its recipe"):
        client.adopt("t", owned)
    (run,) = client._open_journal().runs()
    assert json.loads(run.config)["epochs"] == 2


def test_a_backends_name_stands_for_its_account(open_client, service, foreign, tmp_path, monkeypatch):
    foreign("queued")
    client = open_client()
    job = client.adopt("scripted", client.inventory("scripted").jobs[0])
    assert open_client().attach(str(job.ref)).refresh() is Status.QUEUED
    with pytest.raises(ConfigError, match="no target 'skripted'"):
        client.inventory("skripted")
    monkeypatch.chdir(tmp_path)
    with Client(home=tmp_path) as bare, pytest.raises(ConfigError, match="service"):
        bare.inventory("scripted")
    two = {name: ScriptedConfig(service=place) for name, place in (("a", service.name), ("b", "other.db"))}
    with Client(targets=two, home=tmp_path) as split, pytest.raises(ConfigError, match="2 accounts"):
        split.inventory("scripted")


class _NamedConfig(ScriptedConfig):
    service: str = "memory:gone"
    model: str  # must be named, as at most hosts


class _Named(ScriptedAdapter):
    config_type = _NamedConfig


def test_what_is_there_is_reached_without_a_target(tmp_path, monkeypatch, service, foreign):
    """A key in its usual place is enough, though the backend wants a base model for what it trains."""
    remote = foreign("succeeded")
    monkeypatch.setattr(_NamedConfig.model_fields["service"], "default", service.name)
    _NamedConfig.model_rebuild(force=True)
    monkeypatch.setitem(registry._BUILT_IN, "scripted", f"{__name__}:_Named")
    with Client(targets={}, home=tmp_path) as client:
        (owned,) = client.inventory("scripted").jobs
        assert client.adopt("scripted", owned).result().chat("hello").text == "hello!"
        ref = f'{{"kind":"model","backend":"scripted","id":"model-of-{remote.id}"}}'
        assert client.model(ref).chat("hello").text == "hello!"


def test_a_target_that_may_not_be_used_is_in_nobodys_way(tmp_path, service, foreign):
    foreign("queued")
    elsewhere = {"backend": "prompt", "model": "x", "base_url": "https://forbidden.example/v1", "api_key_env": "K"}
    targets = {"other": elsewhere, "t": ScriptedConfig(service=service.name)}
    with Client(targets=targets, egress="none", home=tmp_path) as client:
        assert len(client.inventory("scripted").jobs) == 1


def test_a_backend_that_lists_nothing_says_so(tmp_path):
    with (
        Client(
            targets={"t": {"backend": "prompt", "model": "x", "base_url": "http://127.0.0.1:1"}}, home=tmp_path
        ) as c,
        pytest.raises(UnsupportedError, match="does not list"),
    ):
        c.inventory("t")


def test_the_async_client_does_the_same(service, foreign, tmp_path):
    foreign("queued", "succeeded")

    async def main():
        async with AsyncClient(targets={"t": ScriptedConfig(service=service.name)}, home=tmp_path) as client:
            (owned,) = (await client.inventory("t")).jobs
            job = await client.adopt("t", owned)
            assert (await client.estimate("t", data())).usd is None
            return await job.refresh()

    assert anyio.run(main) is Status.SUCCEEDED


def test_names_of_the_hosts_are_storable(tmp_path, service, open_client):
    """What a host says may hold anything, and goes into the journal all the same."""
    heard = Snapshot(job_id="j", status=Status.FAILED, raw_status="odd\0word", message="\ud800")
    job = open_client().adopt("t", OwnedJob(snapshot=heard, files={"train": "f"}))
    assert job.status is Status.FAILED
    assert ScriptedAdapter(ScriptedConfig(service=service.name), Context(tmp_path)).inventory().jobs == ()

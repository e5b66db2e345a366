"""Tuned models that an account owns, at Mistral, where the jobs that made them are gone."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import anyio
import pytest

from adaptkit import (
    AdaptkitWarning,
    AsyncClient,
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    Client,
    LoraConfig,
    NotFoundError,
    ServiceError,
    Status,
    UnsupportedError,
)
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.mistral.hosted import adapter as hosted
from adaptkit.backends.mistral.hosted import retired
from adaptkit.cli import main
from adaptkit.errors import MissingDependencyError
from adaptkit.testing import FakeClock, FakeMistralJobs
from tests.mistral.hosted.rig import BASE, KEY

mistralai = pytest.importorskip("mistralai")

DAY = date.today() + timedelta(days=30)
#: Paths of jobs; nothing may be asked there.
JOBS = ("jobs", "submit", "find", "poll", "start", "cancel", "upload")


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMistralJobs]:
    """A fake that is taken for Mistral's own API."""
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    service = FakeMistralJobs(KEY, has_jobs=False)
    monkeypatch.setattr(hosted, "API", service.wire.url)
    monkeypatch.setattr(retired, "PUBLIC", frozenset({"127.0.0.1"}))
    yield service
    service.close()


def clients(home: Path) -> Client:
    return Client(targets={"mine": MistralConfig(where="hosted")}, home=home, clock=FakeClock(time.time()))


@pytest.fixture
def client(public: FakeMistralJobs, tmp_path: Path) -> Iterator[Client]:
    with clients(tmp_path / "home") as opened:
        yield opened
    assert not {name for name, _ in public.wire.asked} & set(JOBS), "jobs were asked for at Mistral itself"


def model(client, model_id):
    return client.model(json.dumps({"kind": "model", "v": 1, "backend": "mistral", "id": model_id, "target": "mine"}))


def test_models_are_listed(public, client):
    kept, put_away = public.own("desk", until=DAY), public.own("old", archived=True)
    found = {each.id: each for each in client.inventory("mine").models}
    assert set(found) == {kept, put_away}
    assert (found[kept].base, found[kept].shutdown_date, found[kept].archived) == (BASE, DAY, False)
    assert (found[put_away].shutdown_date, found[put_away].archived) == (None, True)


def test_a_card_of_a_new_kind_is_read(public, client):
    model_id = public.own("desk")
    public.models[model_id]["type"] = "something-new"
    assert [each.id for each in client.inventory("mine").models] == [model_id]


def test_a_model_whose_job_is_gone_is_adopted(public, client, tmp_path):
    model_id = public.own("desk", job="0b2f7f5e-1c1d-4b5e-9f3a-0123456789ab")
    (owned,) = client.inventory("mine").jobs
    job = client.adopt("mine", owned)
    assert (job.id, job.status, job.reused) == ("0b2f7f5e-1c1d-4b5e-9f3a-0123456789ab", Status.SUCCEEDED, False)
    assert client.adopt("mine", owned).reused
    assert job.result().id == model_id
    assert list(job.events()) == []
    assert list(job.figures()) == []
    assert job.cost().usd is None
    job.cancel()
    with clients(tmp_path / "elsewhere") as other:  # which never heard of it
        found = other.attach(str(job.ref))
        assert found.result(10).chat("Hello?").text == "HELLO?"
        with pytest.raises(BackendRetiredError):
            other.attach(str(job.ref).replace("0123456789ab", "ba9876543210")).refresh()


def test_a_card_that_names_no_job_stands_for_one(public, client):
    model_id = public.own("desk")
    del public.models[model_id]["job"]
    public.models[model_id]["type"] = "something-new"  # the SDK wants a job of those that it knows
    (owned,) = client.inventory("mine").jobs
    assert client.adopt("mine", owned).result().id == model_id


def test_it_answers_in_every_colour(public, client, tmp_path):
    tuned = model(client, public.own("desk"))
    assert tuned.chat("Hello?").text == "HELLO?"
    assert "".join(tuned.stream("Hello?")) == "HELLO?"
    public.chat.say('{"team": "returns"}')
    schema = {"type": "object", "properties": {"team": {"type": "string"}}, "required": ["team"]}
    assert tuned.chat("Who?", schema=schema).parsed == {"team": "returns"}

    async def asked() -> str:
        async with AsyncClient(targets={"mine": MistralConfig(where="hosted")}, home=tmp_path / "home") as waiting:
            there = await waiting.model(str(tuned.ref))
            return (await there.chat("Hello?")).text

    assert anyio.run(asked) == "HELLO?"


def test_a_model_is_renamed_put_away_taken_out_and_deleted(public, client, tmp_path):
    model_id = public.own("desk")
    tuned = model(client, model_id)
    public.models[model_id]["description"] = "as it was"
    tuned.rename("the desk's")
    assert (public.models[model_id]["name"], public.models[model_id]["description"]) == ("the desk's", "as it was")
    tuned.rename("desk", "for tickets")
    assert public.models[model_id]["description"] == "for tickets"
    tuned.archive()
    with pytest.raises(BackendError, match="Invalid model"):
        tuned.chat("Hello?")
    tuned.unarchive()
    assert tuned.chat("Hello?").text == "HELLO?"

    async def the_same() -> None:
        async with AsyncClient(targets={"mine": MistralConfig(where="hosted")}, home=tmp_path / "home") as waiting:
            there = await waiting.model(str(tuned.ref))
            await there.rename("again")
            await there.archive()
            assert public.models[model_id]["archived"]
            await there.unarchive()

    anyio.run(the_same)
    assert (public.models[model_id]["name"], public.models[model_id]["archived"]) == ("again", False)
    tuned.delete()
    assert public.models == {}
    tuned.delete()
    for ask in (lambda: tuned.rename("x"), tuned.archive, tuned.unarchive):
        with pytest.raises(NotFoundError):
            ask()


def test_a_model_that_ends_soon_is_told_of(public, client):
    tuned = model(client, public.own("desk", until=DAY))
    assert tuned.shutdown_date() == DAY
    assert model(client, public.own("other")).shutdown_date() is None
    (owned,) = [job for job in client.inventory("mine").jobs if job.model_id == tuned.id]
    with pytest.warns(AdaptkitWarning, match=f"on {DAY}"):
        client.adopt("mine", owned).result()


def test_files_of_former_jobs_can_be_deleted(public, client):
    public.files["f-1"] = ({"id": "f-1", "filename": "old.jsonl", "purpose": "fine-tune", "created_at": 5}, b"")
    (file,) = client.inventory("mine").files
    client._target("mine").delete_data(file.id)
    assert client.inventory("mine").files == ()


@pytest.mark.parametrize("name", ["list", "update", "archive", "unarchive", "delete"])
def test_an_sdk_that_lost_a_method_is_named(public, client, monkeypatch, name):
    from mistralai.client.models_ import Models

    tuned = model(client, public.own("desk"))
    monkeypatch.delattr(Models, name)
    asks = {
        "list": lambda: client.inventory("mine"), "update": lambda: tuned.rename("x"), "archive": tuned.archive,
        "unarchive": tuned.unarchive, "delete": tuned.delete,
    }  # fmt: skip
    with pytest.raises(UnsupportedError, match=rf"mistralai \d+\.\d+\.\d+ has no models\.{name}"):
        asks[name]()
    assert public.wire.count().total() == 0


def test_without_the_sdk_the_extra_is_named(public, client, monkeypatch):
    tuned = model(client, public.own("desk"))
    monkeypatch.delitem(sys.modules, "adaptkit.backends.services.mistral", raising=False)
    monkeypatch.setitem(sys.modules, "mistralai.client", None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[mistral\]"):
        tuned.archive()


def test_nothing_is_sent_twice_and_the_table_of_errors_holds(public, client, monkeypatch):
    tuned = model(client, public.own("desk"))
    for operation, ask in (
        ("archive", tuned.archive),
        ("rename", lambda: tuned.rename("x")),
        ("chat", lambda: tuned.chat("?")),
    ):
        for fault in ("failed", "lost"):
            before = public.wire.count()[operation]
            public.wire.next(operation, fault)
            with pytest.raises(ServiceError):
                ask()
            assert public.wire.count()[operation] == before + 1
    monkeypatch.setenv("MISTRAL_API_KEY", "another")
    with pytest.raises(AuthenticationError):
        tuned.archive()


SAYING = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from adaptkit import Client
from adaptkit.backends.mistral import MistralConfig
with Client(targets={"mine": MistralConfig(where="hosted", base_url=sys.argv[1])}, home=sys.argv[2]) as client:
    tuned = client.model(sys.argv[3])
    tuned.chat("a secret question")
    tuned.rename("a secret name")
print("done")
"""


def test_debugging_prints_neither_key_nor_content(fake, tmp_path):
    model_id = fake.own("desk")
    ref = json.dumps({"kind": "model", "v": 1, "backend": "mistral", "id": model_id, "target": "mine"})
    done = subprocess.run(
        [sys.executable, "-c", SAYING, fake.wire.url, str(tmp_path), ref],
        env={**os.environ, "MISTRAL_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "done\n"
    for secret in (KEY, "a secret"):
        assert secret not in done.stderr
    assert fake.models[model_id]["name"] == "a secret name"


def test_other_backends_say_that_they_cannot(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with Client(targets={"l": LoraConfig()}, home=tmp_path) as client:
        tuned = client.model('{"kind":"model","v":1,"backend":"lora","id":"builtin:tiny"}')
        for ask, words in (
            (lambda: tuned.rename("x"), "renamed"),
            (tuned.archive, "archived"),
            (tuned.unarchive, "archived"),
        ):
            with pytest.raises(UnsupportedError, match=words):
                ask()


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_lists_adopts_renames_and_puts_away(fake, tmp_path, monkeypatch, capsys):
    model_id = fake.own("desk", until=DAY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_HOME", str(tmp_path / "home"))
    Path("adaptkit.toml").write_text(
        f'[targets.mine]\nbackend = "mistral"\nwhere = "hosted"\nmodel = "{BASE}"\nbase_url = "{fake.wire.url}"\n'
    )

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["adaptkit", *arguments])
        assert main() == 0
        return capsys.readouterr().out

    assert model_id in run("import", "mine")
    assert f'base_url = "{fake.wire.url}"' in run("import", "mine", "--adopt")
    assert "is named tickets" in run("rename", "last", "tickets", "--description", "for the desk")
    assert (fake.models[model_id]["name"], fake.models[model_id]["description"]) == ("tickets", "for the desk")
    assert "is archived" in run("archive", "last")
    assert fake.models[model_id]["archived"]
    assert "archived" in run("import", "mine")
    assert json.loads(run("archive", "last", "--undo", "--json"))["archived"] is False
    assert run("chat", "last", "-m", "hello") == "HELLO\n"

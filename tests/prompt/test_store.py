"""Documents in PostgreSQL that several machines search, named by the variable that holds the URL."""

from __future__ import annotations

import json
import logging
import secrets
import warnings
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")

import psycopg

from adaptkit import AdaptkitWarning, Client, ConfigError, Dataset, EgressError, ModelRef
from adaptkit.backends.prompt.store import Store
from adaptkit.errors import RetrievalError
from adaptkit.http import Egress
from adaptkit.retrieval import PostgresRetriever
from adaptkit.testing import FakeMistral
from tests.prompt.conftest import rows
from tests.prompt.server import ChatServer

STORE = {"url_env": "HANDBOOK_DB", "collection": "handbook"}


@pytest.fixture(autouse=True)
def few_documents_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptkitWarning)
        yield


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "parcels.md").write_text("# Parcels\n\nDuties are collected at the door.", encoding="utf-8")
    (folder / "cards.md").write_text("# Cards\n\nA lost card is blocked.", encoding="utf-8")
    return folder


def opened(server: ChatServer, home: Path, documents: Path, **fields: object) -> Client:
    table = {"backend": "prompt", "model": "large", "base_url": server.url, "instructions": "Answer.", "examples": 0}
    table |= {"documents": (str(documents),), "store": STORE, "passages": 1}
    return Client(targets={"t": {**table, **fields}}, home=home)


def asked(server: ChatServer) -> str:
    return json.dumps(server.requests[-1].body["messages"])


def test_one_machine_fills_it_and_others_ask(server, handbook, tmp_path, postgres_url, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HANDBOOK_DB", postgres_url)
    with opened(server, tmp_path / "one", handbook) as client:
        plan = client.plan("t", Dataset.of(rows()))
        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT to_regclass('adaptkit_passages')").fetchone() == (None,), "a plan is one"
        assert plan.destinations == ()
        model = client.submit("t", Dataset.of(rows())).result()
    text = Path(model.id).read_text(encoding="utf-8")
    assert json.loads(text)["segments"][1]["how"]["store"] == STORE
    password = postgres_url.split(":")[2].split("@")[0]
    assert password not in text + caplog.text
    assert not (tmp_path / "one" / "prompt" / "documents").exists()
    copy = tmp_path / "model.json"
    copy.write_text(text, encoding="utf-8")
    ref = ModelRef(backend="prompt", id=str(copy), target="t")
    with opened(server, tmp_path / "other", tmp_path / "not-here") as other:
        other.model(ref).chat("Who collects duties?")
        assert "at the door" in asked(server)
        (handbook / "parcels.md").write_text("# Parcels\n\nDuties are paid online.", encoding="utf-8")
        (handbook / "cards.md").unlink()
        with opened(server, tmp_path / "one", handbook) as client:
            client.submit("t", Dataset.of(rows())).result()
        other.model(ref).chat("Who collects duties?")
        assert "paid online" in asked(server), "there is one, and it moves on"
    with PostgresRetriever(postgres_url, collection="handbook") as index:
        assert [passage.source for passage in index.search("duties card", 9)] == ["handbook/parcels.md"]


def test_a_job_that_asks_fills_it_too(server, handbook, tmp_path, postgres_url, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", postgres_url)
    examples = {"counts": [0, 1], "ways": ["fixed"]}
    many = [{"prompt": f"question {at}", "completion": "cards"} for at in range(12)]
    with opened(server, tmp_path / "home", handbook, examples=examples) as client:
        model = client.submit("t", Dataset.of(many)).result(timeout=60)
        model.chat("Who collects duties?")
    assert "at the door" in asked(server)


def test_vectors_lie_there_too(handbook, tmp_path, pgvector_url, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", pgvector_url)
    with closing(FakeMistral()) as fake:
        fake.embeddings.same = {"zoll": "duties"}
        store = {**STORE, "collection": secrets.token_hex(4)}
        fake.url = f"{fake.wire.url}/v1"
        with opened(fake, tmp_path / "home", handbook, embed="small", store=store) as client:
            model = client.submit("t", Dataset.of(rows())).result()
            client.submit("t", Dataset.of(rows()[:2])).result()
            assert len(fake.embeddings.texts) == 2, "documents are embedded once"
            model.chat("zoll?")
        assert "at the door" in json.dumps(fake.requests[-1])


def test_a_file_from_elsewhere_opens_no_other_database(server, handbook, tmp_path, postgres_url, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", postgres_url)
    monkeypatch.setenv("OTHER_DB", postgres_url)
    with opened(server, tmp_path / "home", handbook) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        path = Path(model.id)
        path.write_text(path.read_text(encoding="utf-8").replace("HANDBOOK_DB", "OTHER_DB"), encoding="utf-8")
        with pytest.raises(ConfigError, match=r"handbook in OTHER_DB.*handbook in HANDBOOK_DB"):
            model.chat("Who?")
    with opened(server, tmp_path / "home", handbook, store=None) as client, pytest.raises(ConfigError, match="is none"):
        client.model(ModelRef(backend="prompt", id=model.id, target="t")).chat("Who?")
    assert not server.requests


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:geheim@db.example/x", ("db.example",)),
        ("postgresql://u:geheim@db.example,localhost,b.example/x", ("db.example", "b.example")),
        ("host=db.example hostaddr=192.0.2.7 password=geheim", ("db.example", "192.0.2.7")),
        ("postgresql://u:geheim@/x?host=/var/run", ()),
        ("postgresql://u:geheim@127.0.0.1/x", ()),
        ("postgresql:///x", ("env.example",)),
    ],
)
def test_where_it_lies_counts(url, hosts, monkeypatch, tmp_path):
    monkeypatch.setenv("HANDBOOK_DB", url)
    monkeypatch.setenv("PGHOST", "env.example")
    monkeypatch.delenv("PGHOSTADDR", raising=False)
    store = Store(**STORE)
    assert store.hosts == hosts
    if hosts:
        with pytest.raises(EgressError, match=hosts[0].replace(".", r"\.")) as refused:
            store.open(Egress(frozenset()), None)
        assert "geheim" not in str(refused.value)


def test_the_rule_holds_for_a_plan(server, handbook, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", "postgresql://u:geheim@db.example/x")
    table = {"backend": "prompt", "model": "large", "base_url": server.url, "documents": (str(handbook),)}
    with (
        Client(targets={"t": {**table, "store": STORE}}, home=tmp_path, egress="none") as client,
        pytest.raises(EgressError, match=r"db\.example"),
    ):
        client.plan("t", Dataset.of(rows()))


@pytest.mark.parametrize(
    ("url", "words"), [("", "has no HANDBOOK_DB"), ("geheim://x", "no URL"), ("service=geheim", "service file")]
)
def test_a_variable_that_is_of_no_use_is_told(url, words, server, handbook, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", url)
    monkeypatch.delenv("PGHOST", raising=False)
    with opened(server, tmp_path, handbook) as client, pytest.raises(ConfigError, match=words) as refused:
        client.plan("t", Dataset.of(rows()))
    assert "geheim" not in f"{refused.value!r}{refused.value.__cause__!r}"


def test_a_database_that_is_not_there_is_told_without_its_password(server, handbook, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDBOOK_DB", "postgresql://u:geheim@127.0.0.1:1/x")
    with opened(server, tmp_path, handbook) as client, pytest.raises(RetrievalError) as failed:
        client.submit("t", Dataset.of(rows()))
    assert "geheim" not in f"{failed.value!r}{failed.value.__cause__!r}"


def test_a_store_wants_documents(tmp_path):
    with pytest.raises(ConfigError, match="name documents"):
        Client(targets={"t": {"backend": "prompt", "store": STORE}}, home=tmp_path)

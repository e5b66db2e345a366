"""Vectors of a service: passages and examples that mean what the question means, whoever embeds."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from adaptkit import (
    AdaptkitWarning,
    AsyncClient,
    Client,
    ConfigError,
    Dataset,
    EgressError,
    ModelRef,
    RateLimitError,
    ServiceError,
    UnsupportedError,
)
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.services.embedding import patient
from adaptkit.testing import FakeMistral, FakeOpenAIChat
from tests.prompt.conftest import KEY, rows

TEXTS = {
    "parcels.md": "# Parcels\n\nDuties are collected by the carrier.",
    "cards.md": "# Cards\n\nA lost card is blocked.",
}
#: Shares no word, and no piece of one, with what it is about.
QUESTION = "zoll?"
SECRET = "canary-text-5521"


class Where:
    """A fake that answers and embeds, and how a target names the two."""

    def __init__(self, fake, url, model, embed, extra):
        self.fake, self.table = fake, {"backend": "prompt", "model": model, "base_url": url, **extra}
        self.table |= {"embed": embed, "instructions": "Answer.", "examples": 0}

    @property
    def prompt(self) -> str:
        return json.dumps(self.fake.requests[-1])

    @property
    def embeddings(self):
        return self.fake.embeddings


@pytest.fixture(autouse=True)
def few_documents_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptkitWarning)
        yield


@pytest.fixture(params=["openai", "mistral", "wire"])
def where(request, monkeypatch):
    for name in ("OPENAI_API_KEY", "MISTRAL_API_KEY", "SERVICE_KEY"):
        monkeypatch.setenv(name, KEY)
    fake = FakeOpenAIChat(KEY) if request.param == "openai" else FakeMistral(KEY)
    fake.embeddings.same = {"zoll": "duties", "plastik": "card"}
    url = fake.wire.url if request.param == "mistral" else f"{fake.wire.url}/v1"
    names = {
        "openai": ("openai:gpt-6-luna", "openai:text-embedding-3-small", {}),
        "mistral": ("mistral:mistral-small-2603", "mistral:mistral-embed", {}),
        "wire": ("large", "small", {"api_key_env": "SERVICE_KEY"}),
    }
    with closing(fake):
        yield Where(fake, url, *names[request.param])


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def opened(where: Where, tmp_path: Path, **fields: object) -> Client:
    return Client(targets={"t": {**where.table, **fields}}, home=tmp_path / "home")


def test_a_passage_is_found_by_what_it_means(where, handbook, tmp_path):
    with opened(where, tmp_path, documents=(str(handbook),), passages=1) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        assert len(where.embeddings.texts) == 2
        model.chat(QUESTION)
        assert "by the carrier" in where.prompt
        assert where.embeddings.texts[2:] == [QUESTION], "documents are embedded once"
        model.chat("plastik!")
        assert "blocked" in where.prompt
    with opened(where, tmp_path, documents=(str(handbook),)) as again:
        again.model(ModelRef(backend="prompt", id=model.id, target="t")).chat(QUESTION)
    assert where.embeddings.texts[2:] == [QUESTION, "plastik!", QUESTION]
    assert KEY not in Path(model.id).read_text(encoding="utf-8")
    expected = {"model": where.table["embed"], "base_url": where.table["base_url"]}
    assert json.loads(Path(model.id).read_text(encoding="utf-8"))["embed"] == expected


def test_documents_that_stay_as_they_are_are_not_embedded_again(where, handbook, tmp_path):
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        client.submit("t", Dataset.of(rows())).result()
        (handbook / "cards.md").write_text("# Cards\n\nA lost card is cut.", encoding="utf-8")
        client.submit("t", Dataset.of(rows())).result()
    assert len(where.embeddings.texts) == 3
    assert "cut" in where.embeddings.texts[-1]


def test_documents_that_lay_there_without_vectors_get_them(where, handbook, tmp_path):
    for embed in (None, where.table["embed"]):
        with opened(where, tmp_path, documents=(str(handbook),), passages=1, embed=embed) as client:
            client.submit("t", Dataset.of(rows())).result().chat(QUESTION)
            assert ("by the carrier" in where.prompt) is (embed is not None)


def test_examples_are_those_that_mean_what_the_question_means(where, tmp_path):
    fields = {"examples": 1, "examples_by": "similarity"}
    where.embeddings.same = {"zaster": "card", "futsch": "gone", "schachtel": "box", "nix": "no"}
    with opened(where, tmp_path, **fields) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        assert len(where.embeddings.texts) == 4
        for question, example in (("Zaster futsch", "my card is gone"), ("nix Schachtel", "no box yet")):
            model.chat(question)
            rows_asked = ("my card is gone", "I lost my card", "where is it", "no box yet")
            assert [text for text in rows_asked if text in where.prompt] == [example]
    with opened(where, tmp_path, **fields) as again:
        again.model(ModelRef(backend="prompt", id=model.id, target="t")).chat("Zaster futsch")
    assert where.embeddings.texts[4:] == ["Zaster futsch", "nix Schachtel", "Zaster futsch"], "rows are embedded once"
    (index,) = (tmp_path / "home" / "prompt" / "examples").iterdir()
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    with opened(where, tmp_path, **fields) as client:
        client.model(ModelRef(backend="prompt", id=model.id, target="t")).delete()
    assert not index.exists()


def test_a_job_that_measures_finds_them_so_too(where, tmp_path):
    many = [{"prompt": f"question {at}", "completion": "cards"} for at in range(12)]
    with opened(where, tmp_path, examples={"counts": [1], "ways": ["similarity"]}) as client:
        model = client.submit("t", Dataset.of(many)).result(timeout=60)
        before = len(where.embeddings.texts)
        model.chat("question?")
    assert before > 6
    assert where.embeddings.texts[before:] == ["question?"], "what the worker embedded is kept"


def test_a_request_is_what_a_service_takes(where, handbook, tmp_path):
    text = "\n\n".join(f"# Part {number}\n\n{f'word{number} ' * 150}" for number in range(80))
    (handbook / "parcels.md").write_text(text, encoding="utf-8")
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        for body in where.embeddings.requests:
            assert sum(len(text.encode()) for text in body["input"]) <= 32_000
        assert len(where.embeddings.texts) == len(set(where.embeddings.texts)) == 81
        model.chat("ü" * 50_000)
        assert where.embeddings.texts[-1] == "ü" * 4_000


def test_many_texts_are_tried_again_batch_by_batch(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("adaptkit.steps.SystemClock.sleep", lambda self, seconds: slept.append(seconds))
    asked: list[list[str]] = []

    def embed(texts):
        asked.append(list(texts))
        if len(asked) == 2:
            raise RateLimitError("slow down", backend="prompt", retry_after=7.0)
        return [[float(text)] for text in texts]

    texts = [str(number) for number in range(1, 130)]
    assert patient(embed)(texts) == [[float(text)] for text in texts]
    assert [len(each) for each in asked] == [64, 64, 64, 1]
    assert slept == [7.0]


def test_a_question_that_could_not_be_embedded_fails_as_a_request_does(where, handbook, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        where.fake.wire.next("embed", "failed")
        with pytest.raises(ServiceError) as failed:
            model.chat(SECRET)
        for fault in ("html", "truncated"):
            where.fake.wire.next("embed", fault)
            with pytest.raises(Exception) as other:  # noqa: PT011 - which one is the vendor's affair
                model.chat(SECRET)
            assert SECRET not in f"{other.value!r}"
        assert not where.fake.requests
    said = f"{failed.value!r} {failed.value.__cause__!r} {caplog.text}"
    assert SECRET not in said
    assert KEY not in said


def test_a_question_without_words_is_not_embedded(where, handbook, tmp_path):
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        model.chat(" ")
    assert len(where.embeddings.texts) == 2


def test_awaited_too(where, handbook, tmp_path):
    async def ask() -> None:
        table = {**where.table, "documents": (str(handbook),), "passages": 1}
        async with AsyncClient(targets={"t": table}, home=tmp_path / "home") as client:
            job = await client.submit("t", Dataset.of(rows()))
            model = await job.result()
            await model.chat(QUESTION)

    asyncio.run(ask())
    assert "by the carrier" in where.prompt


def test_what_it_costs_is_said_or_that_nobody_knows(where, handbook, tmp_path):
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        plan = client.plan("t", Dataset.of(rows()))
        assert not where.embeddings.requests, "a plan sends nothing"
    embedding = plan.request["embedding"]
    assert embedding["model"] == where.table["embed"]
    assert embedding["tokens"] > 10
    known = where.table["model"] == "large"  # on this machine
    assert embedding["usd"] == (0.0 if known else None)
    assert any("does not know" in warning for warning in plan.warnings) is not known


def test_a_table_of_ones_own_knows_what_it_costs(where, handbook, tmp_path):
    vendor, _, name = where.table["embed"].partition(":")
    if not name:
        pytest.skip("not a vendor's")
    row = f'[[chat]]\nservice = "{vendor}"\nmodel = "{name}"\ninput = 1000.0\noutput = 0\n'
    (tmp_path / "prices.toml").write_text(f'{row}date = 2026-11-25\nsource = "mine"\n', encoding="utf-8")
    targets = {"t": {**where.table, "documents": (str(handbook),)}}
    with Client(targets=targets, home=tmp_path / "home", prices=tmp_path / "prices.toml") as client:
        plan = client.plan("t", Dataset.of(rows()))
        embedding = plan.request["embedding"]
        assert embedding["usd"] == pytest.approx(embedding["tokens"] / 1000)
        assert "mine" in embedding["prices"]
        assert not any("does not know" in warning for warning in plan.warnings)


def test_a_file_from_elsewhere_is_not_asked_with_other_vectors(where, handbook, tmp_path):
    with opened(where, tmp_path, documents=(str(handbook),)) as client:
        model = client.submit("t", Dataset.of(rows())).result()
    ref = ModelRef(backend="prompt", id=model.id, target="t")
    with (
        opened(where, tmp_path, documents=(str(handbook),), embed=None) as none,
        pytest.raises(ConfigError, match="embed is none"),
    ):
        none.model(ref).chat(QUESTION)
    path = Path(model.id)
    path.write_text(path.read_text(encoding="utf-8").replace(where.table["embed"], "evil"), encoding="utf-8")
    with opened(where, tmp_path, documents=(str(handbook),)) as client, pytest.raises(ConfigError, match="of evil"):
        client.model(ref).chat(QUESTION)


def table(**fields: object) -> dict[str, object]:
    return {"backend": "prompt", "model": "builtin:tiny", "examples_by": "similarity", **fields}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"embed": "anthropic:claude-x"}, "anthropic has no models that embed"),
        ({"embed": "small"}, "say where that model is"),
        ({"embed": {"model": "m", "base_url": "https://e.example/v1"}}, "wants a key"),
        ({"embed": {"model": "m", "base_url": "http://e.example/v1"}}, "clear"),
        ({"embed": "openai:text-embedding-3-small", "examples": 0}, "embed is for what is searched"),
        ({"embed": "openai:text-embedding-3-small", "examples_by": "fixed"}, "embed is for what is searched"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        Client(targets={"t": table(**fields)}, home=tmp_path)


def test_more_than_a_file_compares_is_refused_by_a_plan(where, handbook, tmp_path, monkeypatch):
    monkeypatch.setattr("adaptkit.backends.prompt.adapter.MOST_VECTORS", 2)
    (handbook / "long.md").write_text("Some words. " * 1000, encoding="utf-8")
    with (
        opened(where, tmp_path, documents=(str(handbook),)) as client,
        pytest.raises(UnsupportedError, match="about 7 passages"),
    ):
        client.plan("t", Dataset.of(rows()))


def test_where_texts_go_is_known_and_ruled(tmp_path):
    elsewhere = {"model": "m", "base_url": "https://e.example/v1", "api_key_env": "K"}
    for embed, host in (("openai:text-embedding-3-small", "api.openai.com"), (elsewhere, "e.example")):
        with (
            Client(targets={"t": table(embed=embed)}, home=tmp_path, egress=["api.mistral.ai"]) as client,
            pytest.raises(EgressError, match=host),
        ):
            client.plan("t", Dataset.of(rows()))


def test_address_and_key_are_those_of_the_target_where_it_asks_the_same():
    def embedding(**fields):
        config = PromptConfig(**{"backend": "prompt", "examples_by": "similarity", **fields})
        return config.embedding.base_url, config.embedding.key_env

    gateway = {"base_url": "https://g.example/v1", "api_key_env": "GATE"}
    assert embedding(model="openai:gpt", **gateway, embed="openai:e") == ("https://g.example/v1", "GATE")
    assert embedding(model="large", **gateway, embed="e") == ("https://g.example/v1", "GATE")
    assert embedding(model="anthropic:c", **gateway, embed="openai:e") == (None, "OPENAI_API_KEY")
    own = {"model": "e", "base_url": "http://localhost:1/v1"}
    assert embedding(model="large", **gateway, embed=own) == ("http://localhost:1/v1", None)

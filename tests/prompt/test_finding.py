"""What is found for a question: passages of documents, and examples that are like it."""

from __future__ import annotations

import json
import stat
import warnings
from pathlib import Path

import pytest

from adaptkit import AdaptkitWarning, ArtifactError, Client, DataError, Dataset, Message, ModelRef, NotFoundError
from adaptkit.backends.prompt import adapter as prompt_adapter
from adaptkit.backends.prompt.adapted import AdaptedModel
from adaptkit.backends.prompt.searched import Searched
from tests.prompt.conftest import rows
from tests.prompt.server import ChatServer

TEXTS = {
    "parcels.md": "# Parcels\n\nDuties are collected at the door.",
    "cards.md": "# Cards\n\nA lost card is blocked.",
}


@pytest.fixture(autouse=True)
def few_documents_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptkitWarning)
        yield


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def opened(server: ChatServer, tmp_path: Path, **fields: object) -> Client:
    table = {"backend": "prompt", "model": "large", "base_url": server.url, "instructions": "Answer.", "examples": 0}
    return Client(targets={"t": {**table, **fields}}, home=tmp_path / "home")


def asked(server: ChatServer) -> str:
    return json.dumps(server.requests[-1].body["messages"])


def indexes(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "prompt" / "documents").rglob("*.db"))


def test_passages_for_the_question_stand_in_front_of_it(server, handbook, tmp_path):
    with opened(server, tmp_path, documents=(str(handbook),), passages=1) as client:
        plan = client.plan("t", Dataset.of(rows()))
        assert not indexes(tmp_path), "a plan writes nothing"
        assert [segment["kind"] for segment in plan.request["segments"]][1] == "retrieved passages"
        assert any("corpus instead of documents" in warning for warning in plan.warnings)
        model = client.submit("t", Dataset.of(rows())).result()
        model.chat("Who collects duties?")
        assert "at the door" in asked(server)
        assert "handbook/parcels.md" in asked(server)
        assert "blocked" not in asked(server)
        assert str(tmp_path) not in asked(server)
        model.chat([Message(role="user", content="My card is lost"), Message(role="user", content="And then?")])
        assert "blocked" in asked(server)
        "".join(model.stream("Who collects duties?"))
        assert "at the door" in asked(server)
    text = Path(model.id).read_text(encoding="utf-8")
    assert "at the door" not in text
    assert str(tmp_path / "handbook") not in text
    (index,) = indexes(tmp_path)
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert [other.name for other in index.parent.iterdir()] == [index.name]


def test_changed_documents_make_another_model_and_the_old_one_stays_as_it_was(server, handbook, tmp_path):
    with opened(server, tmp_path, documents=(f"{handbook}/*.md",), passages=1) as client:
        data = Dataset.of(rows())
        old = client.submit("t", data).result()
        assert client.submit("t", data).result().id == old.id
        (handbook / "parcels.md").write_text("# Parcels\n\nDuties are paid online.", encoding="utf-8")
        new = client.submit("t", data).result()
        assert new.id != old.id
    with opened(server, tmp_path) as again:
        for model, words in ((new, "paid online"), (old, "at the door")):
            again.model(ModelRef(backend="prompt", id=model.id, target="t")).chat("Who collects duties?")
            assert words in asked(server)
    assert len(indexes(tmp_path)) == 2


def test_an_index_goes_with_the_last_model_that_was_made_with_it(server, handbook, tmp_path):
    with (
        opened(server, tmp_path, documents=(str(handbook),), passages=1) as client,
        opened(server, tmp_path, documents=(str(handbook),), passages=2) as other,
    ):
        data = Dataset.of(rows())
        first, second = client.submit("t", data).result(), other.submit("t", data).result()
        (handbook / "cards.md").write_text("A lost card is cut.", encoding="utf-8")
        newer = client.submit("t", data).result()
        old, new = sorted(indexes(tmp_path), key=lambda path: path.stat().st_mtime)
        first.delete()
        assert old.is_file(), "another model needs it"
        second.chat("My card is lost")
        assert "blocked" in asked(server)
        broken = Path(first.id).with_name("broken.json")
        broken.write_text(f'{{"half": "sha256:{old.stem}', encoding="utf-8")
        copy = tmp_path / "copy.json"
        copy.write_bytes(Path(newer.id).read_bytes())
        second.delete()
        assert old.is_file(), "a file that cannot be read may need it"
        broken.unlink()
        Path(second.id).write_bytes(Path(newer.id).read_bytes().replace(new.stem.encode(), old.stem.encode()))
        second.delete()
        assert indexes(tmp_path) == [new]
        newer.delete()
        assert indexes(tmp_path) == []
        client.model(ModelRef(backend="prompt", id=str(copy))).chat("My card is lost")
        assert "cut" in asked(server)
    assert len(indexes(tmp_path)) == 1, "made again, since the documents are what they were"


def test_documents_that_are_not_there_are_asked_for(server, handbook, tmp_path):
    with opened(server, tmp_path, documents=(str(handbook),)) as client:
        model = client.submit("t", Dataset.of(rows())).result()
    ref = ModelRef(backend="prompt", id=model.id, target="t")
    (index,) = indexes(tmp_path)
    index.unlink()
    with opened(server, tmp_path) as bare, pytest.raises(NotFoundError, match=r"\(handbook\).*documents names"):
        bare.model(ref).chat("Who collects duties?")
    with opened(server, tmp_path, documents=(str(handbook),)) as named:
        named.model(ref).chat("Who collects duties?")
        assert "at the door" in asked(server)
    index.unlink()
    (handbook / "parcels.md").unlink()
    with opened(server, tmp_path, documents=(str(handbook),)) as changed, pytest.raises(DataError, match="submit"):
        changed.model(ref).chat("Who collects duties?")
    assert len(server.requests) == 1


def test_where_a_folder_lies_does_not_count_and_every_text_does(handbook, tmp_path):
    before = Searched.look((str(handbook),))
    (tmp_path / "elsewhere").mkdir()
    there = handbook.rename(tmp_path / "elsewhere" / "handbook")
    assert Searched.look((str(there),)) == before
    assert before.names == ("handbook",)
    (there / "cards.md").write_text("# Cards\n\nA lost card is found.", encoding="utf-8")
    assert Searched.look((str(there),)).fingerprint != before.fingerprint


def test_documents_that_do_not_exist_are_refused_by_a_plan(server, tmp_path):
    with opened(server, tmp_path, documents=(str(tmp_path / "no/*.md"),)) as client:  # noqa: SIM117
        with pytest.raises(DataError, match="no document matches"):
            client.plan("t", Dataset.of(rows()))


def test_examples_are_those_that_are_like_the_question(server, tmp_path):
    held_out = tmp_path / "held.jsonl"
    held_out.write_text('{"prompt": "I lost my card", "completion": "cards"}\n', encoding="utf-8")
    fields = {"examples": 1, "examples_by": "similarity", "validation": str(held_out)}
    with opened(server, tmp_path, **fields) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        for question, example in (("is my card gone?", "my card is gone"), ("no box came", "no box yet")):
            model.chat(question)
            turns = [turn["content"] for turn in server.requests[-1].body["messages"]]
            assert turns[1::2] == [example, question]
        model.chat("I lost my card")
        assert [turn["content"] for turn in server.requests[-1].body["messages"]].count("I lost my card") == 1
        shape = client.plan("t", Dataset.of(rows())).request["segments"][-2]
    assert (shape["kind"], shape["count"], shape["of"]) == ("retrieved examples", 1, 3)
    adapted = AdaptedModel.load(Path(model.id))
    assert adapted.likeness is not None
    assert "I lost my card" not in json.dumps(adapted.likeness.conversations)


def test_rows_to_choose_from_are_bounded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_adapter, "MOST_TO_CHOOSE_FROM", 3)
    with opened(server, tmp_path, examples=1, examples_by="similarity") as client:
        adapted = AdaptedModel.load(Path(client.submit("t", Dataset.of(rows())).result().id))
    assert adapted.likeness is not None
    assert len(adapted.likeness.conversations) == 3


@pytest.mark.parametrize(
    "segment",
    [
        {"kind": "retrieved passages", "how": {"documents": ["d"], "k": 1, "fingerprint": "../../../etc/passwd"}},
        {"kind": "retrieved passages", "how": {"documents": ["d"], "k": 0, "fingerprint": "sha256:" + "0" * 64}},
        {"kind": "retrieved examples", "how": {"k": 1, "conversations": [[{"role": "wizard", "content": "x"}]]}},
    ],
)
def test_a_strange_file_is_no_model(segment, tmp_path):
    path = tmp_path / "m.json"
    head = {"format": "adaptkit-prompt-2", "model": "m", "data": {"fingerprint": "f", "rows": 1}}
    path.write_text(json.dumps({**head, "segments": [segment]}), encoding="utf-8")
    with pytest.raises(ArtifactError):
        AdaptedModel.load(path)

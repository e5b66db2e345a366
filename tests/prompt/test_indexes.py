"""Indexes that are left over, and those that are not."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from adaptkit import AdaptkitWarning, ArtifactError, Client, Dataset, ModelRef, NotFoundError
from adaptkit.backends.prompt.indexes import unused_indexes
from adaptkit.testing import FakeMistral
from tests.prompt.conftest import rows

DAY = 86_400


@pytest.fixture(autouse=True)
def few_documents_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptkitWarning)
        yield


@pytest.fixture
def client(tmp_path):
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "parcels.md").write_text("Duties are collected.", encoding="utf-8")
    with closing(FakeMistral()) as fake:
        table = {"backend": "prompt", "model": "large", "base_url": f"{fake.wire.url}/v1", "instructions": "Answer."}
        table |= {"documents": (str(tmp_path / "handbook"),), "examples": 1}
        vectors = {**table, "embed": "small", "examples_by": "similarity"}
        with Client(targets={"words": table, "vectors": vectors}, home=tmp_path / "home") as client:
            yield client


def files(home: Path) -> set[Path]:
    return {
        path for kind in ("documents", "examples") for path in (home / "prompt" / kind).rglob("*") if path.is_file()
    }


def grow_old(home: Path, days: float = 31) -> None:
    for path in files(home):
        os.utime(path, (time.time() - days * DAY,) * 2)


def left(home: Path, **how: object) -> set[Path]:
    return {each.path for each in unused_indexes(home, **how)}


def test_what_a_model_names_stays_however_old_it_is(client):
    client.submit("words", Dataset.of(rows())).result()
    client.submit("vectors", Dataset.of(rows())).result()
    grow_old(client.home)
    assert len(files(client.home)) == 3
    assert left(client.home, days=0) == set()


def test_what_none_names_goes_when_nobody_has_asked_for_long(client, tmp_path):
    words = client.submit("words", Dataset.of(rows())).result()
    kept = files(client.home)
    vectors = client.submit("vectors", Dataset.of(rows())).result()
    copy = tmp_path / "copy.json"
    shutil.move(vectors.id, copy)
    orphans = files(client.home) - kept
    assert len(orphans) == 2
    grow_old(client.home, days=29)
    assert left(client.home) == set()
    grow_old(client.home)
    assert left(client.home) == orphans
    assert left(client.home, copies=[copy]) == set()
    found = unused_indexes(client.home)
    client.model(ModelRef(backend="prompt", id=str(copy), target="vectors")).chat("Who?")
    assert left(client.home) == set(), "whoever is asked shows it"
    assert [each.delete() for each in found] == [False, False]
    grow_old(client.home)
    assert [each.delete() for each in unused_indexes(client.home)] == [True, True]
    assert files(client.home) == kept
    words.chat("Who?")
    with pytest.raises(NotFoundError):
        left(client.home, copies=[tmp_path / "none.json"])


def test_drafts_of_killed_processes_go_too(client):
    client.submit("words", Dataset.of(rows())).result()
    (index,) = files(client.home)
    draft = index.with_name(".0123456789abcdef")
    for path in (draft, draft.with_name(f"{draft.name}-journal"), index.with_name(f"{index.name}-journal")):
        path.write_bytes(b"")
    grow_old(client.home)
    assert left(client.home) == {draft}
    assert [each.delete() for each in unused_indexes(client.home)] == [True]
    assert files(client.home) == {index, index.with_name(f"{index.name}-journal")}


def test_a_candidate_of_a_job_needs_its_index(client):
    model = client.submit("words", Dataset.of(rows())).result()
    candidates = client.home / "prompt" / "jobs" / "j" / "candidates"
    candidates.mkdir(parents=True)
    shutil.move(model.id, candidates / "c.json")
    grow_old(client.home)
    assert left(client.home) == set()


def test_nothing_goes_while_a_file_cannot_be_read(client):
    model = client.submit("words", Dataset.of(rows())).result()
    Path(model.id).write_text("{", encoding="utf-8")
    grow_old(client.home)
    with pytest.raises(ArtifactError, match=Path(model.id).name):
        unused_indexes(client.home)

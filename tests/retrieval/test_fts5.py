"""The index in a file: what it is made of, what may be wrong with it, and vectors beside the words."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from adaptkit.errors import RetrievalError, UnsupportedError
from adaptkit.retrieval import Changes, Embedder, Fts5Retriever, fts5, term_table
from adaptkit.retrieval.fusion import fuse
from tests.retrieval.conftest import document

TOPICS = ("parcel shipment box", "password account login", "battery warranty repair")


def topics(texts):
    """Vectors of three numbers: how much a text is about each topic. Knows synonyms, which words do not."""
    vectors = [[sum(word in text for word in topic.split()) + 0.01 for topic in TOPICS] for text in texts]
    assert all(len(vector) == 3 for vector in vectors)
    return vectors


TEXTS = [document("a", "Your box is on its way."), document("b", "Choose a new login."), document("c", "We repair it.")]


def test_the_file_is_its_owners_alone(tmp_path):
    Fts5Retriever(tmp_path / "index").close()
    assert stat.S_IMODE((tmp_path / "index").stat().st_mode) == 0o600


def test_without_fts5_one_is_told_what_to_do(tmp_path, monkeypatch):
    class Without(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if "fts5" in statement:
                raise sqlite3.OperationalError("no such module: fts5")
            return super().execute(statement, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Without, **kwargs))
    with pytest.raises(UnsupportedError, match=r"built without FTS5.*or use PostgresRetriever"):
        Fts5Retriever(tmp_path / "index")


def test_what_is_no_index_is_left_alone(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one" * 20, encoding="utf-8")
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    Fts5Retriever(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("PRAGMA user_version = 99")
    for name, says in (("text", "not a database"), ("other", "another program's"), ("newer", "format 99")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(RetrievalError, match=says):
            Fts5Retriever(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(RetrievalError, match="cannot be made"):
        Fts5Retriever(tmp_path / "missing" / "index")


def test_terms_of_another_edition_are_made_anew(tmp_path, monkeypatch):
    with Fts5Retriever(tmp_path / "index") as index:
        index.sync([document("a", "apples"), document("b", "pears")])
    monkeypatch.setattr(term_table, "_MADE_BY", "2/99")
    monkeypatch.setattr(fts5, "terms_of", lambda text: term_table.Terms([f"new{text}"], []))
    monkeypatch.setattr(term_table, "terms_to_find", lambda text: (term_table.Terms([f"new{text}"], []), []))
    with Fts5Retriever(tmp_path / "index") as index:
        assert [passage.source for passage in index.search("apples")] == ["a"]
        assert index.sync([document("b", "pears")]) == Changes(unchanged=1, removed=1, passages=1)
        assert index.search("apples") == []


def test_a_process_that_is_killed_leaves_the_old_state(tmp_path):
    with Fts5Retriever(tmp_path / "index") as index:
        index.sync([document("a", "apples")])
    script = f"""
import os
from adaptkit.retrieval import Document, Fts5Retriever
def documents():
    yield from (Document(source=str(at), text="pears " * 2000) for at in range(100))
    os._exit(9)
Fts5Retriever({str(tmp_path / "index")!r}).sync(documents())
"""
    assert subprocess.run([sys.executable, "-c", script], env=os.environ, check=False).returncode == 9
    with Fts5Retriever(tmp_path / "index") as index:
        assert [passage.source for passage in index.search("apples pears")] == ["a"]
        assert index.sync([document("a", "apples")]) == Changes(unchanged=1, passages=1)


def test_threads_may_share_one(tmp_path):
    failures = []
    with Fts5Retriever(tmp_path / "index") as index:
        index.sync([document(str(at), f"apples {at}") for at in range(20)])

        def work(at):
            try:
                index.add([document(f"more {at}", f"pears {at}")])
                assert len(index.search("apples", 20)) == 20
            except Exception as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failures
        assert len(index.search("pears", 20)) == 8


def test_writers_of_one_file_take_turns(tmp_path):
    failures = []

    def work(at):
        try:
            with Fts5Retriever(tmp_path / "index") as index:
                for each in range(5):
                    index.add([document(f"{at}/{each}", "apples"), document("one", f"pears {at}")])
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    with Fts5Retriever(tmp_path / "index") as index:
        assert index.add([]).passages == 21


def test_vectors_find_what_shares_no_word(tmp_path):
    with Fts5Retriever(tmp_path / "index", embedder=Embedder("topics-1", topics)) as index:
        index.sync(TEXTS)
        assert index.search("where is the parcel", 1)[0].source == "a"
        assert index.search("password", 1)[0].source == "b"
    with Fts5Retriever(tmp_path / "index") as index:  # by words alone
        assert index.search("password") == []


def test_another_embedder_sees_everything_anew(tmp_path):
    with Fts5Retriever(tmp_path / "index", embedder=Embedder("topics-1", topics)) as index:
        index.sync(TEXTS)
    seen = []
    other = Embedder("topics-2", lambda texts: [seen.extend(texts), topics(texts)][1])
    with Fts5Retriever(tmp_path / "index", embedder=other) as index:
        index.add(TEXTS[:1])
        assert {passage.source for passage in index.search("password")} == {
            "a"
        }  # the others have no vector of its kind
        assert index.sync(TEXTS).changed == 2
        assert len(seen) == 4
        assert index.search("password", 1)[0].source == "b"


@pytest.mark.parametrize(
    ("embed", "says"),
    [
        (lambda texts: [[1.0]] * (len(texts) + 1), "gave 4 vectors"),
        (lambda texts: [[1.0] * (at + 1) for at, _ in enumerate(texts)], "all of one length"),
        (lambda texts: [[0.0, 0.0]] * len(texts), "0 or not finite"),
        (lambda texts: [[float("nan")]] * len(texts), "0 or not finite"),
    ],
)
def test_an_embedder_that_fails_changes_nothing(embed, says):
    with Fts5Retriever(":memory:", embedder=Embedder("odd", embed)) as index:
        with pytest.raises(RetrievalError, match=says):
            index.sync(TEXTS)
        assert index._update([], sweep=True) == Changes()


def test_a_search_that_fails_does_not_spoil_the_next(monkeypatch):
    with Fts5Retriever(":memory:") as index:
        index.sync(TEXTS)
        with monkeypatch.context() as patched:
            patched.setattr(fts5, "_passage", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                index.search("login")
        assert index.search("login", 1)[0].source == "b"


def test_too_many_vectors_are_refused(monkeypatch):
    monkeypatch.setattr(fts5, "MOST_VECTORS", 2)
    with Fts5Retriever(":memory:", embedder=Embedder("topics-1", topics)) as index:
        with pytest.raises(RetrievalError, match=r"3 passages are too many.*PostgresRetriever"):
            index.sync(TEXTS)
        assert index.sync(TEXTS[:2]).passages == 2


def test_rankings_are_fused_by_place():
    assert [item for item, _ in fuse("abc", "cda")] == ["a", "c", "b", "d"]
    assert fuse("ab", "ba")[0][1] == fuse("ab", "ba")[1][1]
    assert [item for item, _ in fuse([], "xy")] == ["x", "y"]

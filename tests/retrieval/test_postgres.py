"""The index in PostgreSQL: shared by machines, with vectors where the server has pgvector."""

import threading

import pytest

pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")

import psycopg

from adaptkit.errors import ConfigError, RetrievalError, UnsupportedError
from adaptkit.retrieval import Changes, Embedder, Fts5Retriever, PostgresRetriever, postgres
from tests.retrieval.conftest import LANGUAGES, document, handbook
from tests.retrieval.test_fts5 import TEXTS, topics


def sources(index, question, k=3):
    return [passage.source for passage in index.search(question, k)]


def test_collections_know_nothing_of_one_another(postgres_url):
    with (
        PostgresRetriever(postgres_url, collection="one") as one,
        PostgresRetriever(postgres_url, collection="two") as two,
    ):
        one.sync([document("a", "apples")])
        two.sync([document("a", "pears")])
        assert (sources(one, "apples pears"), sources(two, "apples")) == (["a"], [])
        assert two.sync([]) == Changes(removed=1)
        assert sources(one, "apples") == ["a"]
    with pytest.raises(ConfigError, match="needs a name"):
        PostgresRetriever(postgres_url, collection="")


def test_readers_see_the_old_state_until_a_change_is_whole(postgres_url):
    with PostgresRetriever(postgres_url) as reader, PostgresRetriever(postgres_url) as writer:
        reader.sync([document("a", "apples")])

        def documents():
            yield document("b", "pears")
            assert sources(reader, "apples pears") == ["a"]

        writer.sync(documents())
        assert sources(reader, "apples pears") == ["b"]


def test_writers_of_one_collection_take_turns(postgres_url):
    failures = []

    def work(at):
        try:
            with PostgresRetriever(postgres_url) as index:
                index.add([*(document(f"{at}/{each}", "apples") for each in range(5)), document("one", f"pears {at}")])
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    with PostgresRetriever(postgres_url) as index:
        assert index.add([]).passages == 31
        assert sources(index, "pears") == ["one"]
        assert len(index.search("apples", 50)) == 30


def test_rare_words_count_more_than_common_ones(postgres_url):
    with PostgresRetriever(postgres_url) as index:
        index.sync(
            [*(document(str(at), "where is the parcel, where is it") for at in range(30)), document("x", "an ox")]
        )
        assert sources(index, "where is the ox", 1) == ["x"]


def test_terms_that_touch_too_much_are_left_out_unless_there_are_no_others(postgres_url, monkeypatch):
    monkeypatch.setattr(postgres, "_LOOKED_AT", 5)
    with PostgresRetriever(postgres_url) as index:
        index.sync([*(document(str(at), "apples") for at in range(30)), document("x", "apples pears")])
        assert sources(index, "apples pears", 9) == ["x"]
        assert len(sources(index, "apples", 9)) == 9


def test_it_ranks_much_as_the_index_in_a_file_does(postgres_url):
    with PostgresRetriever(postgres_url) as ours, Fts5Retriever(":memory:") as theirs:
        ours.sync(handbook())
        theirs.sync(handbook())
        questions = [question for row in LANGUAGES for question in row["questions"]]
        same = sum(sources(ours, question, 1) == sources(theirs, question, 1) for question in questions)
        assert same / len(questions) > 0.9


def test_a_dropped_connection_is_made_again(postgres_url):
    with PostgresRetriever(postgres_url) as index:
        index.sync([document("a", "apples")])
        for use in (lambda: sources(index, "apples") == ["a"], lambda: index.add([]).passages == 1):
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            assert use()


def test_the_url_is_in_no_error(postgres_url):
    password = postgres_url.partition("tester:")[2].partition("@")[0]
    for url in (
        postgres_url.replace("/t", "/missing"),
        "postgresql://u:hunter2@127.0.0.1:1/db",
        "postgresql://u:hunter2@[",
    ):
        with pytest.raises(RetrievalError) as caught:
            PostgresRetriever(url)
        said = f"{caught.value!r} {caught.value.__cause__!r}"
        assert "hunter2" not in said
        assert password not in said


def test_a_newer_format_is_refused(postgres_url):
    PostgresRetriever(postgres_url).close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE adaptkit_collections SET format = 99")
    with pytest.raises(RetrievalError, match="format 99"):
        PostgresRetriever(postgres_url)


def test_an_embedder_wants_pgvector(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone():
            pytest.skip("this server has pgvector")
    with pytest.raises(UnsupportedError, match="no pgvector: install it there"):
        PostgresRetriever(postgres_url, embedder=Embedder("topics-1", topics))


def test_vectors_find_what_shares_no_word(pgvector_url):
    with PostgresRetriever(pgvector_url, collection="v", embedder=Embedder("topics-1", topics)) as index:
        index.sync(TEXTS)
        assert sources(index, "where is the parcel", 1) == ["a"]
        assert sources(index, "password", 1) == ["b"]
        assert index.sync(TEXTS[1:]).removed == 1
        assert "a" not in sources(index, "where is the parcel")
    with PostgresRetriever(pgvector_url, collection="v") as index:
        assert sources(index, "password") == []


def test_another_embedder_may_give_longer_vectors(pgvector_url):
    with PostgresRetriever(pgvector_url, collection="w", embedder=Embedder("topics-1", topics)) as index:
        index.sync(TEXTS)
    longer = Embedder("topics-2", lambda texts: [[*vector, 0.0] for vector in topics(texts)])
    with PostgresRetriever(pgvector_url, collection="w", embedder=longer) as index:
        assert index.sync(TEXTS).changed == 3
        assert sources(index, "password", 1) == ["b"]


def test_an_index_of_vectors_is_used(pgvector_url):
    many = [document(str(at), f"box {at} " + ("login " if at % 3 else "repair ")) for at in range(400)]
    with PostgresRetriever(pgvector_url, collection="many", embedder=Embedder("topics-1", topics)) as index:
        index.sync(many)
        with psycopg.connect(pgvector_url, autocommit=True) as connection:
            connection.execute("ANALYZE")
            connection.execute("SET enable_seqscan = off")
            statement = postgres._neighbours("many", "topics-1", (1.0, 0.0, 0.0), 5)
            plan = "\n".join(line for (line,) in connection.execute(psycopg.sql.SQL("EXPLAIN ") + statement))
    assert "Index Scan using adaptkit_vectors_" in plan


def test_vectors_too_long_for_an_index_are_compared_one_by_one(pgvector_url):
    long = Embedder("long", lambda texts: [vector + [0.5] * 2100 for vector in topics(texts)])
    with PostgresRetriever(pgvector_url, collection="long", embedder=long) as index:
        index.sync(TEXTS)
        assert sources(index, "password", 1) == ["b"]

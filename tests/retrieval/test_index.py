"""What an index of documents promises, on both databases."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.errors import DataError, RetrievalError
from adaptkit.retrieval import Changes, Chunking, Fts5Retriever, Retriever
from tests.retrieval.conftest import LANGUAGES, document, handbook


def sources(index, question, k=3):
    return [passage.source for passage in index.search(question, k)]


@pytest.mark.parametrize("row", LANGUAGES, ids=lambda row: row["language"])
def test_questions_find_their_texts_among_those_of_all_languages(filled, row):
    found = [f"{row['language']}/{at}" in sources(filled, question) for at, question in enumerate(row["questions"])]
    assert sum(found) >= 9, [question for question, right in zip(row["questions"], found, strict=True) if not right]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request):
    if request.param == "sqlite":
        index = Fts5Retriever(":memory:")
    else:
        from adaptkit.retrieval import PostgresRetriever

        index = PostgresRetriever(request.getfixturevalue("postgres_server"), collection="handbook")
    index.sync(handbook())
    yield index
    index.close()


@pytest.mark.parametrize("word", ["关税", "水", "訂", "ရေ", "ទឹក", "น้ำ"])
def test_one_or_two_characters_are_enough(index, word):
    index.sync([document("a", f"有些{word}在这里"), document("b", f"在这里{word}"), document("c", "别的东西")])
    assert sorted(sources(index, word)) == ["a", "b"]


def test_a_passage_tells_where_it_stands(index):
    text = "# Parcels\n\nIntroduction.\n\n## Customs\n\nDuties are collected at the door."
    index.sync([document("handbook/parcels.md", text, title="Handbook")])
    (passage,) = index.search("who collects duties", 1)
    assert isinstance(index, Retriever)
    assert passage.source == "handbook/parcels.md"
    assert passage.context == "Handbook › Parcels › Customs"
    assert text[passage.position :].startswith(passage.text)
    assert str(passage) == f"{passage.context}\n\n{passage.text}"
    assert passage.score > 0


def test_headings_are_found_too(index):
    index.sync(
        [document("a", "# Batteries\n\nThey last two years."), document("b", "# Wheels\n\nThey last for two years.")]
    )
    assert sources(index, "batteries two years", 1) == ["a"]


def test_only_what_changed_is_indexed_again(another):
    index = another()
    first = [document("a", "apples"), document("b", "pears"), document("c", "plums")]
    assert index.sync(first) == Changes(added=3, passages=3)
    assert index.sync(first) == Changes(unchanged=3, passages=3)
    assert sources(index, "pears plums quinces") == ["b", "c"]
    changed = [document("a", "apples"), document("b", "quinces"), document("d", "cherries")]
    assert another().sync(changed) == Changes(added=1, changed=1, unchanged=1, removed=1, passages=3)
    assert sources(index, "pears") == []
    assert sources(index, "plums") == []
    assert sources(index, "quinces") == ["b"]
    assert sources(index, "cherries") == ["d"]


def test_a_title_or_another_way_of_cutting_is_a_change(another):
    text = "One sentence of some length stands here. " * 20
    assert another().sync([document("a", text)]).passages == 1
    assert another().sync([document("a", text, title="New")]).changed == 1
    cut = another(Chunking(tokens=32, overlap=0)).sync([document("a", text, title="New")])
    assert cut.changed == 1
    assert cut.passages > 5


def test_adding_leaves_the_others_alone(index):
    index.sync([document("a", "apples"), document("b", "pears")])
    assert index.add([document("b", "quinces"), document("c", "plums")]) == Changes(added=1, changed=1, passages=3)
    assert sources(index, "apples") == ["a"]
    assert sources(index, "pears") == []


def test_a_failure_changes_nothing(index):
    index.sync([document("a", "apples"), document("b", "pears")])

    def broken():
        yield document("a", "quinces")
        raise DataError("no")

    with pytest.raises(DataError):
        index.sync(broken())
    with pytest.raises(DataError, match="two documents have the source 'c'"):
        index.sync([document("c", "plums"), document("c", "cherries")])
    with pytest.raises(DataError, match="NUL"):
        index.sync([document("c", "plums\0")])
    with pytest.raises(DataError, match="surrogate"):
        index.sync([document("c", "plums\ud800")])
    assert sources(index, "apples pears quinces plums") == ["a", "b"]


def test_an_empty_document_is_one_without_passages(index):
    assert index.sync([document("a", ""), document("b", " \n ")]) == Changes(added=2, passages=0)
    assert index.search("anything") == []
    assert index.sync([]) == Changes(removed=2)


def test_questions_that_say_nothing_find_nothing(index):
    index.sync([document("a", "apples")])
    for question in ("", "  ", "?!", '"', "\u0301", "\0"):
        assert [*map(str, index.search(question))] in ([], ["apples"])
    assert index.search("unheard-of") == []
    with pytest.raises(ValueError, match="k = 0"):
        index.search("apples", 0)


def test_a_question_may_be_a_whole_letter(index):
    rng = random.Random(0)
    index.sync([document("a", "the gearbox rattles"), document("b", "the mirror is loose")])
    letter = " ".join("".join(rng.choices("bcdfghklmn", k=7)) for _ in range(3000))
    assert sources(index, f"gearbox {letter}") == ["a"]


@pytest.mark.parametrize(
    "text", ["x" * 20_000, "水" + "\u0301" * 20_000, "e" + "\u0301" * 20_000, "ข" * 20_000, "1 " * 20_000]
)
def test_texts_that_no_language_has_do_no_harm(another, text):
    index = another(Chunking(tokens=8192, overlap=0))
    index.sync([document("a", text), document("b", "apples")])
    assert sources(index, "apples") == ["b"]
    assert sources(index, text[:40])[0] == "a"


def test_a_closed_index_says_so(index):
    index.close()
    with pytest.raises(RetrievalError, match="closed"):
        index.search("apples")
    index.close()


documents = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(["apple", "pear", "水火", "Paket", "ọkọ̀"]), max_size=6).map(" ".join),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(states=st.lists(documents, min_size=1, max_size=4))
def test_after_any_changes_it_is_like_one_made_anew(index, states):
    for state in states:
        index.sync([document(name, text) for name, text in state.items()])
    with Fts5Retriever(":memory:") as fresh:
        fresh.sync([document(name, text) for name, text in states[-1].items()])
        for question in ("apple", "pear", "火", "Paketpost", "oko"):
            assert sorted(sources(index, question, 9)) == sorted(sources(fresh, question, 9))


def test_a_document_without_a_source_is_refused(index):
    with pytest.raises(DataError, match="titled 'Prices' has no source"):
        index.sync([document("", "Four crowns.", "Prices")])

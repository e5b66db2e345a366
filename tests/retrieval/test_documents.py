"""Documents in files: which are read, in which order, and what is said of those that cannot be."""

import gzip
import json
from pathlib import Path

import pytest

from adaptkit.errors import DataError
from adaptkit.retrieval import Document, corpus_size, documents, read_documents


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "handbook"
    (place / "b").mkdir(parents=True)
    (place / ".git").mkdir()
    (place / "a.md").write_text("# Parcels\ntext", encoding="utf-8")
    (place / "b" / "opening_hours.txt").write_bytes(b"\xef\xbb\xbfNine to six")
    (place / "picture.png").write_bytes(b"\x89PNG")
    (place / ".hidden.md").write_text("no", encoding="utf-8")
    (place / ".git" / "HEAD.txt").write_text("no", encoding="utf-8")
    rows = [{"id": "faq-1", "title": "Returns", "text": "Thirty days.", "more": 1}, {"text": "Untitled."}]
    (place / "faq.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return place


EXPECTED = [
    Document(source="handbook/a.md", text="# Parcels\ntext"),
    Document(source="handbook/b/opening_hours.txt", text="Nine to six", title="opening hours"),
    Document(source="faq-1", text="Thirty days.", title="Returns"),
    Document(source="handbook/faq.jsonl:2", text="Untitled."),
]


def test_a_folder_is_read_in_order_without_what_is_hidden(folder):
    assert list(read_documents("handbook")) == EXPECTED


def test_files_and_globs_are_read_once_each(folder):
    given = ["handbook/a.md", "handbook/**/*.txt", "handbook/faq.jsonl", folder / "a.md"]
    assert list(read_documents(*given)) == EXPECTED


def test_a_hidden_folder_above_the_documents_hides_nothing(tmp_path):
    place = tmp_path / ".nox" / "handbook"
    place.mkdir(parents=True)
    (place / "a.md").write_text("Parcels", encoding="utf-8")
    (place / ".draft.md").write_text("no", encoding="utf-8")
    for given in (place, f"{place}/*.md", f"{tmp_path}/.nox/**/*.md"):
        assert [document.text for document in read_documents(given)] == ["Parcels"]


def test_rows_may_be_compressed(folder):
    with gzip.open("faq.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"id": 7, "text": "水"}\n')
    assert list(read_documents("faq.jsonl.gz")) == [Document(source="7", text="水")]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing", "there is no file or folder missing"),
        ("handbook/*.rst", "no document matches 'handbook/[*].rst'"),
        ("handbook/picture.png", "is no document"),
        ("empty", "holds no .txt"),
    ],
)
def test_paths_that_name_no_document(folder, path, says):
    Path("empty").mkdir()
    with pytest.raises(DataError, match=says):
        list(read_documents(path))
    with pytest.raises(DataError, match="no document was named"):
        list(read_documents())


def test_every_fault_is_told_with_its_place_and_none_of_the_text(folder):
    (folder / "latin.txt").write_bytes("first\nsecret gr\u00fc\u00dfe".encode("latin-1"))
    (folder / "wide.txt").write_bytes("secret".encode("utf-16"))
    (folder / "nul.txt").write_bytes(b"secret\nand\0secret")
    rows = [
        b'{"text": "fine"}',
        b'{"title": "secret"}',
        b'{"text": 5}',
        b"secret",
        b'{"text": "gr\xfc"}',
        b'["secret"]',
    ]
    (folder / "rows.jsonl").write_bytes(b"\n".join(rows))
    found = []
    with pytest.raises(DataError) as caught:
        found.extend(read_documents("handbook"))
    assert Document(source="handbook/rows.jsonl:1", text="fine") in found
    assert "secret" not in str(caught.value)
    places = {(problem.file, problem.line): problem.rule for problem in caught.value.problems}
    assert places == {
        ("handbook/latin.txt", 2): "not-utf8",
        ("handbook/wide.txt", 1): "not-utf8",
        ("handbook/nul.txt", 2): "not-text",
        ("handbook/rows.jsonl", 2): "not-a-document",
        ("handbook/rows.jsonl", 3): "not-a-document",
        ("handbook/rows.jsonl", 4): "not-a-document",
        ("handbook/rows.jsonl", 5): "not-utf8",
        ("handbook/rows.jsonl", 6): "not-a-document",
    }
    said = str(caught.value)
    assert "byte 10 of the line (0xfc) is not UTF-8" in said
    assert "this is UTF-16" in said


def test_a_document_that_is_too_long_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(documents, "MAX_DOCUMENT", 10)
    with pytest.raises(DataError, match="longer than") as caught:
        list(read_documents("handbook/a.md"))
    assert caught.value.problems[0].rule == "too-long"


def test_a_small_corpus_goes_into_the_prompt_whole(folder):
    size = corpus_size(read_documents("handbook"))
    assert (size.documents, size.fits_whole) == (4, True)
    assert "put all of it into the cached prompt" in str(size)
    assert not corpus_size(read_documents("handbook"), reads=10).fits_whole
    large = corpus_size(Document(source=str(at), text="word" * 1000) for at in range(200))
    assert (large.tokens >= 200_000, large.fits_whole) == (True, False)
    assert "search it" in str(large)

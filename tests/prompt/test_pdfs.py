"""PDFs that a question is to be answered from."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from adaptkit import Client, ConfigError, DataError, Dataset, Document, Model, UnsupportedError
from adaptkit.documents import with_documents
from adaptkit.retrieval import Fts5Retriever
from adaptkit.testing.mistral_chat import FakeMistral
from adaptkit.types import Message
from tests.prompt.conftest import KEY, rows
from tests.prompt.services import VENDORS

PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n"
IN_BASE64 = base64.b64encode(PDF).decode()
URL = f"data:application/pdf;base64,{IN_BASE64}"
CONTRACT = Document(title="Contract", pdf=PDF, source="contracts/7.pdf")
HOURS = Document(title="Hours", text="9-5")


class Opened:
    """A vendor's service, and a model that it answers for."""

    def __init__(self, service: Any, model: Model) -> None:
        self.service, self.model = service, model

    @property
    def question(self) -> list[dict[str, Any]]:
        """Parts of the last turn that went out."""
        body = self.service.requests[-1]
        return (body.get("messages") or body["input"])[-1]["content"]


@pytest.fixture(params=VENDORS.values(), ids=VENDORS)
def opened(request, tmp_path, monkeypatch) -> Iterator[Opened]:
    yield from _opened(request.param, tmp_path, monkeypatch)


@pytest.fixture
def claude(tmp_path, monkeypatch) -> Iterator[Opened]:
    yield from _opened(VENDORS["anthropic"], tmp_path, monkeypatch)


def _opened(vendor, tmp_path, monkeypatch) -> Iterator[Opened]:
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        table = {"backend": "prompt", "model": vendor.model, "base_url": vendor.url(service), "examples": 1}
        with Client(targets={"t": {**table, "instructions": "Answer."}}, home=tmp_path / "home") as client:
            yield Opened(service, client.submit("t", Dataset.of(rows())).result())


PARTS = {
    "claude": {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": IN_BASE64},
        "title": "Contract",
        "context": "contracts/7.pdf",
    },
    "gpt": {"type": "input_file", "filename": "Contract.pdf", "file_data": URL},
    "mistral": {"type": "document_url", "document_url": URL, "document_name": "Contract.pdf"},
}


def test_a_pdf_goes_in_the_services_words_in_front_of_the_question(opened):
    assert opened.model.chat("What is due?", documents=(CONTRACT,)).text
    part, question = opened.question
    assert part in PARTS.values()
    assert question["text"] == "What is due?"


def test_texts_and_pdfs_together(opened):
    opened.model.chat("What is due?", documents=(HOURS, CONTRACT))
    said = json.dumps(opened.question)
    assert IN_BASE64 in said
    assert "9-5" in said
    assert said.index("What is due?") > max(said.index("9-5"), said.index(IN_BASE64))


def test_a_conversation_with_a_pdf_and_a_stream(opened):
    turns = [
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
    ]
    assert "".join(opened.model.stream(turns, documents=(CONTRACT,))) == "C"
    assert IN_BASE64 in json.dumps(opened.question)
    assert json.dumps(opened.service.requests[-1]).count(IN_BASE64) == 1


def test_a_large_pdf_is_counted_by_the_service(opened):
    large = Document(title="Large", pdf=PDF + bytes(300_000))
    opened.model.chat("What?", documents=(CONTRACT,))
    assert opened.service.wire.count()["count"] == 0
    opened.model.chat("What?", documents=(large,))
    counts = opened.service.wire.count()["count"]
    assert counts == (0 if isinstance(opened.service, FakeMistral) else 1)


def test_more_than_a_request_holds_is_not_sent(claude):
    half = Document(title="Half", pdf=PDF + bytes(13_000_000))
    with pytest.raises(UnsupportedError, match=r"34,\d+,\d+ bytes in base64.*33,554,432"):
        claude.model.chat("What?", documents=(half, half))
    assert not claude.service.wire.count()["chat"]
    assert not claude.service.wire.count()["count"]


def test_a_page_is_cited(claude):
    cited = {
        "type": "page_location",
        "cited_text": "Four crowns.",
        "document_index": 0,
        "document_title": "Contract",
        "start_page_number": 3,
        "end_page_number": 4,
    }
    claude.service.say("Four.", citations=[cited])
    (found,) = claude.model.chat("What is due?", documents=(CONTRACT,), citations=True).citations
    assert (found.title, found.source, found.page, found.quote) == ("Contract", "contracts/7.pdf", 3, "Four crowns.")
    assert claude.question[0]["citations"] == {"enabled": True}


def test_whoever_reads_none_is_not_asked(model, server):
    with pytest.raises(UnsupportedError, match="take no PDFs here; nothing was sent"):
        model.chat("What is due?", documents=(HOURS, CONTRACT))
    assert not server.requests
    with pytest.raises(UnsupportedError, match="nothing was sent"):
        with_documents([Message(role="user", content="a")], [CONTRACT])


def test_what_is_no_pdf_is_no_document():
    for wrong in ("contract.pdf", b"Four crowns.", b"", IN_BASE64):
        with pytest.raises(ConfigError, match=re.escape("Path(…).read_bytes()")):
            Document(pdf=wrong)
    with pytest.raises(ConfigError, match="not both"):
        Document(text="a", pdf=PDF)
    assert msgspec.json.decode(msgspec.json.encode(CONTRACT), type=Document) == CONTRACT


def test_an_index_takes_texts_alone(tmp_path):
    with Fts5Retriever(tmp_path / "index.db") as index, pytest.raises(DataError, match=r"contracts/7\.pdf.*PDF"):
        index.sync([CONTRACT])

"""What is particular to Claude."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pydantic import BaseModel

from adaptkit import BackendError, Client, Dataset, Document, Message, ServiceError, UnsupportedError, score
from adaptkit.backends.services.anthropic import _PARAGRAPHS
from adaptkit.testing import FakeAnthropic
from adaptkit.types import Citation
from tests.prompt.conftest import KEY, rows

QUESTION = "The thing I ordered has not come to me"


class Desk(BaseModel):
    desk: str


@pytest.fixture
def service() -> Iterator[FakeAnthropic]:
    with closing(FakeAnthropic(KEY)) as service:
        yield service


@pytest.fixture
def client(service, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    opened: list[Client] = []

    def client(**fields: Any) -> Client:
        table = {"backend": "prompt", "model": "anthropic:claude-haiku-5-5", "base_url": service.wire.url}
        table |= {"examples": 2, "instructions": "Name the desk."}
        opened.append(Client(targets={"t": {**table, **fields}}, home=tmp_path / "home"))
        return opened[-1]

    yield client
    for each in opened:
        each.close()


@pytest.fixture
def model(client):
    return client().submit("t", Dataset.of(rows())).result()


def test_what_is_sent(model, service):
    model.chat(QUESTION, stop=("\n",))
    (body,) = service.requests
    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "Name the desk.", "cache_control": mark}]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert body["messages"][3]["content"][-1]["cache_control"] == mark
    assert body["messages"][4]["content"] == [{"type": "text", "text": QUESTION}]
    rest = {name: value for name, value in body.items() if name not in ("messages", "system")}
    assert rest == {"model": "claude-haiku-5-5", "max_tokens": 16_000, "stop_sequences": ["\n"]}


def test_sampling_is_refused_before_anything_is_sent(client, model, service):
    with pytest.raises(UnsupportedError, match="temperature: Claude takes no sampling parameters"):
        client(temperature=0.0).plan("t", Dataset.of(rows()))
    with pytest.raises(UnsupportedError, match=r"(?s)temperature.*seed"):
        model.chat(QUESTION, temperature=0.5, seed=1)
    assert not service.requests


def test_every_problem_of_a_plan_at_once(client):
    with pytest.raises(UnsupportedError) as caught:
        client(temperature=1.0, cache="30m").plan("t", Dataset.of(rows()))
    assert "temperature" in str(caught.value)
    assert "cache" in str(caught.value)
    assert '"5m" or "1h"' in str(caught.value)


def test_it_can_be_scored_all_the_same(model):
    held_out = Dataset.of([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A"}]}])
    assert score.score(model, held_out).correct == 1


def test_a_long_answer_comes_by_stream_and_whole(model, service):
    reply = model.chat(QUESTION, max_tokens=100_000)
    assert service.requests[0]["stream"] is True
    assert reply.text == QUESTION.upper()
    assert reply.usage.input_tokens > 20
    assert reply.finish_reason == "stop"
    service.say('{"desk": "cards"}', tools=[("look", {"number": 7})], stop="tool_use")
    tool = {"type": "function", "function": {"name": "look"}}
    assert model.chat(QUESTION, max_tokens=100_000, tools=(tool,)).tool_calls[0].arguments == {"number": 7}
    for silent, words in ((False, "Overloaded"), (True, "broke off")):
        service.broken_after, service.silent = 10, silent
        with pytest.raises(ServiceError, match=words):
            model.chat(QUESTION, max_tokens=100_000)


def test_overload(model, service):
    service.overloaded = 1
    with pytest.raises(ServiceError, match="Overloaded") as caught:
        model.chat(QUESTION)
    assert caught.value.status_code == 529
    assert caught.value.request_id == "req_fake"
    assert caught.value.transient


def test_answers_rest_on_documents(model, service):
    documents = (
        Document(title="Prices", text="Four crowns.", source="prices.txt"),
        Document(title="Hours", text="9-5"),
    )
    cited = {
        "type": "char_location",
        "cited_text": "Four crowns.",
        "document_index": 0,
        "document_title": "Prices",
        "start_char_index": 0,
        "end_char_index": 12,
    }
    service.say("It costs four.", citations=[cited])
    reply = model.chat("What does it cost?", documents=documents, citations=True)
    assert reply.citations == (
        Citation(start=0, end=14, quote="Four crowns.", title="Prices", source="prices.txt", document=0),
    )
    content = service.requests[0]["messages"][-1]["content"]
    assert [block["type"] for block in content] == ["document", "document", "text"]
    assert all(block["citations"] == {"enabled": True} for block in content[:2])
    assert content[0]["context"] == "prices.txt"
    with pytest.raises(UnsupportedError, match="not both"):
        model.chat("What does it cost?", documents=documents, citations=True, schema=Desk)
    assert len(service.requests) == 1


def test_what_was_found_goes_as_search_results(client, service, tmp_path):
    text = "# Parcels\n\nDuties are collected at the door.\n\nThe carrier gives a receipt.\n"
    (tmp_path / "parcels.md").write_text(text)
    given = Document(title="Hours", text="9-5", source="hours.txt")
    model = client(documents=[str(tmp_path / "parcels.md")], passages=1).submit("t", Dataset.of(rows())).result()
    service.say("At the door, 9 to 5.", citations=[_found("Duties are collected at the door.\n\n"), _read(given)])
    reply = model.chat("Who collects duties?", documents=(given,), citations=True)
    result, document, question = service.requests[0]["messages"][-1]["content"]
    assert (result["type"], document["type"], question["type"]) == ("search_result", "document", "text")
    assert result["citations"] == document["citations"] == {"enabled": True}
    assert result["source"].endswith("parcels.md")
    assert [block["text"].strip() for block in result["content"]][-2:] == [
        "Duties are collected at the door.",
        "The carrier gives a receipt.",
    ]
    found, read = reply.citations
    assert (found.title, found.source, found.document) == ("Parcels", "parcels.md", None)
    assert (read.title, read.source, read.document) == ("Hours", "hours.txt", 0)
    model.chat("Who collects duties?")
    assert "citations" not in json.dumps(service.requests[-1])


def _found(quote: str) -> dict[str, Any]:
    blocks = {"start_block_index": 0, "end_block_index": 1, "search_result_index": 0}
    return {
        "type": "search_result_location", "cited_text": quote, "source": "parcels.md", "title": "Parcels", **blocks
    }  # fmt: skip


def _read(document: Document) -> dict[str, Any]:
    place = {"document_index": 0, "document_title": document.title, "start_char_index": 0, "end_char_index": 3}
    return {"type": "char_location", "cited_text": document.text, **place}


def test_a_long_answer_cites_too(model, service):
    given = Document(title="Hours", text="9-5", source="hours.txt")
    service.say("9 to 5.", citations=[_read(given)])
    reply = model.chat("When?", documents=(given,), citations=True, max_tokens=100_000)
    assert [cited.source for cited in reply.citations] == ["hours.txt"]


@pytest.mark.parametrize(
    "text",
    ["a\n\nb\n \nc", "a", "\n\na\n\n\n b\nc\n\n", "", "a\n\n\n\nb"],
)
def test_paragraphs_are_the_whole_text(text):
    found = _PARAGRAPHS.findall(text)
    assert "".join(found) == text
    assert all(each.strip() for each in found)


def test_a_corpus_is_cited_with_the_rest(client, service, tmp_path):
    (tmp_path / "a.txt").write_text("Four crowns.")
    model = client(corpus=[str(tmp_path / "a.txt")], cache="1h").submit("t", Dataset.of(rows())).result()
    model.chat("What?", documents=(Document(title="b", text="Five."),), citations=True)
    corpus, found, question = service.requests[0]["messages"][-1]["content"]
    assert corpus["citations"] == found["citations"] == {"enabled": True}
    assert corpus["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in found
    assert question["text"] == "What?"


@pytest.mark.parametrize(
    "turns",
    [
        [Message(role="user", content="a"), Message(role="assistant", content="It is")],
        [Message(role="user", content="a"), Message(role="system", content="b"), Message(role="user", content="c")],
    ],
)
def test_what_claude_does_not_take_is_not_sent(model, service, turns):
    with pytest.raises(UnsupportedError, match="Claude"):
        model.chat(turns)
    assert not service.requests


def test_neighbouring_turns_are_one(model, service):
    model.chat([Message(role="user", content="a"), Message(role="user", content=""), Message(role="user", content="b")])
    assert [block["text"] for block in service.requests[0]["messages"][-1]["content"]] == ["a", "b"]


def test_a_schema_is_made_fit(model, service):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3}, "to": {"oneOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["n"],
    }
    service.say('{"n": 2}')
    service.say('{"n": 3}')
    assert model.chat(QUESTION, schema=schema).parsed == {"n": 3}
    sent = service.requests[0]["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert "minimum" not in sent["properties"]["n"]
    assert "tool_choice" not in json.dumps(service.requests[0])


def test_unknown_words_are_carried(model, service):
    service.say("x", stop="moon_phase")
    assert model.chat(QUESTION).finish_reason == "moon_phase"
    service.say("x", stop="model_context_window_exceeded")
    assert model.chat(QUESTION).finish_reason == "length"


def test_it_counts(model):
    counted = model._adapter.count(model.id, (Message(role="user", content=QUESTION),), _options())
    assert counted == model.chat(QUESTION).usage.input_tokens


def test_a_page_is_no_count(model, service):
    service.wire.next("count", "html")
    with pytest.raises(BackendError, match="not JSON"):
        model._adapter.count(model.id, (Message(role="user", content=QUESTION),), _options())


def _options():
    from adaptkit import ChatOptions

    return ChatOptions()

"""Claude through the official SDK, over real sockets: what goes out, what comes back, and every way it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adaptkit import (
    Client,
    Dataset,
)
from adaptkit.testing.anthropic import FakeAnthropic
from tests.prompt.conftest import KEY, rows

QUESTION = "The thing I ordered has not come to me"
MODEL = "anthropic:claude-haiku-5-5"


@pytest.fixture
def service() -> Iterator[FakeAnthropic]:
    service = FakeAnthropic(KEY)
    yield service
    service.close()


@pytest.fixture
def opened(service, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    clients = []

    def client(**fields: Any) -> Client:
        table = {"backend": "prompt", "model": MODEL, "base_url": service.wire.url, "examples": 2, **fields}
        clients.append(Client(targets={"t": table}, home=tmp_path / "home"))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


@pytest.fixture
def ask(opened):
    def model(data=None, **fields):
        return opened(**{"instructions": "Name the desk.", **fields}).submit("t", data or Dataset.of(rows())).result()

    return model


def test_a_question_goes_out_behind_instructions_and_examples(ask, service):
    reply = ask().chat(QUESTION, max_tokens=9, stop=("\n",))
    assert reply.text == QUESTION.upper()
    assert reply.finish_reason == "stop"
    (body,) = service.requests
    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "Name the desk.", "cache_control": mark}]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert body["messages"][3]["content"][-1]["cache_control"] == mark
    assert body["messages"][4]["content"] == [{"type": "text", "text": QUESTION}]
    rest = {name: value for name, value in body.items() if name not in ("messages", "system")}
    assert rest == {"model": "claude-haiku-5-5", "max_tokens": 9, "stop_sequences": ["\n"]}


def test_a_stream_is_what_chat_says(ask, service):
    model = ask()
    pieces = list(model.stream(QUESTION))
    assert len(pieces) > 5
    assert "".join(pieces) == model.chat(QUESTION).text
    stream = model.stream(QUESTION)
    next(stream)
    stream.close()
    assert model.chat("again").text == "AGAIN"

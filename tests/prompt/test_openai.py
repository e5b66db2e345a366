"""What is particular to OpenAI's models, and to Mistral's."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest
from pydantic import BaseModel

from adaptkit import Client, Dataset, ServiceError, UnsupportedError
from adaptkit.testing import FakeMistral, FakeOpenAIChat
from tests.prompt.conftest import KEY, rows

QUESTION = "The thing I ordered has not come to me"


class Line(BaseModel):
    what: str
    count: int = 1


class Order(BaseModel):
    lines: list[Line]
    note: str | None = None


@pytest.fixture
def gpt(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with closing(FakeOpenAIChat(KEY)) as service:

        def ask(**fields: Any):
            table = {"backend": "prompt", "model": "openai:gpt-6-luna", "base_url": service.url, "examples": 2}
            client = Client(
                targets={"t": {**table, "instructions": "Name the desk.", **fields}}, home=tmp_path / "home"
            )
            return client.submit("t", Dataset.of(rows())).result(), service

        yield ask


def test_what_is_sent(gpt):
    model, service = gpt(cache="12h")
    model.chat(QUESTION, max_tokens=9, temperature=0.5)
    (body,) = service.requests
    assert [item["role"] for item in body["input"]] == ["developer", "user", "assistant", "user", "assistant", "user"]
    assert body["input"][3]["content"][-1]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert json.dumps(body).count("prompt_cache_breakpoint") == 1
    assert len(body.pop("prompt_cache_key")) == 32
    rest = {name: value for name, value in body.items() if name != "input"}
    assert rest == {
        "model": "gpt-6-luna",
        "store": False,
        "max_output_tokens": 9,
        "temperature": 0.5,
        "prompt_cache_options": {"ttl": "12h"},
    }


@pytest.mark.parametrize("model", ["openai:gpt-5.4-mini", "openai:gpt-9-unheard-of"])
def test_marks_go_only_where_they_are_known(gpt, model):
    model, service = gpt(model=model)
    model.chat(QUESTION)
    assert "prompt_cache_key" in service.requests[0]
    assert "breakpoint" not in json.dumps(service.requests[0])
    assert "prompt_cache_options" not in service.requests[0]


def test_the_key_is_that_of_the_prompt_and_tells_nothing(gpt):
    for instructions in ("one", "one", "two"):
        model, service = gpt(instructions=instructions)
        model.chat(QUESTION)
    first, second, third = (body["prompt_cache_key"] for body in service.requests)
    assert first == second != third


def test_what_responses_do_not_take_is_refused(gpt):
    model, service = gpt()
    with pytest.raises(UnsupportedError, match=r"(?s)seed.*stop"):
        model.chat(QUESTION, seed=1, stop=("a",))
    assert not service.requests


def test_strict_where_a_schema_can_be(gpt):
    model, service = gpt()
    service.say('{"lines": [{"what": "cable", "count": 2}], "note": null}')
    assert model.chat(QUESTION, schema=Order).parsed == Order(lines=[Line(what="cable", count=2)])
    form = service.requests[0]["text"]["format"]
    assert form["strict"] is True
    assert form["schema"]["required"] == ["lines", "note"]
    assert form["schema"]["$defs"]["Line"]["additionalProperties"] is False
    service.say('{"a": 1}')
    assert model.chat(QUESTION, schema=dict[str, int]).parsed == {"a": 1}
    assert service.requests[1]["text"]["format"]["strict"] is False


def test_a_failed_answer(gpt):
    model, service = gpt()
    for ask in (model.chat, lambda question: list(model.stream(question))):
        service.say("", status="failed", error={"code": "server_error", "message": "the GPU is gone"})
        with pytest.raises(ServiceError, match="the GPU is gone"):
            ask(QUESTION)


def test_a_filtered_answer_keeps_its_word(gpt):
    model, service = gpt()
    service.say("x", status="incomplete", reason="content_filter")
    assert model.chat(QUESTION).finish_reason == "content_filter"


def test_mistral_takes_what_it_knows(tmp_path, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    with closing(FakeMistral(KEY)) as service:
        table = {"backend": "prompt", "model": "mistral:mistral-small-2603", "base_url": service.wire.url}
        client = Client(targets={"t": {**table, "examples": 0}}, home=tmp_path / "home")
        model = client.submit("t", Dataset.of(rows("Be brief."))).result()
        service.say('{"a": 1}')
        model.chat(QUESTION, seed=3, stop=("\n",), temperature=0.0, max_tokens=5, schema={"type": "object"})
        (body,) = service.requests
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": QUESTION},
        ]
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
        assert body["response_format"] == form
        assert (body["random_seed"], body["stop"], body["temperature"], body["max_tokens"]) == (3, ["\n"], 0.0, 5)
        assert len(body["prompt_cache_key"]) == 32


def test_what_is_sent_is_what_the_sdk_makes_of_it(gpt):
    import openai

    model, service = gpt(cache="12h")
    look = {"name": "look", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    turns = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, image]}]
    service.say('{"desk": [1]}')
    model.chat(turns, max_tokens=9, tools=({"type": "function", "function": look},), schema=dict[str, list[int]])
    (sent,) = service.requests
    with openai.OpenAI(api_key=KEY, base_url=service.url, max_retries=0) as sdk:
        sdk.responses.create(**sent)
    assert service.requests[1] == sent

"""Answers in a form, documents and tools, with services that take nothing but messages, and with a model in process."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from pydantic import BaseModel

from adaptkit import (
    AnswerError,
    ChatOptions,
    Client,
    ConfigError,
    Dataset,
    Document,
    MissingDependencyError,
    PromptConfig,
    Reply,
    UnsupportedError,
)
from adaptkit.adapter import Abilities
from adaptkit.asking import Asking
from adaptkit.steps import Request, SystemClock, run
from adaptkit.structured import Misfit, form_of
from adaptkit.testing import ScriptedConfig, ScriptedService
from adaptkit.types import Message, ToolCall
from tests.prompt.conftest import rows
from tests.prompt.server import completion

SCHEMA = {"type": "object", "properties": {"desk": {"enum": ["cards", "parcels"]}}, "required": ["desk"]}


class Desk(BaseModel):
    desk: str
    urgency: int = 0


@dataclasses.dataclass
class Point:
    x: int
    y: int


def said(text: str, finish: str = "stop"):
    return completion({"content": text}, finish, usage={"prompt_tokens": 10, "completion_tokens": 5})


# a service that takes messages and nothing else -----------------------------------------------------------------------


def test_the_form_is_told_in_the_system_message(model, server):
    server.next(said('{"desk": "cards"}'))
    assert model.chat("my card", schema=Desk).parsed == Desk(desk="cards")
    body = server.requests[0].body
    system = [turn["content"] for turn in body["messages"] if turn["role"] == "system"]
    assert len(system) == 1
    assert system[0].startswith("Name the desk.")
    assert '"urgency"' in system[0]
    assert "response_format" not in body


def test_a_wrong_answer_is_shown_to_the_model_and_put_right(model, server):
    server.next(said('{"desk": 7}'), said('{"desk": "parcels"}'))
    reply = model.chat("my card", schema=SCHEMA)
    assert reply.parsed == {"desk": "parcels"}
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (20, 10)
    *_, answer, complaint = server.requests[1].body["messages"]
    assert answer == {"role": "assistant", "content": '{"desk": 7}'}
    assert '$.desk: enum ["cards", "parcels"]' in complaint["content"]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "  {}\n", "```\n{}\n```"])
def test_what_models_put_around_json_does_no_harm(model, server, around):
    server.next(said(around.format('{"desk": "cards"}')))
    assert model.chat("my card", schema=SCHEMA).parsed == {"desk": "cards"}
    assert len(server.requests) == 1


def test_twice_wrong_is_an_error_with_the_reply(model, server):
    server.next(said("Sure! secret-words"), said("Of course, secret-words"))
    with pytest.raises(AnswerError, match="it is not JSON") as caught:
        model.chat("my card", schema=SCHEMA)
    assert caught.value.reply.text == "Of course, secret-words"
    assert caught.value.reply.usage.output_tokens == 10
    assert "secret-words" not in str(caught.value)
    assert len(server.requests) == 2


def test_cut_off_is_not_asked_again(model, server):
    server.next(said('{"desk', "length"))
    with pytest.raises(AnswerError, match="cut off") as caught:
        model.chat("my card", schema=SCHEMA)
    assert caught.value.reply.usage.output_tokens == 5
    assert len(server.requests) == 1


def test_a_service_that_can_hold_to_a_schema_is_told_so(server, tmp_path):
    table = {"backend": "prompt", "model": "m", "base_url": server.url, "constrain": True}
    with Client(targets={"t": table}, home=tmp_path) as client:
        server.next(said('{"desk": "cards"}'))
        client.submit("t", Dataset.of(rows())).result().chat("q", schema=SCHEMA)
    body = server.requests[0].body
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "JSON" not in json.dumps(body["messages"])


def test_many_answers_in_a_form(model, server):
    server.next(said("[1]"), said("no"), said("[2]"))
    assert [reply.parsed for reply in model.generate(["a", "b"], schema=list[int])] == [[1], [2]]


def test_a_stream_asks_for_the_form(model, server):
    list(model.stream("q", schema=SCHEMA))
    assert '"parcels"' in server.requests[0].body["messages"][0]["content"]


def test_documents_are_written_before_the_question(model, server):
    documents = (Document(title='A "title"', text="Four crowns.", source="a.txt"),)
    model.chat("What does it cost?", documents=documents)
    last = server.requests[0].body["messages"][-1]["content"]
    assert last.startswith('<document number="1" title="A &quot;title&quot;" source="a.txt">\nFour crowns.')
    assert last.endswith("What does it cost?")


def test_citations_are_refused_where_there_are_none(model, server):
    with pytest.raises(UnsupportedError, match="citations"):
        model.chat("q", citations=True)
    assert not server.requests


def test_tools_go_along(model, server):
    tool = {"type": "function", "function": {"name": "look"}}
    model.chat("q", tools=(tool,))
    assert server.requests[0].body["tools"] == [tool]


def test_what_was_read_from_a_cache_is_told(model, server):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
    server.next(completion({"content": "x"}, usage=usage))
    assert model.chat("q").usage.cache_read_tokens == 8


def test_answers_in_a_form_are_kept_by_map(client, model, server):
    server.next(said('{"desk": "cards"}'))
    for _ in range(2):
        (answer,) = client.map(model, ["my card"], schema=SCHEMA)
        assert answer.reply.parsed == {"desk": "cards"}
    assert len(server.requests) == 1
    with pytest.raises(ConfigError, match="JSON Schema"):
        list(client.map(model, ["my card"], schema=Desk))


# other backends -------------------------------------------------------------------------------------------------------


def test_a_backend_that_knows_nothing_of_it(tmp_path):
    service = ScriptedService()
    with Client(targets={"t": ScriptedConfig(service=service.name)}, home=tmp_path) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        assert model.abilities() == Abilities()
        with pytest.raises(UnsupportedError, match="tools and no citations"):
            model.chat("q", tools=({"type": "function", "function": {"name": "look"}},), citations=True)
        with pytest.raises(AnswerError):
            model.chat("q", schema=SCHEMA)


def test_a_model_in_this_process(tmp_path):
    with Client(targets={"t": PromptConfig()}, home=tmp_path) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        with pytest.raises(UnsupportedError, match="tools"):
            model.chat("q", tools=({"type": "function", "function": {"name": "look"}},))
        with pytest.raises(AnswerError):
            model.chat("q", schema=SCHEMA, max_tokens=8)


# the forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (Desk, '{"desk": "a", "urgency": 1}', Desk(desk="a", urgency=1)),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, bool], '{"a": true}', {"a": True}),
        (SCHEMA, '{"desk": "cards"}', {"desk": "cards"}),
        ({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}, "[1]", [1]),
    ],
)
def test_forms_read(schema, text, value):
    assert form_of(schema).read(text) == value


@pytest.mark.parametrize(
    ("schema", "text", "words"),
    [
        (Desk, '{"urgency": "x"}', r"\$\.desk: missing; \$\.urgency: int parsing"),
        (Desk, "secret", "not JSON"),
        (SCHEMA, "secret", "not JSON"),
        (SCHEMA, '{"desk": "secret"}', r"\$\.desk: enum"),
        (SCHEMA, "{}", r'\$: required \["desk"\]'),
        (SCHEMA, "[" * 100_000, "not JSON"),
    ],
)
def test_forms_refuse_without_repeating_what_was_said(schema, text, words):
    with pytest.raises(Misfit, match=words) as caught:
        form_of(schema).read(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("schema", [{"type": "objekt"}, object(), {"type": "object", "required": 3}])
def test_what_is_no_schema(schema):
    with pytest.raises(ConfigError, match="JSON Schema"):
        form_of(schema)


def test_a_reference_elsewhere_is_never_fetched(monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("it went out"))
    with pytest.raises(ConfigError, match="never fetched"):
        form_of({"prefixItems": [{"$ref": "http://127.0.0.1:9/schema.json"}]})
    with pytest.raises(ConfigError, match="it has no /nowhere"):
        form_of({"$ref": "#/nowhere"}).read("{}")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[schema\]"):
        form_of({"type": "object", "title": "not seen before"})


def test_calls_of_tools_are_no_answer():
    reply = Reply(text="", tool_calls=(ToolCall(name="look", arguments={}),), finish_reason="tool_calls")
    asking = Asking.of(ChatOptions(), SCHEMA, Abilities(schema=True), "nobody")
    with pytest.raises(AnswerError, match="tools") as caught:
        run(asking.answer((Message(role="user", content="q"),), lambda *_: Request(lambda: reply)), SystemClock())
    assert caught.value.reply is reply

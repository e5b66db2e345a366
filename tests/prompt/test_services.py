"""What holds for every vendor, through its official SDK and over real sockets."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from pydantic import BaseModel, Field

from adaptkit import (
    AnswerError,
    AsyncClient,
    AuthenticationError,
    BackendError,
    Client,
    ConfigError,
    ConnectionFailedError,
    DataError,
    Dataset,
    Document,
    EgressError,
    Message,
    MissingDependencyError,
    Model,
    PermissionDeniedError,
    PromptConfig,
    QuotaError,
    RateLimitError,
    Reply,
    ServiceError,
    UnsupportedError,
)
from adaptkit.types import ImagePart, TextPart
from tests.prompt.conftest import KEY, rows
from tests.prompt.services import VENDORS, Vendor

QUESTION = "The thing I ordered has not come to me"
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks a parcel up.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
    },
}


class Desk(BaseModel):
    desk: str
    urgency: Annotated[int, Field(ge=0, le=3)] = 0


@dataclass
class Setting:
    vendor: Vendor
    service: Any
    home: Path
    clients: list[Client]

    def client(self, egress: Any = None, **fields: Any) -> Client:
        table = {"backend": "prompt", "model": self.vendor.model, "base_url": self.vendor.url(self.service)}
        table |= {"examples": 2, "instructions": "Name the desk.", "timeout": 2.0}
        self.clients.append(Client(targets={"t": {**table, **fields}}, home=self.home, egress=egress))
        return self.clients[-1]

    def model(self, data: Dataset | None = None, **fields: Any) -> Model:
        return self.client(**fields).submit("t", data or Dataset.of(rows())).result()

    def opened(self, **fields: Any) -> Model:
        """A model by whose client nobody was asked yet, the service for how much it reads among them."""
        with pytest.MonkeyPatch.context() as without:
            without.delenv(self.vendor.key_env)
            ref = self.model(**fields).ref
        return self.client(**fields).model(ref)

    @property
    def body(self) -> dict[str, Any]:
        return self.service.requests[-1]

    @property
    def sent(self) -> str:
        """The last request as text, in the order in which services read it."""
        first = ("tools", "system")
        ordered = sorted(self.body.items(), key=lambda field: first.index(field[0]) if field[0] in first else 2)
        return json.dumps(dict(ordered), ensure_ascii=False)


@pytest.fixture(params=VENDORS.values(), ids=VENDORS)
def setting(request, tmp_path, monkeypatch) -> Iterator[Setting]:
    vendor: Vendor = request.param
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        made = Setting(vendor, service, tmp_path / "home", [])
        yield made
        for client in made.clients:
            client.close()


# a call ---------------------------------------------------------------------------------------------------------------


def test_what_stands_in_front_goes_out_in_order(setting):
    reply = setting.model().chat(QUESTION, max_tokens=9)
    assert reply.text == QUESTION.upper()
    assert reply.finish_reason == "stop"
    assert reply.usage.input_tokens > 20
    assert reply.usage.output_tokens == 9
    assert reply.raw["model"] == setting.vendor.model.partition(":")[2] == setting.body["model"]
    places = [setting.sent.index(text) for text in ("Name the desk.", "cards", "parcels", QUESTION)]
    assert places[0] < min(places[1:3])
    assert max(places[1:3]) < places[3]


def test_a_stream_is_what_chat_says(setting):
    model = setting.model()
    pieces = list(model.stream(QUESTION))
    assert len(pieces) > 5
    assert "".join(pieces) == model.chat(QUESTION).text
    stream = model.stream(QUESTION)
    next(stream)
    stream.close()
    assert model.chat("again").text == "AGAIN"


def test_a_conversation_goes_on(setting):
    turns = [
        {"role": "system", "content": "In French."},
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": "Bonjour"},
        {"role": "user", "content": "and now"},
    ]
    assert setting.model().chat(turns).text == "AND NOW"
    places = [setting.sent.index(text) for text in ("Name the desk.", "In French.", "Hello there", "Bonjour")]
    assert places == sorted(places)


def test_it_is_one_request_and_never_retried(setting):
    model = setting.model()
    for fault in ("failed", "rate_limited", "conflict", "lost"):
        setting.service.wire.next("chat", fault)
        with pytest.raises(BackendError):
            model.chat(QUESTION)
    assert setting.service.wire.count()["chat"] == 4


FAULTS = {
    "lost": ServiceError,
    "truncated": ServiceError,
    "failed_after": ServiceError,
    "html": BackendError,
    "failed": ServiceError,
    "conflict": ServiceError,
    "rate_limited": RateLimitError,
    "quota": QuotaError,
    "refused": BackendError,
    "unauthorized": AuthenticationError,
    "forbidden": PermissionDeniedError,
    "redirect": BackendError,
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.items())
def test_every_fault_has_its_error(setting, fault, kind):
    model = setting.model()
    setting.service.wire.next("chat", fault)
    with pytest.raises(BackendError) as caught:
        model.chat(QUESTION)
    error = caught.value
    assert isinstance(error, kind)
    assert error.backend == "prompt"
    assert error.__context__ is None or "Error" in type(error.__context__).__name__
    assert KEY not in f"{error!r}{error.__cause__!r}{error.__context__!r}{pickle.dumps(error)!r}"
    assert QUESTION not in f"{error!r}{pickle.dumps(error)!r}"
    assert not setting.service.wire.leaked
    if fault == "rate_limited":
        assert error.retry_after == setting.service.wire.retry_after
    assert model.chat("again").text == "AGAIN"


@pytest.mark.parametrize("fault", ["failed", "rate_limited", "quota", "unauthorized", "redirect", "lost", "html"])
def test_streams_fail_alike(setting, fault):
    model = setting.model()
    setting.service.wire.next("chat", fault)
    with pytest.raises(BackendError) as caught:
        list(model.stream(QUESTION))
    assert KEY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


@pytest.mark.parametrize("silent", [True, False])
def test_a_stream_that_breaks_off(setting, silent):
    model = setting.model()
    setting.service.silent = silent
    setting.service.broken_after = 10
    stream = model.stream(QUESTION)
    assert next(stream)
    with pytest.raises(ServiceError):
        list(stream)


def test_a_slow_service_is_given_up(setting):
    model = setting.model(timeout=0.3)
    setting.service.wire.delay = 4.0
    setting.service.wire.next("chat", "slow")
    begun = time.monotonic()
    with pytest.raises(ServiceError):
        model.chat(QUESTION)
    assert time.monotonic() - begun < 3.0


def test_nobody_there(setting):
    model = setting.opened()
    setting.service.wire.close()
    with pytest.raises(ConnectionFailedError) as caught:
        model.chat(QUESTION)
    assert caught.value.never_ran
    assert KEY not in f"{caught.value.__cause__!r}{getattr(caught.value.__cause__, 'request', None)!r}"


def test_the_key_is_read_at_each_request(setting, monkeypatch):
    model = setting.model()
    monkeypatch.setenv(setting.vendor.key_env, "sk-other")
    with pytest.raises(AuthenticationError):
        model.chat(QUESTION)
    monkeypatch.setenv("MINE", KEY)
    assert setting.model(api_key_env="MINE").chat("again").text == "AGAIN"
    monkeypatch.delenv(setting.vendor.key_env)
    with pytest.raises(ConfigError, match=setting.vendor.key_env):
        model.chat(QUESTION)


def test_neither_key_nor_prompt_is_in_a_log(setting, caplog):
    caplog.set_level(logging.DEBUG)
    model = setting.model()
    model.chat(QUESTION)
    list(model.stream(QUESTION))
    setting.service.wire.next("chat", "failed")
    with pytest.raises(ServiceError):
        model.chat(QUESTION)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert caplog.records
    for secret in (KEY, QUESTION, "my card is gone", "Name the desk"):
        assert secret not in logged


# planning -------------------------------------------------------------------------------------------------------------


def test_a_plan_needs_neither_key_nor_network(setting, monkeypatch):
    monkeypatch.delenv(setting.vendor.key_env)
    client = setting.client(base_url=None)
    plan = client.plan("t", Dataset.of(rows()))
    assert plan.destinations == (setting.vendor.host,)
    assert plan.request["model"] == setting.vendor.model
    assert plan.request["call"]["cold_usd"] >= plan.request["call"]["warm_usd"] > 0
    assert "my card" not in repr(plan)
    assert not plan.warnings


def test_egress_is_enforced(setting):
    client = setting.client(base_url=None, egress=["example.com"])
    with pytest.raises(EgressError, match=setting.vendor.host):
        client.plan("t", Dataset.of(rows()))


def test_the_environment_leads_nowhere_else(setting, monkeypatch):
    model = setting.opened(base_url=None)
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, setting.service.wire.elsewhere)
    adapter = model._adapter
    adapter.context = type(adapter.context)(adapter.context.home)
    serving = adapter._serving
    service = serving.service(serving.model(model.id).adapted)
    sdk = service.keyed.client()
    address = getattr(sdk, "base_url", None) or sdk.sdk_configuration.server_url
    assert setting.vendor.host in str(address)


def test_a_request_elsewhere_is_refused_on_its_way(setting):
    """The policy holds for every request, whatever a plan said: here for the connection itself."""
    model = setting.opened(base_url=None)
    adapter = model._adapter
    adapter._serving._http._egress = type(adapter.context.egress).parse("none")
    with pytest.raises(EgressError, match=setting.vendor.host):
        model.chat(QUESTION)
    with pytest.raises(EgressError):
        list(model.stream(QUESTION))


def test_without_its_sdk_a_plan_warns_and_a_call_says_what_to_install(setting, monkeypatch):
    import builtins
    import sys
    from importlib import util

    name = setting.vendor.model.partition(":")[0]
    package = {"mistral": "mistralai"}.get(name, name)
    model = setting.opened()
    real_find, real_import = util.find_spec, builtins.__import__
    monkeypatch.setattr(
        "adaptkit.backends.prompt.adapter.find_spec", lambda each: None if each == package else real_find(each)
    )
    plan = setting.client().plan("t", Dataset.of(rows()))
    assert any(f"adaptkit[{name}]" in warning for warning in plan.warnings)
    monkeypatch.delitem(sys.modules, f"adaptkit.backends.services.{name}", raising=False)

    def without(module, *arguments, **named):
        if module.partition(".")[0] == package:
            raise ImportError(module, name=package)
        return real_import(module, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=f"adaptkit\\[{name}\\]"):
        model.chat(QUESTION)


def test_a_strange_file_cannot_send_the_key_elsewhere(setting):
    model = setting.model()
    path = Path(model.id)
    path.write_text(path.read_text().replace(setting.vendor.url(setting.service), "http://127.0.0.1:1"))
    with pytest.raises(ConfigError, match="base_url"):
        model.chat(QUESTION)
    path.write_text(path.read_text().replace(setting.vendor.model, "builtin:tiny"))
    with pytest.raises(ConfigError):
        model.chat(QUESTION)


# the cache ------------------------------------------------------------------------------------------------------------


def test_what_stands_in_front_is_read_from_the_cache_the_second_time(setting):
    model = setting.model(instructions="Name the desk. " * 600)
    cold, warm = model.chat(QUESTION).usage, model.chat("Another question altogether").usage
    assert cold.cache_read_tokens == 0
    assert warm.cache_read_tokens > 1000
    assert warm.input_tokens > warm.cache_read_tokens
    assert warm.cache_write_tokens == 0
    if setting.vendor.host != "api.mistral.ai":
        assert cold.cache_write_tokens == warm.cache_read_tokens


def test_a_cache_can_be_left_out(setting):
    setting.model(cache="off").chat(QUESTION)
    assert "cache" not in setting.sent


def test_a_ttl_that_the_vendor_does_not_know_is_refused(setting):
    known = {"api.anthropic.com": "1h", "api.openai.com": "12h"}.get(setting.vendor.host)
    for ttl in ("5m", "30m", "1h", "12h"):
        if ttl == known:
            setting.model(cache=ttl).chat(QUESTION)
            assert f'"{ttl}"' in setting.sent
    wrong = "12h" if known == "1h" else "1h"
    with pytest.raises(UnsupportedError, match="cache"):
        setting.client(cache=wrong).plan("t", Dataset.of(rows()))


# answers in a form ----------------------------------------------------------------------------------------------------


def test_an_answer_in_a_form(setting):
    model = setting.model()
    setting.service.say('{"desk": "cards", "urgency": 2}')
    reply = model.chat(QUESTION, schema=Desk)
    assert reply.parsed == Desk(desk="cards", urgency=2)
    assert "json_schema" in setting.sent
    setting.service.say('{"desk": "cards"}')
    schema = {"type": "object", "properties": {"desk": {"type": "string"}}, "required": ["desk"]}
    assert model.chat(QUESTION, schema=schema).parsed == {"desk": "cards"}
    assert len(setting.service.requests) == 2


def test_an_answer_is_put_right_once(setting):
    model = setting.model()
    setting.service.say('{"desk": "cards", "urgency": 7}')
    setting.service.say('{"desk": "cards", "urgency": 3}')
    reply = model.chat(QUESTION, schema=Desk)
    assert reply.parsed.urgency == 3
    assert "$.urgency" in setting.sent
    assert reply.usage.output_tokens == 14
    for _ in range(2):
        setting.service.say('{"desk": "cards", "urgency": 9}')
    with pytest.raises(AnswerError, match="also when asked again") as caught:
        model.chat(QUESTION, schema=Desk)
    assert caught.value.reply.usage.output_tokens == 14
    assert isinstance(caught.value, ValueError)
    assert "cards" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).reply == caught.value.reply
    assert len(setting.service.requests) == 4


def test_an_answer_that_was_cut_off_is_not_lost(setting):
    model = setting.model()
    setting.service.say('{"desk": "ca', **setting.vendor.cut)
    with pytest.raises(AnswerError, match="max_tokens") as caught:
        model.chat(QUESTION, schema=Desk)
    assert caught.value.reply.text == '{"desk": "ca'
    assert caught.value.reply.usage.output_tokens > 0
    assert caught.value.reply.finish_reason == "length"
    assert len(setting.service.requests) == 1


def test_a_refusal_is_an_answer(setting):
    if setting.vendor.refusal is None:
        pytest.skip("it has no word for it")
    model = setting.model()
    setting.service.say(**setting.vendor.refusal)
    assert model.chat(QUESTION).finish_reason == "refusal"
    setting.service.say(**setting.vendor.refusal)
    with pytest.raises(AnswerError, match="refused"):
        model.chat(QUESTION, schema=Desk)


def test_every_answer_keeps_the_schema_of_the_model(setting, tmp_path):
    path = tmp_path / "desk.json"
    path.write_text(json.dumps(Desk.model_json_schema()))
    model = setting.model(answers=str(path))
    setting.service.say('{"desk": "cards"}')
    assert model.chat(QUESTION).parsed == {"desk": "cards"}
    assert "json_schema" in setting.sent
    setting.service.say("[1]")
    assert model.chat(QUESTION, schema=list[int]).parsed == [1]
    kinds = [segment["kind"] for segment in json.loads(Path(model.id).read_text())["segments"]]
    assert kinds == ["instructions", "schema", "examples", "question"]


def test_a_changed_schema_is_another_run(setting, tmp_path):
    path = tmp_path / "desk.json"
    path.write_text('{"type": "object"}')
    client, data = setting.client(answers=str(path)), Dataset.of(rows())
    first = client.submit("t", data)
    assert client.submit("t", data).reused
    path.write_text('{"type": "array"}')
    assert client.submit("t", data).id != first.id


def test_async_does_the_same(setting):
    setting.model()
    table = setting.clients[0].targets

    async def same() -> Reply:
        async with AsyncClient(targets=dict(table), home=setting.home) as client:
            model = await (await client.submit("t", Dataset.of(rows()))).result()
            setting.service.say('{"desk": "cards"}')
            return await model.chat(QUESTION, schema=Desk)

    assert anyio.run(same).parsed == Desk(desk="cards")


# documents, tools, images ---------------------------------------------------------------------------------------------


def test_a_corpus_stands_before_every_question(setting, tmp_path):
    (tmp_path / "prices.txt").write_text("A parcel costs four crowns. " * 200)
    model = setting.model(corpus=[str(tmp_path / "prices.txt")])
    model.chat("What does it cost?")
    assert model.chat("And abroad?").usage.cache_read_tokens > 1000
    places = [setting.sent.index(text) for text in ("parcels", "four crowns", "And abroad?")]
    assert places == sorted(places)
    said = json.loads(Path(model.id).read_text())
    assert [segment["kind"] for segment in said["segments"]] == ["instructions", "examples", "corpus", "question"]
    assert said["segments"][2]["documents"][0]["title"] == "prices"
    assert str(tmp_path) not in Path(model.id).read_text()


def test_documents_of_one_question(setting):
    found = (Document(title="Prices", text="Four crowns.", source="prices.txt"),)
    setting.model().chat("What does it cost?", documents=found)
    places = [setting.sent.index(text) for text in ("Four crowns.", "What does it cost?")]
    assert places == sorted(places)
    assert "prices.txt" in setting.sent


def test_tools_are_called_and_answered(setting):
    model = setting.model()
    setting.service.say(
        **{"stop": {"api.anthropic.com": "tool_use"}.get(setting.vendor.host, "tool_calls")}
        if setting.vendor.host != "api.openai.com"
        else {},
        tools=[("look", {"number": 7})],
    )
    reply = model.chat("Where is 7?", tools=(TOOL,))
    assert reply.finish_reason == "tool_calls"
    (call,) = reply.tool_calls
    assert (call.name, call.arguments) == ("look", {"number": 7})
    assert call.id
    assert setting.vendor.tools_field in setting.sent
    turns = [
        Message(role="user", content="Where is 7?"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="in Brno", tool_call_id=call.id),
    ]
    setting.service.say("In Brno.")
    assert model.chat(turns, tools=(TOOL,)).text == "In Brno."
    assert "in Brno" in setting.sent
    assert call.id in setting.sent


def test_rows_with_tools_are_examples(setting):
    calls = [{"id": "c1abcdefg", "type": "function", "function": {"name": "look", "arguments": '{"number": 1}'}}]
    turns = [
        {"role": "user", "content": "where is 1"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "in Olomouc", "tool_call_id": "c1abcdefg"},
        {"role": "assistant", "content": "In Olomouc."},
    ]
    model = setting.model(Dataset.of([{"messages": turns, "tools": [TOOL]}]), examples=1)
    model.chat("where is 2")
    assert "in Olomouc" in setting.sent
    assert "Looks a parcel up." in setting.sent
    kinds = [segment["kind"] for segment in json.loads(Path(model.id).read_text())["segments"]]
    assert kinds == ["tools", "instructions", "examples", "question"]


def test_images_go_along(setting):
    parts = (TextPart(text="What is this?"), ImagePart(url="data:image/png;base64,iVBORw0KGgo="))
    assert setting.model().chat([Message(role="user", content=parts)]).text == "WHAT IS THIS?"
    assert "iVBORw0KGgo=" in setting.sent


# too long -------------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_not_sent(setting, monkeypatch):
    from adaptkit.prices import Prices, RateCard

    real = Prices.chat

    def small(self, *arguments) -> RateCard | None:
        import msgspec

        card = real(self, *arguments)
        return None if card is None else msgspec.structs.replace(card, context=300)

    monkeypatch.setattr(Prices, "chat", small)
    setting.service.reads = None
    model = setting.model()
    assert model.chat("short").text == "SHORT"
    assert not setting.service.wire.count()["count"]
    with pytest.raises(DataError, match="shorten the conversation"):
        model.chat("long " * 600)
    sent = setting.service.wire.count()
    assert (sent["chat"], sent["count"]) == (1, int(setting.vendor.counts))
    assert model.chat("just " * 130)  # may fit, so the service decides


def test_a_ticket_of_todays_design_loads():
    config = PromptConfig(model="anthropic:claude-haiku-5-5")
    assert config.host == "api.anthropic.com"
    assert config.key_env == "ANTHROPIC_API_KEY"
    ollama = PromptConfig(model="mistral:7b", base_url="http://localhost:11434/v1", wire="chat")
    assert ollama.vendor is None

"""Questions that are awaited: the vendors' asynchronous clients keep every rule that the others keep, and no thread."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import anyio
import pytest

from adaptkit import (
    AsyncClient,
    AsyncModel,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    DataError,
    Dataset,
    EgressError,
    Reply,
    ServiceError,
)
from adaptkit.http import Egress
from adaptkit.http_clients import Clients, PerLoop
from adaptkit.testing.openai_chat import FakeOpenAIChat
from tests.prompt.conftest import KEY, rows
from tests.prompt.server import Answer
from tests.prompt.services import VENDORS
from tests.prompt.test_services import FAULTS, QUESTION, Desk, Setting


@pytest.fixture(params=["asyncio", "trio"])
def loop(request) -> str:
    return request.param


@pytest.fixture(params=VENDORS.values(), ids=VENDORS)
def setting(request, tmp_path, monkeypatch) -> Iterator[Setting]:
    vendor = request.param
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        yield Setting(vendor, service, tmp_path / "home", [])


Do = Callable[[AsyncModel], Awaitable[Any]]


def is_awaited(setting: Setting, loop: str) -> bool:
    """Mistral's SDK awaits on asyncio alone; elsewhere a thread waits for it."""
    return loop == "asyncio" or setting.vendor.host != "api.mistral.ai"


def awaiting(setting: Setting, do: Do, loop: str = "asyncio", egress: Any = None, **fields: Any) -> Any:
    """Do something with a model of an `AsyncClient`, on an event loop of its own."""
    targets = dict(setting.client(**fields).targets)

    async def main() -> Any:
        async with AsyncClient(targets=targets, home=setting.home, egress=egress) as client:
            return await do(await (await client.submit("t", Dataset.of(rows()))).result())

    return anyio.run(main, backend=loop)


def test_it_asks_and_hears_what_the_other_does(setting, loop):
    async def chat(model: AsyncModel) -> Reply:
        return await model.chat(QUESTION, max_tokens=9)

    reply = awaiting(setting, chat, loop)
    first = setting.body
    again = setting.model().chat(QUESTION, max_tokens=9)
    assert (reply.text, reply.finish_reason) == (again.text, again.finish_reason)
    assert reply.usage.input_tokens == again.usage.input_tokens
    assert reply.raw.keys() == again.raw.keys()
    assert setting.body == first
    assert len(setting.service.requests) == 2


def test_questions_under_way_hold_no_threads(setting, loop):
    together = 30
    seen: list[int] = []
    setting.service.wire.delay = 0.5
    setting.service.wire.next("chat", *["slow"] * together)

    async def chat(model: AsyncModel) -> list[str]:
        await model.chat("first")  # opens what is opened once
        at_rest, said = _ours(), list[str]()

        async def one() -> None:
            said.append((await model.chat(QUESTION)).text)

        async with anyio.create_task_group() as group:
            for _ in range(together):
                group.start_soon(one)
            await anyio.sleep(0.3)
            seen.append(_ours() - at_rest)
        return said

    assert awaiting(setting, chat, loop, timeout=10.0) == [QUESTION.upper()] * together
    assert seen == [0] or not is_awaited(setting, loop)


def _ours() -> int:
    """Threads that are not the fake's."""
    return sum("worker" in thread.name.lower() or "trio" in thread.name.lower() for thread in threading.enumerate())


def test_cancelling_ends_the_request(setting, loop):
    setting.service.wire.delay = 5.0
    setting.service.wire.next("chat", "slow")

    async def chat(model: AsyncModel) -> float:
        begun = time.monotonic()
        with anyio.move_on_after(1.0):
            await model.chat(QUESTION)
        took = time.monotonic() - begun
        assert (await model.chat("again")).text == "AGAIN"
        return took

    assert awaiting(setting, chat, loop, timeout=60.0) < 3.0 or not is_awaited(setting, loop)


@pytest.mark.parametrize(("fault", "kind"), FAULTS.items())
def test_every_fault_has_its_error(setting, fault, kind):
    async def chat(model: AsyncModel) -> None:
        with pytest.raises(kind) as caught:
            await model.chat(QUESTION)
        error = caught.value
        assert error.backend == "prompt"
        assert error.__context__ is None or "Error" in type(error.__context__).__name__
        assert KEY not in f"{error!r}{error.__cause__!r}{error.__context__!r}{pickle.dumps(error)!r}"
        assert QUESTION not in f"{error!r}{pickle.dumps(error)!r}"
        if fault == "rate_limited":
            assert error.retry_after == setting.service.wire.retry_after
        assert (await model.chat("again")).text == "AGAIN"

    setting.service.wire.next("chat", fault)
    awaiting(setting, chat)
    assert not setting.service.wire.leaked, "a redirect is not followed"
    assert setting.service.wire.count()["chat"] == 2, "nothing is sent twice"


def test_nobody_there(setting, loop, monkeypatch):
    monkeypatch.delenv(setting.vendor.key_env)  # so that nobody is asked when the model is made

    async def chat(model: AsyncModel) -> None:
        monkeypatch.setenv(setting.vendor.key_env, KEY)
        setting.service.wire.close()
        with pytest.raises(ConnectionFailedError) as caught:
            await model.chat(QUESTION)
        assert caught.value.never_ran
        assert KEY not in f"{caught.value.__cause__!r}{getattr(caught.value.__cause__, 'request', None)!r}"

    awaiting(setting, chat, loop)


def test_a_slow_service_is_given_up(setting, loop):
    setting.service.wire.delay = 4.0
    setting.service.wire.next("chat", "slow")

    async def chat(model: AsyncModel) -> None:
        begun = time.monotonic()
        with pytest.raises(ServiceError):
            await model.chat(QUESTION)
        assert time.monotonic() - begun < 3.0

    awaiting(setting, chat, loop, timeout=0.3)


def test_the_key_is_read_at_each_request(setting, monkeypatch):
    async def chat(model: AsyncModel) -> None:
        assert (await model.chat("one")).text == "ONE"
        monkeypatch.setenv(setting.vendor.key_env, "sk-other")
        with pytest.raises(BackendError):
            await model.chat("two")
        monkeypatch.delenv(setting.vendor.key_env)
        with pytest.raises(ConfigError, match=setting.vendor.key_env):
            await model.chat("three")

    awaiting(setting, chat)


def test_neither_key_nor_prompt_is_in_a_log(setting, caplog):
    caplog.set_level(logging.DEBUG)

    async def chat(model: AsyncModel) -> None:
        await model.chat(QUESTION)
        with pytest.raises(ServiceError):
            await model.chat(QUESTION)

    setting.service.wire.next("chat", "slow", "failed")
    setting.service.wire.delay = 0.0
    awaiting(setting, chat)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in (KEY, QUESTION, "my card is gone", "Name the desk"):
        assert secret not in logged


def test_a_request_elsewhere_is_refused_on_its_way(setting, loop, monkeypatch):
    """The policy holds for every request, whatever a plan said: here for the connection itself."""
    monkeypatch.delenv(setting.vendor.key_env)  # so that nobody is asked when the model is made

    async def chat(model: AsyncModel) -> None:
        monkeypatch.setenv(setting.vendor.key_env, KEY)
        serving: Any = model._model._adapter
        serving._serving._http = Clients(Egress.parse("none"))
        with pytest.raises(EgressError, match=setting.vendor.host):
            await model.chat(QUESTION)

    awaiting(setting, chat, loop, base_url=None)


def test_an_answer_that_does_not_keep_the_form_is_put_right(setting):
    setting.service.say('{"desk": 1}')
    setting.service.say('{"desk": "cards"}')

    async def chat(model: AsyncModel) -> Reply:
        return await model.chat(QUESTION, schema=Desk)

    assert awaiting(setting, chat).parsed == Desk(desk="cards")
    assert len(setting.service.requests) == 2


def test_what_does_not_fit_is_not_sent(setting, monkeypatch):
    import msgspec

    from adaptkit.prices import Prices

    real = Prices.chat

    def small(self, *arguments):
        card = real(self, *arguments)
        return None if card is None else msgspec.structs.replace(card, context=300)

    monkeypatch.setattr(Prices, "chat", small)
    setting.service.reads = None

    async def chat(model: AsyncModel) -> None:
        with pytest.raises(DataError, match="shorten the conversation"):
            await model.chat("long " * 600)

    awaiting(setting, chat)
    sent = setting.service.wire.count()
    assert (sent["chat"], sent["count"]) == (0, int(setting.vendor.counts))


def test_each_event_loop_has_connections_of_its_own(setting):
    """One model of a `Client`, asked on one loop after the other; whoever closes nothing is not in the way."""
    model = setting.model()

    async def chat() -> str:
        return (await AsyncModel(model).chat(QUESTION)).text

    for loop in ("asyncio", "trio", "asyncio"):
        assert anyio.run(chat, backend=loop) == QUESTION.upper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda *_: None)  # connections that nobody closed say so
        gc.collect()


def test_a_long_answer_of_claude_streams_on_its_way(tmp_path, monkeypatch, loop):
    vendor = VENDORS["anthropic"]
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        setting = Setting(vendor, service, tmp_path / "home", [])

        async def chat(model: AsyncModel) -> None:
            assert (await model.chat(QUESTION, max_tokens=30_000)).text == QUESTION.upper()
            assert service.requests[-1]["stream"] is True
            service.broken_after = 10
            with pytest.raises(ServiceError):
                await model.chat(QUESTION, max_tokens=30_000)

        awaiting(setting, chat, loop)


def test_an_address_that_speaks_the_chat_wire(server, tmp_path, monkeypatch, loop):
    monkeypatch.setenv("SERVICE_KEY", KEY)
    table = {"backend": "prompt", "model": "large", "base_url": server.url, "api_key_env": "SERVICE_KEY"}

    async def main() -> None:
        async with AsyncClient(targets={"t": table}, home=tmp_path / "home") as client:
            model = await (await client.submit("t", Dataset.of(rows()))).result()
            assert (await model.chat(QUESTION)).text == QUESTION.upper()
            server.queue.append(Answer(500, json.dumps({"error": {"message": KEY}}).encode()))
            with pytest.raises(ServiceError) as caught:
                await model.chat(QUESTION)
            assert KEY not in repr(caught.value)

    anyio.run(main, backend=loop)


def test_a_value_for_each_loop():
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    here = PerLoop(make)

    async def twice() -> None:
        assert here.kept() is None
        assert here() is here() is here.kept()
        here.forget()
        assert here.kept() is None
        here()

    for loop in ("asyncio", "trio", "asyncio"):
        anyio.run(twice, backend=loop)
    assert len(made) == 6


def test_closing_lets_go_and_asking_opens_again(tmp_path, monkeypatch, loop):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with closing(FakeOpenAIChat(KEY)) as service:
        setting = Setting(VENDORS["openai"], service, tmp_path / "home", [])

        async def chat(model: AsyncModel) -> None:
            adapter: Any = model._model._adapter
            await model.chat(QUESTION)
            http = adapter._serving._http.here.kept()
            await adapter.aclose()
            assert http.is_closed
            assert adapter._serving._http.here.kept() is None
            assert (await model.chat(QUESTION)).text == QUESTION.upper()

        awaiting(setting, chat, loop)

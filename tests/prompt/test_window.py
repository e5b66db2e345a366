"""How much a model reads and writes, as its service tells it when the model is made."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from adaptkit import AsyncClient, Client, DataError, Dataset, Model, UnsupportedError
from adaptkit.backends.services.window import Window, window_of
from adaptkit.prices import Prices
from tests.prompt.conftest import KEY, rows
from tests.prompt.services import VENDORS, Vendor

QUESTION = "The thing I ordered has not come to me"
TELLING = {name: vendor for name, vendor in VENDORS.items() if name != "openai"}


class Made:
    """Models of a vendor's, each made anew."""

    def __init__(self, vendor: Vendor, service: Any, home: Path) -> None:
        self.vendor, self.service, self.home = vendor, service, home
        self.clients: list[Client] = []

    def table(self, **fields: Any) -> dict[str, Any]:
        address = {"model": self.vendor.model, "base_url": self.vendor.url(self.service)}
        return {"backend": "prompt", **address, "instructions": "Name the desk.", "timeout": 2.0, **fields}

    def __call__(self, **fields: Any) -> Model:
        home = self.home / str(len(self.clients))
        self.clients.append(Client(targets={"t": self.table(**fields)}, home=home))
        return self.clients[-1].submit("t", Dataset.of(rows())).result()


@pytest.fixture(params=TELLING.values(), ids=TELLING)
def made(request, tmp_path, monkeypatch) -> Iterator[Made]:
    monkeypatch.setenv(request.param.key_env, KEY)
    with closing(request.param.fake(KEY)) as service:
        made = Made(request.param, service, tmp_path)
        yield made
        for client in made.clients:
            client.close()


def told(model: Model) -> dict[str, int] | None:
    return json.loads(Path(model.id).read_text()).get("window")


def test_what_the_service_tells_stands_in_the_file_and_holds(made):
    made.service.reads = 300
    model = made()
    assert told(model)["reads"] == 300
    assert made.service.wire.count() == {"model": 1}
    assert model.chat("short").text == "SHORT"
    with pytest.raises(DataError, match="reads 300: shorten the conversation"):
        model.chat("long " * 600)
    made.service.reads = 1_000_000  # what was written down holds
    with pytest.raises(DataError, match="reads 300"):
        model.chat("long " * 600)
    assert made.service.wire.count()["chat"] == made.service.wire.count()["model"] == 1


def test_it_goes_before_the_table(made, monkeypatch):
    real = Prices.chat

    def small(self, *arguments):
        card = real(self, *arguments)
        return None if card is None else type(card)(**{**_fields(card), "context": 300})

    monkeypatch.setattr(Prices, "chat", small)
    assert made().chat("long " * 600)
    made.service.reads = None
    with pytest.raises(DataError, match="reads 300"):
        made().chat("long " * 600)


def _fields(card: Any) -> dict[str, Any]:
    return {name: getattr(card, name) for name in card.__struct_fields__}


def test_a_plan_asks_nobody(made):
    with Client(targets={"t": made.table()}, home=made.home) as client:
        client.plan("t", Dataset.of(rows()))
    assert not made.service.wire.count()


@pytest.mark.parametrize("fault", ["failed", "unauthorized", "html", "lost", "truncated", "rate_limited", "redirect"])
def test_a_service_that_does_not_tell_keeps_no_model_from_being_made(made, fault):
    made.service.wire.next("model", fault)
    model = made()
    assert told(model) is None
    assert made.service.wire.count() == {"model": 1}
    assert not made.service.wire.leaked
    assert model.chat(QUESTION).text == QUESTION.upper()


def test_a_silent_service_is_not_waited_for(made, monkeypatch):
    monkeypatch.setattr(f"adaptkit.backends.services.{made.vendor.model.partition(':')[0]}.PATIENCE", 0.2)
    made.service.wire.delay = 4.0
    made.service.wire.next("model", "slow")
    begun = time.monotonic()
    assert told(made(timeout=600.0)) is None
    assert time.monotonic() - begun < 3.0


def test_without_a_key_nobody_is_asked(made, monkeypatch):
    monkeypatch.delenv(made.vendor.key_env)
    assert told(made()) is None
    assert not made.service.wire.count()


def test_what_is_not_said_is_not_written(made):
    made.service.reads = made.service.writes = None
    assert told(made()) is None


def test_it_is_not_part_of_what_the_model_is(made):
    one = made()
    made.service.reads = 500_000
    other = made()
    assert told(one) != told(other)
    assert one._adapter.version(one.id) == other._adapter.version(other.id)


def test_made_on_an_event_loop(made):
    made.service.reads = 300

    async def model() -> dict[str, int] | None:
        async with AsyncClient(targets={"t": made.table()}, home=made.home) as client:
            return told(await (await client.submit("t", Dataset.of(rows()))).result())

    assert anyio.run(model)["reads"] == 300


def test_who_tells_nothing_is_not_asked(tmp_path, monkeypatch):
    vendor = VENDORS["openai"]
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        made = Made(vendor, service, tmp_path)
        assert told(made()) is None
        assert not service.wire.count()
        made.clients[0].close()


@pytest.fixture
def claude(tmp_path, monkeypatch) -> Iterator[Made]:
    vendor = VENDORS["anthropic"]
    monkeypatch.setenv(vendor.key_env, KEY)
    with closing(vendor.fake(KEY)) as service:
        made = Made(vendor, service, tmp_path)
        yield made
        for client in made.clients:
            client.close()


def test_no_longer_an_answer_than_the_model_writes(claude):
    claude.service.writes = 4096
    model = claude()
    model.chat(QUESTION)
    assert claude.service.requests[-1]["max_tokens"] == 4096  # not the usual 16,000, which would be refused
    model.chat(QUESTION, max_tokens=4096)
    with pytest.raises(UnsupportedError, match="max_tokens is 4,097, and claude-haiku-5-5 writes 4,096 at most"):
        model.chat(QUESTION, max_tokens=4097)
    assert len(claude.service.requests) == 2


def test_a_gateway_need_not_count(claude):
    wire = claude.service.wire
    wire._routes = [route for route in wire._routes if route.operation != "count"]
    claude.service.reads = 300
    model = claude()
    assert model.chat("just " * 130)  # may fit, so the service decides
    with pytest.raises(DataError, match="has more than"):
        model.chat("long " * 600)
    assert len(claude.service.requests) == 1


def test_figures_one_by_one():
    card = Prices().chat("anthropic", "claude-haiku-5-5")
    assert card.context
    assert card.longest
    assert window_of("anthropic", "claude-haiku-5-5", None) == Window(reads=card.context, writes=card.longest)
    mixed = window_of("anthropic", "claude-haiku-5-5", Window(reads=7))
    assert mixed == Window(reads=7, writes=card.longest)
    assert window_of("anthropic", "claude-opus-9", Window(writes=8)) == Window(writes=8)
    assert window_of("anthropic", "claude-opus-9", None) == Window()

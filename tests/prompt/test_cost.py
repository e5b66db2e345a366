"""What a plan says a call will cost, and what is known of models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptkit import Client, Dataset
from adaptkit.backends.prompt.cost import Call
from adaptkit.errors import ConfigError
from adaptkit.prices import Prices, RateCard
from tests.prompt.conftest import rows


def plan(tmp_path, **fields):
    with Client(targets={"t": {"backend": "prompt", **fields}}, home=tmp_path / "home") as client:
        return client.plan("t", Dataset.of(rows()))


def card(**fields):
    fields = {"cache_read": 0.2, "cache_write": {"5m": 5.0}, "cache_from": 512, **fields}
    return RateCard(service="s", model="m", input=4.0, output=20.0, date="2026-11-25", source="x", **fields)


def test_cold_and_warm():
    call = Call(before=1_000_000, question=100_000, answer=10_000, card=card(), ttl="5m")
    assert call.usd(warm=False) == pytest.approx(5.0 + 0.4 + 0.2)
    assert call.usd(warm=True) == pytest.approx(0.2 + 0.4 + 0.2)


@pytest.mark.parametrize(
    ("fields", "ttl", "cold", "warm"),
    [
        ({}, None, 4.0, 4.0),
        ({"cache_from": 2_000_000}, "5m", 4.0, 4.0),
        ({"cache_write": {}}, "", 4.0, 0.2),
        ({"cache_read": None}, "5m", 5.0, None),
        ({}, "1h", None, 0.2),
    ],
)
def test_what_is_unknown_is_none(fields, ttl, cold, warm):
    call = Call(before=1_000_000, question=0, answer=0, card=card(**fields), ttl=ttl)
    assert (call.usd(warm=False), call.usd(warm=True)) == (cold, warm)


def test_a_plan_says_it(tmp_path):
    told = plan(tmp_path, model="anthropic:claude-haiku-5-5", instructions="word " * 4000).request["call"]
    assert told["cold_usd"] > 5 * told["warm_usd"]
    assert "2026-11-25" in told["prices"]


def test_long_prompts_are_dearer(tmp_path):
    short = plan(tmp_path, model="anthropic:claude-haiku-5-5", instructions="word " * 70_000, cache="off")
    long = plan(tmp_path, model="anthropic:claude-haiku-5-5", instructions="word " * 90_000, cache="off")
    assert long.request["call"]["cold_usd"] > 5 * short.request["call"]["cold_usd"]


def test_a_model_that_nobody_knows_costs_an_unknown_sum(tmp_path):
    assert plan(tmp_path, model="anthropic:claude-opus-9").request["call"] == {"cold_usd": None, "warm_usd": None}


def test_others_have_no_price(tmp_path):
    assert "call" not in plan(tmp_path, model="m", base_url="http://127.0.0.1:9/v1").request


def test_a_cache_that_does_nothing_is_said(tmp_path):
    assert "below 512" in plan(tmp_path, model="anthropic:claude-haiku-5-5", cache="1h").warnings[0]
    assert not plan(tmp_path, model="anthropic:claude-haiku-5-5").warnings


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("claude-opus-5", True),
        ("claude-opus-5-20260801", True),
        ("claude-opus-5-latest", True),
        ("claude-opus-5-6", False),
        ("claude-opus-5-mini", False),
        ("Claude-Opus-5", False),
    ],
)
def test_a_snapshot_counts_as_its_model_and_nothing_else_does(model, known):
    assert (Prices().chat("anthropic", model) is not None) is known


def test_a_table_of_ones_own_comes_first(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(
        '[[chat]]\nservice = "anthropic"\nmodel = "claude-opus-5"\ninput = 1.0\noutput = 2.0\ndate = 2026-11-01\n'
        'source = "our contract"\n'
    )
    found = Prices(path).chat("anthropic", "claude-opus-5")
    assert (found.input, found.source) == (1.0, "our contract")
    assert Prices(path).chat("anthropic", "claude-opus-5-5").input == 4.0
    path.write_text('[[chat]]\nservice = "anthropic"\n')
    with pytest.raises(ConfigError, match="chat"):
        Prices(path)


def test_files_of_the_first_format_still_answer(client, server):
    from adaptkit import ModelRef

    path = Path(client.home, "old.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    old = {
        "format": "adaptkit-prompt-1",
        "model": "large",
        "base_url": server.url,
        "settings": {"max_tokens": 9},
        "data": {"fingerprint": "f", "rows": 1},
        "segments": [{"kind": "instructions", "text": "Name the desk."}, {"kind": "question"}],
    }
    path.write_text(json.dumps(old))
    assert client.model(ModelRef(backend="prompt", id=str(path), target="t")).chat("hello").text == "HELLO"
    assert server.requests[0].body["max_tokens"] == 9


def test_a_changed_file_is_read_again(client, model, server):
    model.chat("a")
    path = Path(model.id)
    path.write_text(path.read_text().replace("Name the desk.", "Name the office."))
    model.chat("a")
    assert [heard.body["messages"][0]["content"] for heard in server.requests] == ["Name the desk.", "Name the office."]

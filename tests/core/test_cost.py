"""What a job did take: read off what its backend tells, and never 0 for unknown."""

import types

import pytest

from adaptkit import Client, Cost, Dataset
from adaptkit.cost import cost_of
from adaptkit.errors import ConfigError
from adaptkit.testing import FakeClock, FakeOpenAI, HastyClock, ScriptedConfig
from adaptkit.types import Event

ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
    for n in range(12)
]
PRICE = '[[price]]\nwhat = "training"\nbackend = "{}"\nusd = {}\ndate = 2026-11-01\nsource = "here"\n'
ENERGY = '[local]\nwatts = 3600\nusd_per_kwh = 1000.0\ndate = 2026-11-01\nsource = "a bill"\n'


@pytest.fixture
def job(service, tmp_path):
    def made(prices=None):
        path = tmp_path / "prices.toml"
        path.write_text(prices or "")
        targets = {"t": ScriptedConfig(service=service.name, losses=(0.9, 0.4))}
        client = Client(targets=targets, home=tmp_path, clock=FakeClock(), prices=path)
        done = client.submit("t", Dataset.of(ROWS))
        done.wait()
        return done

    return made


def test_time_is_known_and_money_is_not_without_a_price(job):
    took = job().cost()
    assert took == Cost(seconds=3.0)
    assert str(took) == "it ran for 3 s; what it cost is not known"


def test_a_price_alone_is_no_cost_where_nobody_tells_the_tokens(job):
    took = job(PRICE.format("scripted", 2.0)).cost()
    assert (took.usd, took.price.source) == (None, "here")


def test_what_costs_nothing_costs_nothing(job):
    took = job(PRICE.format("scripted", 0.0)).cost()
    assert took.usd == 0.0
    assert str(took) == "it ran for 3 s"


def test_power_of_this_machine_is_paid_for_by_the_second(job, monkeypatch):
    done = job(PRICE.format("scripted", 0.0) + ENERGY)
    assert done.cost().usd == 0.0, "a host pays for its own"
    adapter = done._state.open_adapter()
    monkeypatch.setattr(type(adapter), "speed", lambda *_: None, raising=False)
    monkeypatch.setattr(type(adapter), "measure", lambda *_: None, raising=False)
    assert done.cost().usd == pytest.approx(3.0)


@pytest.mark.parametrize(("told", "usd"), [((0.5, 2.0), 2.0), ((0.5, None), None)])
def test_what_a_job_tells_of_its_own_cost_is_believed_to_the_last(job, monkeypatch, told, usd):
    done = job(PRICE.format("scripted", 0.0))
    events = [
        Event(id=str(at), at=at, kind="metrics", message="", data={"usd": spent}) for at, spent in enumerate(told)
    ]
    monkeypatch.setattr(type(done._state.open_adapter()), "events", lambda *_: events)
    assert done.cost() == Cost(seconds=1.0, usd=usd)


def test_a_host_that_tells_what_it_bills(tmp_path, monkeypatch):
    fake = FakeOpenAI()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    target = {
        "backend": "openai",
        "model": "gpt-4.1-mini-2025-04-14",
        "base_url": fake.url,
        "api_key_env": "OPENAI_API_KEY",
    }
    try:
        with Client(targets={"t": target}, home=tmp_path, clock=HastyClock()) as client:
            done = client.submit("t", Dataset.of(ROWS))
            done.wait()
            took = done.cost()
    finally:
        fake.close()
    assert took.tokens == 4_321
    assert took.usd == pytest.approx(4_321 * 5.0 / 1e6)
    assert took.price.backend == "openai"


def test_a_table_with_mistakes_is_said(job, tmp_path):
    done = job()
    (tmp_path / "prices.toml").write_text("[[price]]\n")
    with pytest.raises(ConfigError, match="not a table of prices"):
        done.cost()


def test_a_backend_that_tells_nothing_leaves_it_unknown(tmp_path):
    silent = types.SimpleNamespace(
        config=ScriptedConfig(service="none"), context=types.SimpleNamespace(prices=None), backend="scripted"
    )
    assert cost_of(silent, "job") == Cost()
    assert str(Cost()) == "how long it ran is not known; what it cost is not known"

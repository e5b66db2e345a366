"""How long a run on this machine takes: read off runs like it, measured on wish, and never guessed."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adaptkit import Client, Dataset, SpendError, builtin
from adaptkit.backends.lora import speed
from adaptkit.types import Status

pytest.importorskip("peft")

TARGETS = {"t": {"backend": "lora", "epochs": 2}, "other": {"backend": "lora", "epochs": 2, "rank": 4}}
ENERGY = '[local]\nwatts = 36_000\nusd_per_kwh = 0.5\ndate = 2026-11-25\nsource = "my bill"\n'


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.open(builtin.task("tags").train)


@pytest.fixture(scope="module")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which one run has ended, and the id of its job."""
    home = tmp_path_factory.mktemp("home")
    with Client(targets=TARGETS, home=home) as client:
        job = client.submit("t", data)
        assert job.wait(timeout=120) is Status.SUCCEEDED
        return home, job.id


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(ENERGY)
    return path


def test_nothing_is_said_where_nothing_ran(data: Dataset, tmp_path: Path) -> None:
    with Client(targets=TARGETS, home=tmp_path) as client:
        made = client.estimate("t", data)
    assert made.local is not None
    assert (made.local.speed, made.local.seconds, made.local.usd, made.usd) == (None, None, 0.0, 0.0)
    assert "not measured yet" in str(made)
    assert not (tmp_path / "lora").exists(), "an estimate leaves nothing"


def test_an_earlier_run_tells_how_long_the_next_takes(data: Dataset, trained: tuple[Path, str]) -> None:
    home, job = trained
    manifest = json.loads((home / "lora" / "models" / job / "manifest.json").read_text())["metrics"]
    with Client(targets={"t": TARGETS["t"] | {"epochs": 6}}, home=home) as client:
        made = client.estimate("t", data).local
    assert made is not None
    assert made.speed is not None
    assert made.speed.tokens_per_second == manifest["tokens_per_epoch"] * 2 / manifest["seconds"]
    assert made.seconds == pytest.approx(made.speed.starting + 3 * manifest["seconds"])
    assert "a run here" in str(made)


def test_a_run_with_other_settings_tells_nothing(data: Dataset, trained: tuple[Path, str]) -> None:
    home, _ = trained
    with Client(targets=TARGETS, home=home) as client:
        made = client.estimate("other", data).local
    assert made is not None
    assert made.speed is None


@pytest.mark.parametrize("harm", ["machine", "interrupted", "failed", "model"])
def test_a_run_that_tells_nothing_of_this_one_is_left_out(
    data: Dataset, trained: tuple[Path, str], tmp_path: Path, harm: str
) -> None:
    import shutil

    home, job = tmp_path / "home", trained[1]
    shutil.copytree(trained[0], home)
    folder = home / "lora" / "jobs" / job
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    if harm == "machine":
        state["worker"] = state["worker"].replace(platform.node(), "elsewhere", 1)
    elif harm == "failed":
        state["status"] = "failed"
    elif harm == "model":
        state["model"] = str(tmp_path / "gone")
    else:
        events = (folder / "events.jsonl").read_text().splitlines()
        (folder / "events.jsonl").write_text("\n".join([events[0], *events]) + "\n")
    (folder / "state.json").write_text(json.dumps(state))
    with Client(targets=TARGETS, home=home) as client:
        made = client.estimate("t", data).local
    assert made is not None
    assert made.speed is None


def test_a_short_run_measures_and_leaves_its_speed_alone(data: Dataset, tmp_path: Path) -> None:
    with Client(targets=TARGETS, home=tmp_path) as client:
        made = client.estimate("t", data, measure=True)
        assert made.local is not None
        assert made.local.seconds is not None
        assert made.local.seconds > 0
        assert client.jobs() == []
        assert client.estimate("t", data) == made, "it is measured once"
    assert [path.name for path in (tmp_path / "lora").iterdir()] == ["speeds"]


def test_energy_is_part_of_what_it_costs_and_of_the_budget(
    data: Dataset, trained: tuple[Path, str], prices: Path
) -> None:
    with Client(targets=TARGETS, home=trained[0], prices=prices) as client:
        made = client.estimate("t", data)
        assert made.local is not None
        assert made.local.seconds is not None
        assert made.usd == pytest.approx(made.local.seconds * 36 / 3600 * 0.5)
        assert "my bill" in str(made)
        with pytest.raises(SpendError, match="my bill"):
            client.submit("t", data, fresh=True, budget=made.usd / 2)
        assert len(client.jobs()) == 1


def test_what_a_run_did_take_is_told_with_its_energy(trained: tuple[Path, str], prices: Path) -> None:
    with Client(targets=TARGETS, home=trained[0], prices=prices) as client:
        cost = client.jobs()[0].cost()
        assert cost.seconds
        assert cost.usd == pytest.approx(cost.seconds * 36 / 3600 * 0.5)
    with Client(targets=TARGETS, home=trained[0]) as client:
        assert client.jobs()[0].cost().usd == 0.0


def test_energy_that_nobody_knows_is_within_no_budget(data: Dataset, tmp_path: Path, prices: Path) -> None:
    with Client(targets=TARGETS, home=tmp_path / "home", prices=prices) as client:
        assert client.estimate("t", data).usd is None
        with pytest.raises(SpendError, match="depends on the time"):
            client.submit("t", data, budget=1000)
        assert client.jobs() == []


def test_the_median_of_the_newest_runs_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from adaptkit.backends.lora import LoraConfig
    from adaptkit.types import Speed

    rates = [1.0, 1000.0, 10.0, 30.0, 20.0, 40.0]
    runs = [Speed(tokens_per_second=rate, starting=rate, runs=1, at=at) for at, rate in enumerate(rates)]
    monkeypatch.setattr(speed, "_runs", lambda *_: iter(runs))
    found = speed.earlier(tmp_path, LoraConfig())
    assert found == Speed(tokens_per_second=30.0, starting=30.0, runs=speed.LATEST, at=5)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Speed) == found

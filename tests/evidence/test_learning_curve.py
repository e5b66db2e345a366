"""The learning curve: nested parts, ordinary jobs, and an honest word on what to buy."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adaptkit import Client, ConfigError, DataError, Dataset, SpendError
from adaptkit.evidence.learning_curve import CurvePoint, _judged, _parts
from adaptkit.evidence.results import Comparison, Competitor, Difference, Interval
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from tests.evidence.conftest import echoes, row, sentence

pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")


def data(rows=200):
    return Dataset.of([row(f"learn {sentence(n)}", "x") for n in range(1000, 1000 + rows)])


@pytest.fixture
def open_client(service, tmp_path):
    def another(**settings):
        config = ScriptedConfig(**{"service": service.name, "reply": "{text}"} | settings)
        return Client(targets={"t": config}, home=tmp_path / "home", clock=FakeClock())

    return another


def test_parts_are_nested_and_seeded():
    whole = data()
    parts = [[record.messages[0].text for record in part] for part in _parts(whole, (0.3, 1.0, 0.1), 0)]
    assert len(parts[0]) < len(parts[1]) < len(parts[2]) == 200
    assert 10 <= len(parts[0]) <= 32
    assert set(parts[0]) < set(parts[1]) < set(parts[2])
    again = [[record.messages[0].text for record in part] for part in _parts(whole, (0.1, 0.3, 1.0), 0)]
    assert again == parts
    other = [record.messages[0].text for record in _parts(whole, (0.1, 1.0), 7)[0]]
    assert set(other) != set(parts[0])


@pytest.mark.parametrize("shares", [(), (1.0,), (0.5, 0.5), (0.0, 1.0), (0.5, 1.5), (-0.1, 1.0)])
def test_shares_that_are_none(open_client, service, shares):
    with open_client() as client, pytest.raises(ConfigError, match="shares are"):
        client.learning_curve("t", data(), echoes(5), shares=shares)
    assert service.jobs() == []


def test_too_little_data(open_client, service):
    with open_client() as client, pytest.raises(DataError, match="too few for a curve"):
        client.learning_curve("t", data(2), echoes(5))
    assert service.jobs() == []


def test_the_whole_way_and_again(open_client, service):
    told = []
    with open_client() as client:
        curve = client.learning_curve("t", data(), echoes(30), progress=told.append)
        assert [point.name for point in curve.points] == ["10 %", "30 %", "100 %"]
        assert [each.name for each in curve.comparison.competitors] == ["10 %", "30 %", "100 %"]
        assert curve.points[-1].rows == 200
        assert curve.verdict == "enough"
        assert "every held-out question is right" in str(curve)
        assert not any("leaks" in note for note in curve.comparison.warnings)
        assert {event.data.get("doing") for event in told} >= {"training on 10 % of the data"}
        asked = service.requests()["chat"]
        assert client.learning_curve("t", data(), echoes(30)).points == curve.points
    assert len(service.jobs()) == 3
    assert service.requests()["chat"] == asked


def test_what_can_be_refused_is_refused_before_anything_is_paid(open_client, service):
    with open_client() as client:
        with pytest.raises(DataError, match="known from training"):
            client.learning_curve("t", data(), Dataset.of([row(f"learn {sentence(1003)}", "x")]))
        with pytest.raises(ConfigError, match="no metric"):
            client.learning_curve("t", data(), echoes(3), metric="none")
    assert service.requests()["submit"] == service.requests()["chat"] == 0


def test_a_budget_is_for_all_of_them(open_client, service):
    with open_client(usd=1.0) as client, pytest.raises(SpendError):
        client.learning_curve("t", data(), echoes(3), budget=2.9)
    assert service.requests()["submit"] < 3
    with open_client(usd=0.01) as client:
        assert len(client.learning_curve("t", data(), echoes(3), budget=2.9).points) == 3


SCRIPT = """
import sys
from adaptkit import Client
from adaptkit.testing import ScriptedConfig
from tests.evidence.conftest import echoes
from tests.evidence.test_learning_curve import data
config = ScriptedConfig(service=sys.argv[1], latency=0.01, reply="{text}", poll_after=0.01)
with Client(targets={"t": config}, home=sys.argv[2]) as client:
    print(client.learning_curve("t", data(), echoes(20), concurrency=2).verdict)
"""


def test_killed_anywhere_it_goes_on(tmp_path):
    service = ScriptedService(tmp_path / "service.db")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "service.db"), str(tmp_path / "home")]
    root = Path(__file__).parents[2]
    for moment in sorted(random.sample(range(2, 60), 3)):
        with subprocess.Popen(command, cwd=root) as running:
            while sum(service.requests().values()) < moment and running.poll() is None:
                time.sleep(0.002)
            os.kill(running.pid, signal.SIGKILL)
    done = subprocess.run(command, check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout == "enough\n"
    assert len(service.jobs()) == 3, "nothing is paid for twice"
    assert 60 <= service.requests()["chat"] <= 60 + 2 * 3
    service.close()


def judged(gain, low, high, p, score=0.7, rows=(50, 200)):
    interval = (
        Interval(value=abs(gain), low=low, high=high) if gain >= 0 else Interval(value=-gain, low=-high, high=-low)
    )
    names = ("100 %", "30 %") if gain >= 0 else ("30 %", "100 %")
    who = tuple(
        Competitor(name=name, ref="", rung="fine-tune", score=Interval(value=value, low=0, high=1))
        for name, value in (("30 %", score - gain), ("100 %", score))
    )
    pair = Difference(
        one=names[0], other=names[1], difference=interval, p=p, adjusted=p, test="", won=0, lost=0, tied=0
    )
    points = tuple(
        CurvePoint(share=share, rows=count, name=name, job="")
        for share, count, name in zip((0.3, 1.0), rows, ("30 %", "100 %"), strict=True)
    )
    return _judged(points, Comparison(metric="m", questions=(), competitors=who, differences=(pair,)))


def test_the_verdicts():
    more = judged(0.10, 0.05, 0.15, 0.001)
    assert more.verdict == "more data"
    assert more.per_doubling.value == pytest.approx(0.05), "from 50 to 200 rows are two doublings"
    assert "from 50 to 200 rows the score changed by +10.0 points (95%: +5.0 to +15.0)" in more.headline
    assert judged(0.01, -0.01, 0.03, 0.4).verdict == "higher rung"
    assert judged(0.05, -0.05, 0.15, 0.3).verdict == "not shown"
    assert judged(-0.05, -0.10, -0.01, 0.03).verdict == "higher rung"
    assert judged(0.3, 0.2, 0.4, 0.001, score=1.0).verdict == "enough"

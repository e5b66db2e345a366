from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptkit import Client, Dataset
from adaptkit.steps import Clock
from tests.hosted.hosts import HOSTS, Fake, Host
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n} and one?"}, {"role": "assistant", "content": f"{n + 1}"}]}
    for n in range(16)
]


class Rig:
    """A host's fake, and clients of it that share a journal."""

    def __init__(self, host: Host, fake: Fake, home: Path, journal: str) -> None:
        self.host, self.fake, self.home, self.journal = host, fake, home, journal

    def client(self, clock: Clock) -> Client:
        config = self.host.config(self.fake)
        return Client(targets={"t": config}, home=self.home, journal=self.journal, clock=clock)

    @property
    def guarantee(self) -> str:
        with self.client(_NoClock()) as client:
            return str(client._target("t").guarantee)

    def data(self, note: str = "") -> Dataset:
        rows = [*ROWS, {"messages": [{"role": "user", "content": note or "?"}, {"role": "assistant", "content": "!"}]}]
        return Dataset.of(rows)


class _NoClock:
    """Time that must not be asked for."""

    def time(self) -> float:
        raise AssertionError

    monotonic = time

    def sleep(self, seconds: float) -> None:
        raise AssertionError

    async def asleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture(params=HOSTS, ids=lambda host: host.name)
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Host:
    found: Host = request.param
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def fake(host: Host) -> Iterator[Fake]:
    service = host.service()
    yield service
    service.wire.close()


@pytest.fixture
def rig(host: Host, fake: Fake, tmp_path: Path) -> Rig:
    return Rig(host, fake, tmp_path, str(tmp_path / "journal.db"))

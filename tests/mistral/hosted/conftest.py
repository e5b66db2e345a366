from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit import Client
from adaptkit.testing import FakeClock, FakeMistralJobs
from tests.mistral.hosted.rig import KEY, config


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMistralJobs]:
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    service = FakeMistralJobs(KEY)
    yield service
    service.close()


@pytest.fixture
def hosted(fake: FakeMistralJobs, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Clients of the fake that share a journal."""
    clients: list[Client] = []

    def opened(**settings: Any) -> Client:
        target = config(fake, **settings)
        clients.append(Client(targets={"t": target}, home=tmp_path / "home", clock=FakeClock(time.time())))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()

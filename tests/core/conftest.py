from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit import Client, Dataset
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


def data(note: str = "") -> Dataset:
    """A small data set; another note makes it another one."""
    return Dataset.of(
        {
            "messages": [
                {"role": "user", "content": f"What is {number} and one? {note}".strip()},
                {"role": "assistant", "content": f"It is {number + 1}."},
            ]
        }
        for number in range(12)
    )


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    made = ScriptedService()
    yield made
    made.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


Open = Callable[..., Client]


@pytest.fixture
def open_client(service: ScriptedService, clock: FakeClock, tmp_path: Path) -> Iterator[Open]:
    """Open a client whose target ``t`` is the scripted service; settings are those of its configuration."""
    opened: list[Client] = []

    def another(*, client: dict[str, Any] | None = None, **settings: Any) -> Client:
        config = ScriptedConfig(service=service.name, **settings)
        opened.append(Client(**{"targets": {"t": config}, "home": tmp_path / "home", "clock": clock} | (client or {})))
        return opened[-1]

    yield another
    for client in opened:
        client.close()

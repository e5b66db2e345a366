"""What the tests of Fireworks share: data, the fake, clients of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from adaptkit import (
    Client,
)
from adaptkit.adapter import (
    Context,
)
from adaptkit.backends.fireworks import FireworksAdapter, FireworksConfig
from adaptkit.testing import FakeClock, FakeFireworks
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import KEY

ROW = "canary-row-83ad"
CHAT = [*ROWS, {"messages": [{"role": "user", "content": ROW}, {"role": "assistant", "content": "!"}]}]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"What is {n} and one?"}]},
        "preferred_output": [{"role": "assistant", "content": f"{n + 1}"}],
        "non_preferred_output": [{"role": "assistant", "content": "Who knows?"}],
    }
    for n in range(8)
]
EVALUATOR = "accounts/acme/evaluators/exact"
BASE = FakeFireworks.BASE


@contextmanager
def fake_fireworks(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFireworks]:
    """The service; nothing that it would not take was asked of it."""
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    with closing(FakeFireworks(KEY)) as service:
        yield service
        assert service.broken == []


def chosen(fake: FakeFireworks, **settings: Any) -> FireworksConfig:
    return FireworksConfig(base_url=fake.wire.url, **{"account": "acme", "model": BASE, "storage": (), **settings})


def adapter(fake: FakeFireworks, tmp_path: Path, **settings: Any) -> FireworksAdapter:
    return FireworksAdapter(chosen(fake, **settings), Context(tmp_path))


def client(fake: FakeFireworks, tmp_path: Path, **settings: Any) -> Client:
    return Client(targets={"t": chosen(fake, **settings)}, home=tmp_path, clock=FakeClock(time.time()))


def submitted(fake: FakeFireworks) -> dict[str, Any]:
    """The body of the one job that was asked for."""
    (job,) = fake.jobs.all.values()
    return dict(job.body)

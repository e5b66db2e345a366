"""Every hosted backend with its fake, as one table: what holds for all of them is tested over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adaptkit.adapter import BackendConfig
from adaptkit.backends.fireworks import FireworksConfig
from adaptkit.testing import FakeFireworks
from adaptkit.testing.wire import Jobs, Wire

#: The key that fakes accept, and which must come out nowhere.
KEY = "sk-canary-key-91f2ab"


class Fake(Protocol):
    wire: Wire
    jobs: Jobs


@dataclass(frozen=True)
class Host:
    """A backend and how to reach its fake; `environment` is set for the length of a test."""

    name: str
    service: Callable[[], Fake]
    config: Callable[[Fake], BackendConfig]
    environment: dict[str, str]


def _fireworks(fake: Fake) -> BackendConfig:
    return FireworksConfig(account="acme", model=FakeFireworks.BASE, base_url=fake.wire.url, storage=())


HOSTS: list[Host] = []

HOSTS += [Host("fireworks", lambda: FakeFireworks(KEY), _fireworks, {"FIREWORKS_API_KEY": KEY})]

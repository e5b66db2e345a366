"""Every hosted backend with its fake, as one table: what holds for all of them is tested over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adaptkit.adapter import BackendConfig
from adaptkit.backends.together import TogetherConfig
from adaptkit.testing import FakeTogether
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


HOSTS: list[Host] = []


def _together(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeTogether)
    return TogetherConfig(base_url=fake.wire.url, model="Qwen/Qwen3-8B", rank=8)


HOSTS += [Host("together", lambda: FakeTogether(KEY), _together, {"TOGETHER_API_KEY": KEY})]

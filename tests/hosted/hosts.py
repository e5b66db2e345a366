"""Every hosted backend with its fake, as one table: what holds for all of them is tested over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adaptkit.adapter import BackendConfig
from adaptkit.backends.fireworks import FireworksConfig
from adaptkit.backends.openai import OpenAIConfig
from adaptkit.testing import FakeFireworks, FakeOpenAI
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


def _openai(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="openai", base_url=fake.url, model=fake.base, epochs=2)


def _azure(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="azure", base_url=fake.url, model=fake.base, training_type="GlobalStandard")


def _nebius(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="nebius", base_url=fake.url, model=fake.base, weights="lora", rank=8)


HOSTS: list[Host] = [
    Host("openai", lambda: FakeOpenAI(KEY), _openai, {"OPENAI_API_KEY": KEY}),
    Host("openai-azure", lambda: FakeOpenAI(KEY, "azure"), _azure, {"AZURE_OPENAI_API_KEY": KEY}),
    Host("openai-nebius", lambda: FakeOpenAI(KEY, "nebius"), _nebius, {"NEBIUS_API_KEY": KEY}),
    Host("fireworks", lambda: FakeFireworks(KEY), _fireworks, {"FIREWORKS_API_KEY": KEY}),
]

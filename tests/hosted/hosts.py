"""Every hosted backend with its fake, as one table: what holds for all of them is tested over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adaptkit.adapter import BackendConfig
from adaptkit.backends.bedrock import BedrockConfig
from adaptkit.backends.fireworks import FireworksConfig
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.openai import OpenAIConfig
from adaptkit.backends.together import TogetherConfig
from adaptkit.testing import FakeBedrock, FakeFireworks, FakeMistralJobs, FakeOpenAI, FakeTogether
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


AWS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": "canary-secret-5d1e0c",
    "AWS_SESSION_TOKEN": "canary-token-77ab31",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


def bedrock(fake: Fake) -> BedrockConfig:
    url = fake.wire.url
    return BedrockConfig(
        region="us-east-1",
        model="amazon.nova-lite-v1:0:300k",
        role_arn="arn:aws:iam::123456789012:role/tuning",
        bucket="our-data",
        endpoints={"bedrock": url, "runtime": url, "s3": url},  # type: ignore[arg-type]
    )


def _fireworks(fake: Fake) -> BackendConfig:
    return FireworksConfig(account="acme", model=FakeFireworks.BASE, base_url=fake.wire.url, storage=())


def _mistral(fake: Fake) -> BackendConfig:
    return MistralConfig(where="hosted", base_url=fake.wire.url, model=FakeMistralJobs.BASE)


def _openai(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="openai", base_url=fake.url, model=fake.base, epochs=2)


def _azure(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="azure", base_url=fake.url, model=fake.base, training_type="GlobalStandard")


def _nebius(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeOpenAI)
    return OpenAIConfig(profile="nebius", base_url=fake.url, model=fake.base, weights="lora", rank=8)


def _together(fake: Fake) -> BackendConfig:
    assert isinstance(fake, FakeTogether)
    return TogetherConfig(base_url=fake.wire.url, model="Qwen/Qwen3-8B", rank=8)


HOSTS: list[Host] = [
    Host("openai", lambda: FakeOpenAI(KEY), _openai, {"OPENAI_API_KEY": KEY}),
    Host("openai-azure", lambda: FakeOpenAI(KEY, "azure"), _azure, {"AZURE_OPENAI_API_KEY": KEY}),
    Host("openai-nebius", lambda: FakeOpenAI(KEY, "nebius"), _nebius, {"NEBIUS_API_KEY": KEY}),
    Host("fireworks", lambda: FakeFireworks(KEY), _fireworks, {"FIREWORKS_API_KEY": KEY}),
    Host("mistral-hosted", lambda: FakeMistralJobs(KEY), _mistral, {"MISTRAL_API_KEY": KEY}),
    Host("bedrock", lambda: FakeBedrock(KEY), bedrock, AWS),
    Host("together", lambda: FakeTogether(KEY), _together, {"TOGETHER_API_KEY": KEY}),
]

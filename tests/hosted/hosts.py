"""Every hosted backend with its fake, as one table: what holds for all of them is tested over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from adaptkit.adapter import BackendConfig
from adaptkit.backends.bedrock import BedrockConfig
from adaptkit.testing.bedrock import FakeBedrock
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


def bedrock(fake: Fake) -> BedrockConfig:
    url = fake.wire.url
    return BedrockConfig(
        region="us-east-1",
        model="amazon.nova-lite-v1:0:300k",
        role_arn="arn:aws:iam::123456789012:role/tuning",
        bucket="our-data",
        endpoints={"bedrock": url, "runtime": url, "s3": url},  # type: ignore[arg-type]
    )


AWS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": "canary-secret-5d1e0c",
    "AWS_SESSION_TOKEN": "canary-token-77ab31",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
HOSTS.append(Host("bedrock", lambda: FakeBedrock(KEY), bedrock, AWS))

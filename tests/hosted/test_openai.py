"""OpenAI's wire: the contract, and what the tables for all hosts do not say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar

import pytest

from adaptkit.adapter import BackendConfig
from adaptkit.backends.openai import OpenAIConfig
from adaptkit.job import Job
from adaptkit.steps import Clock
from adaptkit.testing import FakeClock, FakeOpenAI
from adaptkit.testing.contract import CANARY_KEY, AdapterContract


class Brisk(FakeClock):
    """Time that passes quickly, but not at once: a thread that waits for another must not use up its lease."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.02))
        super().sleep(seconds)


class _Contract(AdapterContract):
    __test__ = False
    service: ClassVar[FakeOpenAI]

    def clock(self) -> Clock:
        return Brisk()

    @classmethod
    def stop(cls) -> None:
        cls.service.close()

    def long_config(self) -> BackendConfig:
        self.service.jobs.script = ["queued", *["running"] * 50, "succeeded"]
        return self.config()

    def failing_config(self) -> tuple[BackendConfig, str]:
        config = self.config()
        self.service.jobs.script = ["validating_files", "failed"]
        return config, "line 7 has no answer"

    def say_unknown_status(self, job: Job) -> None:
        self.service.jobs.tell(job.id, "polishing")

    def break_next_poll(self) -> None:
        self.service.wire.next("poll", "lost")

    def _script(self) -> None:
        self.service.jobs.script = ["validating_files", "queued", "running", "succeeded"]


class TestOpenAI(_Contract):
    @classmethod
    def start(cls) -> None:
        cls.service = FakeOpenAI(CANARY_KEY)

    def config(self) -> BackendConfig:
        self._script()
        return OpenAIConfig(profile="openai", base_url=self.service.url, model=self.service.base, epochs=2)

    def remote_config(self) -> BackendConfig:
        return OpenAIConfig(model="gpt-4.1-mini-2025-04-14")


class TestNebius(_Contract):
    gaps: ClassVar = {"test_model_answers": "the host names no model that answers; its weights are downloaded"}

    @classmethod
    def start(cls) -> None:
        cls.service = FakeOpenAI(CANARY_KEY, "nebius")

    def config(self) -> BackendConfig:
        self._script()
        return OpenAIConfig(profile="nebius", base_url=self.service.url, model=self.service.base, weights="lora")

    def remote_config(self) -> BackendConfig:
        return OpenAIConfig(profile="nebius", model="meta-llama/Llama-3.1-8B-Instruct", weights="lora")


class TestAzure(_Contract):
    gaps: ClassVar = {"test_model_answers": "a model answers only through a deployment, which costs money"}

    @classmethod
    def start(cls) -> None:
        cls.service = FakeOpenAI(CANARY_KEY, "azure")

    def config(self) -> BackendConfig:
        self._script()
        return OpenAIConfig(profile="azure", base_url=self.service.url, model=self.service.base)

    def remote_config(self) -> BackendConfig:
        return OpenAIConfig(profile="azure", base_url="https://mine.openai.azure.com/openai/v1", model="gpt-4.1")


@pytest.fixture
def service() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI()) as fake:
        yield fake

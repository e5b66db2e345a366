"""The prompt backend keeps the contract, over a service and over a model of this machine."""

from __future__ import annotations

import os
from typing import Any, ClassVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from adaptkit import PromptConfig
from adaptkit.testing.contract import AdapterContract
from tests.prompt.server import ChatServer
from tests.prompt.services import VENDORS, Vendor


class _Prompt(AdapterContract):
    __test__ = False
    gaps: ClassVar = {
        "test_failure_carries_the_services_words": "a job is born finished and cannot fail later",
        "test_unknown_status_does_not_crash": "a job has one state, and no service tells it",
        "test_transient_poll_error_keeps_the_status": "a poll looks for a file and crosses no network",
    }


class TestService(_Prompt):
    server: ClassVar[ChatServer]

    def config(self):
        return PromptConfig(base_url=self.server.url, model="large", api_key_env="PROMPT_CONTRACT_KEY")

    def remote_config(self):
        return PromptConfig(base_url="https://api.example.com/v1", model="large", api_key_env="PROMPT_CONTRACT_KEY")

    @classmethod
    def start(cls):
        cls.server = ChatServer()
        cls.server.__enter__()

    @classmethod
    def stop(cls):
        cls.server.__exit__()


class _Vendor(_Prompt):
    __test__ = False
    vendor: ClassVar[Vendor]
    service: ClassVar[Any]

    def config(self):
        url = self.vendor.url(self.service)
        return PromptConfig(model=self.vendor.model, base_url=url, api_key_env="PROMPT_CONTRACT_KEY")

    def remote_config(self):
        return PromptConfig(model=self.vendor.model)

    @classmethod
    def start(cls):
        cls.service = cls.vendor.fake(None)

    @classmethod
    def stop(cls):
        cls.service.close()


class TestAnthropic(_Vendor):
    vendor = VENDORS["anthropic"]
    asked_with: ClassVar = {"max_tokens": 8}  # no temperature


class TestOpenAI(_Vendor):
    vendor = VENDORS["openai"]


class TestMistral(_Vendor):
    vendor = VENDORS["mistral"]


class TestThisMachine(_Prompt):
    def config(self):
        return PromptConfig()

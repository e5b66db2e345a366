"""The three vendors' services side by side, so that what holds for all is tested with each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adaptkit.testing.anthropic import FakeAnthropic
from adaptkit.testing.mistral_chat import FakeMistral
from adaptkit.testing.openai_chat import FakeOpenAIChat


@dataclass(frozen=True)
class Vendor:
    """A fake with its words: which name, how it is cut off, refuses, is asked for a schema."""

    model: str
    key_env: str
    host: str
    fake: Callable[[str | None], Any]
    cut: dict[str, Any]
    tools_field: str
    refusal: dict[str, Any] | None = None
    counts: bool = True

    def url(self, service: Any) -> str:
        return getattr(service, "url", service.wire.url)


VENDORS = {
    "anthropic": Vendor(
        model="anthropic:claude-haiku-5-5",
        key_env="ANTHROPIC_API_KEY",
        host="api.anthropic.com",
        fake=FakeAnthropic,
        cut={"stop": "max_tokens"},
        tools_field="input_schema",
        refusal={"stop": "refusal", "details": {"type": "refusal", "category": "general_harms"}},
    ),
    "openai": Vendor(
        model="openai:gpt-6-luna",
        key_env="OPENAI_API_KEY",
        host="api.openai.com",
        fake=FakeOpenAIChat,
        cut={"status": "incomplete", "reason": "max_output_tokens"},
        tools_field="parameters",
        refusal={"refusal": "I cannot help with that"},
    ),
    "mistral": Vendor(
        model="mistral:mistral-small-2603",
        key_env="MISTRAL_API_KEY",
        host="api.mistral.ai",
        fake=FakeMistral,
        cut={"stop": "length"},
        tools_field="parameters",
        counts=False,
    ),
}

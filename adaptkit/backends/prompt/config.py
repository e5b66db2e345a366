"""What can be set for prompting."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

import httpx2
from pydantic import AfterValidator, Field, model_validator

from adaptkit.adapter import BackendConfig, LocalPath, ModelName
from adaptkit.http import checked_url, loopback

__all__ = ["PromptConfig"]

#: ``anthropic:…``, but not ``C:\…``.
_SERVICE = re.compile(r"[a-z][a-z0-9_-]+:", re.IGNORECASE)


class PromptConfig(BackendConfig):
    """Instructions and examples in front of the question.

    Attributes:
        model: ``builtin:tiny``, a folder, or a hub id; with ``base_url``, the name that the service knows.
        base_url: Where a service speaks OpenAI's chat wire, such as ``http://localhost:11434/v1``; ``None`` for a
            model on this machine. ``https`` unless the service runs here.
        api_key_env: Name of the environment variable that holds the service's key; may be left out for a service on
            this machine.
        instructions: The system message; ``None`` for the one that the training rows share.
        examples: How many training rows stand in front of the question, spread over the different answers.
        max_tokens: Most new tokens of an answer, unless a call says otherwise.
        temperature: 0 for the likeliest answer, unless a call says otherwise.
        timeout: Seconds without a sign of the service after which a request is given up.
        validation: File of held-out examples: none of its questions becomes an example.
        seed: Which rows are chosen.
        name: For people.
    """

    backend: Literal["prompt"] = "prompt"
    model: ModelName = Field("builtin:tiny", min_length=1)
    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")
    instructions: str | None = Field(None, min_length=1)
    examples: int = Field(4, ge=0, le=10_000)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    timeout: float = Field(600.0, gt=0, allow_inf_nan=False)
    validation: LocalPath | None = None
    seed: int = Field(0, ge=0, lt=2**32)
    name: str | None = None

    @property
    def host(self) -> str | None:
        """Host of the service, as it is asked; ``None`` for a model on this machine."""
        return None if self.base_url is None else httpx2.URL(self.base_url).raw_host.decode("ascii")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        host, built_in = self.host, self.model.startswith("builtin:")
        if host is None and self.api_key_env is not None:
            raise ValueError("api_key_env is the key of a service: add its base_url, or leave it out")
        if host is None and not built_in and _SERVICE.match(self.model):
            raise ValueError(
                "model names a service: give its address on OpenAI's chat wire as base_url, and as model the name "
                "alone. Without base_url a model is builtin:tiny, a folder, or a hub id"
            )
        if host is not None and built_in:
            raise ValueError("a built-in model runs on this machine: leave out base_url")
        if host is not None and not loopback(host) and self.api_key_env is None:
            raise ValueError(f"{host} wants a key: set api_key_env to the name of the variable that holds it")
        return self

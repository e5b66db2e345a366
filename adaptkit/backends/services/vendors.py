"""What is known of each vendor without asking: where it is, which key it wants, what it cannot express, and why."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adaptkit.adapter import Abilities
from adaptkit.backends.services.ask import Service
from adaptkit.errors import UnsupportedError
from adaptkit.http_clients import Clients
from adaptkit.types import Document

__all__ = ["VENDORS", "Vendor", "open_vendor", "split_model"]


@dataclass(frozen=True)
class Vendor:
    """A vendor with an official SDK.

    Attributes:
        name: What stands before the colon, and the name of the extra that brings the SDK.
        package: Import name of the SDK.
        base_url: Its address.
        key_env: Environment variable that holds the key by convention.
        abilities: What its models take.
        refused: Why a setting cannot be had, by the name of the setting.
        ttls: How long it can be told to remember a prompt.
        embeds: Whether it has models that turn texts into vectors.
        largest: Bytes of a request at most, as far as that is published.
    """

    name: str
    package: str
    base_url: str
    key_env: str
    abilities: Abilities
    refused: Mapping[str, str] = field(default_factory=dict)
    ttls: Sequence[str] = ()
    embeds: bool = False
    largest: int | None = None

    def problems(self, settings: Mapping[str, object]) -> list[str]:
        """One sentence for each setting that cannot be had; those that are ``None`` or empty are fine."""
        return [
            f"{name}: {why}"
            for name, why in self.refused.items()
            if settings.get(name) is not None and settings[name] != ()
        ]

    def too_large(self, documents: Sequence[Document]) -> list[str]:
        """A sentence where PDFs are more than a request may hold."""
        size = sum(-(-len(document.pdf or b"") // 3) * 4 for document in documents)  # in base64
        if self.largest is None or size <= self.largest:
            return []
        return [f"documents: the PDFs are {size:,} bytes in base64, and a request has {self.largest:,} at most: split"]


VENDORS: Mapping[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            name="anthropic",
            package="anthropic",
            base_url="https://api.anthropic.com",
            key_env="ANTHROPIC_API_KEY",
            abilities=Abilities(schema=True, tools=True, documents=True, pdf=True, citations=True, thinks=True),
            refused={
                "temperature": "Claude takes no sampling parameters; leave it out, and ask again where it matters",
                "seed": "Claude takes no seed, and does not answer the same twice; leave it out",
            },
            ttls=("5m", "1h"),
            largest=32 << 20,
        ),
        Vendor(
            name="openai",
            package="openai",
            base_url="https://api.openai.com/v1",
            key_env="OPENAI_API_KEY",
            abilities=Abilities(schema=True, tools=True, documents=True, pdf=True, thinks=True),
            refused={
                "seed": "OpenAI's Responses API takes no seed; leave it out",
                "stop": "OpenAI's Responses API takes no stop words; cut the answer yourself, or use the chat wire "
                "(model without openai:, and base_url)",
            },
            ttls=("30m", "12h"),
            embeds=True,
        ),
        Vendor(
            name="mistral",
            package="mistralai",
            base_url="https://api.mistral.ai",
            key_env="MISTRAL_API_KEY",
            abilities=Abilities(schema=True, tools=True, documents=True, pdf=True),
            embeds=True,
        ),
    )
}


def split_model(model: str) -> tuple[Vendor | None, str]:
    """``anthropic:claude-…`` as vendor and name; any other name as it is, with no vendor."""
    before, colon, name = model.partition(":")
    vendor = VENDORS.get(before) if colon and name else None
    return (None, model) if vendor is None else (vendor, name)


def open_vendor(vendor: Vendor, http: Clients, base_url: str, key_env: str, backend: str) -> Service:
    """The vendor's service; loads the SDK.

    Args:
        vendor: Whose.
        http: The clients to send with.
        base_url: Where to send to.
        key_env: Name of the environment variable with the key; read at each request.
        backend: Name of the backend, for errors.

    Raises:
        MissingDependencyError: the SDK is not installed.
    """
    module = importlib.import_module(f"adaptkit.backends.services.{vendor.name}")
    service: Service = module.open_service(vendor, http, base_url, key_env, backend)
    return service


def refuse_options(vendor: Vendor, settings: Mapping[str, Any]) -> None:
    """Refuse what a call asks for and the vendor cannot express.

    Raises:
        UnsupportedError: names everything; nothing was sent.
    """
    if problems := vendor.problems(settings) + vendor.too_large(settings["documents"]):
        raise UnsupportedError(f"{vendor.name} cannot answer like this; nothing was sent: {'; '.join(problems)}")

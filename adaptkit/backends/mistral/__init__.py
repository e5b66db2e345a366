"""The `mistral` backend: custom training of Mistral's models, on your machines, at a private deployment, or by Forge.

| module | idea |
|---|---|
| `config` | what can be set, by ``where`` |
| `cluster` | jobs on your own machines |
| `hosted` | the former jobs API, at a deployment of your own; ``ft:`` models |
| `forge` | a bundle for an engagement, and what came back |
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from adaptkit.adapter import Adapter, Context
from adaptkit.backends.mistral.config import MistralConfig

__all__ = ["MistralAdapter", "MistralConfig"]

_PLACES = {"cluster": "ClusterAdapter", "hosted": "HostedAdapter", "forge": "ForgeAdapter"}


class MistralAdapter(Adapter[MistralConfig]):
    """Parent of the three places; making one gives the adapter of the configuration's ``where``.

    The places have different powers, and powers are told by type, so each is a class of its own.
    """

    backend: ClassVar[str] = "mistral"
    config_type = MistralConfig

    def __new__(cls, config: MistralConfig, context: Context) -> Any:
        """The adapter of the place."""
        del context
        if cls is not MistralAdapter:
            return super().__new__(cls)
        place = import_module(f"adaptkit.backends.mistral.{config.where}")
        return object.__new__(getattr(place, _PLACES[config.where]))

"""The parent of the places where Mistral's models are trained."""

from __future__ import annotations

from typing import Any, ClassVar

from adaptkit.adapter import Adapter, Context, Guarantee
from adaptkit.backends.mistral.config import MistralConfig

__all__ = ["MistralAdapter"]


class MistralAdapter(Adapter[MistralConfig]):
    """Making one gives the adapter of the configuration's ``where``: powers are told by type, and places differ.

    Attributes:
        where: The place of a subclass.
    """

    backend: ClassVar[str] = "mistral"
    config_type = MistralConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"
    where: ClassVar[str]

    def __new__(cls, config: MistralConfig, context: Context) -> Any:
        """The adapter of the place."""
        del context
        places = {each.where: each for each in cls.__subclasses__()}
        return super().__new__(places.get(config.where, cls))

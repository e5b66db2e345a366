"""How much a model reads and writes: as its service told, else as a dated table has it."""

from __future__ import annotations

import msgspec

from adaptkit.prices import Prices

__all__ = ["Window", "window_of"]


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tokens of a prompt and of an answer at most, ``None`` where that is not known."""

    reads: int | None = None
    writes: int | None = None


def window_of(vendor: str, model: str, told: Window | None) -> Window:
    """What is known of a vendor's model.

    Args:
        vendor: Name of the vendor.
        model: Its name of the model.
        told: What the service itself said; each of its figures goes before the table's.
    """
    told, card = told or Window(), Prices().chat(vendor, model)
    if card is None:
        return told
    return Window(
        reads=card.context if told.reads is None else told.reads,
        writes=card.longest if told.writes is None else told.writes,
    )

"""What a run will cost, before anything is sent: tokens, epochs, a price with its date and source.

What is not known is ``None``, never 0. Keeping a model running costs apart, and often more than training it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from adaptkit.adapter import BackendConfig, Plan
from adaptkit.data import Dataset
from adaptkit.prices import Price, Prices

__all__ = ["Estimate", "estimate", "hosting_price"]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will take. ``print(estimate)`` shows it.

    Attributes:
        tokens: Training tokens of one epoch.
        counted: Whether the model's own tokenizer counted them; else they are a quarter of the bytes, which is right
            within a fifth or so for English and further off elsewhere.
        epochs: How often the data is gone through; ``None`` where the host chooses.
        usd: US dollars for the training, ``None`` when unknown.
        price: Where that comes from: US dollars per million tokens, with date and source.
        hosting: Price of an hour of the model's deployment, where it needs one and it is known.
    """

    tokens: int | None
    counted: bool
    epochs: int | None
    usd: float | None
    price: Price | None
    hosting: Price | None

    def __str__(self) -> str:
        tokens = "unknown" if self.tokens is None else f"{'' if self.counted else 'about '}{self.tokens:,}"
        lines = [f"tokens: {tokens} an epoch", f"epochs: {'the host chooses' if self.epochs is None else self.epochs}"]
        if self.usd is None:
            why = "the host chooses the epochs" if self.price and self.epochs is None else "no price is known"
            lines.append(f"training: unknown ({why})")
        elif not self.usd and self.price is not None:
            lines.append(f"training: nothing to pay ({self.price.source})")
        else:
            lines.append(f"training: about ${self.usd:,.2f}, at {_basis(self.price, 'a million tokens')}")
        if self.hosting is not None:
            lines.append(f"hosting, apart from that, until it is stopped: {_basis(self.hosting, 'an hour')}")
        return "\n".join(lines)


def estimate(plan: Plan[Any], data: Dataset, prices: Prices) -> Estimate:
    """What the run of a plan will cost.

    Args:
        plan: The plan.
        data: The data that it was made from.
        prices: The table to look in.
    """
    settings: dict[str, Any] = dict(plan.config)
    names, model = _names(plan.config), str(settings.get("model") or "")
    counted = _count(settings.get("tokenizer") or model, data)
    tokens = plan.tokens if counted is None else counted
    once = 1 if "epochs" not in settings else None  # the data is read, and nothing goes through it again and again
    epochs = settings["epochs"] if isinstance(settings.get("epochs"), int) else once
    method = "search" if settings.get("optimize") else str(settings.get("method", "sft"))
    price = prices.training(names, model, method, settings.get("weights"))
    known = tokens is not None and epochs is not None and price is not None
    return Estimate(
        tokens=tokens,
        counted=counted is not None,
        epochs=epochs,
        usd=tokens * epochs * price.usd / 1e6 if known else None,  # type: ignore[operator,union-attr]
        price=price,
        hosting=hosting_price(plan.config, prices),
    )


def hosting_price(config: BackendConfig, prices: Prices) -> Price | None:
    """The price of an hour of the hardware that a configuration names for its deployment, where it is known."""
    settings: dict[str, Any] = dict(config)
    unit, count = (getattr(settings.get("deploy"), name, None) for name in ("hardware", "count"))
    price = None if unit is None else prices.hosting(_names(config), str(settings.get("model") or ""), unit)
    if price is None or count in (None, 1):
        return price
    return msgspec.structs.replace(price, usd=price.usd * count, source=f"{price.source}; {count} times that")


def _names(config: BackendConfig) -> list[str]:
    """Names to look a price up under: a profile, then the backend."""
    return [name for name in (getattr(config, "profile", None), config.backend) if name]


def _count(model: str, data: Dataset) -> int | None:
    """Tokens of the data by the model's own tokenizer, if it is on this machine."""
    from adaptkit.backends.chat_tokenizer import tokenizer_here  # noqa: PLC0415 - an extra

    tokenizer = tokenizer_here(model)
    return None if tokenizer is None else sum(tokenizer.count(record) for record in data)


def _basis(price: Price | None, per: str) -> str:
    return "" if price is None else f"${price.usd:g} {per} ({price.source}, {price.date})"

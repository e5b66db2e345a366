"""What a run will cost, before anything is sent: tokens, epochs, a price with its date and source.

What is not known is ``None``, never 0. Keeping a model running costs apart, and often more than training it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from adaptkit.adapter import Adapter, BackendConfig, Plan, SupportsSpeed
from adaptkit.data import Dataset
from adaptkit.prices import Energy, Price, Prices
from adaptkit.types import Speed

__all__ = ["Estimate", "Local", "estimate", "hosting_price"]


class Local(msgspec.Struct, frozen=True, kw_only=True):
    """What training on this machine takes.

    Attributes:
        speed: How fast earlier runs like it went, or a short one; ``None`` where nothing was measured.
        seconds: How long the run takes at that speed; ``None`` with it, or where the tokens are not known.
        energy: What the power costs; ``None`` unless the user's table of prices says it.
    """

    speed: Speed | None
    seconds: float | None
    energy: Energy | None

    @property
    def usd(self) -> float | None:
        """What the power for the run costs: nothing that anybody counts, unless the table says what it costs."""
        if self.energy is None:
            return 0.0
        return None if self.seconds is None else self.energy.usd(self.seconds)

    def __str__(self) -> str:
        if self.seconds is None or self.speed is None:
            return "time on this machine: not measured yet; a short run measures it (measure=True, --measure)"
        day = dt.datetime.fromtimestamp(self.speed.at, dt.UTC).date()
        runs = "a run" if self.speed.runs == 1 else f"{self.speed.runs} runs"
        rate = f"{self.speed.tokens_per_second:,.0f} tokens a second ({runs} here, the latest on {day})"
        said = f"time on this machine: about {_time(self.seconds)}, at {rate}"
        if self.energy is None or self.usd is None:
            return said
        of = self.energy
        basis = f"{of.watts:g} W and ${of.usd_per_kwh:g} a kWh ({of.source}, {of.date})"
        return f"{said}\nits energy: about ${self.usd:.2g}, at {basis}"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will take. ``print(estimate)`` shows it.

    Attributes:
        tokens: Training tokens of one epoch.
        counted: Whether the model's own tokenizer counted them; else they are a quarter of the bytes, which is right
            within a fifth or so for English and further off elsewhere.
        epochs: How often the data is gone through; ``None`` where the host chooses.
        usd: US dollars for the training, ``None`` when unknown; on this machine what its power costs, as far as the
            user's table of prices says it.
        price: Where that comes from: US dollars per million tokens, with date and source.
        hosting: Price of an hour of the model's deployment, where it needs one and it is known.
        local: What it takes on this machine, for a run on it.
    """

    tokens: int | None
    counted: bool
    epochs: int | None
    usd: float | None
    price: Price | None
    hosting: Price | None
    local: Local | None = None

    def __str__(self) -> str:
        tokens = "unknown" if self.tokens is None else f"{'' if self.counted else 'about '}{self.tokens:,}"
        lines = [f"tokens: {tokens} an epoch", f"epochs: {'the host chooses' if self.epochs is None else self.epochs}"]
        if self.usd is None and self.local is not None and self.local.energy is not None:
            lines.append("training: energy, and how much of it depends on the time")
        elif self.usd is None:
            why = "the host chooses the epochs" if self.price and self.epochs is None else "no price is known"
            lines.append(f"training: unknown ({why})")
        elif self.local is not None and self.local.energy is not None:
            lines.append(f"training: about ${self.usd:.2g}, {self.price.source if self.price else ''}")
        elif self.price is not None and not self.price.usd:
            lines.append(f"training: nothing to pay ({self.price.source})")
        else:
            lines.append(f"training: about ${self.usd:,.2f}, at {_basis(self.price, 'a million tokens')}")
        if self.local is not None:
            lines.append(str(self.local))
        if self.hosting is not None:
            lines.append(f"hosting, apart from that, until it is stopped: {_basis(self.hosting, 'an hour')}")
        return "\n".join(lines)


def estimate(
    plan: Plan[Any],
    data: Dataset,
    prices: Prices,
    adapter: Adapter[Any] | None = None,
    *,
    measure: bool = False,
) -> Estimate:
    """What the run of a plan will cost.

    Args:
        plan: The plan.
        data: The data that it was made from.
        prices: The table to look in.
        adapter: Who knows how fast runs on this machine go.
        measure: Whether a short run may tell that, where no earlier one does.
    """
    settings: dict[str, Any] = dict(plan.config)
    names, model = _names(plan.config), str(settings.get("model") or "")
    counted = _count(settings.get("tokenizer") or model, data)
    tokens = plan.tokens if counted is None else counted
    once = 1 if "epochs" not in settings else None  # the data is read, and nothing goes through it again and again
    epochs = settings["epochs"] if isinstance(settings.get("epochs"), int) else once
    method = "search" if settings.get("optimize") else str(settings.get("method", "sft"))
    price = prices.training(names, model, method, settings.get("weights"))
    amount = None if tokens is None or epochs is None else tokens * epochs
    usd = None if amount is None or price is None else amount * price.usd / 1e6
    local = _local(plan, data, amount, prices.energy, adapter, measure=measure)
    if local is not None and local.energy is not None and price is not None:
        usd = None if usd is None or local.usd is None else usd + local.usd
        said = f"the energy of your own machine: {local.energy.source}"
        price = msgspec.structs.replace(price, source=said, date=local.energy.date)
    return Estimate(
        tokens=tokens,
        counted=counted is not None,
        epochs=epochs,
        usd=usd,
        price=price,
        hosting=hosting_price(plan.config, prices),
        local=local,
    )


def _local(
    plan: Plan[Any],
    data: Dataset,
    tokens: int | None,
    energy: Energy | None,
    adapter: Adapter[Any] | None,
    *,
    measure: bool,
) -> Local | None:
    """What a run of so many tokens takes here, if it is one that runs here."""
    if adapter is None or not isinstance(adapter, SupportsSpeed):
        return None
    speed = adapter.speed(plan)
    if speed is None and measure:
        speed = adapter.measure(plan, data)
    seconds = None if speed is None or tokens is None else speed.starting + tokens / speed.tokens_per_second
    return Local(speed=speed, seconds=seconds, energy=energy)


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


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _basis(price: Price | None, per: str) -> str:
    return "" if price is None else f"${price.usd:g} {per} ({price.source}, {price.date})"

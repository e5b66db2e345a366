"""What a job did take: the counterpart of `adaptkit.estimate`, read off what its backend tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from adaptkit.adapter import Adapter, SupportsEvents, SupportsSpeed, SupportsTrainedTokens
from adaptkit.estimate import duration, training_price
from adaptkit.prices import Price, Prices
from adaptkit.types import Event, Status

__all__ = ["Cost", "cost_of"]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a job took; of one that has not ended, so far. What nobody knows is ``None``, never 0.

    Attributes:
        seconds: From the first to the last that happened while it ran.
        usd: US dollars: what a search tells that it spent, else by the table of prices for the tokens that the host
            tells that it trained on; on this machine what the power cost, as far as the user's table says it.
        tokens: Tokens that the host tells that it trained on.
        price: The price that ``usd`` is by; ``None`` where the job itself tells.
    """

    seconds: float | None = None
    usd: float | None = None
    tokens: int | None = None
    price: Price | None = None

    def __str__(self) -> str:
        time = "how long it ran is not known" if self.seconds is None else f"it ran for {duration(self.seconds)}"
        if self.usd is None:
            return f"{time}; what it cost is not known"
        return f"{time} and cost {f'${self.usd:.2g}' if self.usd < 1 else f'${self.usd:,.2f}'}" if self.usd else time


def cost_of(adapter: Adapter[Any], job_id: str) -> Cost:
    """What a job took, by at most two requests.

    Args:
        adapter: Its backend, with the configuration that the job was submitted with.
        job_id: The job.

    Raises:
        BackendError: asking failed.
        ConfigError: the table of prices has mistakes.
    """
    events = adapter.events(job_id, None) if isinstance(adapter, SupportsEvents) else ()
    seconds, told = _lasted(events), [event.data["usd"] for event in events if "usd" in event.data]
    if told:
        return Cost(seconds=seconds, usd=told[-1])
    prices = Prices(adapter.context.prices)
    price = training_price(adapter.config, prices)
    if price is not None and not price.usd:
        energy = prices.energy if isinstance(adapter, SupportsSpeed) else None
        if energy is None:
            return Cost(seconds=seconds, usd=0.0, price=price)
        return Cost(seconds=seconds, usd=None if seconds is None else energy.usd(seconds))
    tokens = adapter.trained_tokens(job_id) if isinstance(adapter, SupportsTrainedTokens) else None
    usd = None if price is None or tokens is None else tokens * price.usd / 1e6
    return Cost(seconds=seconds, usd=usd, tokens=tokens, price=price)


def _lasted(events: Sequence[Event]) -> float | None:
    began = next((event.at for event in events if event.data.get("status") == Status.RUNNING), None)
    # of a job that others carry out nobody tells when the work began
    if began is None and events and events[0].data.get("status") != Status.QUEUED:
        began = events[0].at
    return None if began is None else max(0.0, events[-1].at - began)

"""What hosts ask: a dated table that comes with adaptkit, and a user's own in front of it.

A price that is not in the table is ``None``, never 0. The table is `prices.toml` beside this module; a file of the
user's has the same form and is looked at first.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from adaptkit.errors import ConfigError
from adaptkit.types import Usage

__all__ = ["BatchRate", "Energy", "Price", "Prices", "RateCard", "billions"]

_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![A-Za-z0-9])", re.IGNORECASE)
#: What follows a model's name in the name of a snapshot of it, and not in that of another model.
_SNAPSHOT = re.compile(r"(?:-\d{8}|-\d{4}-\d{2}-\d{2}|-latest)?")


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a table.

    Attributes:
        what: ``training``: US dollars per million training tokens; ``hosting``: per hour.
        backend: Name of the backend, or of a profile of it.
        usd: The price.
        date: When it was read.
        source: Where it was read.
        model: Start of the ids of the models that it is for, in any case; ``None`` for all.
        method: Such as ``sft``; ``None`` for all.
        weights: ``lora`` or ``full``; ``None`` for both.
        unit: Hardware of a deployment; ``None`` for all.
        billions: From and below how many billions of parameters; ``None`` for all.
    """

    what: Literal["training", "hosting"]
    backend: str
    usd: float
    date: dt.date
    source: str
    model: str | None = None
    method: str | None = None
    weights: str | None = None
    unit: str | None = None
    billions: tuple[float, float] | None = None

    def _is_for(self, backend: str, model: str, settings: dict[str, str | None]) -> bool:
        size = billions(model)
        return (
            self.backend == backend
            and (self.model is None or model.lower().startswith(self.model.lower()))
            and (self.billions is None or (size is not None and self.billions[0] <= size < self.billions[1]))
            and all(getattr(self, name) in (None, value) for name, value in settings.items())
        )


class RateCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What calls of one model cost, in US dollars per million tokens, and how much it reads and writes.

    Attributes:
        service: Vendor, as in ``anthropic:claude-haiku-5-5``.
        model: Its name of the model; dated snapshots count as it, later models do not.
        input: Price of the prompt, as far as no cache is concerned.
        output: Price of the answer.
        cache_read: Price of what is read from the cache, ``None`` if unknown.
        cache_write: Price of what is written there, by how long it is kept; empty where that costs what `input` does.
        above: Tokens of a prompt beyond which this card holds for all of it.
        cache_from: Tokens of a beginning below which nothing is remembered, ``None`` if unknown.
        context: Tokens of a prompt at most.
        longest: Tokens of an answer at most.
        date: When it was read.
        source: Where it was read.
    """

    service: str
    model: str
    input: float
    output: float
    date: dt.date
    source: str
    cache_read: float | None = None
    cache_write: Mapping[str, float] = {}
    above: int = 0
    cache_from: int | None = None
    context: int | None = None
    longest: int | None = None

    def writing(self, ttl: str) -> float | None:
        """Price of writing to the cache for so long, ``None`` if unknown."""
        return self.cache_write.get(ttl) if self.cache_write else self.input

    def usd(self, usage: Usage) -> float | None:
        """What a call has cost; ``None`` where it used a cache whose prices are not known."""
        rest = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        dearest = max(self.cache_write.values(), default=self.input)  # the answer does not say for how long
        if usage.cache_read_tokens and self.cache_read is None:
            return None
        cached = usage.cache_read_tokens * (self.cache_read or 0.0) + usage.cache_write_tokens * dearest
        return (rest * self.input + cached + usage.output_tokens * self.output) / 1e6

    def _is_for(self, service: str, model: str) -> bool:
        if self.service != service or not model.startswith(self.model):
            return False
        return _SNAPSHOT.fullmatch(model[len(self.model) :]) is not None


class BatchRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor's batches cost.

    Attributes:
        service: Vendor.
        factor: Times what the same calls cost one by one.
        date: When it was read.
        source: Where it was read.
    """

    service: str
    factor: float
    date: dt.date
    source: str


class Energy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine's power costs, as its owner says it: ``[local]`` of a table of prices.

    Attributes:
        watts: What the whole machine draws while it trains, at the socket.
        usd_per_kwh: US dollars for a kilowatt-hour.
        date: When that was read.
        source: Where, such as a meter and a bill.
    """

    watts: float
    usd_per_kwh: float
    date: dt.date
    source: str

    def usd(self, seconds: float) -> float:
        """What so many seconds cost."""
        return self.watts * seconds / 3.6e6 * self.usd_per_kwh


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    price: list[Price] = []
    chat: list[RateCard] = []
    batch: list[BatchRate] = []
    local: Energy | None = None


class Prices:
    """A user's prices, if any, then adaptkit's own.

    Args:
        path: The user's file, or ``None``.

    Raises:
        ConfigError: the file cannot be read, or is not a table of prices.
    """

    def __init__(self, path: Path | None = None) -> None:
        tables = [*([_read(path)] if path else ()), _own()]
        self._prices: Sequence[Price] = [price for table in tables for price in table.price]
        self._cards: Sequence[RateCard] = [card for table in tables for card in table.chat]
        self._batches: Sequence[BatchRate] = [rate for table in tables for rate in table.batch]
        #: What the power of this machine costs; ``None`` unless the user's file says it.
        self.energy: Energy | None = next((table.local for table in tables if table.local), None)

    def training(self, backends: Sequence[str], model: str, method: str, weights: str | None) -> Price | None:
        """The price of training, per million tokens.

        Args:
            backends: Names to look under, in this order: a profile, then the backend.
            model: The host's id of the base model.
            method: Such as ``sft``.
            weights: ``lora`` or ``full``, ``None`` where the host has no choice.
        """
        return self._first("training", backends, model, {"method": method, "weights": weights})

    def hosting(self, backends: Sequence[str], model: str, unit: str | None) -> Price | None:
        """The price of an hour of one unit of hardware."""
        return self._first("hosting", backends, model, {"unit": unit})

    def chat(self, service: str, model: str, tokens: int = 0) -> RateCard | None:
        """What a call costs and may hold.

        Args:
            service: Vendor.
            model: Its name of the model.
            tokens: Of the prompt: the longest prompts are dearer with some.
        """
        found = [card for card in self._cards if card._is_for(service, model) and card.above <= tokens]  # noqa: SLF001
        return max(found, key=lambda card: card.above, default=None)

    def batch_rate(self, service: str) -> BatchRate | None:
        """What a vendor's batches cost beside calls."""
        return next((rate for rate in self._batches if rate.service == service), None)

    def batched(self, service: str, model: str, usage: Usage) -> float | None:
        """What one answer in a vendor's batch has cost, in US dollars; ``None`` if unknown."""
        rate = self.batch_rate(service)
        card = self.chat(service, model, usage.input_tokens)
        usd = None if card is None else card.usd(usage)
        return None if rate is None or usd is None else usd * rate.factor

    def _first(self, what: str, backends: Sequence[str], model: str, settings: dict[str, str | None]) -> Price | None:
        for backend in backends:
            for price in self._prices:
                if price.what == what and price._is_for(backend, model, settings):  # noqa: SLF001 - one idea
                    return price
        return None


def billions(model: str) -> float | None:
    """Billions of parameters as a model's id names them: 8 for ``Llama-3.1-8B``, 56 for ``8x7B``; ``None`` if none."""
    found = _SIZE.search(model)
    return None if found is None else int(found[1] or 1) * float(found[2])


def _read(path: Path) -> _Table:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path}: not a table of prices: {error}. One entry is [[price]] with what, backend, usd, date and source, "
            "or [[chat]] with service, model, input, output, date and source; [local] has watts, usd_per_kwh, date and "
            "source"
        ) from None


@cache
def _own() -> _Table:
    return _parsed(files("adaptkit").joinpath("prices.toml").read_text(encoding="utf-8"))


def _parsed(text: str) -> _Table:
    return msgspec.convert(tomllib.loads(text), _Table)

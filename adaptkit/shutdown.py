"""When a host switches a model off: told in time, never in the way."""

from __future__ import annotations

import warnings
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from adaptkit.adapter import Adapter, SupportsShutdownDate
from adaptkit.errors import AdaptkitError, AdaptkitWarning
from adaptkit.steps import Clock

__all__ = ["WITHIN", "remind", "warn"]

#: A date further off than this is not warned of.
WITHIN = timedelta(days=180)


def warn(adapter: Adapter[Any], model_id: str | None, clock: Clock) -> None:
    """Warn if a model is switched off soon: one request at most, whose failure is nobody's concern.

    Args:
        adapter: Who may know.
        model_id: A base model, or one that a job made.
        clock: What day it is.
    """
    day: date | None = None
    if isinstance(adapter, SupportsShutdownDate) and model_id:
        with suppress(AdaptkitError):
            day = adapter.shutdown_date(model_id)
    _warn_of(day, adapter, model_id, clock)


def remind(adapter: Adapter[Any], model_id: str | None, clock: Clock) -> None:
    """The same by what is known without asking; arguments as for `warn`."""
    if isinstance(adapter, SupportsShutdownDate) and model_id:
        _warn_of(adapter.known_shutdown_date(model_id), adapter, model_id, clock)


def _warn_of(day: date | None, adapter: Adapter[Any], model_id: str | None, clock: Clock) -> None:
    today = datetime.fromtimestamp(clock.time(), UTC).date()
    if day is not None and day - today <= WITHIN:
        when = f"on {day}, in {(day - today).days} days" if day > today else f"since {day}"
        warnings.warn(
            f"the {adapter.backend} backend switches model {model_id} off ({when}); plan for another",
            AdaptkitWarning,
            stacklevel=3,
        )

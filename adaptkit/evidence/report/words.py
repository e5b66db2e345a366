"""Figures in words that a developer understands."""

from __future__ import annotations

import datetime as dt
import math

from adaptkit.evidence.results import Difference, Interval, Rung

__all__ = [
    "ALPHA",
    "RUNGS",
    "UNKNOWN",
    "chance",
    "count",
    "day",
    "moment",
    "money",
    "percent",
    "points",
    "seconds",
    "share",
    "signed",
    "spread",
]

UNKNOWN = "unknown"
#: Below this adjusted p a difference counts as shown.
ALPHA = 0.05
#: The rungs from the lowest up, and what they are called.
RUNGS: dict[Rung, str] = {
    "none": "as it comes",
    "prompt": "prompted",
    "fine-tune": "fine-tuned",
    "train": "trained in full",
}


def percent(value: float | None) -> str:
    """A score or share: ``81.2%``."""
    return f"{100 * value:.1f}%" if value is not None and math.isfinite(value) else UNKNOWN


def points(value: float) -> str:
    """A difference of scores, without its sign: ``3.2 points``."""
    return f"{abs(100 * value):.1f} points" if math.isfinite(value) else UNKNOWN


def signed(value: float) -> str:
    """A difference of scores with its sign: ``+3.2``."""
    return f"{100 * value:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0") if math.isfinite(value) else UNKNOWN


def spread(interval: Interval) -> tuple[str, str]:
    """A score and its interval: ``81.2%`` and ``74.0% to 86.9%``."""
    return percent(interval.value), f"{percent(interval.low)} to {percent(interval.high)}"


def count(number: int, what: str, several: str | None = None) -> str:
    """``1 question``, ``1,200 questions``."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def share(level: float) -> str:
    """A level of confidence: ``95%``."""
    return f"{100 * level:g}%"


def money(usd: float | None) -> str:
    """US dollars to the digits that matter."""
    if usd is None or not math.isfinite(usd):
        return UNKNOWN
    if usd == 0:
        return "$0"
    if abs(usd) >= 1000:
        return f"${usd:,.0f}"
    if abs(usd) >= 0.1:
        return f"${usd:.2f}"
    digits = 1 - int(f"{usd:.1e}".partition("e")[2])  # after rounding: 0.0999 is 0.10
    return f"${usd:.{digits}f}"


def seconds(time: float | None) -> str:
    """A time in the unit that fits."""
    if time is None or not math.isfinite(time):
        return UNKNOWN
    if time == 0:
        return "0 s"
    if time < 0.0995:
        return f"{1000 * time:.1f} ms"
    if time < 0.9995:
        return f"{1000 * time:.0f} ms"
    if time < 9.995:
        return f"{time:.2f} s"
    if time < 120:
        return f"{time:.0f} s"
    return f"{time / 60:.0f} min" if time < 7200 else f"{time / 3600:.1f} h"


def moment(unix: float) -> str:
    """A point in time, in UTC."""
    try:
        return dt.datetime.fromtimestamp(unix, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def day(unix: float) -> str:
    """A day, in UTC."""
    return moment(unix).partition(" ")[0]


def chance(difference: Difference, pairs: int) -> str:
    """What an adjusted p means, for one who never met one."""
    if not difference.won and not difference.lost:
        return "None: the two did equally well on every question."
    low, high = difference.difference.low, difference.difference.high
    p = difference.adjusted
    if p < ALPHA:
        odds = "less than once in 1,000 times" if p < 0.001 else f"about {_times(p)}"
        return f"Shown: by chance, one of two equally good models would get this far ahead {odds}."
    if low > 0 or high < 0:
        return f"Not shown: alone it would look real, but among {pairs} pairs one such gap comes up by chance."
    return f"Not shown: anything from {points(low)} worse to {points(high)} better fits these answers."


def _times(p: float) -> str:
    per = 1000 if p < 0.01 else 100
    times = max(1, round(p * per))
    return f"{'once' if times == 1 else f'{times} times'} in {per:,}"

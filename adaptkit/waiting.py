"""Asking until something is so: at the service's pace or at one that slows down, for as long as the caller wants."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from adaptkit.errors import AdaptkitError
from adaptkit.steps import Clock, Pause, Steps

__all__ = ["pace", "until"]

#: Pace where the service names none: first and longest pause, seconds, and the growth between.
FIRST, LONGEST, GROWTH = 2.0, 60.0, 1.5


def pace(asked: int) -> float:
    """Seconds to wait after having asked that often: ± 25 %, so that a thousand jobs do not ask in step."""
    spread = 0.75 + secrets.randbelow(501) / 1000
    return float(min(LONGEST, FIRST * GROWTH ** min(asked, 20)) * spread)


def until(
    done: Callable[[], bool],
    ask: Callable[[int], Steps[float]],
    clock: Clock,
    timeout: float | None,
    late: Callable[[float], AdaptkitError],
) -> Steps[None]:
    """Ask until it is done, at least once unless it is done already.

    Args:
        done: Whether it is, by what was heard last.
        ask: Asks once, told how often that was done before; gives the seconds to wait before the next time.
        clock: Time.
        timeout: Seconds to wait at most, or ``None`` for as long as it takes.
        late: What to raise once they are over, told how many they were.
    """
    asked = 0
    deadline = None if timeout is None else clock.monotonic() + timeout
    while not done():
        pause = yield from ask(asked)
        asked += 1
        if done():
            return
        if timeout is not None and deadline is not None:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise late(timeout)
            pause = min(pause, left)
        yield Pause(pause)

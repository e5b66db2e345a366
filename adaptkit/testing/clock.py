"""Time for tests: that passes at once, or as it does with every pause cut short."""

from __future__ import annotations

import threading
import time

import anyio.lowlevel

from adaptkit.steps import SystemClock

__all__ = ["FakeClock", "HastyClock"]


class FakeClock:
    """A `adaptkit.steps.Clock` on which every pause is over immediately. Safe to share between threads and clients.

    Pauses of several threads add up, as if they came one after the other; so a test of who holds a lease for how long
    needs the real clock, or `HastyClock`.

    Args:
        start: Unix time that it begins at, seconds.

    Attributes:
        slept: Every pause so far, seconds, in order.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._lock = threading.Lock()
        self._start, self._passed = start, 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        """Unix time, seconds."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        with self._lock:
            self._passed += seconds

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._passed += max(seconds, 0.0)
            self.slept.append(seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and other threads run."""
        self._pause(seconds)
        time.sleep(0)

    async def asleep(self, seconds: float) -> None:
        """Let time pass, and other tasks run."""
        self._pause(seconds)
        await anyio.lowlevel.checkpoint()


class HastyClock(SystemClock):
    """The clock on the wall, with no pause longer than ``longest`` seconds.

    For threads that wait for one another at a service on a socket: with `FakeClock` who waits would use up the lease
    that the other holds.
    """

    def __init__(self, longest: float = 0.02) -> None:
        self._longest = longest

    def sleep(self, seconds: float) -> None:
        """Wait in this thread, not for long."""
        super().sleep(min(seconds, self._longest))

    async def asleep(self, seconds: float) -> None:
        """Wait on the event loop, not for long."""
        await super().asleep(min(seconds, self._longest))

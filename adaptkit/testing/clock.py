"""Time that passes at once."""

from __future__ import annotations

import threading
import time

import anyio.lowlevel

__all__ = ["FakeClock"]


class FakeClock:
    """A `adaptkit.steps.Clock` on which every pause is over immediately. Safe to share between threads and clients.

    Pauses of several threads add up, as if they came one after the other; so a test of who holds a lease for how long
    needs the real clock.

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

"""HTTP clients that are kept: one for calls that block, one for each event loop, to which its connections belong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx2
from anyio.lowlevel import current_token

from adaptkit.http import TIMEOUT, Egress, async_client, client

__all__ = ["Clients", "PerLoop"]

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, made when it is first asked for there.

    A thread runs one loop at a time, so the thread keeps it: what belonged to a loop that is over is let go of.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._kept = make, threading.local()

    def __call__(self) -> T:
        """The value of the running loop."""
        kept = self.kept()
        if kept is None:
            kept = self._make()
            self._kept.held = current_token(), kept
        return kept

    def kept(self) -> T | None:
        """The value of the running loop, ``None`` where it was not asked for yet."""
        held: tuple[object, T] | None = getattr(self._kept, "held", None)
        return held[1] if held is not None and held[0] == current_token() else None

    def forget(self) -> None:
        """Let go of the value of the running loop."""
        self._kept.held = None


class Clients:
    """HTTP clients of one owner under the policy: one for whoever calls, one for each event loop.

    Args:
        egress: Where they may send to.
        timeout: Seconds, by phase.
    """

    def __init__(self, egress: Egress, timeout: httpx2.Timeout = TIMEOUT) -> None:
        self.timeout = timeout
        self._egress, self._opening = egress, threading.Lock()
        self._calling: httpx2.Client | None = None
        #: The client of the running event loop.
        self.here = PerLoop(lambda: async_client(egress, timeout))

    @property
    def calling(self) -> httpx2.Client:
        """The client of calls that block."""
        with self._opening:
            if self._calling is None:
                self._calling = client(self._egress, self.timeout)
            return self._calling

    def close(self) -> None:
        """Let go of the connections of calls that block."""
        with self._opening:
            if self._calling is not None:
                self._calling.close()
                self._calling = None

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        kept = self.here.kept()
        if kept is not None:
            await kept.aclose()
            self.here.forget()

"""One brain, two colours.

The lifecycle is written once, as generators that yield what they need done: a plain call (I/O), a `Request`, a `Pause`,
or, for event streams, an `Emit`. `run` and `iterate` drive them in the calling thread; `arun` and `aiterate` drive them
on an event loop, with the calls in worker threads and the pauses on the loop, so that a thousand waiting jobs hold no
thread; nor do requests that can be awaited.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from adaptkit.types import Event

__all__ = [
    "Clock",
    "Emit",
    "Pause",
    "Request",
    "Steps",
    "SystemClock",
    "aiterate",
    "answered",
    "arun",
    "iterate",
    "run",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Pause:
    """Wait that many seconds."""

    seconds: float


@dataclass(frozen=True)
class Emit:
    """Hand an event to whoever iterates."""

    event: Event


@dataclass(frozen=True)
class Request:
    """Something asked whose answer may take seconds.

    Attributes:
        ask: Asks, and waits in this thread.
        aask: Asks, and is awaited on the event loop; ``None`` where it cannot be, and a thread waits.
    """

    ask: Callable[[], Any]
    aask: Callable[[], Awaitable[Any]] | None = None


#: Requests that threads wait for at a time in one event loop. They have threads of their own and so keep nothing else
#: waiting; anyio's usual 40 would be all that a model is asked at a time.
_MOST_ASKED = 1000
_asked: RunVar[anyio.CapacityLimiter] = RunVar("adaptkit_asked")

Step = Pause | Emit | Request | Callable[[], Any]
Steps = Generator[Step, Any, T]


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def time(self) -> float:
        """Unix time, seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait in this thread."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        ...


class SystemClock:
    """The clock on the wall."""

    def time(self) -> float:
        """Unix time, seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait in this thread."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)


def iterate(steps: Steps[T], clock: Clock) -> Generator[Event, None, T]:
    """Drive steps in this thread, yielding the events they emit."""
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                step = steps.throw(error) if error else steps.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # generators type their return value only on yield from
            answer = error = None
            if isinstance(step, Pause):
                clock.sleep(step.seconds)
            elif isinstance(step, Emit):
                yield step.event
            else:
                try:
                    answer = step.ask() if isinstance(step, Request) else step()
                except Exception as raised:  # noqa: BLE001 - handed to the steps, which decide
                    error = raised
    finally:
        steps.close()


def run(steps: Steps[T], clock: Clock) -> T:
    """Drive steps that emit nothing in this thread, and give what they return."""
    driver = iterate(steps, clock)
    while True:
        try:
            next(driver)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def _adrive(steps: Steps[T], clock: Clock, result: list[T]) -> AsyncIterator[Event]:
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                step = steps.throw(error) if error else steps.send(answer)
            except StopIteration as end:
                result.append(end.value)
                return
            answer = error = None
            if isinstance(step, Pause):
                await clock.asleep(step.seconds)
            elif isinstance(step, Emit):
                yield step.event
            else:
                try:
                    answer = await answered(step)
                except Exception as raised:  # noqa: BLE001 - handed to the steps, which decide
                    error = raised
    finally:
        steps.close()


async def answered(step: Request | Callable[[], Any]) -> Any:
    """What a step gives, on the event loop: awaited where it can be, else from a worker thread."""
    if not isinstance(step, Request):
        return await anyio.to_thread.run_sync(step)
    if step.aask is not None:
        return await step.aask()
    limiter = _asked.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_ASKED)
        _asked.set(limiter)
    return await anyio.to_thread.run_sync(step.ask, limiter=limiter)


async def arun(steps: Steps[T], clock: Clock) -> T:
    """Drive steps that emit nothing on the event loop, and give what they return."""
    result: list[T] = []
    async for _ in _adrive(steps, clock, result):
        pass
    return result[0]


def aiterate(steps: Steps[None], clock: Clock) -> AsyncIterator[Event]:
    """Drive steps on the event loop, yielding the events they emit."""
    return _adrive(steps, clock, [])

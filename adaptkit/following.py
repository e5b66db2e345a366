"""What happens in a job: events told once, what should be known among them, and whether it still moves."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adaptkit.adapter import Adapter, SupportsEvents
from adaptkit.retry import READ, attempt
from adaptkit.state import JobState
from adaptkit.steps import Steps
from adaptkit.types import Event

__all__ = ["Told", "look_for_life"]


class Told:
    """Events not yet told: the backend's own, or changes of status where it has none, and what was noted."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._last: str | None = None
        self._status: str | None = None
        self._notes = 0

    def new(self) -> Steps[list[Event]]:
        """What happened since the last time, oldest first."""
        adapter: Adapter[Any] = yield self._state.open_adapter
        if isinstance(adapter, SupportsEvents):
            events = yield from _events(adapter, self._state, self._last)
            if events:
                self._last = events[-1].id
            _judge(self._state, events)
        else:
            events = self._change()
        return list(heapq.merge(events, self._noted(), key=lambda event: event.at))

    def _change(self) -> list[Event]:
        heard = self._state.snapshot
        if heard.raw_status == self._status:
            return []
        self._status = heard.raw_status
        data: Mapping[str, Any] = {"status": heard.status.value}
        return [
            Event(
                id=heard.raw_status,
                at=self._state.clock.time(),
                kind="status",
                message=heard.message or heard.raw_status,
                data=data,
            )
        ]

    def _noted(self) -> list[Event]:
        told, self._notes = self._notes, len(self._state.noted)
        return [
            Event(id=f"note-{number}", at=at, kind="warning", message=text)
            for number, (text, at) in enumerate(self._state.noted.items(), start=1)
            if number > told
        ]


def look_for_life(state: JobState) -> Steps[None]:
    """While a job is waited for: if it has shown nothing new for too long, look at its events, where it has any."""
    if not state.pulse.is_quiet(state.snapshot, state.clock.monotonic()):
        return
    adapter: Adapter[Any] = yield state.open_adapter
    if isinstance(adapter, SupportsEvents):
        events = yield from _events(adapter, state, state.pulse.event)
        if events:
            state.pulse.event = events[-1].id
        yield partial(_judge, state, events)


def _judge(state: JobState, events: Sequence[Event]) -> None:
    """Note, once a job, that it does not move; when it was looked at it is left alone for as long again."""
    pulse, now = state.pulse, state.clock.monotonic()
    quiet = pulse.is_quiet(state.snapshot, now)
    if events:
        pulse.beat(now)
    elif quiet and pulse.patience is not None:
        pulse.beat(now)
        state.note(
            f"it is said to run ({state.snapshot.raw_status}) and has shown no new step or event for more than "
            f"{pulse.patience / 60:g} min; it may be stalled. It is asked on; cancel() stops it"
        )


def _events(adapter: SupportsEvents, state: JobState, after: str | None) -> Steps[list[Event]]:
    return list((yield from attempt(partial(adapter.events, state.ref.id, after), READ)))

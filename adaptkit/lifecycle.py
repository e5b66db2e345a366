"""The life of a job, written once for both colours: follow it, wait for it, learn how it ended.

How it starts is in `adaptkit.submission`.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from adaptkit.adapter import Adapter, SupportsEvents, SupportsRestart
from adaptkit.errors import AdaptkitWarning, BackendError, JobCancelled, JobError, JobFailed, JobTimeout, RateLimitError
from adaptkit.journal import Journal, Run
from adaptkit.retry import READ, attempt
from adaptkit.steps import Clock, Emit, Pause, Steps
from adaptkit.types import Event, JobRef, Snapshot, Status

__all__ = ["JobState", "events", "result", "wait"]

#: Pace of polling where the backend names none: first and longest pause, seconds, and the growth between.
POLL_FIRST, POLL_LONGEST, POLL_GROWTH = 2.0, 60.0, 1.5


@dataclass
class JobState:
    """What is remembered of one job between requests.

    Attributes:
        ref: Its reference.
        open_adapter: Gives the adapter; called at the first request, so that listing jobs loads no backend.
        journal: Where changes are recorded.
        run_id: The journal's row, or ``None`` for a job that the journal does not know.
        snapshot: What was last heard.
        submitted_at: Unix time of its submission, or ``None`` for a job that the journal does not know.
        reused: Whether `submit` found this job instead of starting one.
    """

    ref: JobRef
    open_adapter: Callable[[], Adapter[Any]]
    journal: Journal
    clock: Clock
    run_id: str | None
    snapshot: Snapshot
    submitted_at: float | None = None
    reused: bool = False
    warned: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, run: Run, open_adapter: Callable[[], Adapter[Any]], journal: Journal, clock: Clock) -> JobState:
        """The state that the journal holds."""
        assert run.job_id is not None  # noqa: S101 - callers pass accepted runs
        ref = JobRef(backend=run.backend, id=run.job_id, target=run.target)
        heard = Snapshot(job_id=run.job_id, status=run.status, raw_status=run.raw_status, message=run.message)
        return cls(ref, open_adapter, journal, clock, run.id, heard, run.created_at)

    def refresh(self) -> None:
        """Poll once, unless the job has ended; record what was heard. Errors carry the reference."""
        if self.snapshot.status.is_terminal:
            return
        with self._naming():
            heard = self.open_adapter().poll(self.ref.id)
        self._record(heard)

    def restart(self) -> None:
        """Continue an interrupted job where its backend can."""
        adapter = self.open_adapter()
        if self.snapshot.status is Status.PAUSED and isinstance(adapter, SupportsRestart):
            with self._naming():
                self._record(adapter.restart(self.ref.id))

    def cancel(self) -> None:
        """Ask the job to stop; nothing is asked of one that has ended."""
        if not self.snapshot.status.is_terminal:
            with self._naming():
                self.open_adapter().cancel(self.ref.id)

    def retrieve(self) -> str:
        """Id of the model."""
        with self._naming():
            return self.open_adapter().retrieve(self.ref.id)

    def _record(self, heard: Snapshot) -> None:
        if self.run_id is not None:
            run = self.journal.observe(
                self.run_id, heard.status, heard.raw_status, heard.message, now=self.clock.time()
            )
            if run.status is not heard.status:  # another process saw the end first
                heard = msgspec.structs.replace(
                    heard, status=run.status, raw_status=run.raw_status, message=run.message
                )
        if not self.snapshot.status.is_terminal:
            self.snapshot = heard

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except BackendError as error:
            error.ref = self.ref
            raise


def _pause(state: JobState, asked: int) -> float:
    if state.snapshot.poll_after is not None:
        return state.snapshot.poll_after
    spread = 0.75 + secrets.randbelow(501) / 1000  # ± 25 %, so that a thousand jobs do not ask in step
    return float(min(POLL_LONGEST, POLL_FIRST * POLL_GROWTH ** min(asked, 20)) * spread)


def _poll(state: JobState) -> Steps[float | None]:
    """Refresh; a transient fault says nothing about the job, so it is left for the next turn.

    Returns:
        Seconds after which the service wants to be asked again, where it says so.
    """
    wish = None
    try:
        yield state.refresh
    except BackendError as error:
        if not error.transient:
            raise
        wish = error.retry_after if isinstance(error, RateLimitError) else None
    if state.snapshot.status is Status.PAUSED and not state.warned:
        state.warned = True
        warnings.warn(
            f"job {state.ref} is paused ({state.snapshot.raw_status}) and waiting does not continue it; submit "
            "the same run again, or call job.restart() where the backend can",
            AdaptkitWarning,
            stacklevel=2,
        )
    return wish


def wait(state: JobState, timeout: float | None) -> Steps[Status]:
    """Poll until the job has ended.

    Raises:
        JobTimeout: it has not ended in time; it runs on.
    """
    clock, asked = state.clock, 0
    deadline = None if timeout is None else clock.monotonic() + timeout
    ended = state.snapshot.status.is_terminal
    while not ended:
        wish = yield from _poll(state)
        ended = state.snapshot.status.is_terminal
        if ended:
            break
        pause = wish or _pause(state, asked)
        asked += 1
        if deadline is not None:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise JobTimeout(
                    f"the job has not ended after {timeout:g} s and runs on ({state.snapshot.raw_status}); "
                    f"find it again with client.attach('{state.ref}')",
                    ref=state.ref,
                    snapshot=state.snapshot,
                )
            pause = min(pause, left)
        yield Pause(pause)
    return state.snapshot.status


def result(state: JobState, timeout: float | None) -> Steps[str]:
    """Wait, and give the id of the model.

    Raises:
        JobFailed, JobCancelled, JobTimeout: there is no model; each carries the reference.
    """
    status = yield from wait(state, timeout)
    if status is not Status.SUCCEEDED:
        raise _ended(state)
    return (yield from attempt(state.retrieve, READ))


def _ended(state: JobState) -> JobError:
    said = state.snapshot.message
    if state.snapshot.status is Status.CANCELLED:
        return JobCancelled(f"job {state.ref} was cancelled", ref=state.ref, snapshot=state.snapshot)
    because = f": {said}" if said else f" ({state.snapshot.raw_status})"
    return JobFailed(f"job {state.ref} failed{because}", ref=state.ref, snapshot=state.snapshot)


def events(state: JobState) -> Steps[None]:
    """Emit what happened so far, then what happens, until the job has ended."""
    source = _Told(state)
    asked = 0
    while True:
        wish = yield from _poll(state)
        ended = state.snapshot.status.is_terminal  # read before the events, so that none after the end is missed
        for event in (yield from source.new()):
            asked = 0
            yield Emit(event)
        if ended:
            return
        yield Pause(wish or _pause(state, asked))
        asked += 1


class _Told:
    """Events not yet told: the backend's own, or changes of status where it has none."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._last: str | None = None
        self._status: str | None = None

    def new(self) -> Steps[list[Event]]:
        adapter: Adapter[Any] = yield self._state.open_adapter
        if isinstance(adapter, SupportsEvents):
            fresh: list[Event] = list(
                (yield from attempt(partial(adapter.events, self._state.ref.id, self._last), READ))
            )
            if fresh:
                self._last = fresh[-1].id
            return fresh
        return self._change()

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

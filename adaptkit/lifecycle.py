"""The life of a job, written once for both colours: follow it, wait for it, learn how it ended.

How it starts is in `adaptkit.submission`.
"""

from __future__ import annotations

import warnings

from adaptkit import shutdown
from adaptkit.errors import AdaptkitWarning, BackendError, JobCancelled, JobError, JobFailed, JobTimeout, RateLimitError
from adaptkit.following import Told, look_for_life
from adaptkit.retry import READ, attempt
from adaptkit.state import JobState
from adaptkit.steps import Emit, Pause, Steps
from adaptkit.types import Status
from adaptkit.waiting import pace, until

__all__ = ["ended", "events", "result", "wait"]


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
            "the same run again, or call job.restart() or job.resume() where the backend can",
            AdaptkitWarning,
            stacklevel=2,
        )
    return wish or state.snapshot.poll_after


def wait(state: JobState, timeout: float | None) -> Steps[Status]:
    """Poll until the job has ended.

    Raises:
        JobTimeout: it has not ended in time; it runs on.
    """

    def ask(asked: int) -> Steps[float]:
        wish = yield from _poll(state)
        try:
            yield from look_for_life(state)
        except BackendError as error:
            if not error.transient:
                raise
        return pace(asked) if wish is None else wish

    def late(seconds: float) -> JobTimeout:
        return JobTimeout(
            f"the job has not ended after {seconds:g} s and runs on ({state.snapshot.raw_status}); "
            f"find it again with client.attach('{state.ref}')",
            ref=state.ref,
            snapshot=state.snapshot,
        )

    yield from until(lambda: state.snapshot.status.is_terminal, ask, state.clock, timeout, late)
    return state.snapshot.status


def result(state: JobState, timeout: float | None) -> Steps[str]:
    """Wait, and give the id of the model.

    Raises:
        JobFailed, JobCancelled, JobTimeout: there is no model; each carries the reference.
    """
    status = yield from wait(state, timeout)
    if status is not Status.SUCCEEDED:
        raise ended(state)
    model_id = yield from attempt(state.retrieve, READ)
    yield lambda: shutdown.warn(state.open_adapter(), model_id, state.clock)
    return model_id


def ended(state: JobState) -> JobError:
    """Why there is no model."""
    said = state.snapshot.message
    if state.snapshot.status is Status.CANCELLED:
        return JobCancelled(f"job {state.ref} was cancelled", ref=state.ref, snapshot=state.snapshot)
    because = f": {said}" if said else f" ({state.snapshot.raw_status})"
    return JobFailed(f"job {state.ref} failed{because}", ref=state.ref, snapshot=state.snapshot)


def events(state: JobState) -> Steps[None]:
    """Emit what happened so far, then what happens, until the job has ended."""
    yield state.recall
    source = Told(state)
    asked = 0
    while True:
        wish = yield from _poll(state)
        ended = state.snapshot.status.is_terminal  # read before the events, so that none after the end is missed
        for event in (yield from source.new()):
            asked = 0
            yield Emit(event)
        if ended:
            return
        yield Pause(pace(asked) if wish is None else wish)
        asked += 1

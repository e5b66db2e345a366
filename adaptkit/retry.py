"""The one retry layer.

Three policies, by what a second request may cost. All back off with full jitter (base 1 s, cap 30 s) and honour
``Retry-After`` up to two minutes; above that the error is raised with ``.retry_after`` for the caller to decide.

| policy | for | tried again on |
|---|---|---|
| `READ` | polls, lists, cancels, events | everything transient |
| `UPLOAD` | files: free, found again by their hash | everything transient |
| `CREATE` | the request that costs money | only what provably never ran |
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    DoAttempt,
    DoSleep,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from adaptkit.errors import BackendError, RateLimitError
from adaptkit.steps import Pause, Steps

__all__ = ["CREATE", "MAX_RETRY_AFTER", "READ", "UPLOAD", "Policy", "attempt"]

T = TypeVar("T")

#: Longest ``Retry-After`` that is waited for, seconds.
MAX_RETRY_AFTER = 120.0

_backoff = wait_random_exponential(multiplier=1.0, max=30.0)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimitError) and error.retry_after is not None:
        return error.retry_after
    return _backoff(state)


def _patient(error: BaseException) -> bool:
    return not (isinstance(error, RateLimitError) and (error.retry_after or 0) > MAX_RETRY_AFTER)


def _transient(error: BaseException) -> bool:
    return isinstance(error, BackendError) and error.transient and _patient(error)


def _never_ran(error: BaseException) -> bool:
    return isinstance(error, BackendError) and error.never_ran and _patient(error)


@dataclass(frozen=True)
class Policy:
    """How often to try, and after which errors."""

    attempts: int
    again: Callable[[BaseException], bool]


READ = Policy(5, _transient)
UPLOAD = Policy(3, _transient)
CREATE = Policy(3, _never_ran)


def attempt(call: Callable[[], T], policy: Policy) -> Steps[T]:
    """Call until it succeeds or the policy gives up; the last error is raised as it is.

    The loop is the one inside tenacity's own sync and async drivers, with the pauses handed to ours.
    """
    retrying = Retrying(
        stop=stop_after_attempt(policy.attempts), wait=_wait, retry=retry_if_exception(policy.again), reraise=True
    )
    retrying.begin()
    state = RetryCallState(retry_object=retrying, fn=None, args=(), kwargs={})
    while True:
        do = retrying.iter(retry_state=state)
        if isinstance(do, DoAttempt):
            try:
                result = yield call
            except Exception:  # noqa: BLE001 - tenacity decides, and re-raises what is not retried
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]
            else:
                state.set_result(result)
        elif isinstance(do, DoSleep):
            state.prepare_for_next_attempt()
            yield Pause(float(do))
        else:
            return do  # type: ignore[no-any-return]

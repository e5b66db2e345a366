"""Between a job and its run, at hosts that make a job first and begin it afterwards.

The job is in the journal before it is begun, and beginning costs the money: whoever dies here leaves a job that waits
and costs nothing, and the next `submit` of the same run begins it.
"""

from __future__ import annotations

from adaptkit.errors import ServiceError
from adaptkit.retry import READ, attempt
from adaptkit.state import JobState
from adaptkit.steps import Steps
from adaptkit.waiting import pace, until

__all__ = ["begun"]

#: Seconds that a host may take to let a job be begun.
LONGEST = 6 * 3600.0


def begun(state: JobState) -> Steps[None]:
    """Begin a job as soon as its host lets it be begun; nothing happens where jobs begin by themselves.

    Raises:
        BackendError: the host refused, or does not let it be begun; the job waits on.
    """
    waits = True

    def ask(asked: int) -> Steps[float]:
        nonlocal waits
        # `start` asks how the job stands before it begins anything, so it may be repeated
        waits = not (yield from attempt(state.start, READ))
        return pace(asked)

    def late(seconds: float) -> ServiceError:
        return ServiceError(
            f"the job could not be begun for {seconds / 3600:g} hours; nothing was paid, and the same submit goes on "
            "waiting",
            backend=state.ref.backend,
            ref=state.ref,
        )

    yield from until(lambda: not waits, ask, state.clock, LONGEST, late)

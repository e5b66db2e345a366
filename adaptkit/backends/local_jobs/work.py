"""What a job does: a program, which is a module with ``run(job: Job, work: Work) -> str``.

It gives the id of the model that it made, and may be killed at any moment: what it writes is whole or does not count.
"""

from __future__ import annotations

import signal
from typing import Any, Protocol

from adaptkit.backends.local_jobs.job import Job

__all__ = ["Interrupted", "ProcessWork", "Stop", "Work"]


class Interrupted(Exception):
    """A program stopped since it was asked to; what must not be lost is in its checkpoint."""


class Work(Protocol):
    """How a program and its worker talk.

    Attributes:
        told: Last step whose figures were told before; it and earlier ones are not told again.
        terminated: Whether the worker was asked to end, and the job is meant to go on later: a checkpoint is worth it.
    """

    told: int
    terminated: bool

    def tell(self, kind: str, message: str, /, **data: Any) -> None:
        """Append an event."""

    def between(self) -> None:
        """Called now and then while there is nothing to keep; does not return where the worker was asked to end."""

    def enter(self) -> None:
        """From here on there is something to keep: the program asks `should_stop` itself, and raises `Interrupted`."""

    def should_stop(self) -> bool:
        """Whether to stop at the next step."""

    def checkpointed(self, step: int) -> None:
        """A checkpoint is whole."""


class Stop(BaseException):
    """The process was asked to end where there is nothing to keep: by a cancellation, or by a signal."""


class ProcessWork:
    """The work of one process, which a cancellation or a signal asks to end.

    Args:
        job: The job.
        speaks: Whether it tells for the job. Of several processes that run one program, one does.
        told: Last step whose figures were told before.
    """

    def __init__(self, job: Job, *, speaks: bool = True, told: int = 0) -> None:
        self.job, self.speaks, self.told = job, speaks, told
        self.terminated = False
        self._entered = False

    def obey(self, *signals: signal.Signals) -> None:
        """Take signals as a wish to stop at the next step; before there is something to keep, at once."""
        for one in signals:
            signal.signal(one, self.stop)

    def stop(self, *_: object) -> None:
        """Handle such a signal."""
        self.terminated = True
        if not self._entered:
            raise Stop

    def tell(self, kind: str, message: str, /, **data: Any) -> None:
        """Append an event."""
        if self.speaks:
            self.job.tell(kind, message, **data)

    def should_stop(self) -> bool:
        """Whether to stop at the next step."""
        return self.terminated or self.job.cancelling

    def between(self) -> None:
        """Stop here if asked to."""
        if self.should_stop():
            raise Stop

    def enter(self) -> None:
        """From here on there is something to keep."""
        self._entered = True

    def checkpointed(self, step: int) -> None:
        """A checkpoint is whole: what was tried and lost before it counts no more."""
        if self.speaks:
            self.job.update(step=step, starts=0, losses=0)
            self.tell("checkpoint", f"checkpoint after step {step}", step=step)

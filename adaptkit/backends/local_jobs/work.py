"""What a job does: a program, which is a module with ``run(job: Job, work: Work) -> str``.

It gives the id of the model that it made, and may be killed at any moment: what it writes is whole or does not count.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Interrupted", "Work"]


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

"""Where a job lies, as one of its processes or a client sees it: a folder that all see, or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from adaptkit.backends.local_jobs import Interrupted, Job
from adaptkit.durable import replace_file
from adaptkit.errors import BackendError

__all__ = ["BEAT", "Shared", "Site", "Superseded", "beating"]

#: Seconds between two pushes or signs of life.
BEAT = 5.0


class Superseded(Interrupted):
    """A newer launch of the job is there: this one has to stop."""


class Site(Protocol):
    """Where a job lies.

    Attributes:
        job: Its folder on this machine.
        number: Of the launch that this process belongs to; 0 for a client.
    """

    job: Job
    number: int

    def offer(self) -> None:
        """Put there what the job's processes need; nothing where it is there."""

    def launched(self) -> int:
        """Number of the newest launch; 0 for none."""

    def claim(self, number: int) -> None:
        """Say that there is a launch of that number, and that it lives."""

    def heard(self) -> bool:
        """Whether the newest launch seems to live."""

    def refresh(self) -> None:
        """Bring the job's folder on this machine up to date.

        Raises:
            NotFoundError: there is no such job.
        """

    def cancel(self) -> None:
        """Leave the wish that the job ends."""

    def fetch(self) -> None:
        """For ranks: besides `refresh`, the data and the newest whole checkpoints, and no others."""

    def push(self) -> None:
        """Make state, events and log seen, and see whether the job is to end.

        Raises:
            Superseded: there is a newer launch; nothing was pushed.
        """

    def keep(self, step: int) -> None:
        """Make the checkpoints safe, of which the newest is of a step.

        Raises:
            Superseded: there is a newer launch.
        """

    def clear(self) -> None:
        """Delete all checkpoints: the job has come to its end."""

    def give(self, model: str) -> str:
        """Put a model where clients find it; gives its id for them.

        Raises:
            Superseded: there is a newer launch.
        """

    def worded(self, words: str) -> str:
        """Words in which the job's log is where clients find it."""


class Shared:
    """A folder that all machines of the job see. Locks work there, and nothing has to be pushed."""

    def __init__(self, job: Job, number: int = 0) -> None:
        self.job, self.number = job, number
        self._launch = job.folder / "launch"

    def offer(self) -> None:
        """Nothing: it is there."""

    def launched(self) -> int:
        """As a file says."""
        try:
            return int(self._launch.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def claim(self, number: int) -> None:
        """Write the file; a lower number than there was is late, and changes nothing."""
        if number > self.launched():
            replace_file(self._launch, str(number).encode())

    def heard(self) -> bool:
        """Whether its driver holds the lock."""
        return self.job.alive

    def refresh(self) -> None:
        """Nothing: it is up to date."""

    def cancel(self) -> None:
        """Make the file."""
        self.job.ask_to_cancel()

    def fetch(self) -> None:
        """Nothing: it is there."""

    def push(self) -> None:
        """Nothing but to look whether there is a newer launch."""
        if self.launched() > self.number:
            raise Superseded

    def keep(self, step: int) -> None:
        """Nothing: they are safe."""

    def clear(self) -> None:
        """Nothing: whoever writes the end does it."""

    def give(self, model: str) -> str:
        """The model as it is."""
        return model

    def worded(self, words: str) -> str:
        """The words as they are."""
        return words


@contextmanager
def beating(every: Callable[[], None], superseded: Callable[[], None]) -> Iterator[None]:
    """Call something every few seconds while the block runs, in a thread.

    Args:
        every: What is called. Where storage does not answer it is called again the next time.
        superseded: Called where a newer launch was found; nothing is called after it.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            try:
                every()
            except Superseded:
                return superseded()
            except BackendError:
                continue
        return None

    thread = threading.Thread(target=beat, name="beating", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

"""One job at a time on what can serve but one, such as a device, in the order they came."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptkit.backends.local_jobs.job import Job
from adaptkit.errors import NotFoundError

__all__ = ["turn"]

#: Seconds between two looks at the queue.
LOOK = 0.2


@contextmanager
def turn(job: Job, between: Callable[[], None]) -> Iterator[None]:
    """Wait until what the job needs is free and every living job that came before has had its turn.

    It is held by a lock on a file, which the kernel lets go of however the holder ends.

    Args:
        job: The job.
        between: Called between two looks; raises to stop waiting.
    """
    wanted = job.spec.queue
    if not wanted:
        yield
        return
    queue = job.home / "queue"
    name = wanted.replace(":", "-")
    tickets = queue / name
    tickets.mkdir(parents=True, exist_ok=True, mode=0o700)
    ticket = tickets / f"{int(job.spec.created * 1e6):020d}.{job.id}"
    ticket.touch(mode=0o600)
    handle = os.open(queue / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        told = False
        while not (_first(job, tickets) and _take(handle)):
            if not told:
                job.tell("status", f"queued: waiting for {wanted}")
                told = True
            time.sleep(LOOK)
            between()
        ticket.unlink(missing_ok=True)
        yield
    finally:
        ticket.unlink(missing_ok=True)
        os.close(handle)


def _take(handle: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _first(job: Job, tickets: Path) -> bool:
    """Whether no living job waits in front; tickets that dead ones left are cleared away."""
    for ticket in sorted(tickets.iterdir()):
        other = ticket.name.partition(".")[2]
        if other == job.id:
            return True
        with suppress(NotFoundError):
            if Job(job.home, other).alive:
                return False
        ticket.unlink(missing_ok=True)
    return True

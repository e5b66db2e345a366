"""One job at a time on each device, in the order they came."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptkit.backends.lora.jobs import Job
from adaptkit.errors import NotFoundError

__all__ = ["turn"]

#: Seconds between two looks at the queue.
LOOK = 0.2


@contextmanager
def turn(job: Job, between: Callable[[], None]) -> Iterator[None]:
    """Wait until the job's device is free and every living job that came before has had its turn.

    The device is held by a lock on a file, which the kernel lets go of however the holder ends.

    Args:
        job: The job.
        between: Called between two looks; raises to stop waiting.
    """
    queue = job.home / "queue"
    device = str(job.spec.config["device"]).replace(":", "-")
    tickets = queue / device
    tickets.mkdir(parents=True, exist_ok=True, mode=0o700)
    ticket = tickets / f"{int(job.spec.created * 1e6):020d}.{job.id}"
    ticket.touch(mode=0o600)
    handle = os.open(queue / f"{device}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        told = False
        while not (_first(job, tickets) and _take(handle)):
            if not told:
                job.tell("status", f"queued: waiting for {job.spec.config['device']}")
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

"""The process that runs one job: ``python -m adaptkit.backends.local_jobs.worker JOB-FOLDER [LOCK]``.

It waits for its turn, runs the job's program, and says at every point how it stands. It may be killed at any moment:
what is written is whole or does not count, and the next worker goes on from the last checkpoint.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.local_jobs.failures import describe
from adaptkit.backends.local_jobs.job import Job, this_worker
from adaptkit.backends.local_jobs.queueing import turn
from adaptkit.backends.local_jobs.work import Interrupted, ProcessWork, Stop
from adaptkit.types import Status

__all__ = ["ending", "main", "see_through"]


def see_through(job: Job, work: ProcessWork, perform: Callable[[], str]) -> None:
    """Bring a job to an end, whichever it is, and write it down; for the holder of the job's lock.

    Args:
        job: The job.
        work: Of this process.
        perform: Runs the job's program, and gives the model's id.
    """
    with ending(job):
        work.between()
        with turn(job, work.between):
            job.update(status=Status.RUNNING, raw_status="running", worker=this_worker())
            job.tell("status", "running")
            work.told = job.mend_events()
            model = perform()
        job.tell("status", "succeeded", model=model)
        job.update(status=Status.SUCCEEDED, raw_status="succeeded", model=model)
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)


@contextmanager
def ending(job: Job) -> Iterator[None]:
    """Write down how a job's work was ended by what is raised in the block; for the holder of its lock.

    It is told first, as every end is: whoever sees that a job has ended finds all its events there.
    """
    try:
        yield
    except (Stop, Interrupted):
        if job.cancelling:
            job.tell("status", "cancelled")
            job.update(status=Status.CANCELLED, raw_status="cancelled")
            shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
        else:
            # whoever asked for this means to go on later, so it does not count as a worker that was killed
            job.tell("status", "interrupted")
            job.update(status=Status.PAUSED, raw_status="interrupted", starts=0)
    except Exception as error:  # noqa: BLE001 - every failure ends here and is told
        traceback.print_exc()
        words = describe(error, job)
        job.tell("status", "failed", message=words)
        job.update(status=Status.FAILED, raw_status="failed", message=words)


def _perform(job: Job, work: ProcessWork, lock: int) -> str:
    """Run the job's program in this process, or in the several that the job asks for."""
    run = RunConfig.model_validate(job.spec.run)
    if run.processes == 1:
        return importlib.import_module(job.spec.program).run(job, work)  # type: ignore[no-any-return]
    from adaptkit.backends.engines import gang  # noqa: PLC0415 - brings torch

    return gang.persist(job, work, run, lock)


def main(arguments: list[str]) -> int:
    """Run the job in a folder; with no lock handed down, take it, or leave when another worker has it."""
    job = Job.at(Path(arguments[0]))
    work = ProcessWork(job)
    if len(arguments) > 1:
        lock = int(arguments[1])
        os.set_inheritable(lock, False)
        work.obey(signal.SIGTERM)
        see_through(job, work, lambda: _perform(job, work, lock))
        os.close(lock)  # at once: taking the interpreter down takes a while, and the next one may start
        return 0
    with job.lock() as handle:
        if handle is None:
            return 1
        work.obey(signal.SIGTERM)
        see_through(job, work, lambda: _perform(job, work, handle))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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
from pathlib import Path

from adaptkit.backends.local_jobs.failures import describe
from adaptkit.backends.local_jobs.job import Job, this_worker
from adaptkit.backends.local_jobs.queueing import turn
from adaptkit.backends.local_jobs.work import Interrupted
from adaptkit.types import Status

__all__ = ["main"]


class _Stop(BaseException):
    """The worker was asked to end where there is nothing to keep: by a cancellation, or by SIGTERM."""


class _Worker:
    """One job on its way."""

    def __init__(self, job: Job) -> None:
        self.job, self.tell = job, job.tell
        self.told = 0
        self.terminated = False
        self._entered = False

    def on_sigterm(self, *_: object) -> None:
        """Stop at the next step with a checkpoint; before there is something to keep, at once."""
        self.terminated = True
        if not self._entered:
            raise _Stop

    def should_stop(self) -> bool:
        return self.terminated or self.job.cancelling

    def between(self) -> None:
        if self.should_stop():
            raise _Stop

    def enter(self) -> None:
        self._entered = True

    def checkpointed(self, step: int) -> None:
        self.job.update(step=step, starts=0)
        self.tell("checkpoint", f"checkpoint after step {step}", step=step)

    def run(self) -> None:
        """Run to the end, whichever it is, and write it down."""
        job = self.job
        try:
            self.between()
            with turn(job, self.between):
                job.update(status=Status.RUNNING, raw_status="running", worker=this_worker())
                job.tell("status", "running")
                self.told = job.mend_events()
                model = importlib.import_module(job.spec.program).run(job, self)
            job.update(status=Status.SUCCEEDED, raw_status="succeeded", model=model)
            job.tell("status", "succeeded", model=model)
            shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
        except (_Stop, Interrupted):
            if job.cancelling:
                job.update(status=Status.CANCELLED, raw_status="cancelled")
                job.tell("status", "cancelled")
                shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
            else:
                # whoever asked for this means to go on later, so it does not count as a worker that was killed
                job.tell("status", "interrupted")
                job.update(status=Status.PAUSED, raw_status="interrupted", starts=0)
        except Exception as error:  # noqa: BLE001 - every failure ends here and is told
            traceback.print_exc()
            words = describe(error, job)
            job.update(status=Status.FAILED, raw_status="failed", message=words)
            job.tell("status", "failed", message=words)


def main(arguments: list[str]) -> int:
    """Run the job in a folder; with no lock handed down, take it, or leave when another worker has it."""
    folder = Path(arguments[0])
    job = Job(folder.parent.parent, folder.name)
    worker = _Worker(job)
    if len(arguments) > 1:
        os.set_inheritable(int(arguments[1]), False)
        signal.signal(signal.SIGTERM, worker.on_sigterm)
        worker.run()
        os.close(int(arguments[1]))  # at once: taking the interpreter down takes a while, and the next one may start
        return 0
    with job.lock() as handle:
        if handle is None:
            return 1
        signal.signal(signal.SIGTERM, worker.on_sigterm)
        worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

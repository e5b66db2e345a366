"""The process that runs one job: ``python -m adaptkit.backends.lora.worker JOB-FOLDER [LOCK]``.

It waits for its device, trains, writes the model, and says at every point how it stands. It may be killed at any
moment: what is written is whole or does not count, and the next worker goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

from adaptkit.backends.lora.failures import describe
from adaptkit.backends.lora.jobs import Job, this_worker
from adaptkit.backends.lora.queueing import turn
from adaptkit.types import Status

__all__ = ["main"]


class _Stop(BaseException):
    """The worker was asked to end: by a cancellation, or by SIGTERM."""


class _Worker:
    """One job on its way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.terminated = False
        self.training = False

    def on_sigterm(self, *_: object) -> None:
        """Stop at the next step with a checkpoint; before training there is nothing to keep."""
        self.terminated = True
        if not self.training:
            raise _Stop

    def should_stop(self) -> bool:
        return self.terminated or self.job.cancelling

    def stop_if_asked(self) -> None:
        if self.should_stop():
            raise _Stop

    def run(self) -> None:
        """Run to the end, whichever it is, and write it down."""
        job = self.job
        try:
            self.stop_if_asked()
            with turn(job, self.stop_if_asked):
                job.update(status=Status.RUNNING, raw_status="running", worker=this_worker())
                job.tell("status", "running")
                model = self.train()
            job.update(status=Status.SUCCEEDED, raw_status="succeeded", model=str(model))
            job.tell("status", "succeeded", model=str(model))
            shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
        except _Stop:
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

    def train(self) -> Path:
        """Load, encode, train, write; gives the model's folder."""
        from adaptkit.backends.lora import running  # noqa: PLC0415 - everything heavy is behind it
        from adaptkit.backends.lora.training import Interrupted, Reports  # noqa: PLC0415

        job = self.job
        reports = Reports(
            tell=job.tell,
            checkpointed=lambda step: _checkpointed(job, step),
            should_stop=self.should_stop,
            should_save=lambda: self.terminated,
            told=job.mend_events(),
        )
        try:
            return running.run(job, reports, self.stop_if_asked, self._entering)
        except Interrupted:
            raise _Stop from None

    def _entering(self) -> None:
        self.training = True


def _checkpointed(job: Job, step: int) -> None:
    job.update(step=step, starts=0)
    job.tell("checkpoint", f"checkpoint after step {step}", step=step)


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

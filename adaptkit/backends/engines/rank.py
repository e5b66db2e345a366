"""One of several processes that run a job's program: ``python -m adaptkit.backends.engines.rank JOB-FOLDER TOLD``.

Its launcher gives it torchrun's environment and ``TOLD``, the last step whose figures were told. Rank 0 speaks for all.
It leaves its `Outcome` in the job's folder, and dies within a second when its launcher does.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from adaptkit.backends.engines.outcome import Outcome
from adaptkit.backends.local_jobs import Interrupted, Job, ProcessWork, Stop
from adaptkit.backends.local_jobs.failures import describe
from adaptkit.errors import AdaptkitError

__all__ = ["LAUNCHER", "main"]

#: Names the variable with the launcher's process id.
LAUNCHER = "ADAPTKIT_LAUNCHER"
#: Seconds between two looks at whether the launcher lives.
LOOK = 0.25


def _die_with(launcher: int) -> None:
    """Kill this process and all that it started once its parent is another than the launcher."""

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK)
        os.killpg(0, signal.SIGKILL)  # a rank leads a group of its own

    threading.Thread(target=watch, name="launcher", daemon=True).start()


def _perform(job: Job, work: ProcessWork) -> Outcome:
    """Run the job's program, and say how it ended."""
    try:
        return Outcome("finished", importlib.import_module(job.spec.program).run(job, work))
    except (Stop, Interrupted):
        return Outcome("stopped", "")
    except Exception as error:  # noqa: BLE001 - told by the launcher
        traceback.print_exc()
        words = describe(error, job, node=int(os.environ["GROUP_RANK"]))
        return Outcome("refused" if isinstance(error, AdaptkitError) else "failed", words)


def main(arguments: list[str]) -> None:
    """Run the program of the job in a folder; ends the process."""
    job, rank = Job.at(Path(arguments[0])), int(os.environ["RANK"])
    work = ProcessWork(job, speaks=rank == 0, told=int(arguments[1]))
    work.obey(signal.SIGTERM, signal.SIGUSR2)  # the latter is what Slurm sends to all processes of a job
    _die_with(int(os.environ[LAUNCHER]))
    outcome = _perform(job, work)
    outcome.write(Outcome.path(job, rank))
    sys.stdout.flush()
    sys.stderr.flush()
    # all is written; threads and devices of the others' libraries may not undo that
    os._exit(0 if outcome.kind in ("finished", "stopped") else 1)


if __name__ == "__main__":
    main(sys.argv[1:])

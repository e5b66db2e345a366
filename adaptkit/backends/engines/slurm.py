"""Slurm: a job's processes are one Slurm job, submitted with submitit.

The Slurm job has the name of the job, so that one is found again whose client died before it could write down Slurm's
number. What Slurm holds of it is the path of the job's folder; everything else lies there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from submitit import SlurmExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.engines.slurm_node import NodeTask
from adaptkit.backends.local_jobs import Job
from adaptkit.backends.local_jobs.job import environment
from adaptkit.durable import replace_file
from adaptkit.errors import BackendError, ServiceError
from adaptkit.types import Snapshot, Status

__all__ = ["SlurmEngine"]

#: Seconds between two questions about a job; Slurm's controller serves a whole cluster.
POLL_AFTER = 10.0
#: Seconds after which a second `cancel` ends a job that did not stop by itself.
CANCEL_GRACE = 120.0
#: Seconds before the time limit at which Slurm tells the processes, which then write a checkpoint.
NOTICE = 120
#: Seconds that Slurm has for an answer.
PATIENCE = 60

_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_STATUS = {
    **dict.fromkeys(_WAITING, Status.QUEUED),
    **dict.fromkeys(("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"), Status.RUNNING),
    **dict.fromkeys(("SUSPENDED", "STOPPED"), Status.PAUSED),
}
#: Variables of the client that Slurm does not get to see: it writes them to its disk.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass(frozen=True)
class _Found:
    """What Slurm says of a job: its number, its state and why, both in Slurm's words."""

    number: int
    state: str
    reason: str

    @property
    def lives(self) -> bool:
        return self.state not in _ENDED

    @property
    def waits(self) -> bool:
        return _STATUS.get(self.state) is Status.QUEUED

    def __str__(self) -> str:
        return self.state if self.reason in ("", "None") else f"{self.state} ({self.reason})"


class SlurmEngine:
    """Jobs on the cluster that this machine submits to.

    Args:
        run: Nodes, GPUs, time, partition and more for ``sbatch``.
    """

    def __init__(self, run: RunConfig) -> None:
        self.run = run

    def start(self, job: Job) -> None:
        """Submit a job unless Slurm has it or it has ended.

        Raises:
            ServiceError: Slurm does not answer.
            BackendError: Slurm refuses the job, in Slurm's words.
        """
        with _alone(job):
            if job.state.status.is_terminal:
                return
            found = _find(job)
            if found is not None and found.lives:
                _adopt(job, found.number)
                return
            with job.lock() as handle:
                starts = job.state.starts
                if handle is None or not job.begin():
                    return
                try:
                    number = self._submit(job)
                except BackendError:
                    job.update(starts=starts)
                    raise
                _record(job, number)

    def _submit(self, job: Job) -> int:
        """Hand the job to Slurm; gives Slurm's number for it."""
        run = self.run
        exported = [name for name in os.environ if name.isidentifier() and not _SECRET.search(name)]
        given = {name.replace("-", "_"): value for name, value in run.options.items()}
        try:
            executor = SlurmExecutor(folder=job.folder / "slurm")
            executor.update_parameters(
                job_name=_name(job),
                nodes=run.nodes,
                ntasks_per_node=1,
                cpus_per_task=run.each,
                gpus_per_node=run.gpus_per_node,
                time=run.time,
                partition=run.partition,
                signal_delay_s=NOTICE,
                additional_parameters={"requeue": True, "export": ",".join(exported), **given},
                setup=_setup(job),
                teardown=_teardown(job),
            )
            return int(executor.submit(NodeTask(str(job.folder))).job_id)
        except (FailedJobError, RuntimeError) as error:
            raise BackendError(f"Slurm did not take job {job.id}: {error}") from None

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits at once; one that runs stops at its next step.

        Called again two minutes after the first time, it has Slurm end the processes.

        Raises:
            ServiceError: Slurm does not answer.
        """
        if job.state.status.is_terminal:
            return
        overdue = job.cancelling and time.time() - (job.folder / "cancel").stat().st_mtime > CANCEL_GRACE
        with _alone(job):
            job.ask_to_cancel()  # first: what starts from here on sees it
            found = _find(job)
            if found is not None and found.lives and (found.waits or overdue):
                _slurm("scancel", str(found.number))
            job.cancel()

    def snapshot(self, job: Job) -> Snapshot:
        """How the job stands, by its folder and Slurm.

        Raises:
            ServiceError: Slurm does not answer.
        """
        if job.state.status.is_terminal:
            return job.standing(lives=False)
        found = _find(job)
        lives = found is not None and found.lives
        if not lives and job.cancelling:
            job.cancel()
        seen = job.standing(lives=lives)
        if seen.status.is_terminal:  # it ended in between
            return seen
        raw = {**seen.raw, "slurm": found.number if found else _recorded(job), "slurm_state": str(found or "")}
        if found is not None and lives:
            status = _STATUS.get(found.state, Status.UNKNOWN)
            return msgspec.structs.replace(seen, status=status, raw_status=str(found), poll_after=POLL_AFTER, raw=raw)
        if found is not None:
            message = f"Slurm's job {found.number} is {found}; submitting the same run again continues it"
            seen = msgspec.structs.replace(seen, message=message)
        return msgspec.structs.replace(seen, poll_after=POLL_AFTER, raw=raw)


def _name(job: Job) -> str:
    return f"adaptkit-{job.id}"


def _setup(job: Job) -> list[str]:
    """Lines of the batch script before the processes start."""
    given = {
        **environment({}, offline=job.spec.offline),
        "SLURM_EXPORT_ENV": "ALL",  # srun passes on what stands here, and not only what sbatch exported
        "PYTHONUNBUFFERED": "1",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in given.items()]
    return [*lines, 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"']  # srun takes it from nowhere else


def _teardown(job: Job) -> list[str]:
    """Lines after the processes ended; where the last of them is a requeue, Slurm ends the script there."""
    again = shlex.join([sys.executable, "-m", "adaptkit.backends.engines.slurm_node", str(job.folder)])
    return ["ended=$?", f"[ $ended -eq 0 ] || {again}", "exit $ended"]


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Only one client at a time looks for a Slurm job and makes one."""
    handle = os.open(job.folder / "slurm.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError:
        raise BackendError(f"this machine has no {command[0]}: submit from one of the cluster's login nodes") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"Slurm did not answer {command[0]} within {PATIENCE} s") from None
    if done.returncode:
        raise ServiceError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def _find(job: Job) -> _Found | None:
    """The job as Slurm knows it: one that lives, else the last that ended and is not forgotten yet."""
    told = _slurm("squeue", "--me", f"--name={_name(job)}", "--states=all", "--noheader", "--format=%A|%T|%r")
    known = []
    for line in told.splitlines():
        number, state, reason = line.strip().split("|", 2)
        known.append(_Found(int(number), state, reason))
    return max(known, key=lambda one: (one.lives, one.number), default=None)


def _record(job: Job, number: int) -> None:
    """Write down Slurm's number for the job."""
    replace_file(job.folder / "slurm.json", msgspec.json.encode({"job": number, "at": time.time()}))


def _recorded(job: Job) -> int | None:
    try:
        return int(msgspec.json.decode((job.folder / "slurm.json").read_bytes())["job"])
    except FileNotFoundError:
        return None


def _adopt(job: Job, number: int) -> None:
    """Do what a client that died after ``sbatch`` left undone: submitit's own file, then the record."""
    if _recorded(job) == number:
        return
    task = job.folder / "slurm" / f"{number}_submitted.pkl"
    if not task.exists():  # its processes wait a minute for it
        draft = Path(f"{task}.{os.getpid()}")
        DelayedSubmission(NodeTask(str(job.folder))).dump(draft)
        draft.replace(task)
    _record(job, number)

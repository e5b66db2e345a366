"""What runs on each node of a Slurm job: the launcher of its ranks; on node 0 it is the job's worker too.

A notice that time is up, or that a more important job wants the nodes, has the ranks write a checkpoint, and the Slurm
job wait for its next turn. So has a lost process: what took it away, such as a broken GPU, may stand in the way on the
same nodes. For a lost launcher of node 0 the batch script does that: ``python -m adaptkit.backends.engines.slurm_node
JOB-FOLDER``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.engines.outcome import Lost
from adaptkit.backends.local_jobs import Interrupted, Job, ProcessWork
from adaptkit.durable import replace_file
from adaptkit.types import Status

__all__ = ["NodeTask", "main"]

#: Seconds that processes of before may take to be gone.
GONE = 10.0
#: Seconds that the nodes of a job may start apart.
MEETING = 600.0


@dataclass(frozen=True)
class NodeTask:
    """All that Slurm gets of a job: where its folder is."""

    folder: str

    def __call__(self) -> None:
        """Run this node's share of the job, to the end."""
        from submitit import JobEnvironment  # noqa: PLC0415

        slurm = JobEnvironment()
        job = Job.at(Path(self.folder))
        _print_to(job.log(slurm.node))
        node = _Node(job, slurm.node, slurm.num_nodes, slurm.hostnames[0])
        if slurm.node:
            node.follow()
        else:
            node.lead()


class _Meeting(msgspec.Struct, frozen=True):
    """Where node 0 listens."""

    address: str
    port: int


class _Node:
    """One node of a job."""

    def __init__(self, job: Job, number: int, nodes: int, first: str) -> None:
        self.job, self.number, self.nodes, self.first = job, number, nodes, first
        self.run = RunConfig.model_validate(job.spec.run)
        self.work = ProcessWork(job, speaks=number == 0)
        self.noticed = self.lost = False
        # one place for each run of the Slurm job, for the nodes to meet
        turn = os.environ.get("SLURM_RESTART_COUNT", "0")
        self.meeting = job.folder / "slurm" / f"meeting-{os.environ['SLURM_JOB_ID']}-{turn}.json"
        self.work.obey(signal.SIGTERM)
        signal.signal(signal.SIGUSR2, self._on_notice)

    def _on_notice(self, *_: object) -> None:
        self.noticed = True
        self.work.stop()

    def lead(self) -> None:
        """Be the job's worker, unless another is."""
        from adaptkit.backends.local_jobs.worker import see_through  # noqa: PLC0415

        with _lock(self.job) as handle:
            if handle is None:
                print("another worker has this job")  # noqa: T201 - into the log
                return
            if self.job.state.status.is_terminal:
                return
            before = self.job.state.step
            see_through(self.job, self.work, lambda: self._perform(handle))
            self._queue_again(before)

    def mend(self) -> None:
        """Make good that this launcher's former process is gone, if it left no word on how its turn ended."""
        from adaptkit.backends.local_jobs.worker import ending  # noqa: PLC0415

        with _lock(self.job) as handle:
            if handle is None or self.job.state.status is not Status.RUNNING:
                return
            with ending(self.job):
                self._count(Lost("the launcher of node 0 was lost"))
            self._queue_again(self.job.state.step)

    def _perform(self, lock: int) -> str:
        from adaptkit.backends.engines import gang  # noqa: PLC0415 - brings torch

        self.work.enter()
        place = gang.listen(self.first, "", nodes=self.nodes) if self.nodes > 1 else gang.listen()
        place.store.set("told", str(self.work.told))
        replace_file(self.meeting, msgspec.json.encode(_Meeting(place.address, place.port)))
        with gang.lent(lock):
            outcome = gang.launch(self.job, self.work, self.run, place)
        try:
            return outcome.model()
        except Lost as loss:
            self._count(loss)
            raise Interrupted from loss

    def _count(self, loss: Lost) -> None:
        from adaptkit.backends.engines import gang  # noqa: PLC0415

        gang.count_loss(self.job, self.work, self.run, loss)
        self.lost = True

    def _queue_again(self, before: int) -> None:
        """Have the Slurm job wait for another turn where it should, given the step before this one."""
        state = self.job.state
        if state.status.is_terminal or not (self.lost or self.noticed):
            return
        if not self.lost and state.step == before:
            if state.losses >= self.run.retries:
                turns = f"{state.losses + 1} turns on the cluster without a step forward"
                self.job.tell("warning", f"{turns}; submit the run again with more time")
                return
            self.job.update(losses=state.losses + 1)
        self.job.tell("status", "queued again")
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)

    def follow(self) -> None:
        """Start this node's ranks where node 0 says, and end with the others."""
        from torch.distributed import TCPStore  # noqa: PLC0415

        from adaptkit.backends.engines import gang  # noqa: PLC0415

        self.work.enter()
        where = self._wait_for_node_0()
        if where is None:
            return
        store = TCPStore(where.address, where.port, is_master=False)
        self.work.told = int(store.get("told"))
        place = gang.Place(store, where.address, where.port, self.number, self.nodes)
        gang.launch(self.job, self.work, self.run, place)

    def _wait_for_node_0(self) -> _Meeting | None:
        deadline = time.monotonic() + MEETING
        while time.monotonic() < deadline and not self.work.should_stop():
            try:
                return msgspec.json.decode(self.meeting.read_bytes(), type=_Meeting)
            except FileNotFoundError:
                time.sleep(0.5)
        return None


def _print_to(log: Path) -> None:
    """Have this process and those that it starts print into a file of the job."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


@contextmanager
def _lock(job: Job) -> Iterator[int | None]:
    """The job's lock, or ``None`` when another worker keeps it; one that was told to end gets the time for it."""
    deadline = time.monotonic() + GONE
    while True:
        with job.lock() as handle:
            if handle is not None or time.monotonic() > deadline:
                yield handle
                return
        time.sleep(0.5)


def main(arguments: list[str]) -> None:
    """See, in the batch script of the job in a folder, to what its processes left undone."""
    job = Job.at(Path(arguments[0]))
    _print_to(job.log())
    _Node(job, 0, RunConfig.model_validate(job.spec.run).nodes, "").mend()


if __name__ == "__main__":
    main(sys.argv[1:])

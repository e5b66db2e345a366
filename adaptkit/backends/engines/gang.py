"""A job's ranks on one machine: started together with torchrun's environment, watched, and ended together.

Torch's own launcher does the work. A lost process ends all of them, and all are started again from the last whole
checkpoint: a restart of one rank among living ones is known to hang.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, PContext, start_processes

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.engines.outcome import Lost, Outcome, verdict
from adaptkit.backends.engines.rank import LAUNCHER
from adaptkit.backends.local_jobs import Interrupted, Job, ProcessWork
from adaptkit.errors import BackendError

__all__ = ["Place", "count_loss", "launch", "lent", "listen", "persist"]

#: Seconds between two looks at the ranks.
LOOK = 0.1
#: Seconds after which ranks that do not stop for a cancellation are killed.
CANCEL_GRACE = 60.0
#: Seconds that machines wait for one another's last words.
LAST_WORDS = 20.0


@dataclass(frozen=True)
class Place:
    """Where a launcher stands among those of a job, and the store where they and their ranks meet.

    Attributes:
        store: Served by node 0's launcher.
        address: Where it is found by the ranks.
        port: Where it listens.
        node: This machine's number.
        nodes: Machines.
    """

    store: Any
    address: str
    port: int
    node: int = 0
    nodes: int = 1

    def publish(self, outcome: Outcome) -> None:
        """Say to the other launchers how it ended here."""
        self.store.set(f"ended/{self.node}", msgspec.json.encode(outcome))

    def elsewhere(self) -> list[Outcome]:
        """How it ended on other machines, as far as they have said so."""
        said = []
        for node in range(self.nodes):
            try:
                if node != self.node and self.store.check([f"ended/{node}"]):
                    said.append(msgspec.json.decode(self.store.get(f"ended/{node}"), type=Outcome))
            except RuntimeError:  # its server is gone
                return [*said, Outcome("lost", "node 0 was lost")]
        return said


def listen(address: str = "127.0.0.1", bind: str = "127.0.0.1", *, nodes: int = 1) -> Place:
    """Serve the store where a job's processes meet, on a free port.

    Args:
        address: Where other processes find this machine.
        bind: The network interface; empty for all.
        nodes: Machines.
    """
    server = socket.create_server((bind, 0))
    port = server.getsockname()[1]
    # the socket is taken over as it listens, so that nobody else can have the port in between
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach())
    return Place(store, address, port, nodes=nodes)


def persist(job: Job, work: ProcessWork, run: RunConfig, lock: int) -> str:
    """Run the job's program with all its ranks on this machine, again after a loss; gives the model's id.

    Raises:
        Interrupted: it was asked to stop, and the checkpoint is there.
        BackendError: the program failed, or processes were lost too often without a step forward.
    """
    work.enter()
    with lent(lock):
        while True:
            try:
                return launch(job, work, run, listen()).model()
            except Lost as loss:
                count_loss(job, work, run, loss)


def count_loss(job: Job, work: ProcessWork, run: RunConfig, loss: Lost) -> None:
    """Tell of a loss that is to be made good, or give the job up.

    Raises:
        Interrupted: it is to stop anyway.
        BackendError: nothing went forward for too often.
    """
    if work.should_stop():
        raise Interrupted
    losses = job.state.losses + 1
    if losses > run.retries:
        raise BackendError(
            f"{loss}, and so it went {losses} times without a checkpoint in between; most often memory is short. "
            f"The log: {job.log()}"
        )
    job.update(losses=losses)
    work.tell("warning", f"{loss}; going on from the last checkpoint ({losses} of {run.retries} times)")
    work.told = job.mend_events()


def launch(job: Job, work: ProcessWork, run: RunConfig, place: Place) -> Outcome:
    """Start this machine's ranks and wait for their end; on node 0, for that on the other machines too."""
    ranks = range(place.node * run.each, (place.node + 1) * run.each)
    Outcome.path(job, 0).parent.mkdir(mode=0o700, exist_ok=True)
    for rank in ranks:
        Outcome.path(job, rank).unlink(missing_ok=True)
    context = _start(job, work.told, run, place)
    try:
        ended, codes = _wait(context, job, work, place)
    finally:
        context.close(signal.SIGKILL)
    outcomes = []
    for local, rank in enumerate(ranks):
        outcome = Outcome.read(Outcome.path(job, rank))
        if outcome is None and local in ended:
            outcome = Outcome("lost", f"rank {rank} {_how(codes.get(local, 0))}")
        if outcome is not None:
            outcomes.append(outcome)
    here = verdict(outcomes or [Outcome("stopped", "")])
    place.publish(here)
    others = _last_words(place)
    if here.kind == "failed" and not place.node and len(others) < place.nodes - 1:
        others.append(Outcome("lost", f"a node of {place.nodes} was lost"))
    return verdict([here, *others])


def _start(job: Job, told: int, run: RunConfig, place: Place) -> PContext:
    here = range(run.each)
    shared = {
        "LOCAL_WORLD_SIZE": run.each,
        "WORLD_SIZE": run.each * place.nodes,
        "GROUP_RANK": place.node,
        "GROUP_WORLD_SIZE": place.nodes,
        "MASTER_ADDR": place.address,
        "MASTER_PORT": place.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,  # the ranks find a store there, and make none
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_MAX_RESTARTS": 0,
        "TORCHELASTIC_RUN_ID": job.id,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        LAUNCHER: os.getpid(),
    }
    own = {local: {"LOCAL_RANK": local, "RANK": place.node * run.each + local} for local in here}
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"  # the others are ours
    return start_processes(
        name=job.id,
        entrypoint=sys.executable,
        args={local: ("-m", "adaptkit.backends.engines.rank", str(job.folder), str(told)) for local in here},
        envs={local: {name: str(value) for name, value in {**shared, **own[local]}.items()} for local in here},
        logs_specs=_Inherited(),
    )


def _wait(context: PContext, job: Job, work: ProcessWork, place: Place) -> tuple[set[int], dict[int, int]]:
    """Wait until all ranks have ended, or one has not ended well; gives who ended by itself, and bad exit codes."""
    pids = context.pids()
    asked: float | None = None
    while True:
        ended = {local for local, pid in pids.items() if _has_ended(pid)}
        result = context.wait(0)
        if result is not None:
            return ended, {local: failure.exitcode for local, failure in result.failures.items()}
        if asked is None and work.should_stop():
            asked = time.monotonic()
            for local in pids.keys() - ended:
                with suppress(ProcessLookupError):
                    os.kill(pids[local], signal.SIGTERM)
        if asked is not None and job.cancelling and time.monotonic() - asked > CANCEL_GRACE:
            return ended, {}
        if any(outcome.kind not in ("finished", "stopped") for outcome in place.elsewhere()):
            return ended, {}
        time.sleep(LOOK)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it stays there to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it ended before, and was waited for
        return True


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended without a word (exit status {code})"


def _last_words(place: Place) -> list[Outcome]:
    """How it ended on the other machines, for node 0: what happened there may only have followed from that."""
    if place.node:
        return []
    deadline = time.monotonic() + LAST_WORDS
    while len(said := place.elsewhere()) < place.nodes - 1 and time.monotonic() < deadline:
        time.sleep(LOOK)
    return said


@contextmanager
def lent(lock: int) -> Iterator[None]:
    """Lend the job's lock to the ranks, as their standard input, which is all that torch's launcher hands down.

    So the job counts as alive until the last of them is gone, and no other worker can start beside them.
    """
    usual = os.dup(0)
    os.dup2(lock, 0)
    try:
        yield
    finally:
        os.dup2(usual, 0)
        os.close(usual)


class _Inherited(LogsSpecs):  # type: ignore[misc]
    """Ranks print where their launcher does: into the job's log."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        nowhere = dict.fromkeys(envs, "")
        return LogsDest(stdouts=nowhere, stderrs=nowhere, error_files=dict.fromkeys(envs, os.devnull))

    @property
    def root_log_dir(self) -> str:
        return os.devnull

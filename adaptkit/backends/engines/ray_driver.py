"""What runs on a Ray cluster: a driver that sees a launch of a job through, and Ray Train's workers as its ranks.

``python -m adaptkit.backends.engines.ray_driver LAUNCH``, as a job of Ray's Jobs API. The driver holds the job's lock
and writes its states; while ranks run, rank 0 tells and writes for the job, as everywhere. All that Ray pickles is the
function `rank`, a `Launch`, and an `Outcome` on the way back.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.engines.objects import is_address
from adaptkit.backends.engines.outcome import Lost, Outcome, verdict
from adaptkit.backends.engines.site import Shared, Site, Superseded, beating
from adaptkit.backends.engines.storage import Stored
from adaptkit.backends.local_jobs import Interrupted, Job, ProcessWork, Stop
from adaptkit.backends.local_jobs.failures import describe
from adaptkit.errors import AdaptkitError
from adaptkit.types import Status

__all__ = ["Launch", "main", "rank"]


class Launch(msgspec.Struct, frozen=True):
    """One launch of a job: all that its processes are told.

    Attributes:
        folder: The backend's home folder, which all machines see, or an address of object storage.
        backend: Whose job it is.
        job: Its id.
        number: Of the launch, from 1.
        run: On what it runs, as `RunConfig` has it.
    """

    folder: str
    backend: str
    job: str
    number: int
    run: dict[str, Any]

    def site(self, whose: str) -> Site:
        """Where the job lies, as the ``driver`` or the ``ranks`` of this machine see it."""
        if not is_address(self.folder):
            return Shared(Job(Path(self.folder), self.job), self.number)
        home = _scratch() / f"{self.job}-{self.number}-{whose}" / self.backend
        return Stored(self.folder, Job(home, self.job), self.number)

    def clear(self, whose: str) -> None:
        """Delete what this and former launches left on this machine of a job in object storage."""
        for number in range(1, self.number + 1):
            shutil.rmtree(_scratch() / f"{self.job}-{number}-{whose}", ignore_errors=True)


def _scratch() -> Path:
    """A folder of this user alone, for what must not outlive a job."""
    folder = Path(tempfile.gettempdir()) / f"adaptkit-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user: set TMPDIR to a folder of your own")
    return folder


# a rank -------------------------------------------------------------------------------------------------------------


class Ended(Exception):
    """How Ray is told that a rank did not finish, so that it ends the others."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome)


class _RankWork(ProcessWork):
    """A rank's work, which makes what it keeps safe where machines share no folder."""

    def __init__(self, site: Site, *, speaks: bool, told: int) -> None:
        super().__init__(site.job, speaks=speaks, told=told)
        self._site = site

    def checkpointed(self, step: int) -> None:
        """A checkpoint is whole, and told once it is safe."""
        if self.speaks:
            self._site.keep(step)
            super().checkpointed(step)
            self._site.push()

    def superseded(self) -> None:
        """Another does this work: stop at the next step."""
        self.terminated = True


def rank(told: dict[str, str]) -> None:
    """Run the job's program as one of Ray Train's workers.

    Raises:
        Ended: it did not finish.
    """
    launch = msgspec.json.decode(told["launch"], type=Launch)
    outcome = _perform(launch)
    if os.environ.get("LOCAL_RANK") == "0":
        launch.clear("ranks")
    sys.stdout.flush()
    if outcome.kind != "finished":
        raise Ended(outcome)


def _perform(launch: Launch) -> Outcome:
    site = launch.site("ranks")
    try:
        _fetch(site)
        _leave_group()
        job, leads = site.job, os.environ["RANK"] == "0"
        work = _RankWork(site, speaks=leads, told=job.mend_events() if leads else 0)
        with beating(site.push, work.superseded) if leads else nullcontext():
            model = importlib.import_module(job.spec.program).run(job, work)
        if leads:
            job.update(model=site.give(model))
            site.push()
    except (Stop, Interrupted):
        return Outcome("stopped", "")
    except Exception as error:  # noqa: BLE001 - the driver tells it
        traceback.print_exc()
        words = site.worded(describe(error, site.job))
        return Outcome("refused", words) if isinstance(error, AdaptkitError) else Outcome("failed", words)
    return Outcome("finished", model)


def _fetch(site: Site) -> None:
    """Fetch what the job needs, once on each machine, and wait until all have it."""
    import ray.train  # noqa: PLC0415 - only on a cluster
    import torch.distributed as dist  # noqa: PLC0415

    if ray.train.get_context().get_local_rank() == 0:
        site.fetch()
    dist.barrier()


def _leave_group() -> None:
    """Let go of the group that Ray Train made, for the program makes its own by torchrun's environment, which is set.

    It meets at another port, where nothing is left of the former group.
    """
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    with socket.create_server(("", 0)) as free:
        port = torch.tensor(free.getsockname()[1])
        dist.broadcast(port, 0)
    dist.destroy_process_group()
    os.environ["MASTER_PORT"] = str(int(port))


# the driver ---------------------------------------------------------------------------------------------------------


def _gang(launch: Launch, site: Site, work: ProcessWork) -> str:
    """Run the job's program with all its ranks, again after a loss; gives the model's id.

    Ray Train would start them again by itself, but knows neither a program that fails on purpose nor whether there was
    a step forward: so it is told not to.
    """
    from adaptkit.backends.engines.gang import count_loss  # noqa: PLC0415 - brings torch

    run = RunConfig.model_validate(launch.run)
    while True:
        site.push()
        try:
            _train(launch, run)
        except Lost as loss:
            site.refresh()  # rank 0 may have written elsewhere
            count_loss(site.job, work, run, loss)
            continue
        site.refresh()
        return str(site.job.state.model)


def _train(launch: Launch, run: RunConfig) -> None:
    """Have Ray Train run the ranks once.

    Raises:
        Interrupted: they stopped.
        Lost: one is gone, or failed in a way that may come from that.
        BackendError: the program failed.
    """
    from ray.train import FailureConfig, ScalingConfig, WorkerGroupError  # noqa: PLC0415
    from ray.train import RunConfig as TrainConfig  # noqa: PLC0415
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as notes:  # of Ray, which nobody reads
        trainer = TorchTrainer(
            rank,
            train_loop_config={"launch": msgspec.json.encode(launch).decode()},
            torch_config=TorchConfig(backend="gloo"),  # of the group that `_leave_group` lets go of
            scaling_config=ScalingConfig(
                num_workers=run.processes,
                use_gpu=run.gpus_per_node is not None,
                # as few machines as can be; where one is meant, because the ranks have to see one folder
                placement_strategy="PACK" if run.nodes > 1 else "STRICT_PACK",
            ),
            run_config=TrainConfig(
                name=f"{launch.job}-{launch.number}", storage_path=notes, failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            ends = [_outcome(number, said) for number, said in error.worker_failures.items()]
            outcome = verdict(ends or [Outcome("lost", "Ray Train gave its workers up")])
            if outcome.kind == "failed" and run.processes > 1:
                # a rank whose neighbour is gone may hear of it before Ray does
                raise Lost(outcome.words) from None
            outcome.model()


def _outcome(number: int, said: Exception) -> Outcome:
    """How a rank ended, by what Ray Train gives for it: around what it raised, or of Ray's own kinds."""
    raised = getattr(said, "_base_exc", said)
    return raised.outcome if isinstance(raised, Ended) else Outcome("lost", f"rank {number} was lost")


def main(arguments: list[str]) -> int:
    """See a launch through; gives the exit status."""
    from adaptkit.backends.local_jobs.worker import see_through  # noqa: PLC0415

    launch = msgspec.json.decode(arguments[0], type=Launch)
    launch.clear("driver")
    site = launch.site("driver")
    site.claim(launch.number)
    site.refresh()
    job, work = site.job, ProcessWork(site.job)
    work.obey(signal.SIGTERM)
    # a newer launch ends this one; what it has still written nobody reads
    with job.lock() as lock, suppress(Superseded):
        if lock is None:
            return 1
        _print_into(job.log())
        if job.begin():
            with beating(lambda: _live(site), lambda: os.kill(os.getpid(), signal.SIGTERM)):
                see_through(job, work, lambda: _gang(launch, site, work))
            if job.state.message:
                job.update(message=site.worded(job.state.message))
        site.push()
        if job.state.status in (Status.SUCCEEDED, Status.CANCELLED):
            site.clear()
    launch.clear("driver")
    return 0


def _live(site: Site) -> None:
    if site.launched() > site.number:
        raise Superseded
    site.claim(site.number)


def _print_into(log: Path) -> None:
    """Send what this process and, through Ray, its ranks print into the job's log, which only its owner can read."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


if __name__ == "__main__":
    # by its name, so that Ray finds what it pickles
    sys.exit(importlib.import_module("adaptkit.backends.engines.ray_driver").main(sys.argv[1:]))

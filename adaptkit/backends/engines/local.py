"""This machine: a worker process that outlives the client, and its ranks where there are several."""

from __future__ import annotations

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.local_jobs import Job
from adaptkit.errors import ConfigError
from adaptkit.types import Snapshot

__all__ = ["LocalEngine"]


class LocalEngine:
    """Jobs on this machine, as they are.

    Args:
        run: What runs there; each job's spec has it too.

    Raises:
        ConfigError: it is more than one machine.
    """

    def __init__(self, run: RunConfig) -> None:
        if run.nodes > 1:
            raise ConfigError(f'nodes = {run.nodes} needs engine = "slurm" or "ray": "local" is this machine alone')

    def start(self, job: Job) -> None:
        """Start a worker unless one lives or the job has ended."""
        job.start()

    def cancel(self, job: Job) -> None:
        """Ask the worker to stop; where none lives, the job is cancelled at once."""
        job.cancel()

    def snapshot(self, job: Job) -> Snapshot:
        """How the job stands."""
        return job.snapshot()

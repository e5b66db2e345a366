"""On what a job's processes run: one machine, Slurm, Ray."""

from __future__ import annotations

from typing import Protocol

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.local_jobs import Job
from adaptkit.types import Snapshot

__all__ = ["Engine", "RunConfig"]


class Engine(Protocol):
    """Starts, watches and stops the processes of jobs, each of which is a folder that all of them see."""

    def start(self, job: Job) -> None:
        """Start the processes of a job unless they live or it has ended; safe to call again after a crash."""

    def cancel(self, job: Job) -> None:
        """Ask for the end, and return at once; one that waits or lost its processes has ended then."""

    def snapshot(self, job: Job) -> Snapshot:
        """How the job stands; where the engine must be asked, one request."""

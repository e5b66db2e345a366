"""On what a job's processes run: one machine, Slurm, Ray.

| module | idea |
|---|---|
| `config` | what a user says of it |
| `jobs` | the jobs of a backend, from its copies of the data to its models |
| `local`, `slurm`, `ray` | the engines |
| `gang` | a machine's ranks: started together, ended together |
| `rank` | one of them |
| `outcome` | how they ended |
| `ray_driver` | what runs on a Ray cluster |
| `site`, `storage`, `objects` | where a job lies: a folder that all see, or object storage |
"""

from __future__ import annotations

import importlib
from typing import Protocol

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.local_jobs import Job
from adaptkit.errors import MissingDependencyError
from adaptkit.http import Egress
from adaptkit.types import Snapshot

__all__ = ["Engine", "RunConfig", "engine_for"]

#: What an engine is built on; the extra has the engine's name.
_NEEDS = {"slurm": "submitit", "ray": "ray"}


class Engine(Protocol):
    """Starts, watches and stops the processes of jobs, each of which is a folder that all of them see."""

    def start(self, job: Job) -> None:
        """Start the processes of a job unless they live or it has ended; safe to call again after a crash."""

    def cancel(self, job: Job) -> None:
        """Ask for the end, and return at once; one that waits or lost its processes has ended then."""

    def snapshot(self, job: Job) -> Snapshot:
        """How the job stands; where the engine must be asked, one request."""


def engine_for(run: RunConfig, egress: Egress | None = None) -> Engine:
    """The engine of a configuration.

    Args:
        run: What is asked for.
        egress: Where this process may send to; everywhere unless it is given.

    Raises:
        MissingDependencyError: its extra is not installed.
        ConfigError: it cannot be had that way.
    """
    try:
        module = importlib.import_module(f"adaptkit.backends.engines.{run.engine}")
    except ModuleNotFoundError as error:
        package = _NEEDS.get(run.engine)
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingDependencyError(f'engine = "{run.engine}"', package, run.engine) from error
    kind = getattr(module, f"{run.engine.capitalize()}Engine")
    engine: Engine = kind(run, egress) if run.engine == "ray" else kind(run)  # the others send nothing by themselves
    return engine

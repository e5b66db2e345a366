"""The jobs of a backend that trains on your own machines: a folder each, whose processes an engine runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptkit.adapter import Context, DataFile, Plan
from adaptkit.backends.engines import Engine, RunConfig, engine_for
from adaptkit.backends.engines.objects import is_address
from adaptkit.backends.engines.storage import at_hand
from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.backends.local_jobs.data import copy_of, keep
from adaptkit.backends.local_models import model_of
from adaptkit.errors import NotFoundError
from adaptkit.types import Event, Snapshot

__all__ = ["EngineJobs"]


class EngineJobs:
    """Jobs, models and data lie under ``<home>/<backend>``, or under ``run.folder`` where machines share one.

    A job's id is its tag, so that sending a submission again is safe; a model's id is the path of its folder.

    Args:
        backend: Its name.
        program: Module whose ``run(job, work)`` trains.
        run: On what.
        context: The client's.

    Attributes:
        home: Where they lie.
    """

    def __init__(self, backend: str, program: str, run: RunConfig, context: Context) -> None:
        self._backend, self._program, self._run, self._egress = backend, program, run, context.egress
        here = run.folder is None or is_address(run.folder)
        self.home = context.home / backend if here else Path(str(run.folder)).expanduser()

    @property
    def _engine(self) -> Engine:
        return engine_for(self._run, self._egress)

    def _job(self, job_id: str) -> Job:
        return Job(self.home, job_id)

    def upload(self, file: DataFile) -> str:
        """Keep a copy of the data: the job must not change with the user's file."""
        return keep(self.home, file)

    def has_upload(self, file_id: str) -> bool:
        """Whether the copy is still there."""
        return copy_of(self.home, file_id).is_file()

    def submit(self, plan: Plan[Any], uploads: Mapping[str, str], tag: str, *, device: str, offline: bool) -> Snapshot:
        """Make the job and start its processes; a job of that tag is found, and continued if it was interrupted.

        Args:
            plan: The plan.
            uploads: Copies of its files, by purpose.
            tag: Of the job.
            device: What jobs of this machine take turns on.
            offline: Whether its processes may fetch nothing.
        """
        spec = Spec(
            id=tag,
            backend=self._backend,
            program=self._program,
            queue=device if self._run.engine == "local" else "",
            config=plan.config.model_dump(mode="json"),
            files={purpose: str(copy_of(self.home, name)) for purpose, name in uploads.items()},
            fingerprint=plan.fingerprint,
            offline=offline,
            created=time.time(),
            run=self._run.model_dump(mode="json"),
        )
        return self._started(Job.create(self.home, spec))

    def _started(self, job: Job) -> Snapshot:
        engine = self._engine
        engine.start(job)
        return engine.snapshot(job)

    def restart(self, job_id: str) -> Snapshot:
        """Start processes for a job that lost its own; it goes on from the last whole checkpoint."""
        return self._started(self._job(job_id))

    def poll(self, job_id: str) -> Snapshot:
        """How the job stands; ``paused`` with ``interrupted`` when its processes are gone before its end."""
        return self._engine.snapshot(self._job(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask the job to stop at its next step; a waiting or interrupted job is cancelled at once."""
        self._engine.cancel(self._job(job_id))

    def retrieve(self, job_id: str) -> str:
        """The model's folder."""
        heard = self.poll(job_id)
        if is_address(heard.raw.get("model")):
            return at_hand(str(heard.raw["model"]), (self.home / "models" / job_id).resolve())
        return model_of(heard, self._backend)

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """What happened since the event of that id."""
        return self._job(job_id).events(after)

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        try:
            return [self.poll(tag)]
        except NotFoundError:
            return []

"""`Job`: the handle of something that runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from adaptkit import batches, lifecycle, steps
from adaptkit.cost import Cost
from adaptkit.mapping import Answer
from adaptkit.model import Model
from adaptkit.state import JobState
from adaptkit.types import Event, JobRef, ModelRef, Snapshot, Status

__all__ = ["Job"]


class Job:
    """A job, wherever it runs. Clients make these; ``client.attach(str(job.ref))`` makes the same one again.

    Properties are memory. `refresh`, `done`, `cancel`, `pause`, `resume` and `restart` make at most one request; only
    `wait`, `result` and `events` go on asking. Ctrl-C, or a time-out, ends the waiting and never the job.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"<Job {self.ref} {self.status}>"

    @property
    def id(self) -> str:
        """The backend's own id of the job."""
        return self._state.ref.id

    @property
    def ref(self) -> JobRef:
        """The reference; ``str(job.ref)`` is one line of text that finds the job again from any process."""
        return self._state.ref

    @property
    def status(self) -> Status:
        """Where the job stood when last heard of."""
        return self._state.snapshot.status

    @property
    def raw_status(self) -> str:
        """The backend's own word for it."""
        return self._state.snapshot.raw_status

    @property
    def snapshot(self) -> Snapshot:
        """All that was last heard, with the backend's own answer in ``raw``."""
        return self._state.snapshot

    @property
    def submitted_at(self) -> datetime | None:
        """When it was submitted, in UTC; ``None`` for a job that the journal does not know."""
        at = self._state.submitted_at
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def reused(self) -> bool:
        """Whether `submit` found this job instead of starting it."""
        return self._state.reused

    def refresh(self) -> Status:
        """Ask once how the job stands; asks nothing once it has ended.

        Raises:
            BackendError: asking failed, which says nothing about the job; carries ``ref``.
        """
        self._state.refresh()
        return self.status

    def done(self) -> bool:
        """Whether the job has ended, after at most one request."""
        return self.refresh().is_terminal

    def wait(self, timeout: float | None = None) -> Status:
        """Ask until the job has ended.

        Args:
            timeout: Seconds to wait at most, or ``None`` for as long as it takes.

        Returns:
            The status it ended with.

        Raises:
            JobTimeout: it has not ended in time; it runs on.
            BackendError: asking failed for a reason that waiting does not cure.
        """
        return steps.run(lifecycle.wait(self._state, timeout), self._state.clock)

    def result(self, timeout: float | None = None) -> Model:
        """Wait for the model.

        Raises:
            JobFailed, JobCancelled, JobTimeout: there is none; each carries ``ref``.
        """
        return self._model(steps.run(lifecycle.result(self._state, timeout), self._state.clock))

    def events(self) -> Iterator[Event]:
        """What happened so far, then what happens, live, until the job has ended."""
        return steps.iterate(lifecycle.events(self._state), self._state.clock)

    def cancel(self) -> None:
        """Ask the job to stop, and return at once. A job that has ended stays as it is."""
        self._state.cancel()

    def restart(self) -> Status:
        """Continue an interrupted job from its last checkpoint where the backend can; else nothing happens."""
        self._state.restart()
        return self.status

    def pause(self) -> None:
        """Ask the job to halt, and return at once. A job that has ended stays as it is.

        Raises:
            UnsupportedError: jobs of this backend cannot be paused.
        """
        self._state.pause()

    def resume(self) -> None:
        """Ask a halted job to go on, and return at once; this may cost money.

        Raises:
            UnsupportedError: jobs of this backend cannot be paused.
        """
        self._state.resume()

    def register(self, path_or_endpoint: str | os.PathLike[str]) -> Status:
        """End a job that others carry out with the model that came back; `result` gives it then.

        Args:
            path_or_endpoint: A model's folder, or an address with the model's name there:
                ``https://host/v1#model-name``.

        Raises:
            ConfigError, ArtifactError: that is no model, or none that is safe to load.
            EgressError: the policy does not allow the address.
            UnsupportedError: jobs of this backend make their own model, or this one has ended with another.
        """
        self._state.register(os.fspath(path_or_endpoint))
        return self.status

    def checkpoints(self) -> list[tuple[Model, int, Mapping[str, float]]]:
        """Models of earlier steps that are kept, earliest first: each with its step and its figures.

        Raises:
            UnsupportedError: jobs of this backend keep none that can be listed.
        """
        return [(self._model(kept.model_id), kept.step, kept.metrics) for kept in self._state.checkpoints()]

    def figures(self) -> list[Mapping[str, float]]:
        """What was measured so far, a row a step: ``step``, ``loss``, ``eval_loss`` and what else the backend tells.

        Where the host keeps all of it in files these are read, else it is what its events say.

        Raises:
            BackendError: asking failed.
        """
        return self._state.figures()

    def cost(self) -> Cost:
        """What it took so far, in time and money; `Client.estimate` says it before.

        Raises:
            BackendError: asking failed.
            ConfigError: the table of prices has mistakes.
        """
        return self._state.cost()

    def answers(self, timeout: float | None = None) -> Iterator[Answer]:
        """Wait for a batch, and give what became of each question, in the order of the questions.

        Answers are kept in ``answers.db`` in the home folder when they are first fetched: vendors keep them for about
        a month. Of a batch that was cancelled or ran out of time there are the answers that were ready. What they have
        cost together is in `figures` then.

        Raises:
            JobTimeout: it has not ended in time; it runs on.
            JobFailed: the vendor took none of the questions.
            UnsupportedError: jobs of this backend make a model.
            BackendError: the answers cannot be had.
        """
        batches.answering(self._state)
        self.wait(timeout)
        return batches.answers(self._state)

    def delete_data(self) -> list[str]:
        """Delete the uploaded files that this job was made from.

        Returns:
            Ids of the deleted files; one that another job still uses stays.

        Raises:
            UnsupportedError: the backend cannot delete files, or the journal does not know them.
            JobError: the job has not ended.
        """
        return self._state.delete_data()

    def _model(self, model_id: str) -> Model:
        state = self._state
        ref = ModelRef(backend=self.ref.backend, id=model_id, target=self.ref.target)
        return Model(ref, state.open_adapter(), lambda: state.journal, state.clock)

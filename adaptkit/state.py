"""What is remembered of one job between requests, and what one request does to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adaptkit.adapter import (
    Adapter,
    SupportsCheckpoints,
    SupportsDeleteData,
    SupportsEvents,
    SupportsFigures,
    SupportsPause,
    SupportsRegister,
    SupportsRestart,
    SupportsStart,
)
from adaptkit.cost import Cost, cost_of
from adaptkit.errors import AdaptkitWarning, BackendError, JobError, UnsupportedError
from adaptkit.journal import Journal, Run
from adaptkit.steps import Clock
from adaptkit.types import Checkpoint, JobRef, Snapshot, Status

__all__ = ["JobState", "Pulse"]

#: Figures of events that say how far a job is and measure nothing.
_EXPECTED = frozenset({"total_steps", "eta"})


@dataclass
class Pulse:
    """When a job last showed something new, by this process's monotonic clock.

    Attributes:
        patience: Seconds without a new step or event after which a running job counts as stalled; ``None`` for never.
        at: When it last moved.
        word: Its state then.
        event: Id of the last event seen.
    """

    patience: float | None
    at: float = 0.0
    word: str | None = None
    event: str | None = None

    def beat(self, now: float) -> None:
        """It moves."""
        self.at = now

    def is_quiet(self, heard: Snapshot, now: float) -> bool:
        """Whether a running job has shown nothing new for too long; a change of state is something new."""
        if heard.status is not Status.RUNNING or heard.raw_status != self.word:
            self.at, self.word = now, heard.raw_status
        return self.patience is not None and now - self.at > self.patience


@dataclass
class JobState:
    """What is remembered of one job between requests.

    Attributes:
        ref: Its reference.
        open_adapter: Gives the adapter; called at the first request, so that listing jobs loads no backend.
        journal: Where changes are recorded.
        clock: Time.
        pulse: Whether it moves.
        run_id: The journal's row, or ``None`` for a job that the journal does not know.
        snapshot: What was last heard.
        submitted_at: Unix time of its submission, or ``None`` for a job that the journal does not know.
        reused: Whether `submit` found this job instead of starting one.
        noted: What should be known of it, and when that was first heard.
    """

    ref: JobRef
    open_adapter: Callable[[], Adapter[Any]]
    journal: Journal
    clock: Clock
    pulse: Pulse
    run_id: str | None
    snapshot: Snapshot
    submitted_at: float | None = None
    reused: bool = False
    noted: dict[str, float] = field(default_factory=dict, repr=False)
    warned: bool = field(default=False, repr=False)

    @classmethod
    def of(
        cls, run: Run, open_adapter: Callable[[], Adapter[Any]], journal: Journal, clock: Clock, pulse: Pulse
    ) -> JobState:
        """The state that the journal holds."""
        assert run.job_id is not None  # noqa: S101 - callers pass accepted runs
        ref = JobRef(backend=run.backend, id=run.job_id, target=run.target)
        heard = Snapshot(job_id=run.job_id, status=run.status, raw_status=run.raw_status, message=run.message)
        return cls(ref, open_adapter, journal, clock, pulse, run.id, heard, run.created_at)

    def refresh(self) -> None:
        """Poll once, unless the job has ended; record what was heard. Errors carry the reference."""
        if self.snapshot.status.is_terminal:
            return
        with self._naming():
            heard = self.open_adapter().poll(self.ref.id)
        self.hear(heard)

    def restart(self) -> None:
        """Continue an interrupted job where its backend can."""
        adapter = self.open_adapter()
        if self.snapshot.status is Status.PAUSED and isinstance(adapter, SupportsRestart):
            with self._naming():
                self.hear(adapter.restart(self.ref.id))

    def start(self) -> bool:
        """Begin the job where its backend makes jobs first and begins them afterwards; whether nothing is left to do.

        What is begun already, or has ended, is left alone.
        """
        adapter = self.open_adapter()
        moves = self.snapshot.status is Status.RUNNING or self.snapshot.status.is_terminal
        if moves or not isinstance(adapter, SupportsStart):
            return True
        with self._naming():
            heard = adapter.start(self.ref.id)
        if heard is None:
            return False
        self.hear(heard)
        return True

    def cancel(self) -> None:
        """Ask the job to stop; nothing is asked of one that has ended."""
        if not self.snapshot.status.is_terminal:
            with self._naming():
                self.open_adapter().cancel(self.ref.id)

    def pause(self) -> None:
        """Ask the job to halt; nothing is asked of one that has ended."""
        adapter = self.open_adapter()
        if not isinstance(adapter, SupportsPause):
            raise self.cannot("be paused")
        if not self.snapshot.status.is_terminal:
            with self._naming():
                adapter.pause(self.ref.id)

    def resume(self) -> None:
        """Ask a halted job to go on, or begin one that waits for it; nothing is asked of one that has ended."""
        adapter = self.open_adapter()
        if isinstance(adapter, SupportsStart):
            if not self.start():
                raise JobError(
                    f"job {self.ref} cannot be begun yet ({self.snapshot.raw_status}); submit of the same run waits "
                    "for that, or ask again later",
                    ref=self.ref,
                    snapshot=self.snapshot,
                )
            return
        if not isinstance(adapter, SupportsPause):
            raise self.cannot("be resumed")
        if not self.snapshot.status.is_terminal:
            with self._naming():
                adapter.resume(self.ref.id)

    def register(self, result: str) -> None:
        """End the job with a model from elsewhere."""
        adapter = self.open_adapter()
        if not isinstance(adapter, SupportsRegister):
            raise self.cannot("end with a model that is registered: they make their own")
        with self._naming():
            heard = adapter.register(self.ref.id, result)
        self.hear(heard)

    def checkpoints(self) -> list[Checkpoint]:
        """What is kept of earlier steps, earliest first."""
        adapter = self.open_adapter()
        if not isinstance(adapter, SupportsCheckpoints):
            raise self.cannot("keep checkpoints that can be listed")
        with self._naming():
            return list(adapter.checkpoints(self.ref.id))

    def figures(self) -> list[Mapping[str, float]]:
        """What was measured, a row a step: all of it where the backend keeps it, else what events tell."""
        adapter = self.open_adapter()
        with self._naming():
            told = list(adapter.figures(self.ref.id)) if isinstance(adapter, SupportsFigures) else []
            if told or not isinstance(adapter, SupportsEvents):
                return told
            events = adapter.events(self.ref.id, None)
        rows = [
            {name: float(n) for name, n in event.data.items() if isinstance(n, int | float) and name not in _EXPECTED}
            for event in events
        ]
        return [row for row in rows if "step" in row and len(row) > 1]

    def cost(self) -> Cost:
        """What it took."""
        with self._naming():
            return cost_of(self.open_adapter(), self.ref.id)

    def retrieve(self) -> str:
        """Id of the model."""
        with self._naming():
            return self.open_adapter().retrieve(self.ref.id)

    def delete_data(self) -> list[str]:
        """Delete the files that this job was made from and no other uses; gives their ids."""
        adapter = self.open_adapter()
        if not isinstance(adapter, SupportsDeleteData):
            raise self.cannot("have their data deleted")
        if self.run_id is None:
            raise UnsupportedError(f"this journal does not know which files job {self.ref} was made from")
        if not self.snapshot.status.is_terminal:
            raise JobError(
                f"job {self.ref} has not ended and may still read its data; cancel it first",
                ref=self.ref,
                snapshot=self.snapshot,
            )
        unused = {(upload.sha256, upload.account, upload.purpose) for upload in self.journal.unused_uploads()}
        deleted = []
        for upload in self.journal.uploads_of(self.run_id):
            key = (upload.sha256, upload.account, upload.purpose)
            if key in unused:
                with self._naming():
                    adapter.delete_data(upload.file_id)
                self.journal.forget_upload(*key)
                deleted.append(upload.file_id)
        return deleted

    def hear(self, heard: Snapshot) -> None:
        """Record what the backend said, and warn of what should be known."""
        if self.run_id is not None:
            run = self.journal.observe(
                self.run_id, heard.status, heard.raw_status, heard.message, now=self.clock.time()
            )
            if run.status is not heard.status:  # another process saw the end first
                heard = msgspec.structs.replace(
                    heard, status=run.status, raw_status=run.raw_status, message=run.message
                )
        if not self.snapshot.status.is_terminal or self.snapshot.status is heard.status:
            self.snapshot = heard
        for note in heard.notes:
            self.note(note)

    def note(self, text: str) -> None:
        """Warn of something, once a job: who hears it first says so, and the journal remembers."""
        if text in self.noted:
            return
        self.noted[text] = at = self.clock.time()
        if self.run_id is None or self.journal.note(self.run_id, text, now=at):
            warnings.warn(f"job {self.ref.id}: {text}", AdaptkitWarning, stacklevel=2)

    def recall(self) -> None:
        """Learn from the journal what was noted, by any process."""
        if self.run_id is not None:
            history = self.journal.history(self.run_id)
            self.noted |= {line.detail: line.at for line in history if line.what == "noted"}

    def cannot(self, what: str) -> UnsupportedError:
        """That jobs of this backend have not this power."""
        return UnsupportedError(f"jobs of the {self.ref.backend} backend cannot {what}")

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except BackendError as error:
            error.ref = self.ref
            raise

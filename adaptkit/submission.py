"""Exactly once: from a configuration and data to a job that the backend has accepted.

The protocol, by the stage that the journal holds:

| stage | what is true | who died here is healed by |
|---|---|---|
| intent | nothing was sent | going on |
| uploading | data may be there, nothing is paid | going on; what is there is not sent again |
| submitting | the paid request may have run | looking for the tag; sending again only where that is safe |
| accepted | the backend's answer is recorded | nothing to heal; begun, where jobs are begun apart |

The stage is committed before the act that it names, so a crash at any point leaves a row that says what may have
happened and never too little.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from adaptkit import shutdown
from adaptkit.adapter import Adapter, DataFile, Plan, SupportsDeleteData, SupportsFind, SupportsStart
from adaptkit.beginning import begun
from adaptkit.budget import Budget
from adaptkit.clearance import cleared
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, AdaptkitWarning, BackendError, JournalError, ServiceError, SpendError
from adaptkit.journal import Journal, Run, Stage
from adaptkit.paid import PaidRequest
from adaptkit.process import is_dead, process_name
from adaptkit.retry import READ, UPLOAD, attempt
from adaptkit.state import JobState
from adaptkit.steps import Clock, Pause, Steps
from adaptkit.types import Snapshot, Status

__all__ = ["Submission", "identity"]

#: Seconds for which a submitting client holds a run without renewing; another machine takes over after that.
LEASE = 30.0
#: The word of an attempt that somebody's budget ended.
OVER_BUDGET = "over budget"


def identity(plan: Plan[Any]) -> str:
    """What makes two submissions the same run: the configuration and the data, as a hex SHA-256.

    Defaults are left out, so that spelling one out, or a new field in a later release, does not start a second job;
    data and other files count by fingerprint, so neither key order nor the path of a file matters. On what a job
    runs, where its files are written and what its model is deployed on say nothing of what is trained.
    """
    elsewhere = {"validation", "deploy", "run", "bundle", *plan.contents}
    config = plan.config.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
    data = {file.purpose: file.data.fingerprint for file in plan.files} | dict(plan.contents)
    what = {"backend": plan.config.backend, "config": config, "data": {**data, "train": plan.fingerprint}}
    return hashlib.sha256(msgspec.json.encode(what, order="deterministic")).hexdigest()


@dataclass(frozen=True)
class Submission:
    """One call of `submit`.

    Attributes:
        target: Name of the target.
        adapter: Its backend.
        journal: Where every stage is committed before it begins.
        clock: Time.
        state_of: Makes the state of an accepted run.
        budget: US dollars that a new job may cost; ``None`` for whatever it costs.
    """

    target: str
    adapter: Adapter[Any]
    journal: Journal
    clock: Clock
    state_of: Callable[[Run], JobState]
    budget: float | None = None

    def steps(self, data: Dataset, *, fresh: bool) -> Steps[JobState]:
        """Get or create the run of this configuration and data; returns once the backend has accepted it."""
        plan: Plan[Any] = yield partial(self.adapter.prepare, data)
        for warning in plan.warnings:
            warnings.warn(warning, AdaptkitWarning, stacklevel=2)
        run, created = yield partial(self._begin, plan, fresh=fresh)
        if run.stage is Stage.ACCEPTED:
            state = self.state_of(run)
            yield from _look_in(state)
            if state.snapshot.status not in (Status.FAILED, Status.CANCELLED):
                if isinstance(self.adapter, SupportsStart):
                    state = (yield from self._drive(run, plan, None)) or state
                state.reused = True
                return state
            # it ended badly since anybody last looked: the journal knows now, so this begins the next attempt
            run, created = yield partial(self._begin, plan, fresh=False)
        budget = None if self.budget is None else Budget(self.budget, self.adapter, plan, data)
        while (driven := (yield from self._drive(run, plan, budget))) is None:
            run, created = yield partial(self._begin, plan, fresh=False)
        driven.reused = not created
        return driven

    def _begin(self, plan: Plan[Any], *, fresh: bool) -> tuple[Run, bool]:
        return self.journal.begin(
            identity=identity(plan),
            target=self.target,
            backend=self.adapter.backend,
            account=self.adapter.account,
            config=plan.config.model_dump_json(),
            fingerprint=plan.fingerprint,
            fresh=fresh,
            now=self.clock.time(),
        )

    def _drive(self, run: Run, plan: Plan[Any], budget: Budget | None) -> Steps[JobState | None]:
        """Take a run from wherever it stands to accepted and begun, alone.

        Returns:
            Its state; ``None`` if another call's budget has ended it.
        """
        owner = f"{secrets.token_hex(4)}@{process_name()}"
        while not (yield lambda: self.journal.lease(run.id, owner, self.clock.time(), LEASE)):
            yield partial(self._evict_dead, run.id)
            yield Pause(0.2)
        try:
            with self._renewed(run.id, owner):
                held: Run = yield partial(self.journal.get, run.id)
                if held.stage is Stage.ACCEPTED:
                    state = self.state_of(held)
                elif held.raw_status == OVER_BUDGET:
                    return None
                elif held.status.is_terminal:  # refused while this client was waiting for the lease
                    raise BackendError(held.message or "the backend refused the job", backend=self.adapter.backend)
                else:
                    state = yield from _Sending(self, held, owner, plan, budget).steps()
                yield from begun(state)
                return state
        finally:
            self.journal.release(run.id, owner)

    def _evict_dead(self, run_id: str) -> None:
        holder = self.journal.holder(run_id)
        if holder is not None and is_dead(holder.partition("@")[2]):
            self.journal.release(run_id, holder)

    @contextmanager
    def _renewed(self, run_id: str, owner: str) -> Iterator[None]:
        """Keep a lease while a long upload runs."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE / 3):
                with suppress(JournalError):  # the next turn may do better, and without a lease nothing is sent
                    self.journal.renew(run_id, owner, self.clock.time(), LEASE)

        thread = threading.Thread(target=renew, daemon=True, name="adaptkit-lease")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@dataclass(frozen=True)
class _Sending:
    """The part of a submission that holds the run's lease."""

    submission: Submission
    run: Run
    owner: str
    plan: Plan[Any]
    budget: Budget | None

    @property
    def _adapter(self) -> Adapter[Any]:
        return self.submission.adapter

    def steps(self) -> Steps[JobState]:
        uploads: dict[str, str] = {}
        request = self._request(uploads)
        in_doubt = self.run.stage is Stage.SUBMITTING
        if in_doubt:  # somebody died, or gave up, between sending and recording
            found = yield from request.recovered()
            if found is not None:
                return found
        try:
            yield from self._prepare(uploads, in_doubt=in_doubt)
        except SpendError as error:
            if not in_doubt:
                yield partial(self._over_budget, error)
            raise
        yield lambda: shutdown.warn(self._adapter, getattr(self.plan.config, "model", None), self.submission.clock)
        return (yield from request.steps(in_doubt=in_doubt))

    def _prepare(self, uploads: dict[str, str], *, in_doubt: bool) -> Steps[None]:
        """All that comes before the paid request: what it may cost, the files, what the host says of them."""
        is_met = self.budget is None or (yield self.budget.is_met_by_table)
        if not in_doubt:
            yield partial(self._enter, Stage.UPLOADING)
        for file in self.plan.files:
            uploads[file.purpose] = yield from self._upload(file)
        yield from cleared(self._adapter, self.plan, uploads, self.submission.clock)
        if self.budget is not None and not is_met:
            yield from self.budget.ask_host(uploads)

    def _over_budget(self, error: SpendError) -> None:
        """End the attempt, so that its files count as unused; the next call begins another."""
        now = self.submission.clock.time()
        self.submission.journal.observe(self.run.id, Status.FAILED, OVER_BUDGET, str(error), now=now)
        error.args = (f"{error}{self._left_behind()}",)

    def _request(self, uploads: Mapping[str, str]) -> PaidRequest[Snapshot, JobState]:
        adapter = self._adapter
        return PaidRequest(
            what="job",
            backend=adapter.backend,
            tag=self.run.tag,
            guarantee=adapter.guarantee,
            settle_seconds=adapter.settle_seconds,
            find=adapter.find if isinstance(adapter, SupportsFind) else None,
            id_of=lambda heard: heard.job_id,
            send=partial(self._create, uploads),
            record=self._record,
            doubt=partial(self._enter, Stage.SUBMITTING, uncertain=True),
            advice="The same submit looks again; submit(..., fresh=True) starts a new attempt once you are sure that "
            "none runs.",
        )

    def _create(self, uploads: Mapping[str, str], in_doubt: bool) -> JobState:
        self._enter(Stage.SUBMITTING)
        try:
            heard = self._adapter.submit(self.plan, uploads, self.run.tag)
        except ServiceError:
            raise
        except AdaptkitError as error:
            if not in_doubt:  # otherwise it says nothing of the request that went out before
                self._not_accepted(error)
            raise
        return self._record(heard)

    def _not_accepted(self, error: AdaptkitError) -> None:
        if isinstance(error, BackendError) and not error.never_ran:
            now = self.submission.clock.time()
            self.submission.journal.observe(self.run.id, Status.FAILED, "refused", error.message, now=now)
            error.message += self._left_behind()  # not part of why, so not of what the journal keeps
        else:  # it did not run, or was refused on this side
            self._enter(Stage.UPLOADING)

    def _left_behind(self) -> str:
        """What is to be said of the files that were uploaded for nothing."""
        journal = self.submission.journal
        if not isinstance(self._adapter, SupportsDeleteData):
            return ""
        unused = {upload.file_id for upload in journal.unused_uploads()}
        ours = [upload.file_id for upload in journal.uploads_of(self.run.id) if upload.file_id in unused]
        if not ours:
            return ""
        files = ", ".join(ours)
        return f"\nUploaded, and used by no job: {files}; adaptkit uploads --delete deletes what no job uses."

    def _record(self, heard: Snapshot) -> JobState:
        run = self.submission.journal.accept(
            self.run.id,
            job_id=heard.job_id,
            status=heard.status,
            raw_status=heard.raw_status,
            now=self.submission.clock.time(),
        )
        state = self.submission.state_of(run)
        state.hear(heard)
        return state

    def _enter(self, stage: Stage, *, uncertain: bool = False) -> Run:
        journal, now = self.submission.journal, self.submission.clock.time()
        journal.renew(self.run.id, self.owner, now, LEASE)  # looking for a job may have taken longer than a lease
        return journal.advance(self.run.id, self.owner, stage, now=now, uncertain=uncertain)

    def _upload(self, file: DataFile) -> Steps[str]:
        """Upload once per content, account and purpose."""
        journal, clock = self.submission.journal, self.submission.clock
        key = (file.sha256, f"{self._adapter.backend}:{self._adapter.account}", file.purpose)
        known: str | None = yield partial(journal.upload, *key)
        if known is None or not (yield from attempt(partial(self._adapter.has_upload, known), READ)):
            file_id: str = yield from attempt(partial(self._adapter.upload, file), UPLOAD)
            yield lambda: journal.record_upload(*key, file_id, now=clock.time())
            known = file_id
        yield lambda: journal.use_upload(self.run.id, *key)
        return known


def _look_in(state: JobState) -> Steps[None]:
    """Learn how a known job stands and continue it if it was interrupted; a failed poll changes nothing."""
    try:
        yield state.refresh
    except BackendError as error:
        if not error.transient:
            raise
    yield state.restart

"""What a journal is: the small database that makes "never pay twice" and "never lose a job" true.

A run is one attempt at one thing: a resolved config on fingerprinted data. Its *stage* says how far the submission got,
its *status* what the backend last said of the job. Everything is committed before the call that it is about, so a
process that dies anywhere leaves enough for the next one to go on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from adaptkit.errors import JournalError
from adaptkit.types import DeploymentSnapshot, DeploymentStatus, Snapshot, Status

__all__ = [
    "NEXT_STAGES",
    "DeploymentRecord",
    "Deployments",
    "Journal",
    "LeaseLost",
    "Run",
    "Stage",
    "Transition",
    "Upload",
]


class Stage(StrEnum):
    """How far a submission got.

    ``intent``: nothing has been sent. ``uploading``: data may have been sent, nothing was paid for. ``submitting``:
    the paid request may have run. ``accepted``: the backend's answer is recorded.
    """

    INTENT = "intent"
    UPLOADING = "uploading"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"


#: Where `Journal.advance` may go from each stage. Staying is allowed, so that a healed run can enter its stage again;
#: back from submitting is for a request that provably never ran. Only `Journal.accept` reaches ``accepted``.
NEXT_STAGES: dict[Stage, frozenset[Stage]] = {
    Stage.INTENT: frozenset({Stage.INTENT, Stage.UPLOADING}),
    Stage.UPLOADING: frozenset({Stage.UPLOADING, Stage.SUBMITTING}),
    Stage.SUBMITTING: frozenset({Stage.SUBMITTING, Stage.UPLOADING}),
    Stage.ACCEPTED: frozenset(),
}


class LeaseLost(JournalError):
    """This owner no longer holds the right to drive the run's submission: it ran out, or another has taken it."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one thing, as the journal knows it.

    ``id`` is a ULID (26 characters); ``identity`` the hash of the resolved config and the data; ``attempt`` counts
    from 1 within the identity; ``tag`` is 26 random lower-case letters and digits that the submission carries, so that
    its job can be found again; ``account`` the fingerprint of key and endpoint; ``config`` the resolved config as JSON
    without secrets; ``fingerprint`` that of the data, empty where a job was adopted and its data never seen. Times are
    Unix seconds; ``updated_at`` is that of the last change. ``uncertain`` says that a paid request's answer was lost
    and that no job of this tag was found.
    """

    id: str
    identity: str
    attempt: int
    tag: str
    target: str
    backend: str
    account: str
    config: str
    fingerprint: str
    stage: Stage
    status: Status
    raw_status: str = ""
    job_id: str | None = None
    message: str | None = None
    created_at: float
    updated_at: float
    uncertain: bool = False


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was uploaded: ``file_id`` is the service's, ``run_id`` a run that it was uploaded for.

    ``sha256`` is ``file:`` and the service's id where a job was adopted and the bytes were never seen.
    """

    sha256: str
    account: str
    purpose: str
    file_id: str
    at: float
    run_id: str


class DeploymentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at keeping a model running, as the journal knows it.

    ``identity`` is the hash of what is kept running and on what; ``tag``, ``attempt``, ``account``, ``config`` and the
    times are as in a `Run`. ``status`` is ``requested`` as long as the host has not been heard: the paid request may
    have run; else it is what the host said last, and ``stopped`` is also what was refused. ``hourly_usd`` is what an
    hour costs, ``None`` when unknown.
    """

    id: str
    identity: str
    attempt: int
    tag: str
    target: str | None
    backend: str
    account: str
    config: str
    model_id: str
    status: Literal["requested"] | DeploymentStatus
    raw_status: str = ""
    deployment_id: str | None = None
    answers_as: str | None = None
    hourly_usd: float | None = None
    message: str | None = None
    created_at: float
    updated_at: float


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an audit trail.

    ``at`` is Unix time; ``what`` is ``begun``, ``leased``, the name of a stage, ``accepted``, ``adopted``, ``observed``
    or ``noted``, and for a deployment ``requested`` or ``observed``; ``detail`` holds ids and states, and of what was
    noted the sentence; never data, messages or secrets.
    """

    at: float
    what: str
    detail: str


class Deployments(Protocol):
    """What is kept running, and billed. ``now`` and errors are as in `Journal`."""

    def begin(
        self,
        *,
        identity: str,
        target: str | None,
        backend: str,
        account: str,
        config: str,
        model_id: str,
        hourly_usd: float | None,
        now: float,
    ) -> tuple[DeploymentRecord, bool]:
        """Get or create, in one transaction; to be committed before the paid request.

        Returns:
            The newest attempt of ``identity`` and False unless it is stopping, stopped or failed; otherwise a new one,
            ``requested``, and True. Of any number of callers at once exactly one creates, and it alone may send.
        """

    def hear(self, record_id: str, heard: DeploymentSnapshot, now: float) -> DeploymentRecord:
        """Record what the host says: a deployment that exists is never turned away, however late its answer comes.

        Returns:
            What now stands; one that the host has stopped stays so.

        Raises:
            JournalError: the record is of another deployment.
        """

    def doubt(self, record_id: str, now: float) -> DeploymentRecord:
        """Record that the request's answer was lost and nothing was found; changes nothing if the host was heard."""

    def end(self, record_id: str, word: str, message: str | None, now: float) -> DeploymentRecord:
        """Record that there is no deployment: it was refused, or given up; changes nothing if the host has one."""

    def get(self, record_id: str) -> DeploymentRecord | None:
        """The record of this id."""

    def find(self, backend: str, id_or_tag: str) -> DeploymentRecord | None:
        """The newest record of ``backend`` with this id of the host's, or with this tag."""

    def live(self) -> list[DeploymentRecord]:
        """All that may cost money, that is, all not known to be stopped, newest first."""


class Journal(Protocol):
    """Runs, uploads, deployments and their history.

    Shared by every thread, process and (on PostgreSQL) machine that opens it.

    ``now`` is the caller's Unix time in seconds; leases compare the clocks of their owners, so machines that share a
    journal should keep theirs within a few seconds. Every method raises `JournalError` if the database cannot be read
    or written, or if a run that must be there is not.
    """

    @property
    def deployments(self) -> Deployments:
        """What is kept running."""

    def begin(
        self,
        *,
        identity: str,
        target: str,
        backend: str,
        account: str,
        config: str,
        fingerprint: str,
        fresh: bool,
        now: float,
    ) -> tuple[Run, bool]:
        """Get or create, in one transaction.

        Returns:
            The newest attempt of ``identity`` and False if it is live or succeeded and ``fresh`` is not set;
            otherwise a new attempt in stage ``intent`` and True. Of any number of callers at once exactly one creates;
            with ``fresh`` each creates its own.
        """

    def lease(self, run_id: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew the right to drive a run's submission for ``seconds`` from ``now``.

        Returns:
            Whether ``owner`` holds it now; False if another's has not run out yet.
        """

    def renew(self, run_id: str, owner: str, now: float, seconds: float) -> bool:
        """Keep a lease for ``seconds`` from ``now``, and never take one.

        One that ran out untaken, while the machine slept for example, is still its last holder's.

        Returns:
            Whether ``owner`` holds it now; False, for good, once it was given back or another has had it: then what
            this owner knows of the run may be out of date.
        """

    def release(self, run_id: str, owner: str) -> None:
        """Give the lease back; does nothing if ``owner`` does not hold it."""

    def holder(self, run_id: str) -> str | None:
        """Who holds the lease, or held it last and has not given it back."""

    def advance(self, run_id: str, owner: str, stage: Stage, *, now: float, uncertain: bool | None = None) -> Run:
        """Commit that the submission enters ``stage``; ``uncertain`` is left as it is unless given.

        Raises:
            LeaseLost: ``owner`` does not hold the lease at ``now``.
            JournalError: `NEXT_STAGES` does not allow the step, or the run has ended.
        """

    def accept(self, run_id: str, *, job_id: str, status: Status, raw_status: str, now: float) -> Run:
        """Record the job that the backend made; stage becomes ``accepted``, ``uncertain`` False.

        Needs no lease and is allowed in any stage: a job that exists is never turned away, however late its answer
        comes. Again with the same ``job_id`` changes nothing. A run that had ended keeps its status.

        Raises:
            JournalError: the run already has another job.
        """

    def adopt(
        self,
        *,
        identity: str,
        target: str,
        backend: str,
        account: str,
        config: str,
        heard: Snapshot,
        created_at: float,
        now: float,
    ) -> Run:
        """Get or create the accepted run of a job that was not submitted from here; ``created_at`` is the job's.

        Returns:
            The run of this ``identity``: of any number of callers at once one makes it, and all get it.
        """

    def observe(self, run_id: str, status: Status, raw_status: str, message: str | None, now: float) -> Run:
        """Record what a poll said, unless the run has ended: a terminal status is never left.

        Returns:
            What now stands.
        """

    def note(self, run_id: str, text: str, now: float) -> bool:
        """Record what should be known of a job, once.

        Returns:
            Whether it is new.
        """

    def get(self, run_id: str) -> Run | None:
        """The run of this id."""

    def by_job(self, backend: str, job_id: str) -> Run | None:
        """The newest run of ``backend`` that has this job."""

    def runs(self, *, limit: int | None = None) -> list[Run]:
        """All runs or the last ``limit``, newest first."""

    def upload(self, sha256: str, account: str, purpose: str) -> str | None:
        """The service's id of a file with these bytes, if one was uploaded to this account for this purpose."""

    def record_upload(self, sha256: str, account: str, purpose: str, file_id: str, now: float) -> None:
        """Remember an upload; a later one of the same bytes replaces it."""

    def forget_upload(self, sha256: str, account: str, purpose: str) -> None:
        """Forget an upload whose file is gone, and who used it."""

    def use_upload(self, run_id: str, sha256: str, account: str, purpose: str) -> None:
        """Remember that a run uses an upload."""

    def adopt_upload(self, run_id: str, account: str, purpose: str, file_id: str, now: float) -> None:
        """Remember that a run uses a file by its id alone: the upload that is known, or one whose bytes are not."""

    def uploads_of(self, run_id: str) -> list[Upload]:
        """The files that a run uses, as far as they are known to be there."""

    def unused_uploads(self) -> list[Upload]:
        """Files that no run uses any more: all that they were uploaded for have ended. Oldest first."""

    def history(self, run_id: str) -> list[Transition]:
        """Everything that happened to a run, or to a deployment by the id of its record, oldest first."""

    def close(self) -> None:
        """Give the connection back; again does nothing."""

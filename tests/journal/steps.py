"""Short words for what the tests do to a journal."""

from __future__ import annotations

from adaptkit.journal import DeploymentRecord, Journal, Run, Stage
from adaptkit.types import DeploymentSnapshot, DeploymentStatus, Snapshot, Status


def begin(journal: Journal, identity: str = "one", *, fresh: bool = False, now: float = 100.0) -> tuple[Run, bool]:
    return journal.begin(
        identity=identity,
        target="small",
        backend="scripted",
        account="acc0",
        config='{"epochs":3}',
        fingerprint="f" * 64,
        fresh=fresh,
        now=now,
    )


def submitting(journal: Journal, identity: str = "one", *, now: float = 100.0) -> Run:
    """A new run up to the moment that its paid request goes out, with the lease held by ``me`` for 50 seconds."""
    run, _ = begin(journal, identity, fresh=True, now=now)
    assert journal.lease(run.id, "me", now, 50.0)
    journal.advance(run.id, "me", Stage.UPLOADING, now=now)
    return journal.advance(run.id, "me", Stage.SUBMITTING, now=now)


def accepted(journal: Journal, identity: str = "one", *, job_id: str = "job-1", now: float = 100.0) -> Run:
    run = submitting(journal, identity, now=now)
    return journal.accept(run.id, job_id=job_id, status=Status.QUEUED, raw_status="validating_files", now=now)


def adopt(
    journal: Journal,
    identity: str = "theirs",
    *,
    job_id: str = "job-9",
    status: Status = Status.RUNNING,
    created_at: float = 50.0,
    now: float = 100.0,
) -> Run:
    return journal.adopt(
        identity=identity,
        target="small",
        backend="scripted",
        account="acc0",
        config="{}",
        heard=Snapshot(job_id=job_id, status=status, raw_status="word"),
        created_at=created_at,
        now=now,
    )


def deploy(journal: Journal, identity: str = "one", *, now: float = 100.0) -> tuple[DeploymentRecord, bool]:
    return journal.deployments.begin(
        identity=identity,
        target="small",
        backend="scripted",
        account="acc0",
        config="{}",
        model_id="model-1",
        hourly_usd=None,
        now=now,
    )


def said(deployment_id: str, status: DeploymentStatus, word: str = "", **more: object) -> DeploymentSnapshot:
    return DeploymentSnapshot(id=deployment_id, model_id="model-1", status=status, raw_status=word or status, **more)

"""What people may type where a job, a model, a target or a deployment is wanted."""

from __future__ import annotations

from pathlib import Path

import msgspec

from adaptkit.adapter import BackendConfig
from adaptkit.cli.session import Session
from adaptkit.client import Client
from adaptkit.deployment import Deployment
from adaptkit.errors import ConfigError
from adaptkit.job import Job
from adaptkit.model import Model
from adaptkit.registry import nearest
from adaptkit.types import JobRef, ModelRef

__all__ = ["find_config", "find_deployment", "find_job", "find_model", "model_of"]

LAST = "last"


def find_config(client: Client, name: str) -> BackendConfig:
    """The configuration of a target.

    Raises:
        ConfigError: there is no such target.
    """
    if name not in client.targets:
        known = ", ".join(client.targets) or "none"
        raise ConfigError(f"there is no target {name!r}.{nearest(name, client.targets)} Targets: {known}")
    return client.targets[name]


def find_deployment(client: Client, text: str) -> Deployment:
    """The deployment that a reference, the host's id or the tag of its request names.

    Raises:
        ConfigError: there is no such deployment.
    """
    text = text.strip()
    if text.startswith("{"):
        return client.deployment(text)
    known = client.deployments()
    for running in known:
        if text in (running.id, running.snapshot.tag):
            return running
    close = nearest(text, [running.id for running in known])
    raise ConfigError(
        f"the journal in {client.home} knows of no deployment {text!r} that may cost money.{close} "
        "adaptkit deployments lists those it knows; one of another machine is found by its whole reference, one line "
        "of JSON in quotes"
    )


def find_job(client: Client, text: str) -> Job:
    """The job that a reference, an id (or an unambiguous start of one) or ``last`` names.

    Raises:
        ConfigError: there is no such job, or several.
    """
    text = text.strip()
    if text.startswith("{"):
        return client.attach(text)
    known = client.jobs()
    if text == LAST:
        if not known:
            raise ConfigError(f"the journal in {client.home} knows no job yet; adaptkit submit starts one")
        return known[0]
    found = [job for job in known if job.id == text] or [job for job in known if text and job.id.startswith(text)]
    if len(found) > 1:
        raise ConfigError(f"{len(found)} jobs have an id that starts with {text!r}: give more of it, or the reference")
    if not found:
        close = nearest(text, [LAST, *(job.id for job in known)])
        raise ConfigError(
            f"the journal in {client.home} knows no job {text!r}.{close} adaptkit jobs lists those it knows; a job of "
            "another machine is found by its whole reference, one line of JSON in quotes"
        )
    return found[0]


def find_model(session: Session, text: str, timeout: float | None = None) -> Model:
    """The model that a model reference names, that a job made, or an open model as it is (``builtin:tiny``, a folder).

    Args:
        session: Who has the client.
        text: What was typed.
        timeout: Seconds to wait for a job that has not ended.

    Raises:
        ConfigError: it names nothing.
        JobFailed, JobCancelled, JobTimeout: the job has no model.
    """
    text, client = text.strip(), session.client
    if text.startswith("{") and _is_model(text):
        return client.model(text)
    if text.startswith("builtin:") or Path(text).expanduser().is_dir():
        return client.model(ModelRef(backend="lora", id=text))
    return model_of(session, find_job(client, text), timeout)


def model_of(session: Session, job: Job, timeout: float | None) -> Model:
    """The model of a job, waited for if need be.

    Raises:
        JobFailed, JobCancelled, JobTimeout: there is none.
    """
    if not job.done():
        session.note(f"{job.id} is {job.status}; waiting for it")
    with session.watching(job.ref):
        return job.result(timeout)


def _is_model(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text, type=JobRef | ModelRef), ModelRef)
    except msgspec.MsgspecError:
        return False  # attaching to it says what is wrong with it

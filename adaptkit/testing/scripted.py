"""The scripted backend: a complete backend over a fake service, for tests of code that uses adaptkit."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, Context, DataFile, Guarantee, LocalPath, Plan
from adaptkit.errors import AuthenticationError, NotFoundError, UnsupportedError
from adaptkit.testing.remote import RemoteDeployment, RemoteJob
from adaptkit.testing.service import RequestKind, ScriptedService
from adaptkit.types import (
    Checkpoint,
    DeploymentSnapshot,
    DeploymentStatus,
    Event,
    Inventory,
    Message,
    OwnedFile,
    OwnedJob,
    OwnedModel,
    Reply,
    Snapshot,
    Status,
    Usage,
)

__all__ = ["ScriptedAdapter", "ScriptedConfig", "ScriptedDeploy"]


class ScriptedDeploy(BaseModel):
    """What the fake service does with deployments.

    Attributes:
        states: Words that looks say, one after the other, the last for ever; the first is said at the start.
        guarantee: What the service offers when an answer is lost; see `Adapter`.
        hidden_finds: How many searches do not show a new deployment yet.
        hourly_usd: What the service says that an hour costs.
        message: What it says of itself.
        needed: Whether models answer only through one.
        hardware: What it runs on, for the table of prices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: tuple[str, ...] = Field(("starting", "ready"), min_length=1)
    guarantee: Guarantee = "reconcilable"
    hidden_finds: int = Field(0, ge=0)
    hourly_usd: float | None = None
    message: str | None = None
    needed: bool = False
    hardware: str = "scripted-gpu"


class ScriptedConfig(BackendConfig):
    """What the fake service does with the jobs of a target.

    Attributes:
        service: Name of a `ScriptedService`, or the path of its file.
        states: Words that polls say, one after the other, the last for ever; the first is said at submission, so
            ``("succeeded",)`` is a job that is born finished. Words other than those of `Status` are unknown ones.
        message: The service's words where a job has failed.
        losses: Figures that a job tells as ``metrics`` events when it first runs.
        reply: What its model answers; ``{text}`` stands for the question.
        poll_after: Seconds after which the service wants to be asked again.
        guarantee: What the service offers when an answer is lost; see `Adapter`.
        settle_seconds: How long the client goes on looking.
        hidden_finds: How many searches do not show a new job yet.
        ignore_filter: Whether a search gives every job, whatever tag was asked for.
        hosts: Hosts that it pretends to send to, for tests of the egress policy.
        api_key_env: Environment variable that must be set for requests to be let in.
        latency: Real seconds that each request takes.
        notes: What every snapshot says should be known.
        shutdown_date: When the service switches every model off.
        usd: What the service says that a job will cost.
        deploy: Deployments.
        model: Means nothing here, as do the fields below; they are there so that configurations can differ.
    """

    backend: Literal["scripted"] = "scripted"
    service: str
    states: tuple[str, ...] = Field(("queued", "running", "succeeded"), min_length=1)
    message: str | None = None
    losses: tuple[float, ...] = ()
    reply: str = "You said: {text}"
    poll_after: float | None = None
    guarantee: Guarantee = "reconcilable"
    settle_seconds: float = Field(60.0, ge=0)
    hidden_finds: int = Field(0, ge=0)
    ignore_filter: bool = False
    hosts: tuple[str, ...] = ()
    api_key_env: str | None = None
    latency: float = Field(0.0, ge=0)
    notes: tuple[str, ...] = ()
    shutdown_date: dt.date | None = None
    usd: float | None = None
    deploy: ScriptedDeploy = ScriptedDeploy()
    model: str = "scripted-1"
    name: str | None = None
    epochs: int = Field(1, ge=1)
    seed: int = 0
    validation: LocalPath | None = None

    @field_validator("service", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return os.fspath(value) if isinstance(value, os.PathLike) else value


class ScriptedAdapter(Adapter[ScriptedConfig]):
    """A backend that does what its configuration and its service were told."""

    backend: ClassVar[str] = "scripted"
    config_type: ClassVar[type[BackendConfig]] = ScriptedConfig
    deploy_guarantee: Guarantee = "reconcilable"

    def __new__(cls, config: ScriptedConfig, context: Context) -> Self:
        """A service that cannot be searched lacks the method, as a real backend would."""
        del context
        searchable = cls is ScriptedAdapter and config.guarantee != "at_most_once_manual"
        return super().__new__(_Searchable if searchable else cls)  # type: ignore[return-value]

    def __init__(self, config: ScriptedConfig, context: Context) -> None:
        super().__init__(config, context)
        # a test wants to choose what is fixed for a real backend
        self.guarantee = config.guarantee  # type: ignore[misc]
        self.settle_seconds = config.settle_seconds  # type: ignore[misc]
        self.deploy_guarantee = config.deploy.guarantee
        self._opened: ScriptedService | None = None

    @property
    def account(self) -> str:
        """The service, and a fingerprint of the key."""
        key = os.environ.get(self.config.api_key_env or "", "")
        return hashlib.sha256(f"{self.config.service}\0{key}".encode()).hexdigest()[:16]

    @property
    def destinations(self) -> tuple[str, ...]:
        """The hosts that the configuration names."""
        return self.config.hosts

    def upload(self, file: DataFile) -> str:
        """Hand the converted file to the service."""
        content = io.BytesIO()
        file.data.write(content, file.format)
        return self._service().upload(file.purpose, content.getvalue())

    def has_upload(self, file_id: str) -> bool:
        """Ask whether the file is there."""
        return self._service().has_upload(file_id)

    def estimate(self, plan: Plan[ScriptedConfig], uploads: Mapping[str, str]) -> float | None:
        """The configured cost."""
        del uploads
        self._service().ask("estimate")
        return plan.config.usd

    def submit(self, plan: Plan[ScriptedConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Make a job."""
        config = plan.config
        job = self._service().submit(
            tag,
            dict(uploads),
            states=config.states,
            message=config.message,
            losses=config.losses,
            reply=config.reply,
            hidden=config.hidden_finds,
            same_tag_same_job=config.guarantee == "exactly_once",
        )
        return self._snapshot(job)

    def poll(self, job_id: str) -> Snapshot:
        """The job's next word."""
        return self._snapshot(self._service().poll(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask for the end."""
        self._service().cancel(job_id)

    def restart(self, job_id: str) -> Snapshot:
        """Let a paused job go on."""
        return self._snapshot(self._service().restart(job_id))

    def retrieve(self, job_id: str) -> str:
        """The model of a succeeded job."""
        job = self._service().look("retrieve", job_id)
        if job.word != "succeeded":
            raise NotFoundError(f"job {job_id} has no model: it is {job.word}", backend="scripted", status_code=404)
        return _model_of(job)

    def inventory(self) -> Inventory:
        """Everything that the service has."""
        jobs, files = self._service().inventory()
        models = [_model_of(job) for job in jobs if job.word == "succeeded"]
        return Inventory(
            jobs=tuple(self._owned(job) for job in jobs),
            files=tuple(OwnedFile(id=i, name=f"{i}.jsonl", purpose=p, bytes=size) for i, p, size in files),
            models=tuple(OwnedModel(id=m, base="scripted-1", shutdown_date=self.config.shutdown_date) for m in models),
        )

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """One ``status`` event a word said so far, and the losses as ``metrics`` events when it first runs."""
        told = _events(self._service().look("events", job_id))
        return [event for event in told if after is None or event.id > after]

    def pause(self, job_id: str) -> None:
        """Ask for a halt."""
        self._service().pause(job_id)

    def resume(self, job_id: str) -> None:
        """Ask to go on."""
        self._service().resume(job_id)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """One a loss."""
        job = self._service().look("checkpoints", job_id)
        return [
            Checkpoint(model_id=f"model-of-{job_id}:{step}", step=step, metrics={"loss": loss})
            for step, loss in enumerate(job.losses, start=1)
        ]

    def delete_data(self, file_id: str) -> None:
        """Delete a file."""
        self._service().delete_upload(file_id)

    def known_shutdown_date(self, model_id: str) -> dt.date | None:
        """The configured day, to those who know it without asking."""
        del model_id
        return self.config.shutdown_date

    def shutdown_date(self, model_id: str) -> dt.date | None:
        """The configured day."""
        del model_id
        self._service().ask("shutdown_date")
        return self.config.shutdown_date

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Start a deployment."""
        wanted = self.config.deploy
        made = self._service().deploy(
            tag,
            model_id,
            states=wanted.states,
            hidden=wanted.hidden_finds,
            same_tag_same_deployment=wanted.guarantee == "exactly_once",
        )
        return self._deployed(made)

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """The deployment's next word."""
        return self._deployed(self._service().deployment(deployment_id))

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """Deployments that the service lists for a tag."""
        found = self._service().find_deployments(tag, ignore_filter=self.config.ignore_filter)
        return [self._deployed(deployment) for deployment in found]

    def undeploy(self, deployment_id: str) -> None:
        """Ask for its end."""
        self._service().undeploy(deployment_id)

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """The configured reply; ``max_tokens`` counts words."""
        return self._reply("chat", model_id, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """The same, a word at a time."""
        words = self._reply("stream", model_id, messages, options).text.split(" ")
        yield from (f"{' ' if position else ''}{word}" for position, word in enumerate(words))

    def close(self) -> None:
        """Let go of a service in a file; one in memory belongs to the test."""
        if self._opened is not None and not self._opened.name.startswith("memory:"):
            self._opened.close()
        self._opened = None

    def _reply(self, kind: RequestKind, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        made_by, _, through = model_id.partition("@")
        if through and not any(
            known.id == through and known.word == "ready" for known in self._service().deployments()
        ):
            raise NotFoundError(f"deployment {through} does not answer", backend="scripted", status_code=404)
        if self.config.deploy.needed and not through:
            raise UnsupportedError(f"{model_id} answers only deployed: model.deploy(confirm_spend=True)")
        job = self._service().look(kind, made_by.removeprefix("model-of-").partition(":")[0])
        asked = messages[-1].text if messages else ""
        words = job.reply.replace("{text}", asked).split(" ")
        kept = words[: options.max_tokens]
        usage = Usage(input_tokens=sum(len(turn.text.split()) for turn in messages), output_tokens=len(kept))
        finish = "stop" if len(kept) == len(words) else "length"
        return Reply(text=" ".join(kept), usage=usage, finish_reason=finish)

    def _service(self) -> ScriptedService:
        """The service, once the key has been looked at."""
        time.sleep(self.config.latency)
        variable = self.config.api_key_env
        if variable and not os.environ.get(variable):
            raise AuthenticationError(f"the environment has no {variable}", backend="scripted", status_code=401)
        if self._opened is None:
            self._opened = ScriptedService.named(self.config.service)
        return self._opened

    def _snapshot(self, job: RemoteJob) -> Snapshot:
        status = Status(job.word) if job.word in Status.__members__.values() else Status.UNKNOWN
        return Snapshot(
            job_id=job.id,
            status=status,
            raw_status=job.word,
            tag=job.tag,
            message=job.message if status is Status.FAILED else None,
            poll_after=self.config.poll_after,
            notes=self.config.notes,
            raw={"id": job.id, "status": job.word},
        )

    def _owned(self, job: RemoteJob) -> OwnedJob:
        recipe = {"service": self.config.service, "states": list(job.states), "reply": job.reply}
        made = _model_of(job) if job.word == "succeeded" else None
        return OwnedJob(snapshot=self._snapshot(job), recipe=recipe, files=job.uploads, model_id=made)

    def _deployed(self, deployment: RemoteDeployment) -> DeploymentSnapshot:
        word = deployment.word
        status: DeploymentStatus = word if word in get_args(DeploymentStatus) else "unknown"  # type: ignore[assignment]
        return DeploymentSnapshot(
            id=deployment.id,
            model_id=deployment.model_id,
            status=status,
            raw_status=word,
            tag=deployment.tag,
            answers_as=f"{deployment.model_id}@{deployment.id}" if status == "ready" else None,
            hourly_usd=self.config.deploy.hourly_usd,
            message=self.config.deploy.message,
        )


class _Searchable(ScriptedAdapter):
    """The scripted backend over a service whose jobs can be searched."""

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Jobs that the service lists for a tag."""
        found = self._service().find(tag, ignore_filter=self.config.ignore_filter)
        return [self._snapshot(job) for job in found]


def _model_of(job: RemoteJob) -> str:
    return f"model-of-{job.id}"


def _events(job: RemoteJob) -> Iterator[Event]:
    count = 0

    def event(kind: str, message: str, data: Mapping[str, Any]) -> Event:
        nonlocal count
        count += 1
        return Event(id=f"{count:06d}", at=float(count), kind=kind, message=message, data=data)

    has_run = False
    for word in job.states[: job.shown + 1]:
        yield event("status", word, {"status": word})
        if word == "running" and not has_run:
            has_run = True
            for step, loss in enumerate(job.losses, start=1):
                yield event("metrics", "", {"step": step, "total_steps": len(job.losses), "loss": loss})

"""The backend."""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import httpx2
import msgspec

from adaptkit.adapter import Adapter, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.backends import terms
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.openai import asking, refusals
from adaptkit.backends.openai.answers import checkpoint_of, day_of, event_of, snapshot_of, text_of
from adaptkit.backends.openai.api import Api
from adaptkit.backends.openai.azure import Deployments
from adaptkit.backends.openai.config import AzureDeploy, NebiusDeploy, OpenAIConfig
from adaptkit.backends.openai.inventory import inventory_of, jobs_of
from adaptkit.backends.openai.nebius import ServedModels
from adaptkit.backends.openai.profiles import PROFILES, ProfileName, shutdown_of
from adaptkit.backends.openai.recipes import changed, method_of
from adaptkit.backends.openai.results import figures_in
from adaptkit.backends.openai.rules import rules_for
from adaptkit.backends.openai.uploads import upload
from adaptkit.backends.rest import account_of
from adaptkit.backends.weights import arriving
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import BackendError, DataError, NotFoundError, UnsupportedError
from adaptkit.http import client, loopback, service_words
from adaptkit.types import (
    Checkpoint,
    DeploymentSnapshot,
    Event,
    Inventory,
    Message,
    Reply,
    Snapshot,
    Status,
)

__all__ = ["OpenAIAdapter"]

AdapterT = TypeVar("AdapterT", bound="OpenAIAdapter")

#: Words of files that the host is still looking at, and of those that it refuses. The field is deprecated at OpenAI, so
#: any other word, or none, means that the file may be used.
_LOOKING = frozenset({"uploaded", "pending", "running", "processing"})
_REFUSED = frozenset({"error", "failed"})
#: Seconds after which a file is not waited for any longer, whatever that field says.
_LOOKED_LONG_ENOUGH = 900.0
#: Answers to a cancellation of a job that has ended, where the host takes that for a mistake.
_TOO_LATE = frozenset({400, 409, 422})
#: Pages of 100 jobs that are looked through for a tag where the host does not filter.
_PAGES = 20
_CAPPED = "Azure pauses an RFT job when it has cost $5,000; resuming it takes that cap away"


class OpenAIAdapter(Adapter[OpenAIConfig]):
    """Jobs on OpenAI's wire, found again by a tag in their metadata.

    What a host lacks, its adapter lacks too: such a method is ``None`` there, as ``__hash__`` is on what has no hash.

    Models answer through `adaptkit.backends.chat_endpoint` and not through the SDK: an answer is read strictly, what
    was asked is kept out of errors, and no SDK need be loaded to chat.
    """

    backend: ClassVar[str] = "openai"
    config_type = OpenAIConfig
    guarantee: ClassVar[Guarantee] = "reconcilable"
    settle_seconds: ClassVar[float] = 60.0
    deploy_guarantee: ClassVar[Guarantee] = "exactly_once"

    def __new__(cls, config: OpenAIConfig, context: Context) -> Self:
        """An adapter of the class that the host has."""
        del context
        made: Self = super().__new__(_at(cls, config.profile))
        return made

    def __init__(self, config: OpenAIConfig, context: Context) -> None:
        super().__init__(config, context)
        self._opening = threading.Lock()
        self._http: httpx2.Client | None = None
        self._opened: Api | None = None

    @classmethod
    def data_rules(cls, config: OpenAIConfig | None = None) -> DataRules:
        """By host and method."""
        return rules_for(config)

    @property
    def account(self) -> str:
        """The host, and a fingerprint of the key."""
        return account_of(self.config.url, os.environ.get(self.config.api_key_env, ""))

    @property
    def destinations(self) -> tuple[str, ...]:
        """The host, and Azure's management API where a deployment is configured."""
        return tuple(host for host in self.config.hosts if not loopback(host))

    # -- planning -------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[OpenAIConfig]:
        """Refuse what the host cannot take, then check and convert."""
        who = f"the openai backend ({self.config.facts.says})"
        terms.refuse(who, refusals.problems(self.config))
        plan = super().prepare(data)
        terms.refuse(who, list(refusals.size_problems(self.config, plan.files)))
        return plan

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """The body of the job, without files, tag and keys."""
        del files
        return asking.body(self.config)

    def warnings(self, files: Sequence[DataFile]) -> Sequence[str]:
        """Where a base is switched off, and where money runs on."""
        del files
        return list(self._concerns())

    def _concerns(self) -> Iterator[str]:
        config = self.config
        day = shutdown_of(config.model) if config.profile == "openai" else None
        if day is not None:
            yield (
                f"OpenAI switches {config.model} and everything tuned from it off on {day}; the weights cannot be "
                "downloaded. adaptkit translate writes this target for another backend"
            )
        if config.profile == "azure" and config.method == "rft":
            yield _CAPPED

    # -- files ----------------------------------------------------------------------------------------------------

    def upload(self, file: DataFile) -> str:
        """Send a file, in parts where it is too large for one request."""
        folder = self.context.home / "openai" / "uploads"
        return upload(self._api, file, self.config.facts.whole, folder, self.account)

    def has_upload(self, file_id: str) -> bool:
        """Whether the host still has a file."""
        try:
            return self._file(file_id).get("status") != "deleted"
        except NotFoundError:
            return False

    def data_ready(self, file_id: str) -> bool:
        """Whether the host has looked at a file; it says so in a field that is deprecated and may stay as it is."""
        file = self._file(file_id)
        word = text_of(file, "status")
        if word in _REFUSED:
            _, words = service_words({"message": file.get("status_details") or "it gives no reason"}, ())
            raise DataError(f"{self.config.facts.says} does not accept file {file_id}: {words}")
        age = time.time() - float(file.get("created_at") or 0.0)
        return word not in _LOOKING or age > _LOOKED_LONG_ENOUGH

    def delete_data(self, file_id: str) -> None:
        """Delete a file."""
        try:
            self._api.ask(lambda sdk: sdk.files.with_raw_response.delete(file_id))
        except NotFoundError:
            return

    def _file(self, file_id: str) -> dict[str, Any]:
        return self._api.ask(lambda sdk: sdk.files.with_raw_response.retrieve(file_id))

    # -- jobs -----------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan[OpenAIConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Create the job; what the host says that it will run otherwise than asked is noted."""
        config = plan.config
        asked, keys = asking.with_keys(asking.tagged(plan.request, config, tag), config)
        model = asked.pop("model")
        if "validation" in uploads:
            asked["validation_file"] = uploads["validation"]
        with terms.retiring(config.facts.says, self.backend):
            job = self._api.ask(
                lambda sdk: sdk.fine_tuning.jobs.with_raw_response.create(
                    model=model, training_file=uploads["train"], extra_body=asked
                ),
                keys,
            )
        heard = snapshot_of(job, changed(config, job))
        if config.facts.tag_in is not None and heard.tag != tag:
            unkept = f"{config.facts.says} does not repeat the job's tag, so a job whose answer is lost is not found"
            heard = msgspec.structs.replace(heard, notes=(*heard.notes, unkept))
        return msgspec.structs.replace(heard, tag=tag)

    def poll(self, job_id: str) -> Snapshot:
        """How a job stands."""
        job = self._job(job_id)
        heard = snapshot_of(job)
        if self.config.profile == "azure" and heard.status is Status.PAUSED and method_of(job)[0] == "rft":
            heard = msgspec.structs.replace(heard, notes=(_CAPPED,))
        return heard

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Jobs with the tag: asked for by it, then looked for among the newest, since a host may filter late or not."""
        found: list[Snapshot] = []
        if self.config.facts.tag_in == "metadata":
            try:
                found = self._tagged(tag, metadata={asking.TAG: tag})
            except BackendError as error:
                if error.transient:
                    raise  # else it is the filter that the host does not know
        return found or self._tagged(tag)

    def _tagged(self, tag: str, **query: Any) -> list[Snapshot]:
        return [snapshot_of(job) for job in jobs_of(self._api, _PAGES, **query) if asking.tag_of(job) == tag]

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop."""
        try:
            self._api.ask(lambda sdk: sdk.fine_tuning.jobs.with_raw_response.cancel(job_id))
        except BackendError as error:
            if error.status_code not in _TOO_LATE or not self.poll(job_id).status.is_terminal:
                raise

    def retrieve(self, job_id: str) -> str:
        """The name that the model answers to; where the host serves none, its last checkpoint."""
        job = self._job(job_id)
        heard = snapshot_of(job)
        if heard.status is Status.SUCCEEDED and self.config.facts.serves:
            model = text_of(job, "fine_tuned_model")
        else:
            kept = self.checkpoints(job_id) if heard.status is Status.SUCCEEDED else ()
            model = kept[-1].model_id if kept else None
        if model is None:
            raise self._nothing(f"job {job_id} has no model: {self.config.facts.says} says {heard.raw_status}")
        return model

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """Events after one, oldest first. The host lists the newest first, so as many pages as are new are read."""
        told: list[Event] = []
        listed = self._api.pages(
            lambda sdk, page: sdk.fine_tuning.jobs.with_raw_response.list_events(job_id, limit=100, **page)
        )
        for event in map(event_of, listed):
            if event.id == after:
                break
            told.append(event)
        told.reverse()  # then by time, which keeps the order within a second
        told.sort(key=lambda event: event.at)
        return told

    def figures(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """A row a step from the result files; none as long as there are no files."""
        files = self._job(job_id).get("result_files") or ()
        told: list[Mapping[str, float]] = []
        for file_id in map(str, files):
            content: list[bytes] = []
            self._api.content(file_id, content.extend)
            told += figures_in(b"".join(content))
        return told

    def trained_tokens(self, job_id: str) -> int | None:
        """What the host bills, once the job has succeeded."""
        told = self._job(job_id).get("trained_tokens")
        return told if isinstance(told, int) else None

    def pause(self, job_id: str) -> None:
        """Ask a job to halt."""
        self._api.ask(lambda sdk: sdk.fine_tuning.jobs.with_raw_response.pause(job_id))

    def resume(self, job_id: str) -> None:
        """Ask a job to go on."""
        self._api.ask(lambda sdk: sdk.fine_tuning.jobs.with_raw_response.resume(job_id))

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Models of earlier steps, earliest first."""
        return [checkpoint_of(row, job_id, serves=self.config.facts.serves) for row in self._checkpoints(job_id)]

    def inventory(self) -> Inventory:
        """Everything that the account has."""
        return inventory_of(self._api, self.config)

    def _job(self, job_id: str) -> dict[str, Any]:
        return self._api.ask(lambda sdk: sdk.fine_tuning.jobs.with_raw_response.retrieve(job_id))

    def _checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        listed = self._api.pages(
            lambda sdk, page: sdk.fine_tuning.jobs.checkpoints.with_raw_response.list(job_id, limit=100, **page)
        )
        return sorted(listed, key=lambda row: row.get("step_number") or 0)

    def _nothing(self, message: str) -> NotFoundError:
        return NotFoundError(message, backend=self.backend, status_code=404)

    # -- models ---------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation."""
        return self._endpoint(model_id).chat(model_id, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Answer piece by piece."""
        return self._endpoint(model_id).stream(model_id, messages, options)

    def delete_model(self, model_id: str) -> None:
        """Delete a model; OpenAI wants the key of an owner of the organization."""
        try:
            self._api.ask(lambda sdk: sdk.models.with_raw_response.delete(model_id))
        except NotFoundError:
            return

    def shutdown_date(self, model_id: str) -> date | None:
        """What the host says; at OpenAI, what its deprecations page says where the API does not."""
        try:
            told = day_of(self._api.ask(lambda sdk: sdk.models.with_raw_response.retrieve(model_id)))
        except BackendError:
            known = self.known_shutdown_date(model_id)
            if known is None:
                raise
            return known
        return told or self.known_shutdown_date(model_id)

    def known_shutdown_date(self, model_id: str) -> date | None:
        """What OpenAI's deprecations page said."""
        return shutdown_of(model_id) if self.config.profile == "openai" else None

    def download(self, model_id: str, path: Path) -> Path:
        """The files of a checkpoint."""
        files = self._files_of(model_id)
        with arriving(path, self.backend) as arrival:
            for file_id in files:
                told = self._file(file_id)
                name = text_of(told, "filename") or file_id
                self._api.content(file_id, partial(arrival.file, name, size=told.get("bytes")))
        return path

    def _files_of(self, model_id: str) -> list[str]:
        job_id, checkpoint_id = _checkpoint(model_id)
        rows = self._checkpoints(job_id) if checkpoint_id else ()
        files = [str(file) for row in rows if row.get("id") == checkpoint_id for file in row.get("result_files") or ()]
        if not files:
            raise self._nothing(
                f"{self.config.facts.says} has no files of {model_id}, which is no JOB:CHECKPOINT of it"
            )
        return files

    # -- deployments ------------------------------------------------------------------------------------------------

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Start a deployment that carries the tag in its name."""
        return self._deployments.start(model_id, tag)

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """How a deployment stands."""
        return self._deployments.get(deployment_id)

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """Deployments with the tag."""
        return self._deployments.find(tag)

    def undeploy(self, deployment_id: str) -> None:
        """Delete a deployment."""
        self._deployments.stop(deployment_id)

    # -- connections ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of connections."""
        with self._opening:
            if self._http is not None:
                self._http.close()
            self._http = self._opened = None

    def _client(self) -> httpx2.Client:
        if self._http is None:
            self._http = client(self.context.egress)
        return self._http

    @property
    def _api(self) -> Api:
        with self._opening:
            if self._opened is None:
                self._opened = Api(self._client(), self.config.url, self.config.api_key_env, self.config.facts)
            return self._opened

    @property
    def _deployments(self) -> Deployments | ServedModels:
        where, config = self.config.deploy, self.config
        with self._opening:
            if isinstance(where, AzureDeploy):
                return Deployments(self._client(), where, self.backend)
            if isinstance(where, NebiusDeploy):
                return ServedModels.at(self._client(), config.url, config.api_key_env, self.backend, where)
        host = config.facts
        raise UnsupportedError(f"deploying at {host.says} needs a deploy table with {', '.join(host.deploys)}")

    def _endpoint(self, model_id: str) -> Endpoint:
        if not self.config.facts.serves and _checkpoint(model_id)[1]:
            raise UnsupportedError(
                f"{self.config.facts.says} names no model that answers for {model_id}; model.deploy() has a LoRA "
                "served, and model.download(path) fetches its weights for the lora backend"
            )
        with self._opening:
            return Endpoint(self._client(), self.config.url, self.config.api_key_env, self.backend)


@cache
def _at(kind: type[AdapterT], profile: ProfileName) -> type[AdapterT]:
    """The class of adapters at a host: powers are told by the class, and not every host has all of them."""
    host = PROFILES[profile]
    promises = {
        "guarantee": host.guarantee,
        "settle_seconds": kind.settle_seconds if host.tag_in else 0.0,
        "deploy_guarantee": host.deploy_guarantee,
    }
    lacking = {"__module__": kind.__module__, "__doc__": kind.__doc__, **promises, **dict.fromkeys(host.lacks)}
    made: type[AdapterT] = types.new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(lacking))
    return made


def _checkpoint(model_id: str) -> tuple[str, str]:
    """Job and checkpoint of a model that is called by them; names that answer hold slashes, or no colon."""
    job_id, _, checkpoint_id = model_id.partition(":")
    return (job_id, checkpoint_id) if "/" not in job_id else ("", "")

"""The backend for Together: fine-tuning jobs, and the models that they make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import httpx2

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, DataFile, Guarantee, Plan
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.rest import Rest, account_of, segment
from adaptkit.backends.terms import refuse
from adaptkit.backends.together import data, jobs, request
from adaptkit.backends.together.config import TogetherConfig, problems
from adaptkit.backends.together.deployments import Deployments
from adaptkit.backends.together.files import Files
from adaptkit.backends.weights import arriving
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import BackendError, BackendRetiredError, NotFoundError, QuotaError, UnsupportedError
from adaptkit.http import client, key_from, loopback
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

__all__ = ["TogetherAdapter"]

_JOBS = "/v1/fine-tunes"


class TogetherAdapter(Adapter[TogetherConfig]):
    """Jobs and models at Together, over its REST API.

    A model is called by the name that the host gave it, or, at a step of a job, ``ft-…:step``.
    """

    backend: ClassVar[str] = "together"
    config_type: ClassVar[type[BackendConfig]] = TogetherConfig
    guarantee: ClassVar[Guarantee] = "reconcilable"
    settle_seconds: ClassVar[float] = 120.0
    deploy_guarantee: ClassVar[Guarantee] = "reconcilable"

    # before a job -----------------------------------------------------------------------------------------------------

    @classmethod
    def data_rules(cls, config: TogetherConfig | None = None) -> DataRules:
        """The rows that the method learns from, in the order of turns that the host takes."""
        return data.rules(None if config is None else config.method)

    @property
    def account(self) -> str:
        """The address, and a fingerprint of the key."""
        return account_of(self.config.base_url, os.environ.get(self.config.api_key_env, ""))

    @property
    def destinations(self) -> tuple[str, ...]:
        """The service, and where it keeps files as far as that is configured."""
        return tuple(host for host in (self.config.host, *self.config.storage) if not loopback(host))

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """The body of the request for a job, without file ids, the tag in the suffix, and keys of other services."""
        del files
        return request.body(self.config)

    def warnings(self, files: Sequence[DataFile]) -> Sequence[str]:
        """What the host does not say."""
        return list(self._warnings(files))

    def _warnings(self, files: Sequence[DataFile]) -> Iterator[str]:
        config = self.config
        if self.context.egress.hosts is not None and not config.storage:
            yield (
                "Together names the host that files are kept at only when they are uploaded; where the egress policy "
                "does not allow it, the upload stops there. Once you know it, add it to storage and to the policy"
            )
        if any(file.purpose == "validation" for file in files):
            yield f"the held-out data is gone through {config.sent_evals} times, and billed like training data"
        if config.is_simpo:
            yield "simpo_gamma: SimPO compares with no base and takes the length of answers out"
        if config.wandb is not None:
            yield "Together is given your key of Weights & Biases, and reports there"

    def prepare(self, data: Dataset) -> Plan[TogetherConfig]:
        """Check and convert; what the host cannot run is refused before the data is read.

        Raises:
            DataError, UnsupportedError, EgressError: as for every backend.
        """
        self.context.egress.require(self.destinations, self.backend)
        refuse(self.backend, list(problems(self.config)))
        return super().prepare(data)

    def upload(self, file: DataFile) -> str:
        """Bring a file to the host, or find it there by its checksum."""
        return self._files.upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether the host still has a file."""
        try:
            self._rest.send("GET", f"/v1/files/{segment(file_id)}")
        except NotFoundError:
            return False
        return True

    def data_ready(self, file_id: str) -> bool:
        """Whether the host has looked at a file and takes it."""
        return self._files.ready(file_id)

    def preflight(self, plan: Plan[Any], uploads: Mapping[str, str]) -> None:
        """Compare a plan with the model's limits of today, and the account with the price: two requests.

        Raises:
            UnsupportedError: the model cannot be fine-tuned, or not so; names everything.
            QuotaError: the host says that the account may not go on at this price.
        """
        config: TogetherConfig = plan.config
        try:
            limits = self._rest.send("GET", f"{_JOBS}/models/limits", query={"model_name": config.starts_from})
        except NotFoundError as error:
            refuse(self.backend, [f"model: {config.starts_from} cannot be fine-tuned: {error.message}"])
            raise
        refuse(self.backend, list(request.limit_problems(config, limits)))
        told = self._price(plan, uploads)
        if told.get("allowed_to_proceed") is False:
            price, limit = told.get("estimated_total_price"), told.get("user_limit")
            raise QuotaError(
                f"Together does not let this account go on: the job would cost about ${price} and the limit is "
                f"${limit}. Nothing was paid; add credit at Together",
                backend=self.backend,
            )

    def estimate(self, plan: Plan[Any], uploads: Mapping[str, str]) -> float | None:
        """What the host thinks the job will cost, in US dollars."""
        price = self._price(plan, uploads).get("estimated_total_price")
        return float(price) if isinstance(price, int | float) else None

    def _price(self, plan: Plan[Any], uploads: Mapping[str, str]) -> dict[str, Any]:
        names = ("model", "from_checkpoint", "n_epochs", "n_evals", "training_method", "training_type")
        asked = {name: plan.request[name] for name in names if name in plan.request}
        return self._rest.send("POST", f"{_JOBS}/estimate-price", {**asked, **_file_ids(uploads)})

    # jobs -------------------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan[TogetherConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Ask for a job; the tag stands at the end of the suffix."""
        keys = {
            field: key_from(name, "the together backend") for field, name in request.secrets_of(plan.config).items()
        }
        suffix = jobs.suffix(plan.config.name, tag)
        body = {**plan.request, **_file_ids(uploads), **keys, "suffix": suffix}
        try:
            job = self._rest.send("POST", _JOBS, body, private=list(keys.values()))
        except NotFoundError as error:
            if error.status_code != 410:
                raise
            raise BackendRetiredError(
                "Together takes no fine-tuning jobs at this address any more.",
                since=datetime.now(UTC).date().isoformat(),
                replacement="another backend, such as fireworks or lora; adaptkit translate writes its table",
                backend=self.backend,
                status_code=410,
            ) from error
        return jobs.snapshot({"suffix": suffix, **job}, plan.config)

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Jobs whose suffix ends in a tag: the host lists all that there are."""
        return [jobs.snapshot(job, self.config) for job in self._listed() if jobs.tag_in(job.get("suffix")) == tag]

    def poll(self, job_id: str) -> Snapshot:
        """Ask how a job stands."""
        return jobs.snapshot(self._job(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; what it has trained is paid for."""
        try:
            self._rest.send("POST", f"{_JOBS}/{segment(job_id)}/cancel")
        except NotFoundError:
            raise
        except BackendError as refused:
            if refused.transient or not jobs.is_ending(self._job(job_id)):
                raise

    def retrieve(self, job_id: str) -> str:
        """The name of the model that a job made."""
        job = self._job(job_id)
        if jobs.snapshot(job).status is not Status.SUCCEEDED or not job.get("model_output_name"):
            message = f"job {job_id} has no model: it is {job.get('status')}"
            raise NotFoundError(message, backend=self.backend)
        return str(job["model_output_name"])

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """What happened in a job, with the figures of its steps: two lists of the host."""
        path = f"{_JOBS}/{segment(job_id)}"
        told = self._rest.send("GET", f"{path}/events").get("data") or ()
        try:
            metrics = self._rest.send("GET", f"{path}/metrics").get("metrics") or ()
        except NotFoundError:  # none yet
            metrics = ()
        return jobs.events(told, metrics, after)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """What the host keeps of a job's steps."""
        return jobs.checkpoints(job_id, self._checkpoints(job_id))

    def inventory(self) -> Inventory:
        """Jobs, files and tuned models of the account."""
        files = self._rest.send("GET", "/v1/files").get("data") or ()
        return jobs.inventory(self._listed(), files)

    def delete_data(self, file_id: str) -> None:
        """Delete a file."""
        self._delete(f"/v1/files/{segment(file_id)}")

    # models -----------------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation; most tuned models answer only through a deployment."""
        return self._endpoint.chat(model_id, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Pieces of the answer."""
        return self._endpoint.stream(model_id, messages, options)

    def download(self, model_id: str, path: Path) -> Path:
        """The weights of a model, or of a step of a job: the adapter or the merged model, as configured."""
        job, step = self._made_by(model_id)
        full = (job.get("training_type") or {}).get("type") == "Full"
        query: dict[str, Any] = {
            "ft_id": job["id"],
            "checkpoint": "model_output_path" if full else self.config.download,
        }
        if step is not None:
            query["checkpoint_step"] = step
        with arriving(path, self.backend) as arrival:
            arrival.archive(self._rest.content("/v1/finetune/download", query, self._files.address))
        return path

    def delete_model(self, model_id: str) -> None:
        """Delete a model, and its adapter, from the host's registry; the job stays in the list."""
        try:
            job, step = self._made_by(model_id)
        except NotFoundError:
            return
        if step is not None:
            raise UnsupportedError(f"Together deletes no single step; delete the model of job {job['id']}")
        ids = [job[name] for name in ("model_object_id", "adapter_object_id") if job.get(name)]
        if not ids:
            raise UnsupportedError(f"Together names nothing in its registry for {model_id}, so it cannot be deleted")
        project = self._deployments.project()
        for object_id in ids:
            self._delete(f"/v2/projects/{segment(project)}/models/{segment(object_id)}")

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Deploy a model on hardware of its own; a LoRA is merged into its base by the host."""
        job, step = self._made_by(model_id)
        if step is None:
            object_id = job.get("model_object_id") or job.get("adapter_object_id")
        else:
            rows = [row for row in self._checkpoints(str(job["id"])) if row.get("step") == step]
            rows.sort(key=lambda row: row.get("checkpoint") != "model")
            object_id = next((row["object_id"] for row in rows if row.get("object_id")), None)
        if not object_id:
            raise UnsupportedError(f"Together names nothing in its registry for {model_id}, so it cannot be deployed")
        return self._deployments.start(model_id, str(object_id), tag)

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """How a deployment stands."""
        return self._deployments.get(deployment_id)

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """Deployments whose endpoint is named with a tag."""
        return list(self._deployments.find(tag))

    def undeploy(self, deployment_id: str) -> None:
        """Stop a deployment."""
        self._deployments.stop(deployment_id)

    def close(self) -> None:
        """Let go of connections."""
        if "_http" in self.__dict__:
            self._http.close()
            for name in ("_http", "_rest", "_files", "_endpoint", "_deployments"):
                self.__dict__.pop(name, None)

    # asking -----------------------------------------------------------------------------------------------------------

    @cached_property
    def _http(self) -> httpx2.Client:
        return client(self.context.egress)

    @cached_property
    def _rest(self) -> Rest:
        return Rest(self._http, self.config.base_url, self.config.api_key_env, self.backend)

    @cached_property
    def _files(self) -> Files:
        return Files(self._rest, self.config.storage)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return Endpoint(self._http, f"{self.config.base_url}/v1", self.config.api_key_env, self.backend)

    @cached_property
    def _deployments(self) -> Deployments:
        return Deployments(self._rest, self.config.deploy)

    def _job(self, job_id: str) -> dict[str, Any]:
        return {"id": job_id, **self._rest.send("GET", f"{_JOBS}/{segment(job_id)}")}

    def _listed(self) -> Sequence[dict[str, Any]]:
        return self._rest.send("GET", _JOBS).get("data") or ()

    def _checkpoints(self, job_id: str) -> Sequence[dict[str, Any]]:
        return self._rest.send("GET", f"{_JOBS}/{segment(job_id)}/checkpoints").get("data") or ()

    def _delete(self, path: str) -> None:
        with contextlib.suppress(NotFoundError):
            self._rest.send("DELETE", path)

    def _made_by(self, model_id: str) -> tuple[dict[str, Any], int | None]:
        """The job that made a model, and the step, if the model is of one.

        Raises:
            NotFoundError: no job of this account made it.
        """
        name, colon, step = model_id.rpartition(":")
        if not (colon and step.isdigit()):
            name, step = model_id, ""
        if not name.startswith("ft-"):
            name = self._job_named(name)
        return self._job(name), int(step) if step else None

    def _job_named(self, model_name: str) -> str:
        for job in self._listed():
            if job.get("model_output_name") == model_name:
                return str(job["id"])
        raise NotFoundError(f"no job of this account made {model_name}", backend=self.backend)


def _file_ids(uploads: Mapping[str, str]) -> dict[str, str]:
    names: Iterable[tuple[str, str]] = (("train", "training_file"), ("validation", "validation_file"))
    return {field: uploads[purpose] for purpose, field in names if purpose in uploads}

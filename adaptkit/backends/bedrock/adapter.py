"""The Bedrock adapter: what a configuration asks for, in the words of the service model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any, ClassVar

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.backends.bedrock import families, jobs
from adaptkit.backends.bedrock.aws import Aws, hosts
from adaptkit.backends.bedrock.chat import Converse
from adaptkit.backends.bedrock.config import BedrockConfig
from adaptkit.backends.bedrock.deployments import Deployments
from adaptkit.backends.bedrock.storage import Storage
from adaptkit.backends.terms import differences, refuse
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import AdaptkitWarning, BackendError, NotFoundError, ServiceError
from adaptkit.http import loopback
from adaptkit.types import (
    DeploymentSnapshot,
    Event,
    Inventory,
    Message,
    OwnedFile,
    OwnedJob,
    OwnedModel,
    Reply,
    Snapshot,
    Status,
)

__all__ = ["BedrockAdapter"]

_TYPES = {"sft": "FINE_TUNING", "rft": "REINFORCEMENT_FINE_TUNING"}
_DETAILED = 200  # jobs of an account whose data and settings are asked for
_MOST_PAGES = 1000  # a list that says for ever that there is more


class BedrockAdapter(Adapter[BedrockConfig]):
    """Jobs of an AWS account. The tag is the request's idempotency token and the job's name, which is taken once."""

    backend: ClassVar[str] = "bedrock"
    config_type: ClassVar[type[BackendConfig]] = BedrockConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"
    deploy_guarantee: ClassVar[Guarantee] = "exactly_once"
    settle_seconds: ClassVar[float] = 30.0

    def __init__(self, config: BedrockConfig, context: Context) -> None:
        super().__init__(config, context)
        self._aws = Aws(config, context.egress)
        self._storage = Storage(self._aws, config)
        self._deployments = Deployments(self._aws, config)
        self._converse = Converse(self._aws)
        self._asked_for: set[str] = set()

    @classmethod
    def data_rules(cls, config: BedrockConfig | None = None) -> DataRules:
        """By the family of the model."""
        return families.rules(config)

    @property
    def account(self) -> str:
        """The role's AWS account, and the folder, which the role may read when it may not read another."""
        config = self.config
        return f"{config.account_id}/{config.region}/{config.bucket}/{config.prefix}"

    @property
    def destinations(self) -> tuple[str, ...]:
        """Bedrock, its runtime and the bucket; where credentials come from is seen when they are asked for."""
        return tuple(host for host in hosts(self.config) if not loopback(host))

    def prepare(self, data: Dataset) -> Plan[BedrockConfig]:
        """Refuse what the model cannot do, then as every backend."""
        self.context.egress.require(self.destinations, self.backend)
        refuse(self.backend, families.problems(self.config))
        return super().prepare(data)

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """``CreateModelCustomizationJob``, without names, token and the addresses of the files."""
        del files
        config = self.config
        request: dict[str, Any] = {
            "roleArn": config.role_arn,
            "baseModelIdentifier": config.model,
            "customizationType": _TYPES[config.method],
            "outputDataConfig": {"s3Uri": f"s3://{config.bucket}/{config.prefix}/output/"},
            "customModelKmsKeyId": config.kms_key_id,
            "vpcConfig": config.vpc
            and {"subnetIds": list(config.vpc.subnet_ids), "securityGroupIds": list(config.vpc.security_group_ids)},
            "jobTags": self._tags(),
            "customModelTags": self._tags(),
        }
        if config.rft is None:
            request["hyperParameters"] = families.hyperparameters(config)
        else:
            request["customizationConfig"] = {"rftConfig": families.reinforced(config)}
        return {name: value for name, value in request.items() if value not in (None, [], {})}

    def warnings(self, files: Sequence[DataFile]) -> Sequence[str]:
        """What was not checked."""
        del files
        if families.family_of(self.config) is not None:
            return ()
        model = self.config.model
        return (f"adaptkit has no table of what {model} takes: data_format and hyperparameters go out unchecked",)

    def upload(self, file: DataFile) -> str:
        """Bring a file to the bucket; its key is its content's hash."""
        return self._storage.upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether it is still in the bucket."""
        return self._storage.has(file_id)

    def submit(self, plan: Plan[BedrockConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Create the job; the same token again makes no second one."""
        request = {
            **plan.request,
            "jobName": jobs.job_name(tag),
            "customModelName": jobs.model_name(plan.config.name, tag),
            "clientRequestToken": tag,
            "trainingDataConfig": {"s3Uri": uploads["train"]},
        }
        if "validation" in uploads:
            request["validationDataConfig"] = {"validators": [{"s3Uri": uploads["validation"]}]}
        answer = self._aws.ask("bedrock", "create_model_customization_job", needs=("jobArn",), **request)
        job_id = str(answer["jobArn"])
        self._asked_for.add(job_id)
        return Snapshot(job_id=job_id, status=Status.QUEUED, raw_status="InProgress", tag=tag)

    def poll(self, job_id: str) -> Snapshot:
        """``GetModelCustomizationJob``."""
        return self._snapshot(self._job(job_id))

    def cancel(self, job_id: str) -> None:
        """Stop it; Bedrock refuses to stop what has ended, which is no error here."""
        try:
            self._aws.ask("bedrock", "stop_model_customization_job", jobIdentifier=job_id)
        except NotFoundError:
            raise
        except BackendError as error:
            if error.never_ran or not self._is_over(job_id):
                raise

    def retrieve(self, job_id: str) -> str:
        """ARN of the custom model."""
        job = self._job(job_id)
        if job["status"] != "Completed" or not job.get("outputModelArn"):
            raise NotFoundError(f"job {job_id} has no model: it is {job['status']}", backend=self.backend)
        return str(job["outputModelArn"])

    # powers -----------------------------------------------------------------------------------------------------------

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that name: one request, and no list to be slow in."""
        try:
            return [self._snapshot(self._job(jobs.job_name(tag)))]
        except NotFoundError:
            return []

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """Phases while it runs; when it has completed, one request more for the figures of each step."""
        job = self._job(job_id)
        told = list(jobs.phases(job))
        if job["status"] == "Completed":
            told += jobs.steps(self._figures(job), job)
        told.sort(key=lambda event: event.id)
        return [event for event in told if after is None or event.id > after]

    def preflight(self, plan: Plan[BedrockConfig], uploads: Mapping[str, str]) -> None:
        """Warn where the account lets model providers see data; who may not ask is not kept from submitting."""
        del plan, uploads
        with suppress(BackendError):
            mode = self._aws.ask("bedrock", "get_account_data_retention").get("mode")
            if mode == "provider_data_share":
                warnings.warn(
                    f"data retention of AWS account {self.config.account_id} is provider_data_share: Bedrock may share "
                    "data with the model's provider; PutAccountDataRetention changes it",
                    AdaptkitWarning,
                    stacklevel=2,
                )

    def shutdown_date(self, model_id: str) -> date | None:
        """When the base model's life ends; of a deployment the base is not known."""
        base = families.base_of(model_id)
        if base is None:
            return None
        told = self._aws.ask("bedrock", "get_foundation_model", modelIdentifier=base)
        ends = told.get("modelDetails", {}).get("modelLifecycle", {}).get("endOfLifeTime")
        return None if ends is None else ends.date()

    def known_shutdown_date(self, model_id: str) -> date | None:
        """Nothing: AWS tells the day, and keeps no table of its own here."""
        del model_id
        return None

    def inventory(self) -> Inventory:
        """Jobs and custom models of the account, and the files of the folder.

        A list of jobs tells neither data nor settings, so the newest are asked for one by one.
        """
        pages = self._pages(lambda token: self._listed("list_model_customization_jobs", token))
        listed = [job for page in pages for job in page.get("modelCustomizationJobSummaries", ())]
        models = self._pages(lambda token: self._listed("list_custom_models", token))
        files = self._pages(self._storage.listed)
        return Inventory(
            jobs=tuple(
                _owned_job(self._job(job["jobArn"]) if number < _DETAILED else job) for number, job in enumerate(listed)
            ),
            models=tuple(
                OwnedModel(
                    id=model["modelArn"], base=model["baseModelArn"], created_at=model["creationTime"].timestamp()
                )
                for page in models
                for model in page.get("modelSummaries", ())
            ),
            files=tuple(
                OwnedFile(
                    id=f"s3://{self.config.bucket}/{item['Key']}",
                    name=item["Key"].rpartition("/")[2],
                    purpose="data",
                    bytes=item["Size"],
                    created_at=item["LastModified"].timestamp(),
                )
                for page in files
                for item in page.get("Contents", ())
            ),
        )

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """By Converse, through the deployment's ARN."""
        return self._converse.chat(model_id, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """By ConverseStream."""
        return self._converse.stream(model_id, messages, options)

    def delete_data(self, file_id: str) -> None:
        """Delete a file from the bucket."""
        self._storage.delete(file_id)

    def delete_model(self, model_id: str) -> None:
        """Delete a custom model."""
        with suppress(NotFoundError):
            self._aws.ask("bedrock", "delete_custom_model", modelIdentifier=model_id)

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Start what the ``deploy`` table says."""
        return self._deployments.start(model_id, tag, self._tags())

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """How one stands."""
        return self._deployments.get(deployment_id)

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """The one of that name."""
        return self._deployments.find(tag)

    def undeploy(self, deployment_id: str) -> None:
        """Delete one."""
        self._deployments.stop(deployment_id)

    def close(self) -> None:
        """Let go of the connections."""
        self._aws.close()

    # asking -----------------------------------------------------------------------------------------------------------

    def _job(self, identifier: str) -> dict[str, Any]:
        needs = ("jobArn", "jobName", "status", "creationTime", "outputDataConfig")
        return self._aws.ask("bedrock", "get_model_customization_job", needs=needs, jobIdentifier=identifier)

    def _snapshot(self, job: Mapping[str, Any]) -> Snapshot:
        if job["jobArn"] not in self._asked_for:  # by this configuration or by another
            return jobs.snapshot(job)
        asked, told = families.hyperparameters(self.config), job.get("hyperParameters") or {}
        return jobs.snapshot(job, differences(asked, told, "Bedrock"))

    def _figures(self, job: Mapping[str, Any]) -> bytes:
        try:
            return self._storage.read(jobs.metrics_file(job))
        except BackendError as error:
            if error.transient:
                raise
            return b""  # the bucket is the user's own: it may have been tidied, or be closed to these credentials

    def _is_over(self, job_id: str) -> bool:
        """Whether there is nothing to stop any more."""
        return self._job(job_id)["status"] in ("Completed", "Failed", "Stopping", "Stopped")

    def _listed(self, operation: str, token: str | None) -> dict[str, Any]:
        return self._aws.ask(
            "bedrock", operation, nextToken=token, maxResults=1000, sortBy="CreationTime", sortOrder="Descending"
        )

    def _pages(self, page: Callable[[str | None], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        token: str | None = None
        for _ in range(_MOST_PAGES):
            told = page(token)
            yield told
            token = told.get("nextToken") or told.get("NextContinuationToken")
            if token is None:
                return
        raise ServiceError("a list has no end", backend=self.backend)

    def _tags(self) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in {"adaptkit": "yes", **self.config.tags}.items()]


def _owned_job(job: Mapping[str, Any]) -> OwnedJob:
    return OwnedJob(
        snapshot=jobs.snapshot(job),
        recipe=families.recipe(job),
        files=jobs.files(job),
        model_id=job.get("customModelArn") or job.get("outputModelArn"),
        created_at=job["creationTime"].timestamp(),
    )

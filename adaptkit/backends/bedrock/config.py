"""The configuration of a Bedrock target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from adaptkit.adapter import BackendConfig, LocalPath
from adaptkit.errors import ConfigError
from adaptkit.http import checked_url

__all__ = ["BedrockConfig", "BedrockDeploy", "BedrockEndpoints", "BedrockRft", "BedrockVpc"]


def _url(value: str) -> str:
    try:
        return checked_url(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


Url = Annotated[str, AfterValidator(_url)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BedrockEndpoints(_Table):
    """Addresses in place of the region's own: a VPC's endpoints, or a stand-in for tests.

    Attributes:
        bedrock: Jobs, models and deployments.
        runtime: Answers.
        s3: Data; buckets are part of the path there, not of the host.
    """

    bedrock: Url | None = None
    runtime: Url | None = None
    s3: Url | None = None


class BedrockVpc(_Table):
    """Where in a VPC the job reaches the data."""

    subnet_ids: tuple[str, ...] = Field(min_length=1, max_length=16)
    security_group_ids: tuple[str, ...] = Field(min_length=1, max_length=5)


class BedrockRft(_Table):
    """Reinforcement fine-tuning; what is not set is the host's choice.

    Attributes:
        grader: ARN of the Lambda function that scores answers.
        samples_per_prompt: Answers that are drawn for each prompt.
        max_prompt_tokens: Longest prompt.
        max_answer_tokens: Longest answer.
        reasoning_effort: How much the model thinks.
        eval_interval: Steps between evaluations.
    """

    grader: str = Field(pattern=r"^arn:aws(-[a-z-]+)?:lambda:[a-z0-9-]+:[0-9]{12}:function:.+$")
    samples_per_prompt: int | None = Field(None, ge=2, le=16)
    max_prompt_tokens: int | None = Field(None, ge=1)
    max_answer_tokens: int | None = Field(None, ge=1)
    reasoning_effort: Literal["low", "medium", "high"] | None = None
    eval_interval: int | None = Field(None, ge=1, le=100)


class BedrockDeploy(_Table):
    """What a model answers through.

    Attributes:
        hardware: ``on-demand``: paid by the token, for the models and regions that have it; ``provisioned``: capacity
            that is paid by the hour until it is stopped, without commitment.
        units: Model units of provisioned capacity.
    """

    hardware: Literal["on-demand", "provisioned"] = "on-demand"
    units: int = Field(1, ge=1)


class BedrockConfig(BackendConfig):
    """A job at Amazon Bedrock. Credentials come from boto3's own chain and stand in no field.

    Attributes:
        region: AWS region of job, bucket and model.
        model: Id or ARN of the base model, such as ``amazon.nova-lite-v1:0:300k``, or ARN of a custom model.
        role_arn: Role that lets Bedrock read and write the bucket; its account is where everything runs.
        bucket: S3 bucket for data and results, in the same region.
        prefix: Folder in it.
        bucket_owner: Account that must own the bucket, if it is not the role's.
        aws_profile: Profile of the AWS configuration files to take credentials from.
        endpoints: Other addresses than the region's own.
        method: ``sft`` or ``rft``.
        name: Start of the custom model's name; the run's tag follows, since names are taken once.
        epochs, batch_size, learning_rate, learning_rate_multiplier, warmup_steps: Left to the host unless set; which
            of them there are depends on the model.
        early_stopping_threshold, early_stopping_patience: For Claude.
        rft: For ``method = "rft"``.
        hyperparameters: In the host's own words, for models that adaptkit has no table of.
        data_format: For the same models: the form of the rows.
        validation: File of held-out examples.
        kms_key_id: Key that the custom model is encrypted with.
        vpc: Where in a VPC the job runs.
        tags: AWS tags of job, model and deployment.
        deploy: What the model answers through.
    """

    backend: Literal["bedrock"] = "bedrock"
    region: str = Field(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$")
    model: str = Field(min_length=1, max_length=2048)
    role_arn: str = Field(pattern=r"^arn:aws(-[a-z-]+)?:iam::[0-9]{12}:role/[^\s]+$", max_length=2048)
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field("adaptkit", pattern=r"^[A-Za-z0-9!_*'().-]+(/[A-Za-z0-9!_*'().-]+)*$", max_length=256)
    bucket_owner: str | None = Field(None, pattern=r"^[0-9]{12}$")
    aws_profile: str | None = None
    endpoints: BedrockEndpoints = BedrockEndpoints()
    method: Literal["sft", "rft"] = "sft"
    name: str = Field("adaptkit", pattern=r"^[0-9a-zA-Z](?:[_-]?[0-9a-zA-Z])*$", max_length=36)
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    learning_rate_multiplier: float | None = Field(None, gt=0)
    warmup_steps: int | None = Field(None, ge=0)
    early_stopping_threshold: float | None = Field(None, ge=0)
    early_stopping_patience: int | None = Field(None, ge=1)
    rft: BedrockRft | None = None
    hyperparameters: Mapping[str, str] = {}
    data_format: Literal["bedrock", "prompt-completion", "anthropic"] | None = None
    validation: LocalPath | None = None
    kms_key_id: str | None = Field(None, min_length=1, max_length=2048)
    vpc: BedrockVpc | None = None
    tags: Mapping[str, str] = {}
    deploy: BedrockDeploy = BedrockDeploy()

    @field_validator("tags")
    @classmethod
    def _few_tags(cls, value: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        del info
        if len(value) > 199:  # one is adaptkit's own
            raise ValueError("AWS holds 200 tags, one of them adaptkit's own")
        return value

    @property
    def account_id(self) -> str:
        """The AWS account that runs the jobs: the role's, since a job cannot take another account's."""
        return self.role_arn.split(":")[4]

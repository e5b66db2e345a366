"""What can be set for a job on OpenAI's wire; which of it a host takes stands in `profiles`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from adaptkit.adapter import BackendConfig, LocalPath
from adaptkit.backends.openai.graders import Grader
from adaptkit.backends.openai.profiles import PROFILES, Profile, ProfileName
from adaptkit.http import checked_url

__all__ = ["AzureDeploy", "NebiusDeploy", "OpenAIConfig", "Wandb"]

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Auto = Literal["auto"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Url = Annotated[str, AfterValidator(checked_url)]
_Part = Annotated[str, Field(pattern=r"^[\w.()-]{1,90}$")]


class Wandb(BaseModel):
    """Weights & Biases: the host sends the figures there.

    Attributes:
        project: Its project there.
        entity: Team or user.
        name: Of the run.
        tags: Of the run.
        api_key_env: Variable with the key of Weights & Biases, where the host wants it with each job (Nebius); it
            stands in no plan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    project: str = Field(min_length=1)
    entity: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    api_key_env: Variable | None = None


class AzureDeploy(BaseModel):
    """Where and how Azure deploys a model, through its management API.

    Attributes:
        subscription: Id of the subscription.
        resource_group: Name of the resource group.
        account: Name of the Azure OpenAI or Foundry resource.
        hardware: The deployment's kind: ``standard`` and ``globalstandard`` are billed by the hour, ``developertier``
            is not, and is removed by Azure after a day.
        capacity: Thousands of tokens a minute.
        token_env: Variable with a token for the management API: ``az account get-access-token`` gives one.
        management_url: Address of that API.
        api_version: Its version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    subscription: _Part
    resource_group: _Part
    account: _Part
    hardware: Literal["standard", "globalstandard", "developertier"] = "standard"
    capacity: int = Field(1, ge=1)
    token_env: Variable = "AZURE_MANAGEMENT_TOKEN"  # noqa: S105 - the name of a variable
    management_url: Url = "https://management.azure.com"
    api_version: str = Field("2024-10-01", pattern=r"^[\w.-]+$")


class NebiusDeploy(BaseModel):
    """What Nebius serves a LoRA beside.

    Attributes:
        base_model: The served base, such as ``meta-llama/Meta-Llama-3.1-8B-Instruct-fast``.
        hardware: ``serverless``: shared, and billed by token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    base_model: str = Field(min_length=1)
    hardware: Literal["serverless"] = "serverless"


class OpenAIConfig(BackendConfig):
    """A job on OpenAI's fine-tuning wire. What is ``None`` is left to the host.

    Attributes:
        profile: The host: ``openai``, ``azure``, ``nebius``, ``bedrock-mantle``, or ``generic`` for any other, which is
            also what a ``base_url`` without a profile means.
        base_url: Its address, such as ``https://RESOURCE.openai.azure.com/openai/v1``.
        api_key_env: Name of the environment variable with the key; each profile has its own.
        model: The host's id of the base model, or of an earlier result to train on.
        method: ``sft`` learns the assistant's turns, ``dpo`` prefers one answer over another, ``rft`` learns from a
            grader's score.
        weights: ``lora`` or ``full``, where the host has the choice; must be said there.
        epochs: Passes over the data; ``auto`` leaves it to the host, as ``None`` does.
        batch_size: Examples a step.
        learning_rate: The rate itself (Nebius).
        learning_rate_multiplier: Of a rate that the host keeps to itself (OpenAI, Azure). Neither is made from the
            other.
        rank, alpha, dropout: Of LoRA (Nebius).
        max_length: Tokens of one example (Nebius: ``context_length``).
        warmup: Share of the steps (Nebius).
        weight_decay, max_grad_norm, packing: As usual (Nebius).
        beta: Of DPO: how closely to stay with the base.
        grader: Of RFT: what scores an answer.
        reasoning_effort, compute_multiplier, eval_interval, eval_samples: Of RFT.
        validation: File of held-out examples; RFT at OpenAI and Azure needs one.
        seed: Of the training.
        name: Becomes part of the model's name.
        metadata: Goes with the job, as text; adaptkit adds its tag.
        wandb: Weights & Biases.
        training_type: Azure's tier: where the training runs, and for how much.
        deploy: Where a model is deployed: `AzureDeploy`, or `NebiusDeploy`.
    """

    backend: Literal["openai"] = "openai"
    profile: ProfileName = "openai"
    base_url: Url | None = None
    api_key_env: Variable = "OPENAI_API_KEY"
    model: str = Field(min_length=1)
    method: Literal["sft", "dpo", "rft"] = "sft"
    weights: Literal["lora", "full"] | None = None
    epochs: int | Auto | None = None
    batch_size: int | Auto | None = None
    learning_rate: Number | None = None
    learning_rate_multiplier: Number | Auto | None = None
    rank: int | None = None
    alpha: Number | None = None
    dropout: Number | None = None
    max_length: int | None = None
    warmup: Number | None = None
    weight_decay: Number | None = None
    max_grad_norm: Number | None = None
    packing: bool | None = None
    beta: Number | Auto | None = None
    grader: Grader | None = None
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Number | Auto | None = None
    eval_interval: int | Auto | None = None
    eval_samples: int | Auto | None = None
    validation: LocalPath | None = None
    seed: int | None = None
    name: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    wandb: Wandb | None = None
    training_type: Literal["Standard", "GlobalStandard", "developerTier"] | None = None
    deploy: AzureDeploy | NebiusDeploy | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_profile(cls, given: Any) -> Any:
        """Fill in what follows from the profile, so that the key of one host is never sent to another."""
        if not isinstance(given, Mapping):
            return given
        elsewhere = given.get("base_url") is not None
        name = given.get("profile") or ("generic" if elsewhere else "openai")
        filled = {**given, "profile": name}
        profile = PROFILES.get(name)
        if profile is None:
            return filled
        if profile.base_url is None and not elsewhere:
            raise ValueError(f'profile = "{name}" needs a base_url, such as {profile.example}')
        if filled.get("api_key_env") is None:
            if profile.api_key_env is None:
                raise ValueError(f'profile = "{name}" needs api_key_env, the name of the variable with the key')
            filled["api_key_env"] = profile.api_key_env
        return filled

    @property
    def facts(self) -> Profile:
        """What the host has."""
        return PROFILES[self.profile]

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return self.base_url or self.facts.base_url or ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it may talk to."""
        urls = [self.url, *([self.deploy.management_url] if isinstance(self.deploy, AzureDeploy) else ())]
        return tuple(dict.fromkeys(httpx2.URL(url).raw_host.decode("ascii") for url in urls))

"""What can be set for a job at Together, and what the host would not do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adaptkit.adapter import BackendConfig, LocalPath
from adaptkit.http import checked_url

__all__ = ["TogetherConfig", "TogetherDeploy", "TogetherEarlyStopping", "TogetherWandb", "problems"]

#: Characters of the host's suffix that are left for a name beside a hyphen and the tag.
NAME_LENGTH = 40 - 26 - 1
_VARIABLE = r"^[A-Z][A-Z0-9_]*$"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TogetherDeploy(_Table):
    """What a model is deployed on.

    Attributes:
        hardware: The host's name of an instance type, such as ``1xnvidia-h100-80gb``; one replica runs on one.
        config: Configuration that the model runs with, ``cr_…`` or ``projects/…/configs/…``; needed only where the
            host has several for the model on that hardware.
        min_replicas: Replicas that run, and are billed, although nobody asks.
        max_replicas: Replicas that it may grow to.
        inactive_timeout: Minutes without a question after which the host stops it. The host has no limit unless one
            is set, so one always is.
        project: Id of the project that it belongs to; the key's own if ``None``.
    """

    hardware: str = Field("1xnvidia-h100-80gb", min_length=1)
    config: str | None = Field(None, min_length=1)
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    inactive_timeout: int = Field(30, ge=30, le=1440)
    project: str | None = Field(None, min_length=1)


class TogetherEarlyStopping(_Table):
    """When training ends before its epochs do: the loss on held-out data has stopped falling.

    Attributes:
        patience: Evaluations in a row that bring nothing.
        min_delta: By how much the loss must fall to count.
        warmup_evals: Evaluations at the start that do not count.
    """

    patience: int = Field(2, ge=1)
    min_delta: float = Field(0.0, ge=0)
    warmup_evals: int = Field(1, ge=0)

    @property
    def needed_evals(self) -> int:
        """Fewest evaluations with which it can happen at all."""
        return self.patience + self.warmup_evals + 1


class TogetherWandb(_Table):
    """Where the host reports to at Weights & Biases; it is given your key for that.

    Attributes:
        project: Project.
        name: Name of the run.
        entity: Team or user.
        base_url: Address of an installation of your own.
        api_key_env: Name of the environment variable with the key; it goes into the request and nowhere else.
    """

    project: str | None = None
    name: str | None = None
    entity: str | None = None
    base_url: str | None = None
    api_key_env: str = Field("WANDB_API_KEY", pattern=_VARIABLE)


def _root(url: str) -> str:
    checked = checked_url(url)
    if checked.endswith(("/v1", "/v2")):
        raise ValueError("give the address without /v1: the backend asks under /v1, /v2 and /v3")
    return checked


class TogetherConfig(BackendConfig):
    """A fine-tuning job at Together. A field that is ``None`` is the host's to choose, unless said otherwise.

    Attributes:
        model: The host's name of a base model; or ``from_checkpoint``.
        from_checkpoint: Job or model of yours to go on from, ``ft-…`` or a name, ``:step`` behind it or not.
        from_hf_model: Repository at the Hugging Face Hub with weights to start from; ``model`` says what they are like.
        hf_model_revision: Its revision.
        hf_output_repo: Repository at the Hub that the host writes the result to.
        hf_token_env: Name of the environment variable with the Hub's key for that; it goes into the request.
        method: ``sft``; ``dpo`` on preferences.
        weights: ``lora``, or ``full`` for all weights; always said to the host.
        rank: Of the LoRA; 16 if ``None``.
        alpha: LoRA's scale; twice the rank if ``None``.
        dropout: On the input of the LoRA matrices; 0 if ``None``.
        trainable_modules: Layers that get a LoRA, separated by commas; ``all-linear`` if ``None``.
        train_vision: Whether the part that sees is trained too.
        epochs: Passes over the data.
        batch_size: Examples a step, or ``max`` for as many as the host can hold; with ``packing`` several examples
            count as one.
        gradient_accumulation: Batches before weights change.
        learning_rate: The highest, after warm-up; 0 is refused, which the host's own client would turn into 1e-5.
        schedule: How the learning rate falls.
        min_lr_ratio: Share of the learning rate that is left at the end.
        cycles: Of the cosine; 0.5 if ``None``.
        warmup: Share of the steps in which the learning rate rises.
        max_grad_norm: Above it gradients are cut; 0 for never.
        weight_decay: Of the optimizer.
        packing: Whether several examples share a row.
        max_length: Tokens of the longest example; what is longer is cut.
        train_on_inputs: Whether ``sft`` learns what users say too; ``auto`` goes by the shape of the data.
        validation: File of held-out examples.
        evals: How often it is evaluated on them; once an epoch if ``None``, and at least as often as early stopping
            needs. The host would evaluate never, and bills held-out tokens like others.
        checkpoints: Models kept on the way, the last among them.
        early_stopping: Whether, and when, it ends early.
        beta: Of DPO: how closely to stay with the base.
        normalize_by_length: Of DPO: whether the length of an answer is taken out.
        rpo_alpha: Of DPO: weight of the likelihood of the wanted answer (RPO).
        simpo_gamma: Of DPO: margin of SimPO, which needs no base to compare with and takes the length out.
        seed: Of everything random; 42 at the host if ``None``.
        name: Start of the suffix in the new model's name, up to 13 characters: the host gives 40, and the job's tag
            stands in them too.
        wandb: Reports to Weights & Biases.
        download: What is downloaded of a LoRA: the ``adapter``, or the base with it ``merged``.
        deploy: What the model is deployed on.
        base_url: Address of the service, without ``/v1``.
        storage: Hosts at which its signed addresses for files lie: training data goes there. If empty, any host that
            the service names and the egress policy allows.
        api_key_env: Name of the environment variable that holds the key.
    """

    instead: ClassVar[Mapping[str, str]] = {
        "learning_rate_multiplier": "Together takes learning_rate, which is absolute and is never made from it.",
        "warmup_steps": "The nearest is warmup, a share of the steps.",
        "suffix": "The nearest is name, which the suffix begins with.",
    }

    backend: Literal["together"] = "together"
    model: str | None = Field(None, min_length=1)
    from_checkpoint: str | None = Field(None, min_length=1)
    from_hf_model: str | None = Field(None, min_length=1)
    hf_model_revision: str | None = Field(None, min_length=1)
    hf_output_repo: str | None = Field(None, min_length=1)
    hf_token_env: str | None = Field(None, pattern=_VARIABLE)
    method: Literal["sft", "dpo"] = "sft"
    weights: Literal["lora", "full"] = "lora"
    rank: int | None = Field(None, ge=1)
    alpha: int | None = Field(None, ge=1)
    dropout: float | None = Field(None, ge=0, lt=1)
    trainable_modules: str | None = Field(None, min_length=1)
    train_vision: bool = False
    epochs: int = Field(1, ge=1)
    batch_size: Annotated[int, Field(ge=1)] | Literal["max"] = "max"
    gradient_accumulation: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear"] = "cosine"
    min_lr_ratio: float = Field(0.0, ge=0, le=1)
    cycles: float | None = Field(None, gt=0, allow_inf_nan=False)
    warmup: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, ge=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    packing: bool = True
    max_length: int | None = Field(None, ge=1)
    train_on_inputs: bool | Literal["auto"] | None = None
    validation: LocalPath | None = None
    evals: int | None = Field(None, ge=0)
    checkpoints: int = Field(1, ge=1)
    early_stopping: TogetherEarlyStopping | None = None
    beta: float | None = Field(None, gt=0, allow_inf_nan=False)
    normalize_by_length: bool | None = None
    rpo_alpha: float | None = Field(None, ge=0, allow_inf_nan=False)
    simpo_gamma: float | None = Field(None, ge=0, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0)
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    wandb: TogetherWandb | None = None
    download: Literal["adapter", "merged"] = "adapter"
    deploy: TogetherDeploy = TogetherDeploy()
    base_url: Annotated[str, AfterValidator(_root)] = "https://api.together.ai"
    storage: tuple[str, ...] = ()
    api_key_env: str = Field("TOGETHER_API_KEY", pattern=_VARIABLE)

    @property
    def host(self) -> str:
        """Host of the service, as it is asked."""
        return httpx2.URL(self.base_url).raw_host.decode("ascii")

    @property
    def starts_from(self) -> str:
        """The model whose limits hold: the base, or the job or model that is gone on from."""
        return self.model or (self.from_checkpoint or "").partition(":")[0]

    @property
    def sent_rank(self) -> int:
        """The rank that is sent."""
        return self.rank or 16

    @property
    def sent_evals(self) -> int:
        """The number of evaluations that is sent."""
        if self.evals is not None or self.validation is None:
            return self.evals or 0
        return max(self.epochs, self.early_stopping.needed_evals if self.early_stopping else 0)

    @property
    def is_simpo(self) -> bool:
        """Whether answers are compared without a base."""
        return bool(self.simpo_gamma)


#: Fields of one method, and what to do instead.
_ONLY: Mapping[str, tuple[str, str]] = {
    "train_on_inputs": ("sft", "dpo learns answers alone"),
    "beta": ("dpo", "sft compares with no base; the nearest are learning_rate and epochs"),
    "normalize_by_length": ("dpo", "sft compares no answers"),
    "rpo_alpha": ("dpo", "sft is that likelihood and nothing else"),
    "simpo_gamma": ("dpo", "sft compares no answers"),
}
_OF_LORA = ("rank", "alpha", "dropout", "trainable_modules")


def problems(config: TogetherConfig) -> Iterator[str]:
    """What Together cannot run, or would silently run otherwise, one sentence each with the nearest that it can."""
    for name, (method, instead) in _ONLY.items():
        if getattr(config, name) is not None and config.method != method:
            yield f"{name}: only method = {method!r} has it; {instead}"
    if config.weights == "full":
        given = [name for name in _OF_LORA if getattr(config, name) is not None]
        for name in given:
            yield f'{name}: all weights are trained with weights = "full"; leave it out, or set weights = "lora"'
    yield from _start(config)
    yield from _evaluation(config)
    if config.name is not None and len(config.name) > NAME_LENGTH:
        yield (
            f"name: has {len(config.name)} characters, and {NAME_LENGTH} are left of the host's 40: the job's tag, by "
            "which a lost job is found, stands in the same suffix"
        )
    if config.cycles is not None and config.schedule != "cosine":
        yield 'cycles: belong to schedule = "cosine"'
    if config.is_simpo and config.normalize_by_length is False:
        yield "normalize_by_length: SimPO (simpo_gamma) always takes the length out; leave it out or drop simpo_gamma"
    if config.deploy.max_replicas < config.deploy.min_replicas:
        yield "deploy.max_replicas: is less than deploy.min_replicas"


def _start(config: TogetherConfig) -> Iterator[str]:
    if (config.model is None) == (config.from_checkpoint is None):
        yield "model: give either model, a base model, or from_checkpoint, a job or model of yours to go on from"
    if config.from_hf_model is not None and config.model is None:
        yield "from_hf_model: needs model, the base that it is like, and not from_checkpoint"
    if config.hf_model_revision is not None and config.from_hf_model is None:
        yield "hf_model_revision: is the revision of from_hf_model, which is not set"
    if config.hf_output_repo is not None and config.hf_token_env is None:
        yield "hf_output_repo: needs hf_token_env, the environment variable with a key that may write there"


def _evaluation(config: TogetherConfig) -> Iterator[str]:
    if config.validation is not None and config.evals == 0:
        yield "evals: is 0, so that validation would never be looked at; leave it out for one an epoch"
    if config.validation is None and config.evals:
        yield "evals: there is nothing to evaluate on; add validation"
    if config.early_stopping is None:
        return
    if config.validation is None:
        yield "early_stopping: looks at held-out examples; add validation"
    elif 0 < (config.evals or 0) < config.early_stopping.needed_evals:
        yield (
            f"evals: early_stopping needs patience + warmup_evals + 1 = {config.early_stopping.needed_evals} at least, "
            f"not {config.evals}; leave it out and so many are made"
        )

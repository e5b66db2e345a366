"""What can be set for a job at Fireworks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adaptkit.adapter import BackendConfig, LocalPath
from adaptkit.http import checked_url

__all__ = ["HARDWARE", "FireworksConfig", "FireworksDeploy", "FireworksRollouts", "FireworksWandb", "problems"]

Method = Literal["sft", "dpo", "rft"]
Loss = Literal["DPO", "ORPO", "GRPO", "DAPO", "GSPO_TOKEN"]
Hardware = Literal["A100", "H100", "H200", "B200", "B300", "MI300X", "MI325X", "MI350X"]

#: The host's words for hardware.
HARDWARE: Mapping[str, str] = {
    "A100": "NVIDIA_A100_80GB",
    "H100": "NVIDIA_H100_80GB",
    "H200": "NVIDIA_H200_141GB",
    "B200": "NVIDIA_B200_180GB",
    "B300": "NVIDIA_B300_288GB",
    "MI300X": "AMD_MI300X_192GB",
    "MI325X": "AMD_MI325X_256GB",
    "MI350X": "AMD_MI350X_288GB",
}
#: Losses by method, the first if none is named. One is always sent: the host's pages contradict each other on which it
#: takes otherwise.
LOSSES: Mapping[str, tuple[Loss, ...]] = {"dpo": ("DPO", "ORPO"), "rft": ("GRPO", "DAPO", "GSPO_TOKEN")}

_ID = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_REGION = r"^[A-Z]+(_[A-Z0-9]+)+$"
_VARIABLE = r"^[A-Z][A-Z0-9_]*$"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class FireworksDeploy(_Table):
    """What a deployment runs on.

    Attributes:
        hardware: Kind of accelerator.
        count: Accelerators of one replica; each is billed.
        min_replicas: Replicas that run, and are billed, although nobody asks.
        max_replicas: Replicas that it may grow to.
        idle_minutes: Minutes without a question after which the last replica goes, if ``min_replicas`` is 0; the host
            takes no less than 5, and an hour where nothing is said.
        region: Where it must run, such as ``EU_FRANKFURT_1``; costs half as much again.
    """

    hardware: Hardware = "H100"
    count: int = Field(1, ge=1, le=16)
    min_replicas: int = Field(0, ge=0)
    max_replicas: int = Field(1, ge=1)
    idle_minutes: int = Field(5, ge=5)
    region: str | None = Field(None, pattern=_REGION)


class FireworksWandb(_Table):
    """Where the host reports to at Weights & Biases; it is given your key for that.

    Attributes:
        project: Project.
        entity: Team or user.
        api_key_env: Name of the environment variable with the key; it goes into the request and nowhere else.
    """

    project: str
    entity: str | None = None
    api_key_env: str = Field("WANDB_API_KEY", pattern=_VARIABLE)


class FireworksRollouts(_Table):
    """How answers are tried in reinforcement learning; what is not set is the host's to choose.

    Attributes:
        candidates: Answers a question.
        max_tokens: Most tokens of an answer.
        temperature: How freely they are drawn.
        top_p: Share of probability that they are drawn from.
        top_k: Number of tokens that they are drawn from.
    """

    candidates: int | None = Field(None, ge=2)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)


class FireworksConfig(BackendConfig):
    """A fine-tuning job at Fireworks. A field that is ``None`` is the host's to choose, unless said otherwise.

    Attributes:
        account: Id of your account, as in ``accounts/<account>/models/…``.
        model: Base model, ``accounts/fireworks/models/…``; or ``warm_start_from``.
        warm_start_from: A LoRA model to go on from instead of a base model.
        method: ``sft``; ``dpo`` on preferences; ``rft``, reinforcement learning, which needs an ``evaluator``.
        weights: ``lora``, or ``full`` for all weights.
        rank: Rank of the LoRA; always sent, as nobody says what the host takes otherwise.
        epochs: How often the data is gone through.
        learning_rate: Learning rate, absolute.
        batch_size: Examples a step (the host's ``batchSizeSamples``).
        batch_tokens: Most tokens of a packed batch (what the host calls ``batchSize``).
        gradient_accumulation_steps: Batches before weights change.
        warmup_steps: Steps until the learning rate is reached.
        max_length: Tokens of the longest example.
        weight_decay: Of the optimizer.
        validation: File of held-out examples, for ``sft`` and ``rft``.
        eval_auto_carveout: Whether the host takes held-out examples from the training data instead.
        early_stop: Whether ``sft`` ends when the loss on held-out examples gets no better.
        is_turbo: The host's turbo mode of ``sft``.
        region: Where to train, such as ``EU_FRANKFURT_1``.
        loss: Of ``dpo``: ``DPO`` (unless said otherwise) or ``ORPO``. Of ``rft``: ``GRPO`` (unless said otherwise),
            ``DAPO`` or ``GSPO_TOKEN``.
        beta: Temperature of the loss ``DPO``.
        kl_beta: Weight of the KL term of ``rft``.
        evaluator: What grades answers in ``rft``: ``accounts/<account>/evaluators/…``.
        rollouts: How answers are tried in ``rft``.
        name: Start of the new model's id, which ends in a part of the job's tag; ``None`` for the job's id.
        wandb: Reports to Weights & Biases.
        deploy: What the model is deployed on.
        base_url: Address of the service.
        storage: Hosts at which its signed addresses for files lie; data goes there and to ``base_url``.
        api_key_env: Name of the environment variable that holds the key.
    """

    instead: ClassVar[Mapping[str, str]] = {
        "seed": "Fireworks takes none.",
        "alpha": "Fireworks chooses it; rank is what can be set.",
        "lora_alpha": "Fireworks chooses it; rank is what can be set.",
        "dropout": "Fireworks takes none; weight_decay is the nearest.",
        "lora_dropout": "Fireworks takes none; weight_decay is the nearest.",
        "suffix": "The nearest is name, which the new model's id begins with.",
        "learning_rate_multiplier": "Fireworks takes learning_rate, which is absolute and is never made from it.",
        "warmup_ratio": "The nearest is warmup_steps.",
    }

    backend: Literal["fireworks"] = "fireworks"
    account: str = Field(pattern=f"^{_ID}$")
    model: str | None = Field(None, pattern=r"^accounts/[^/?#]+/models/[^/?#]+$")
    warm_start_from: str | None = Field(None, pattern=r"^accounts/[^/?#]+/models/[^/?#]+$")
    method: Method = "sft"
    weights: Literal["lora", "full"] = "lora"
    rank: int = Field(16, ge=4, le=64)
    epochs: int = Field(1, ge=1)
    learning_rate: float | None = Field(None, gt=0, lt=1)
    batch_size: int | None = Field(None, ge=1)
    batch_tokens: int | None = Field(None, ge=1)
    gradient_accumulation_steps: int | None = Field(None, ge=1)
    warmup_steps: int | None = Field(None, ge=0)
    max_length: int | None = Field(None, ge=1)
    weight_decay: float | None = Field(None, ge=0)
    validation: LocalPath | None = None
    eval_auto_carveout: bool = False
    early_stop: bool = False
    is_turbo: bool = False
    region: str | None = Field(None, pattern=_REGION)
    loss: Loss | None = None
    beta: float | None = Field(None, gt=0, lt=0.5)
    kl_beta: float | None = Field(None, ge=0)
    evaluator: str | None = Field(None, pattern=r"^accounts/[^/?#]+/evaluators/[^/?#]+$")
    rollouts: FireworksRollouts | None = None
    name: str | None = Field(None, pattern=r"^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$")
    wandb: FireworksWandb | None = None
    deploy: FireworksDeploy = FireworksDeploy()
    base_url: Annotated[str, AfterValidator(checked_url)] = "https://api.fireworks.ai"
    storage: tuple[str, ...] = ("storage.googleapis.com",)
    api_key_env: str = Field("FIREWORKS_API_KEY", pattern=_VARIABLE)

    @property
    def host(self) -> str:
        """Host of the service, as it is asked."""
        return httpx2.URL(self.base_url).raw_host.decode("ascii")

    @property
    def sent_loss(self) -> Loss | None:
        """The loss that is sent; ``None`` for ``sft``, which has no choice."""
        return self.loss or LOSSES.get(self.method, (None,))[0]

    @property
    def sent_rank(self) -> int:
        """The rank that is sent: 0 is the host's word for training all weights."""
        return 0 if self.weights == "full" else self.rank


#: Fields that only some methods have, and what comes nearest.
_ONLY: Mapping[str, tuple[tuple[Method, ...], str]] = {
    "validation": (("sft", "rft"), "the host takes no held-out data for it; score the model with adaptkit instead"),
    "eval_auto_carveout": (("sft", "rft"), "the host takes no held-out data for it"),
    "early_stop": (("sft",), "choose epochs"),
    "is_turbo": (("sft",), "there is no such mode of it"),
    "loss": (("dpo", "rft"), "sft has one loss"),
    "beta": (("dpo",), "of rft the nearest is kl_beta"),
    "kl_beta": (("rft",), "of dpo the nearest is beta"),
    "evaluator": (("rft",), "nothing is graded in it"),
    "rollouts": (("rft",), "no answers are tried in it"),
}


def problems(config: FireworksConfig) -> Iterator[str]:
    """What Fireworks cannot run, one sentence each, with the nearest that it can."""
    given = {name for name in config.model_fields_set if getattr(config, name) not in (None, False)}
    for name, (methods, nearest) in _ONLY.items():
        if name in given and config.method not in methods:
            yield f"{name}: only {' and '.join(methods)} has it, and method is {config.method}; {nearest}"
    if (config.model is None) == (config.warm_start_from is None):
        yield "model: give either model, a base model, or warm_start_from, a LoRA model to go on from"
    if config.weights == "full" and "rank" in given:
        yield 'rank: all weights are trained with weights = "full"; leave it out, or set weights = "lora"'
    if config.weights == "full" and config.warm_start_from is not None:
        yield 'warm_start_from: goes on from a LoRA, which is trained with weights = "lora"'
    if config.method == "rft" and config.evaluator is None:
        yield "evaluator: rft needs one, made at Fireworks beforehand and named accounts/<account>/evaluators/…"
    if config.loss is not None and config.loss not in LOSSES.get(config.method, (config.loss,)):
        yield f"loss: method = {config.method} takes {' or '.join(LOSSES[config.method])}, not {config.loss}"
    if config.beta is not None and config.sent_loss == "ORPO":
        yield "beta: belongs to the loss DPO; the host chooses that of ORPO"
    if config.validation is not None and config.eval_auto_carveout:
        yield "eval_auto_carveout: validation names held-out data already; leave out one of the two"
    if config.early_stop and config.validation is None and not config.eval_auto_carveout:
        yield "early_stop: looks at held-out examples; add validation, or eval_auto_carveout = true"
    if config.deploy.max_replicas < config.deploy.min_replicas:
        yield "deploy.max_replicas: is less than deploy.min_replicas"

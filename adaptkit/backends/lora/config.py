"""What can be set for training open weights, and what it becomes when it is not set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from adaptkit.adapter import BackendConfig, LocalPath, ModelName
from adaptkit.backends.base_model import Base
from adaptkit.backends.engines import RunConfig
from adaptkit.backends.training.defaults import LONGEST, defaults_for, precision_for
from adaptkit.errors import UnsupportedError
from adaptkit.machine import Machine

__all__ = ["LoraConfig", "resolve"]

Weights = Literal["lora", "rslora", "dora", "full"]
_WEIGHTS = ("lora", "rslora", "dora", "full")


class LoraConfig(BackendConfig):
    """Training on your own machines.

    What is learned (``method``) and which weights move (``weights``) are two fields, because every pair of them makes
    sense and because ``method`` means the same on hosted backends. ``method = "dora"`` (or ``lora``, ``rslora``,
    ``full``) is short for ``method = "sft"`` with ``weights = "dora"``.

    A field that is ``None`` gets its value from the model's size and the machine; a plan shows which.

    Attributes:
        model: ``builtin:tiny``, a folder, or a hub id.
        method: ``sft`` learns the assistant's turns, ``dpo`` prefers one answer over another.
        weights: ``lora``, ``rslora`` (scaled by the root of the rank), ``dora`` (direction and size apart), ``full``.
        rank: Of the LoRA matrices, on every linear layer.
        alpha: LoRA's scale: the change is ``alpha / rank`` times the product (rslora: ``alpha / sqrt(rank)``).
        dropout: On the input of the LoRA matrices.
        epochs: Passes over the data.
        batch_size: Examples that go through the model together, those of all processes counted.
        gradient_accumulation: Batches for one step of the optimiser.
        learning_rate: The highest, after warm-up; it then falls along ``schedule``.
        warmup: Share of the steps.
        max_length: Tokens of one example; what is longer is cut, and a warning event counts how many were.
        packing: Several examples in one row of ``max_length`` tokens: faster with flash-attention, slower on a CPU.
        precision: ``bf16`` trains in mixed precision, ``auto`` where the hardware gains by it.
        quantization: ``4bit`` keeps the base in four bits (QLoRA); needs an NVIDIA GPU and bitsandbytes.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        checkpoint_every: Steps; ``None`` is once a minute, or less often where writing takes long.
        validation: File of held-out examples, scored before the first step and after each epoch.
        beta: Of DPO: how closely to stay with the base.
        run: Engine, machines and processes; one process of this machine where it is left out.
        seed: Of everything random.
        name: For people.
    """

    backend: Literal["lora"] = "lora"
    model: ModelName = Field("builtin:tiny", min_length=1)
    method: Literal["sft", "dpo"] = "sft"
    weights: Weights = "lora"
    rank: int | None = Field(None, ge=1, le=4096)
    alpha: float | None = Field(None, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    max_length: int | None = Field(None, ge=8)
    packing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    quantization: Literal["none", "4bit"] = "none"
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    checkpoint_every: int | None = Field(None, ge=1)
    validation: LocalPath | None = None
    beta: float = Field(0.1, gt=0)
    run: RunConfig = RunConfig()
    seed: int = Field(0, ge=0, lt=2**32)
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("method") in _WEIGHTS:
            if given.get("weights", given["method"]) != given["method"]:
                raise ValueError(f"method {given['method']!r} and weights {given['weights']!r} contradict each other")
            return {**given, "method": "sft", "weights": given["method"]}
        return given

    @property
    def profile(self) -> str | None:
        """Name under which the table of prices has it."""
        return self.run.profile


def resolve(config: LoraConfig, base: Base | None, machine: Machine | None) -> LoraConfig:
    """Fill in every field that is ``None`` or ``auto``.

    Args:
        config: As it was set.
        base: The model; ``None`` for one on a hub that has not been fetched: then what depends on the architecture
            (``max_length``, ``precision`` on a CPU) is left to the worker, which does this again.
        machine: Where it will run; ``None`` for one that nobody has seen: ``device`` and ``precision`` are then left
            to the worker too.

    Raises:
        UnsupportedError: the fields contradict each other, the model or the machine.
    """
    defaults = defaults_for(base.parameters if base is not None else None)
    config.run.require(config.dropout)
    device = config.device if machine is None else machine.device(config.device)
    reads = base.size("max_position_embeddings", LONGEST) if base is not None else None
    if config.max_length is not None and reads is not None and config.max_length > reads:
        raise UnsupportedError(f"max_length = {config.max_length}, but the model reads at most {reads} tokens")
    if config.quantization == "4bit" and config.weights == "full":
        raise UnsupportedError('quantization = "4bit" keeps the base fixed; use weights = "lora", or no quantization')
    if config.quantization == "4bit" and not device.startswith("cuda") and machine is not None:
        raise UnsupportedError('quantization = "4bit" needs an NVIDIA GPU; leave it out, or choose a smaller model')
    if config.quantization == "4bit" and config.run.parallel == "fsdp":
        raise UnsupportedError('quantization = "4bit" cannot be divided; use run.parallel = "ddp"')
    if config.run.processes > 1 and (device == "mps" or ":" in config.device):
        raise UnsupportedError(
            f'device = "{device}" is one device and run asks for {config.run.processes} processes: use device = "cuda" '
            'with run.gpus_per_node, or "cpu" with run.processes_per_node'
        )
    if config.packing and config.method == "dpo":
        raise UnsupportedError('packing = true is for method = "sft"; leave it out')
    rate = defaults.rate(config.method, full=config.weights == "full")
    precision = config.precision
    if precision == "auto" and base is not None and machine is not None:
        precision = precision_for(base, device, machine)
    # rslora divides by the root of the rank, so half of alpha gives about the same change at these ranks
    alpha = defaults.alpha / 2 if config.weights == "rslora" else defaults.alpha
    return config.model_copy(
        update={
            "model": base.name if base is not None else config.model,
            "rank": config.rank or defaults.rank,
            "alpha": config.alpha or alpha,
            "epochs": config.epochs or defaults.epochs,
            "learning_rate": config.learning_rate or rate,
            "max_length": config.max_length or (min(reads, LONGEST) if reads is not None else None),
            "precision": precision,
            "device": device.partition(":")[0] if config.run.processes > 1 else device,  # each takes one of its own
        }
    )

"""Every setting of a training that was left open, filled in: by the model what is learned, by the machine how."""

from __future__ import annotations

from adaptkit.backends.base_model import Base
from adaptkit.backends.mistral.cluster.sizes import Size
from adaptkit.backends.mistral.config import MistralConfig, Stage
from adaptkit.backends.training.defaults import LONGEST, SMALL, Defaults, defaults_for, precision_for
from adaptkit.errors import UnsupportedError
from adaptkit.machine import Machine

__all__ = ["on_machine", "resolve"]


def resolve(config: MistralConfig, base: Base | None, size: Size | None) -> MistralConfig:
    """Fill in what decides what is learned; the same on every machine.

    Args:
        config: As it was set.
        base: The model's files, where they are here.
        size: Its size, where it is known.

    Raises:
        UnsupportedError: the fields contradict each other or the model.
    """
    config.run.require(config.dropout)
    defaults = defaults_for(size.parameters if size is not None else None)
    reads = base.size("max_position_embeddings", LONGEST) if base is not None else None
    lora = config.weights == "lora"
    stages = tuple(_stage(stage, config, defaults, reads) for stage in config.resolved_stages)
    return config.model_copy(
        update={
            "model": base.name if base is not None else config.model,
            "method": None,
            "stages": stages,
            "epochs": next(stage.epochs for stage in stages if stage.data is None),
            "rank": config.rank or (defaults.rank if lora else None),
            "alpha": config.alpha or (defaults.alpha if lora else None),
        }
    )


def _stage(stage: Stage, config: MistralConfig, defaults: Defaults, reads: int | None) -> Stage:
    longest = stage.max_length or config.max_length
    if longest is not None and reads is not None and longest > reads:
        raise UnsupportedError(f"max_length = {longest}, but the model reads at most {reads} tokens")
    rate = defaults.rate(stage.method, full=config.weights == "full")
    usual = (defaults.text_epochs, defaults.text_length) if stage.method == "cpt" else (defaults.epochs, LONGEST)
    return stage.model_copy(
        update={
            "epochs": stage.epochs or config.epochs or usual[0],
            "batch_size": stage.batch_size or config.batch_size,
            "learning_rate": stage.learning_rate or config.learning_rate or rate,
            "max_length": longest or min(reads or LONGEST, usual[1]),
            "beta": stage.beta or (config.beta if stage.method == "dpo" else None),
        }
    )


def on_machine(config: MistralConfig, base: Base | None, size: Size | None, machine: Machine | None) -> MistralConfig:
    """Fill in how it is computed, which the machine decides that trains.

    Args:
        config: What `resolve` gave.
        base: The model's files, where they are here.
        size: Its size, where it is known.
        machine: Where it runs; ``None`` for one that nobody has seen, which is taken to have GPUs that gain by bf16.

    Raises:
        UnsupportedError: the machine has no such device.
    """
    device, precision = config.device.replace("auto", "cuda"), config.precision.replace("auto", "bf16")
    if machine is not None and base is not None:
        found = machine.device(config.device)
        if found == "mps":  # torch.distributed knows NVIDIA's GPUs and CPUs
            found = "cpu"
        device = found.partition(":")[0]
        precision = precision_for(base, found, machine) if config.precision == "auto" else config.precision
    small = size is not None and size.parameters < SMALL
    each = max(1, config.batch_size // config.run.processes) if small else 1
    kept = config.activation_checkpointing
    return config.model_copy(
        update={
            "device": device,
            "precision": precision,
            "micro_batch_size": config.micro_batch_size or each,
            "activation_checkpointing": not small if kept is None else kept,
        }
    )

"""Every setting of a training that was left open, filled in by the model and the machine."""

from __future__ import annotations

from adaptkit.backends.base_model import Base
from adaptkit.backends.mistral.config import MistralConfig, Stage
from adaptkit.backends.mistral.sizes import Size
from adaptkit.backends.training.defaults import LONGEST, SMALL, Defaults, defaults_for, precision_for
from adaptkit.errors import UnsupportedError
from adaptkit.machine import Machine

__all__ = ["resolve"]


def resolve(config: MistralConfig, base: Base | None, size: Size | None, machine: Machine) -> MistralConfig:
    """Fill in every field that is ``None`` or ``auto``.

    Args:
        config: As it was set.
        base: The model's files, where they are here.
        size: Its size, where it is known.
        machine: Where it will run, if the engine is this machine.

    Raises:
        UnsupportedError: the fields contradict each other, the model or the machine.
    """
    parameters = size.parameters if size is not None else None
    defaults, small = defaults_for(parameters), parameters is not None and parameters < SMALL
    reads = base.size("max_position_embeddings", LONGEST) if base is not None else None
    here = config.run.engine == "local"
    if config.run.nodes > 1 and here:
        raise UnsupportedError('engine = "local" is one machine; use engine = "slurm" or "ray" for more nodes')
    device = machine.device(config.device).partition(":")[0] if here else config.device.replace("auto", "cuda")
    if device == "mps":  # torch.distributed and bf16 training want NVIDIA's GPUs or a CPU
        device = "cpu"
    precision = config.precision
    if precision == "auto":
        local = base is not None and here
        precision = precision_for(base, "cuda:0" if device == "cuda" else device, machine) if local else "bf16"  # type: ignore[arg-type]
    return config.model_copy(
        update={
            "model": base.name if base is not None else config.model,
            "method": None,
            "stages": tuple(_stage(stage, config, defaults, reads) for stage in config.resolved_stages),
            "rank": config.rank or defaults.rank,
            "alpha": config.alpha or defaults.alpha,
            "epochs": config.epochs or defaults.epochs,
            "micro_batch_size": config.micro_batch_size
            or (max(1, config.batch_size // config.run.processes) if small else 1),
            "activation_checkpointing": not small
            if config.activation_checkpointing is None
            else config.activation_checkpointing,
            "precision": precision,
            "device": device,
        }
    )


def _stage(stage: Stage, config: MistralConfig, defaults: Defaults, reads: int | None) -> Stage:
    longest = stage.max_length or config.max_length
    if longest is not None and reads is not None and longest > reads:
        raise UnsupportedError(f"max_length = {longest}, but the model reads at most {reads} tokens")
    rate = defaults.rate(stage.method, full=config.weights == "full")
    return stage.model_copy(
        update={
            "epochs": stage.epochs or config.epochs or (1 if stage.method == "cpt" else defaults.epochs),
            "batch_size": stage.batch_size or config.batch_size,
            "learning_rate": stage.learning_rate or config.learning_rate or rate,
            "max_length": longest or min(reads or LONGEST, LONGEST),
            "beta": stage.beta or (config.beta if stage.method == "dpo" else None),
        }
    )

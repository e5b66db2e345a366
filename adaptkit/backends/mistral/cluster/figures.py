"""What a training takes, before it begins: memory of each process, tokens, hours, money."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from adaptkit.backends.mistral.cluster.sizes import Size
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.errors import UnsupportedError
from adaptkit.estimate import duration
from adaptkit.machine import Machine

__all__ = ["Figures", "figures", "memory", "refuse_if_short"]

#: Bytes of a trained weight: itself, its gradient and AdamW's two averages, all fp32.
TRAINED = 16
#: Bytes of activations that one layer keeps, by token and width, with attention that keeps no scores (Korthikanti et
#: al. 2022, "Reducing Activation Recomputation in Large Transformer Models", the 34 of sbh(34 + 5as/h)).
KEPT = 34
#: Bytes of one logit: in bf16, as fp32 for the loss, and its gradient.
LOGIT = 10


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a training takes. What is not known is ``None``, never 0.

    Attributes:
        parameters: Of the model.
        trained: Weights that move.
        processes: One a GPU.
        memory: Bytes that each process needs at least.
        tokens: Learned from over all stages and epochs.
        steps: Of the optimiser.
        seconds: At the speed that was measured or given.
        usd: For these hours of the GPUs, where their price is given.
    """

    parameters: int
    trained: int
    processes: int
    memory: int
    tokens: int | None
    steps: int | None
    seconds: float | None
    usd: float | None

    def __str__(self) -> str:
        each = "for the one process" if self.processes == 1 else f"for each of {self.processes} processes"
        lines = [
            f"parameters: {self.parameters / 1e9:,.3g} billion, {self.trained / 1e9:,.3g} billion trained",
            f"memory: at least {self.memory / 1e9:.1f} GB {each}",
            "tokens: unknown" if self.tokens is None else f"tokens: about {self.tokens:,} over all stages and epochs",
            "time: unknown; give run.tokens_per_second"
            if self.seconds is None
            else f"time: about {duration(self.seconds)}, {self.seconds * self.processes / 3600:.1f} GPU-hours",
        ]
        if self.seconds is not None:
            lines.append("cost: unknown; give run.usd_per_gpu_hour" if self.usd is None else f"cost: ${self.usd:,.2f}")
        return "\n".join(lines)


def memory(config: MistralConfig, size: Size, length: int) -> int:
    """Bytes that each process needs at least.

    Args:
        config: Settings on the machine that trains.
        size: The model's.
        length: Tokens of the longest row.
    """
    halved = config.precision == "bf16"
    full = config.weights == "full"
    parts = config.run.processes if config.run.spread(full=full) == "fsdp" else 1
    width = 2 if halved else 4
    trained = _trained(config, size)
    kept = trained * TRAINED + (size.beside if full else size.parameters) * width
    if any(stage.method == "dpo" for stage in config.resolved_stages):  # the model that it is held to, beside it
        kept += size.parameters * (4 if full else width)
    # FSDP gathers one layer and the embeddings at a time; a copy of the model computes with a bf16 copy of its weights
    whole = (size.layer + size.embeddings) * width if parts > 1 else size.text * 2 if full and halved else 0
    tokens = (config.micro_batch_size or 1) * length
    layers = KEPT if not config.activation_checkpointing else 2
    once = 0 if not config.activation_checkpointing else KEPT
    activations = tokens * size.width * (size.layers * layers + once) * (width // 2)
    return math.ceil(kept / parts + whole + activations + tokens * size.vocabulary * LOGIT)


def _trained(config: MistralConfig, size: Size) -> int:
    return size.text if config.weights == "full" else size.lora(config.rank or 0)


def figures(config: MistralConfig, size: Size, tokens: Sequence[int | None], speed: float | None) -> Figures:
    """What a training takes.

    Args:
        config: Resolved settings.
        size: The model's.
        tokens: Of each stage's data, once.
        speed: Tokens a second of all processes together, measured or given.
    """
    stages = config.resolved_stages
    longest = max(stage.max_length or 0 for stage in stages)
    known = [
        math.ceil(count * (stage.epochs or 1) / (1 - (stage.replay.share if stage.replay else 0)))
        for stage, count in zip(stages, tokens, strict=True)
        if count is not None
    ]
    total = sum(known) if len(known) == len(stages) else None
    seconds = None if total is None or speed is None else total / speed
    return Figures(
        parameters=size.parameters,
        trained=_trained(config, size),
        processes=config.run.processes,
        memory=memory(config, size, longest),
        tokens=total,
        steps=None if total is None else _steps(config, known),
        seconds=seconds,
        usd=None if seconds is None else config.run.usd(seconds),
    )


def _steps(config: MistralConfig, tokens: Sequence[int]) -> int | None:
    """Steps where every stage learns packed rows; how many examples a step holds depends on their length elsewhere."""
    stages = config.resolved_stages
    if any(stage.method != "cpt" for stage in stages):
        return None
    return sum(
        math.ceil(count / ((stage.batch_size or 1) * (stage.max_length or 1)))
        for stage, count in zip(stages, tokens, strict=True)
    )


def refuse_if_short(config: MistralConfig, found: Figures, machine: Machine, home: Path) -> None:
    """Refuse what cannot run on this machine, where it is this machine that it is to run on.

    Raises:
        UnsupportedError: each thing that there is too little of, and what to do.
    """
    short = list(_short(config, found, machine, home)) if config.run.engine == "local" else []
    if short:
        raise UnsupportedError("; ".join(short))


def _short(config: MistralConfig, found: Figures, machine: Machine, home: Path) -> Iterator[str]:
    gpu = config.device == "cuda"
    has, needs = machine.memory("cuda:0" if gpu else "cpu"), found.memory * (1 if gpu else found.processes)
    if gpu and found.processes > len(machine.gpus):
        yield f"run.gpus_per_node = {found.processes}, but this machine has {len(machine.gpus)} GPUs"
    if has is not None and needs > has:
        less = 'weights = "lora", more GPUs with run.parallel = "fsdp"' if config.weights == "full" else "more GPUs"
        yield (
            f"{config.model} with weights = {config.weights!r} needs at least {needs / 1e9:.1f} GB of memory "
            f"{'on each GPU' if gpu else 'here'} and there are {has / 1e9:.1f} GB: use {less}, or a smaller model"
        )
    # two whole checkpoints and the one being written (the weight and two averages), the stages' models, the last one
    filled = found.trained * (12 * 3 + 4 * (len(config.resolved_stages) + 1))
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if filled > free:
        yield f"checkpoints and models need {filled / 1e9:.1f} GB of disk and {there} has {free / 1e9:.1f} GB free"

"""What a run needs, before it starts: a lower bound of memory, and the disk that it will fill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from adaptkit.backends.base_model import Base
from adaptkit.backends.lora.config import LoraConfig
from adaptkit.backends.training.shards import KEPT
from adaptkit.errors import UnsupportedError
from adaptkit.machine import Machine

__all__ = ["disk_needed", "memory_needed", "refuse_if_short", "trained_parameters"]

#: Bytes for one trained weight: the weight, its gradient and AdamW's two averages, all fp32.
TRAINED = 16
#: torch, transformers and peft themselves, measured.
LIBRARIES = 350 << 20


def trained_parameters(config: LoraConfig, base: Base) -> int:
    """Weights that are trained: with LoRA, about rank times (inputs + outputs) for the seven matrices of each layer."""
    if config.weights == "full":
        return base.parameters - base.beside_text
    width, inner = base.size("hidden_size", 1), base.size("intermediate_size", 4)
    heads = base.size("num_attention_heads", 1)
    head = base.size("head_dim", width // heads)
    wide, narrow = heads * head, base.size("num_key_value_heads", heads) * head
    each = 2 * (width + wide) + 2 * (width + narrow) + 3 * (width + inner)
    return int(config.rank or 0) * each * base.size("num_hidden_layers", 1)


def memory_needed(config: LoraConfig, base: Base) -> int:
    """Bytes that each process needs at least: the weights and what the optimiser keeps, and no activation at all."""
    width = 0.6 if config.quantization == "4bit" else 2 if config.precision == "bf16" else 4
    trained = trained_parameters(config, base)
    fixed = int((base.beside_text if config.weights == "full" else base.parameters) * width)
    libraries = 0 if config.device.startswith("cuda") else LIBRARIES
    parts = config.run.processes if config.run.spread(full=config.weights == "full") == "fsdp" else 1
    return libraries + (fixed + trained * TRAINED) // parts


def disk_needed(config: LoraConfig, base: Base) -> int:
    """Bytes: the checkpoints kept and the one being written (weights and two averages each), and the model."""
    return trained_parameters(config, base) * 12 * (KEPT + 1) + trained_parameters(config, base) * 4


def refuse_if_short(config: LoraConfig, base: Base, machine: Machine, home: Path) -> None:
    """Refuse what cannot run here.

    Raises:
        UnsupportedError: each thing that this machine has too little of, and what to do.
    """
    short = list(_short(config, base, machine, home))
    if short:
        raise UnsupportedError("; ".join(short))


def _short(config: LoraConfig, base: Base, machine: Machine, home: Path) -> Iterator[str]:
    gpu, each = config.device.startswith("cuda"), config.run.each
    memory, needed = machine.memory(machine.device(config.device)), memory_needed(config, base) * (1 if gpu else each)
    if gpu and each > len(machine.gpus):
        yield f"run asks for {each} GPUs of each machine, and this one has {len(machine.gpus)}"
    if memory is not None and needed > memory:
        less = 'weights = "lora"' if config.weights == "full" else "a smaller model"
        if gpu and config.quantization == "none" and config.weights != "full":
            less += ' or quantization = "4bit"'
        yield (
            f"{base.name} with weights = {config.weights!r} needs at least {_gb(needed)} of memory and {config.device} "
            f"has {_gb(memory)}: use {less}"
        )
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free, filled = shutil.disk_usage(there).free, disk_needed(config, base)
    if filled > free:
        yield f"checkpoints and model need {_gb(filled)} of disk and {there} has {_gb(free)} free: free some"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

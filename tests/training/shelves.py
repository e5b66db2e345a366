"""Models that a group loads: what each process has in its own once they are spread.

`python -m tests.training.shelves FOLDER`, with torchrun's environment, loads all `CASES`. The leading process finds
models in ``whole``; the others in ``bare``, where no weights are, so that they cannot read any.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from adaptkit.backends.base_model import Base
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.mistral.cluster.loading import Loader
from adaptkit.backends.mistral.cluster.words import Words
from adaptkit.backends.training.loop import Settings
from adaptkit.backends.training.parallel import Group, Spread, joined
from adaptkit.backends.vocabulary import Extension
from tests.training.scenes import MODELS, VOCABULARY, alone

#: As some architectures have it: what is read in bf16 has fp32 among it, which its configuration does not say.
LlamaForCausalLM._keep_in_fp32_modules_strict = ["norm"]
WAYS = ("ddp", "fsdp")
MORE = Extension(VOCABULARY, ((1, 2), (3, 4, 5)))


@dataclass(frozen=True)
class Case:
    """A model of `MODELS`; ``grown`` has new tokens, ``later`` begins with the stage before."""

    name: str
    model: str = "llama"
    weights: str = "full"
    precision: str = "fp32"
    grown: bool = False
    later: bool = False


#: Llama's embeddings are tied.
CASES = [
    Case("full", model="mistral"),
    Case("tied", grown=True),
    Case("later", grown=True, later=True),
    Case("eyes", model="ministral3-with-eyes"),
    Case("lora", weights="lora", precision="bf16", grown=True),
    Case("lora-untied", model="mistral", weights="lora", grown=True),
    Case("lora-eyes", model="ministral3-with-eyes", weights="lora", precision="bf16"),
    Case("lora-later", weights="lora", precision="bf16", grown=True, later=True),
]


def loader(case: Case, shelf: Path, group: Group) -> Loader:
    base = shelf / case.model
    config = MistralConfig(model=str(base), weights=case.weights, rank=2, alpha=4.0, precision=case.precision)
    return Loader(config, Base(str(base), base, {}, 0, 0), Words(base, MORE if case.grown else None), group)


def previous(case: Case, shelf: Path) -> Path | None:
    return shelf / case.name if case.later else None


def fill(folder: Path) -> None:
    """Put models into ``whole``, and what they are without weights into ``bare``."""
    for name in {case.model for case in CASES}:
        torch.manual_seed(1)
        MODELS[name]().save_pretrained(folder / "whole" / name)
    for case in CASES:
        if case.later:
            model = loader(case, folder / "whole", alone()).model(None)
            for weight in model.parameters():
                weight.data += 0.01 * torch.randn_like(weight) * weight.requires_grad
            how = {} if case.weights == "full" else {"save_embedding_layers": False}
            model.save_pretrained(folder / "whole" / case.name, **how)
    for file in (folder / "whole").rglob("*.json"):
        copy = folder / "bare" / file.relative_to(folder / "whole")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


def contents(model: Any) -> dict[str, torch.Tensor]:
    """Weights and buffers, whole, by name and whether they are learned."""
    found = {f"{name} {weight.requires_grad}": weight for name, weight in model.named_parameters()}
    found |= dict(model.named_buffers())
    return {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()
        for name, tensor in found.items()
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with joined() as group:
        for case in CASES:
            shelf = folder / ("whole" if group.leads else "bare")
            for way in WAYS:
                made, before = loader(case, shelf, group), previous(case, shelf)
                spread = Spread(made.model(before), group, way, case.precision)
                save_file(contents(spread.inner), folder / f"{case.name}-{way}-{group.rank}")
                held_to = made.reference(before, Settings(learning_rate=0.1, parallel=way))
                if held_to is not None:
                    save_file(contents(held_to), folder / f"{case.name}-{way}-{group.rank}-reference")

"""What settings become when nobody sets them, by the size of the model and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adaptkit.backends.base_model import Base
from adaptkit.machine import Machine

__all__ = ["LONGEST", "Defaults", "defaults_for", "precision_for"]


@dataclass(frozen=True)
class Defaults:
    """Settings of a size of model.

    Attributes:
        rank: Of LoRA.
        alpha: Its scale.
        epochs: Passes.
        learning_rate: Of LoRA.
        full_learning_rate: Of all weights.
        dpo_learning_rate: Of LoRA by DPO; a tenth for all weights.
        text_epochs: Passes over raw text.
        text_length: Tokens of a row of raw text: a small model with little text wants many steps.
        text_learning_rate: Of all weights on raw text; LoRA's as elsewhere.
    """

    rank: int
    alpha: float
    epochs: int
    learning_rate: float
    full_learning_rate: float
    dpo_learning_rate: float
    text_epochs: int
    text_length: int
    text_learning_rate: float

    def rate(self, method: str, *, full: bool) -> float:
        """The learning rate of a method."""
        if method == "dpo":
            return self.dpo_learning_rate / (10 if full else 1)
        if method == "cpt" and full:
            return self.text_learning_rate
        return self.full_learning_rate if full else self.learning_rate


#: Learning rates measured: LoRA's best is about ten times that of full training (Thinking Machines, "LoRA Without
#: Regret"; the same on the built-in base), and a model of a million parameters takes far more than a large one.
_SMALL = Defaults(
    rank=8, alpha=16, epochs=8, learning_rate=2.5e-3, full_learning_rate=5e-4, dpo_learning_rate=5e-4,
    text_epochs=8, text_length=32, text_learning_rate=2e-3,
)  # fmt: skip
_LARGE = Defaults(
    rank=16, alpha=32, epochs=3, learning_rate=2e-4, full_learning_rate=1e-5, dpo_learning_rate=1e-5,
    text_epochs=1, text_length=2048, text_learning_rate=1e-5,
)  # fmt: skip
#: Parameters below which a model is small.
SMALL = 20_000_000
#: Tokens of one example, unless the model reads fewer.
LONGEST = 2048
#: Below this width bf16 gains nothing on a CPU (measured on AVX512-BF16: none at 128, a gain from 192).
BF16_WIDTH = 192


def defaults_for(parameters: int | None) -> Defaults:
    """Settings for a model of so many parameters; ``None`` for one whose size is not known yet."""
    return _SMALL if parameters is not None and parameters < SMALL else _LARGE


def precision_for(base: Base, device: str, machine: Machine) -> Literal["fp32", "bf16"]:
    """The precision that pays on a device."""
    return "bf16" if machine.gains_by_bf16(device, base.size("hidden_size") >= BF16_WIDTH) else "fp32"

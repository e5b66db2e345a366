"""The model that a stage begins with, with what is to be trained in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base
from adaptkit.backends.causal_model import freeze_beside_text, load_causal
from adaptkit.backends.mistral.cluster.words import Words
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.training.adapters import adapter_settings
from adaptkit.backends.training.loop import Settings
from adaptkit.backends.training.parallel import Group, Spread
from adaptkit.backends.vocabulary.weights import grow, make_room, trainable_rows

__all__ = ["Loader"]


@dataclass(frozen=True)
class Loader:
    """Loads models for one training.

    Attributes:
        config: Settings on this machine.
        base: The base.
        words: The training's tokenizer.
        group: The processes. The leading one reads weights; the others' models are empty, for `Spread` to fill.
    """

    config: MistralConfig
    base: Base
    words: Words
    group: Group

    def model(self, previous: Path | None) -> Any:
        """The model of the stage before, or the base for the first; what requires a gradient is to be learned.

        Args:
            previous: Folder that the stage before left.
        """
        import torch  # noqa: PLC0415 - an extra

        torch.manual_seed(self.config.seed)
        model = self._whole(previous)
        freeze_beside_text(model)
        if self.config.weights == "full":
            return model
        import peft  # noqa: PLC0415

        if previous is None:
            new, asked = self.words.extension, self.config
            rows = None if new is None else trainable_rows(model, new)
            settings = adapter_settings(model, rank=asked.rank, alpha=asked.alpha, dropout=asked.dropout, new_rows=rows)
        elif self.group.leads:
            return peft.PeftModel.from_pretrained(model, str(previous), is_trainable=True)
        else:
            settings = peft.PeftConfig.from_pretrained(str(previous))
            settings.inference_mode = False
        return peft.get_peft_model(model, settings)

    def reference(self, previous: Path | None, settings: Settings) -> Any:
        """What DPO holds the model to: the one that the stage begins with, spread as that is, and never changed.

        ``None`` where that is the trained model without its adapter, which then need not be loaded twice.
        """
        if self.config.weights == "lora" and previous is None and self.words.extension is None:
            return None
        model = self.model(previous).requires_grad_(requires_grad=False)
        model.config.use_cache = False
        return Spread(model.eval(), self.group, settings.parallel, settings.precision).model

    def _whole(self, previous: Path | None) -> Any:
        """The model without PEFT's weights."""
        import torch  # noqa: PLC0415

        full = self.config.weights == "full"
        # trained weights stay in fp32; a base that only lends itself may lie in bf16, as it is computed with
        halved = self.config.precision == "bf16" and not full
        begins = previous if full and previous is not None else None
        dtype = torch.bfloat16 if halved else torch.float32
        model = load_causal(begins or self.base.folder, empty=not self.group.leads, dtype=dtype)
        new = self.words.extension if begins is None else None
        if new is not None and self.group.leads:
            grow(model, new)
        elif new is not None:
            make_room(model, new.ids.stop)
        return model

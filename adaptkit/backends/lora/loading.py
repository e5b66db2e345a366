"""The model of a run, with what is to be trained in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.backends.causal_model import freeze_beside_text, load_causal
from adaptkit.backends.lora.config import LoraConfig
from adaptkit.backends.training.adapters import adapter_settings

__all__ = ["build_model", "load_base"]


def load_base(config: LoraConfig, folder: Path, *, empty: bool = False) -> Any:
    """The base, in the precision that it is trained in.

    Args:
        config: Resolved settings.
        folder: Of the base.
        empty: Read no weights, for `Spread` to fill them in; those of 4 bits every process reads.
    """
    import torch  # noqa: PLC0415 - an extra

    # trained weights stay in fp32; a base that only lends itself may lie in bf16, as it is computed with
    halved = config.precision == "bf16" and config.weights != "full"
    how: dict[str, Any] = {"dtype": torch.bfloat16 if halved else torch.float32}
    if config.quantization == "4bit":
        from transformers import BitsAndBytesConfig  # noqa: PLC0415

        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        how["device_map"] = {"": torch.cuda.current_device()}
        empty = False
    model = load_causal(folder, empty=empty, **how)
    freeze_beside_text(model)
    return model


def build_model(config: LoraConfig, folder: Path, *, empty: bool = False) -> Any:
    """The base with what is to be trained in it: that requires gradients. Arguments as for `load_base`."""
    import torch  # noqa: PLC0415

    model = load_base(config, folder, empty=empty)
    torch.manual_seed(config.seed)
    if config.weights == "full":
        return model
    import peft  # noqa: PLC0415

    if config.quantization == "4bit":
        model = peft.prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    return peft.get_peft_model(
        model,
        adapter_settings(model, rank=config.rank, alpha=config.alpha, dropout=config.dropout, kind=config.weights),
    )

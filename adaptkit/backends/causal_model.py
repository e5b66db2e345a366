"""An open model's weights as a language model: text in, text out, whatever else it can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import BESIDE_TEXT, Base
from adaptkit.errors import UnsupportedError

__all__ = ["beside_text", "freeze_beside_text", "load_causal", "pattern_beside_text", "refuse_quantized"]


def load_causal(folder: Path, *, empty: bool = False, **how: Any) -> Any:
    """The model of a folder that has been checked; of a model that reads images too, all of it.

    Args:
        folder: With ``config.json`` and safetensors.
        empty: Read no weights: the model is on the ``meta`` device, for `Spread` to fill.
        how: Further arguments of transformers' ``from_pretrained``, such as ``dtype``.
    """
    from transformers import (  # noqa: PLC0415 - an extra
        MODEL_FOR_CAUSAL_LM_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    if empty:
        import torch  # noqa: PLC0415

        with torch.device("meta"):
            return kind.from_config(config, trust_remote_code=False, **how).eval()
    return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, **how)


def beside_text(model: Any) -> list[str]:
    """Names of the parts of a model that do not read text, such as its vision tower."""
    return [name for name, _ in model.named_modules() if name.rpartition(".")[2] in BESIDE_TEXT]


def pattern_beside_text(model: Any) -> str | None:
    """A pattern of everything in those parts for PEFT's ``exclude_modules``, which takes no folder-like names.

    ``None`` where there are none: PEFT complains of a pattern that matches nothing.
    """
    return "|".join(rf"{re.escape(name)}\..*" for name in beside_text(model)) or None


def freeze_beside_text(model: Any) -> None:
    """Let training leave alone what does not read text: no gradient, no optimiser state, saved as it was."""
    for name in beside_text(model):
        model.get_submodule(name).requires_grad_(requires_grad=False)


def refuse_quantized(base: Base) -> None:
    """Refuse to train weights that are stored in FP8: a step of training is lost in rounding at that width.

    Raises:
        UnsupportedError: they are; says what to take instead.
    """
    method = str((base.config.get("quantization_config") or {}).get("quant_method", ""))
    if "fp8" in method:
        raise UnsupportedError(
            f"{base.name} stores its weights in FP8 ({method}), which answers but is not trained. Take the Base or "
            "Reasoning model of the same size, which are in BF16; or write a BF16 copy once: transformers' "
            "from_pretrained(…, quantization_config=FineGrainedFP8Config(dequantize=True)), then save_pretrained"
        )

"""LoRA as PEFT is asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from adaptkit.backends.causal_model import pattern_beside_text

__all__ = ["adapter_settings"]


def adapter_settings(
    model: Any,
    *,
    rank: int | None,
    alpha: float | None,
    dropout: float,
    kind: Literal["lora", "rslora", "dora"] = "lora",
    new_rows: Mapping[str, Sequence[int]] | None = None,
) -> Any:
    """PEFT's own configuration: every linear layer of what reads text but the head.

    Attention alone loses, even at equal size (Thinking Machines, "LoRA Without Regret").

    Args:
        model: What they go into.
        rank: Of the matrices.
        alpha: Their scale.
        dropout: On their input.
        kind: ``rslora`` scales by the root of the rank, ``dora`` learns direction and size apart.
        new_rows: Rows of embeddings that are learned too, by the layer's name.
    """
    import peft  # noqa: PLC0415 - an extra

    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        exclude_modules=pattern_beside_text(model),
        use_rslora=kind == "rslora",
        use_dora=kind == "dora",
        trainable_token_indices=None if new_rows is None else {name: list(rows) for name, rows in new_rows.items()},
    )

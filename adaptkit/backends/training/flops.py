"""How much of a GPU's arithmetic a training uses.

Model FLOPs utilisation as Chowdhery et al. 2022 (PaLM, arXiv:2204.02311) define it in appendix B: what forward and
backward pass need, over what the hardware could do in that time; what is computed again to save memory does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Flops", "peak"]

#: Dense bf16 FLOP/s by name, from NVIDIA's data sheets (theirs are with sparsity, twice as much).
_PEAKS = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "H800": 989e12, "A100": 312e12,
    "A800": 312e12, "L40S": 362e12, "A10": 125e12, "RTX 4090": 165e12,
}  # fmt: skip


def peak(device: Any) -> float | None:
    """FLOP/s of a device in bf16 as its maker states it; ``None`` where that is not known here."""
    import torch  # noqa: PLC0415 - an extra

    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for known, flops in _PEAKS.items() if known in name), None)


@dataclass(frozen=True)
class Flops:
    """What learning from one token needs, in FLOPs: a part for the weights, and one that grows with the row.

    6 for each weight that is multiplied with and learned: 2 forward, 2 for its gradient, 2 for that of its input;
    a frozen one goes without the second. Attention is 12 L H Q T: layers, heads, their width, length (PaLM's count,
    which does not halve it for causality). Looking up embeddings is no multiplication.
    """

    dense: float
    attention: float

    @classmethod
    def of(cls, model: Any) -> Flops:
        """Those of a transformers or PEFT model that is not spread yet."""
        config = getattr(model.config, "text_config", model.config)
        looked_up, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        tied = head is not None and head.weight is looked_up
        # a vision tower beside the decoder is not gone through by text
        language = [*model.get_decoder().parameters(), *([] if head is None or tied else head.parameters())]
        multiplied = [weight for weight in language if weight.ndim > 1 and (tied or weight is not looked_up)]
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            float(sum(weight.numel() * (6 if weight.requires_grad else 4) for weight in multiplied)),
            12.0 * config.num_hidden_layers * config.num_attention_heads * width,
        )

    def per_token(self, length: float) -> float:
        """FLOPs for a token of a row of this many."""
        return self.dense + self.attention * length

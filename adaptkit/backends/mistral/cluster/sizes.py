"""How large a model is: read off its files, or known of the open bases that are not on this machine yet."""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.backends.base_model import Base

__all__ = ["Size", "size_of"]


@dataclass(frozen=True)
class Size:
    """The shape of a decoder.

    Attributes:
        layers: Decoder layers.
        width: Of the hidden states.
        inner: Width inside the feed-forward part.
        heads: Of queries.
        key_heads: Of keys and values.
        head: Width of one.
        vocabulary: Tokens.
        tied: Whether input and output share their embedding.
        beside: Parameters that text does not move: a vision tower.
    """

    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int
    tied: bool
    beside: int = 0

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        return 2 * self.width * (queries + keys) + 3 * self.width * self.inner + 2 * self.width

    @property
    def embeddings(self) -> int:
        """Parameters of input and output embeddings."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def text(self) -> int:
        """Parameters of the language model."""
        return self.layers * self.layer + self.embeddings + self.width

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.text + self.beside

    def lora(self, rank: int) -> int:
        """Weights of LoRA on every linear layer: the rank times inputs and outputs of each."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        each = 2 * (self.width + queries) + 2 * (self.width + keys) + 3 * (self.width + self.inner)
        return rank * each * self.layers


_VISION = 400_000_000
#: Open bases, from their model cards and NVIDIA's page on Ministral 3 in Megatron Bridge (2026-08).
_KNOWN = {
    "mistralai/Ministral-3-3B-Base-2512": Size(26, 3072, 9216, 32, 8, 128, 131072, tied=True, beside=_VISION),
    "mistralai/Ministral-3-8B-Base-2512": Size(34, 4096, 14336, 32, 8, 128, 131072, tied=False, beside=_VISION),
    "mistralai/Ministral-3-14B-Base-2512": Size(40, 5120, 16384, 32, 8, 128, 131072, tied=False, beside=_VISION),
    "mistralai/Mistral-7B-v0.3": Size(32, 4096, 14336, 32, 8, 128, 32768, tied=False),
    "mistralai/Mistral-Nemo-Base-2407": Size(40, 5120, 14336, 32, 8, 128, 131072, tied=False),
    "mistralai/Mistral-Small-24B-Base-2501": Size(40, 5120, 32768, 32, 8, 128, 131072, tied=False),
}


def size_of(model: str, base: Base | None) -> Size | None:
    """The size of a model; ``None`` for one that is neither here nor known.

    Args:
        model: Its name.
        base: Its files, where they are here.
    """
    if base is None or not base.parameters:
        return _KNOWN.get(model)
    width, heads = base.size("hidden_size", 1), base.size("num_attention_heads", 1)
    size = Size(
        layers=base.size("num_hidden_layers", 1),
        width=width,
        inner=base.size("intermediate_size", 4 * width),
        heads=heads,
        key_heads=base.size("num_key_value_heads", heads),
        head=base.size("head_dim", width // heads),
        vocabulary=base.size("vocab_size", 1),
        tied=bool(base.size("tie_word_embeddings")),
    )
    return Size(**{**vars(size), "beside": max(0, base.parameters - size.text)})

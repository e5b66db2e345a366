"""Rows for new tokens in a model's embeddings, and how PEFT is told to learn them.

A new token's rows begin as the mean of those of the pieces that spelled it before, as in Gee et al. 2022, *Fast
Vocabulary Transfer for Language Model Compression*. transformers' own way draws them from a normal distribution.
"""

from __future__ import annotations

from typing import Any

from adaptkit.backends.vocabulary.tokenizer import Extension
from adaptkit.errors import ArtifactError

__all__ = ["grow", "make_room", "trainable_rows"]


def make_room(model: Any, rows: int) -> None:
    """Give a model's embeddings that many rows, if they have fewer; the new ones are 0.

    Both matrices grow, tied or not, and so does the vocabulary in the model's configuration.
    """
    import torch  # noqa: PLC0415 - an extra

    before = model.get_input_embeddings().weight.shape[0]
    if rows <= before:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in _layers(model).values():
            layer.weight[before:] = 0
            if getattr(layer, "bias", None) is not None:
                layer.bias[before:] = 0


def grow(model: Any, extension: Extension) -> None:
    """Give new tokens their rows, each the mean of its pieces' rows, in the input and in the output embeddings.

    Args:
        model: A causal language model of transformers, on one device, before PEFT.
        extension: Of its tokenizer.

    Raises:
        ArtifactError: the model has no rows for tokens of the base's tokenizer.
    """
    import torch  # noqa: PLC0415 - an extra

    rows = model.get_input_embeddings().weight.shape[0]
    if rows < extension.first:
        raise ArtifactError(f"the model has {rows} rows in its vocabulary and its tokenizer {extension.first} ids")
    make_room(model, extension.ids.stop)
    device = model.get_input_embeddings().weight.device
    lengths = torch.tensor([len(pieces) for pieces in extension.pieces], device=device)
    flat = torch.tensor([piece for pieces in extension.pieces for piece in pieces], device=device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    with torch.no_grad():
        for layer in _layers(model).values():
            old = layer.weight[flat].float()
            total = torch.zeros((len(lengths), old.shape[1]), device=device).index_add_(0, owner, old)
            layer.weight[extension.first : extension.ids.stop] = (total / lengths[:, None]).to(layer.weight.dtype)


def trainable_rows(model: Any, extension: Extension) -> dict[str, list[int]]:
    """What ``peft.LoraConfig(trainable_token_indices=…)`` takes so that the new rows are learned, and no other.

    Of tied embeddings only the input's are named: PEFT ties the output's to them.
    """
    return {name: list(extension.ids) for name in _layers(model)}


def _layers(model: Any) -> dict[str, Any]:
    """The embeddings by their names in the model: one where they are tied, else input and output."""
    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    untied = [] if outer is None or outer.weight is inner.weight else [outer]
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)]: layer for layer in (inner, *untied)}

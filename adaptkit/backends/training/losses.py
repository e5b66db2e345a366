"""The loss of learned tokens, and the batches that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.backends.training.batches import IGNORED, pad

__all__ = ["collate", "loss_of"]


def loss_of(model: Any, batch: dict[str, Any], items: Any = None) -> Any:
    """Cross-entropy of the learned tokens: their sum by ``items``, or their mean.

    Only the positions before a learned token get logits: with a large vocabulary, projecting onto it is a good part
    of the work and most of the memory, and most tokens are the user's. They are picked where the output layer takes
    its input, so that whatever the architecture does to logits afterwards, such as scaling them, still happens.
    """
    import torch  # noqa: PLC0415

    labels, rows, columns = batch["labels"], batch["rows"], batch["columns"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}

    def pick(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][rows, columns].unsqueeze(0), *given[1:]) if given[0].shape[:2] == labels.shape else given

    head = model.get_output_embeddings()
    with head.register_forward_pre_hook(pick) if head is not None else nullcontext():
        logits = model(**inputs, use_cache=False).logits
    # an architecture that has no such layer, or does not put the states of all positions into it, gives all logits
    logits = logits[rows, columns] if logits.shape[:2] == labels.shape else logits.squeeze(0)
    wanted = labels[rows, columns + 1]
    total = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
    return total / (items if items is not None else len(wanted))


def collate(rows: Sequence[Sequence[Encoded]], filler: int) -> dict[str, Any]:
    """A batch as tensors, with the ``rows`` and ``columns`` that need logits: the positions before a learned token."""
    batch = pad(rows, filler)
    # here and not in the loss, where a GPU would have to be waited for
    batch["rows"], batch["columns"] = (batch["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    return batch

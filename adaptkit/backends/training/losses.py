"""What is learned: tokens, or which of two answers is preferred."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Loss", "PreferenceLoss", "loss_of", "token_loss"]


class Loss(Protocol):
    """What a training lowers."""

    def __call__(self, model: Any, batch: dict[str, Any], items: Any) -> dict[str, Any]:
        """Figures of a batch, as tensors: each a sum over the batch divided by ``items``; ``loss`` is what is learned.

        Added up over the batches of a step, with ``items`` those of all of them, they are the means of the step.
        """


def loss_of(model: Any, batch: dict[str, Any], items: Any = None) -> Any:
    """Cross-entropy of the learned tokens: their sum by ``items``, or their mean."""
    import torch  # noqa: PLC0415

    logits, wanted = _learned(model, batch)
    total = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    return total / (items if items is not None else len(wanted))


def token_loss(model: Any, batch: dict[str, Any], items: Any) -> dict[str, Any]:
    """`loss_of`, as a `Loss`."""
    return {"loss": loss_of(model, batch, items)}


@dataclass(frozen=True)
class PreferenceLoss:
    """DPO with the sigmoid loss: Rafailov et al. 2023, arXiv:2305.18290, equation 7.

    A batch holds the chosen answers of some pairs, and then the rejected ones.

    Attributes:
        beta: How strongly the model is held to the reference.
        reference: The model before training, spread as the trained one is; ``None`` where that is the trained model
            without its adapter.
    """

    beta: float
    reference: Any = None

    def __call__(self, model: Any, batch: dict[str, Any], items: Any) -> dict[str, Any]:
        """The loss, and TRL's figures: rewards of both answers, their margin, how often it is right."""
        import torch  # noqa: PLC0415

        inner = getattr(model, "module", model)
        with torch.no_grad(), nullcontext() if self.reference is not None else inner.disable_adapter():
            before = _log_probabilities(model if self.reference is None else self.reference, batch)
        chosen, rejected = (self.beta * (_log_probabilities(model, batch) - before)).chunk(2)
        margins = chosen - rejected
        told = {"chosen": chosen, "rejected": rejected, "margins": margins, "accuracies": (margins > 0).float()}
        return {
            "loss": -torch.nn.functional.logsigmoid(margins).sum() / items,
            **{f"rewards/{name}": figure.detach().sum() / items for name, figure in told.items()},
        }


def _log_probabilities(model: Any, batch: dict[str, Any]) -> Any:
    """Of what is learned in each row."""
    import torch  # noqa: PLC0415

    logits, wanted = _learned(model, batch)
    each = -torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return each.new_zeros(len(batch["labels"])).index_add(0, batch["rows"], each)


def _learned(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    """Logits in fp32 for the learned tokens, and the tokens.

    Only the positions before a learned token get logits: with a large vocabulary, projecting onto it is a good part
    of the work and most of the memory, and most tokens are the user's. They are picked where the output layer takes
    its input, so that whatever the architecture does to logits afterwards, such as scaling them, still happens.
    """
    labels, rows, columns = batch["labels"], batch["rows"], batch["columns"]
    inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}

    def pick(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][rows, columns].unsqueeze(0), *given[1:]) if given[0].shape[:2] == labels.shape else given

    head = getattr(model, "module", model).get_output_embeddings()  # DDP is around the model, which knows its layers
    with head.register_forward_pre_hook(pick) if head is not None else nullcontext():
        logits = model(**inputs, use_cache=False).logits
    # an architecture that has no such layer, or does not put the states of all positions into it, gives all logits
    logits = logits[rows, columns] if logits.shape[:2] == labels.shape else logits.squeeze(0)
    return logits.float(), labels[rows, columns + 1]

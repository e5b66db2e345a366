"""From encoded examples to batches: which go together, and how they are laid out.

All batches of all epochs are planned before the first step, from the seed alone. Step k is then the same batch in an
uninterrupted run and in a resumed one, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from adaptkit.backends.chat_tokenizer import Encoded

__all__ = ["IGNORED", "pack", "pad", "plan_batches"]

#: What cross-entropy leaves out.
IGNORED = -100
#: Batches that are sorted by length together: enough to waste little padding, few enough to mix well.
SORTED_TOGETHER = 16


def plan_batches(lengths: Sequence[int], batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of each batch of each epoch: shuffled, with examples of like length together.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch; the last of an epoch may be smaller.
        epochs: Passes.
        seed: Of the shuffling.
    """
    batches: list[list[int]] = []
    for epoch in range(epochs):
        random = Random(f"{seed}/{epoch}")  # noqa: S311 - not for secrets
        order = list(range(len(lengths)))
        random.shuffle(order)
        stretch = batch_size * SORTED_TOGETHER
        fresh: list[list[int]] = []
        for start in range(0, len(order), stretch):
            near = sorted(order[start : start + stretch], key=lambda index: lengths[index])
            fresh += [near[first : first + batch_size] for first in range(0, len(near), batch_size)]
        random.shuffle(fresh)
        if epoch == 0:  # the longest goes first, so that running out of memory shows at once and not after an hour
            at = max(range(len(fresh)), key=lambda at: max(lengths[index] for index in fresh[at]), default=0)
            fresh[:1], fresh[at : at + 1] = fresh[at : at + 1], fresh[:1]
        batches += fresh
    return batches


def pack(lengths: Sequence[int], longest: int) -> list[list[int]]:
    """Examples that share a row of at most ``longest`` tokens: first fit, longest first."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        at = next((at for at, left in enumerate(room) if left >= lengths[index]), None)
        if at is None:
            rows.append([])
            room.append(longest)
            at = len(rows) - 1
        rows[at].append(index)
        room[at] -= lengths[index]
    return rows


def pad(rows: Sequence[Sequence[Encoded]], filler: int) -> dict[str, Any]:
    """One batch as tensors; each row is one example, or several packed ones.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels`` of shape (rows, longest), all int64; ``position_ids`` as well
        where a row holds several examples, starting again at 0 for each, which keeps their attention apart.
        ``attention_mask`` is left out where nothing is padded: attention is then causal alone, and faster.
    """
    import torch  # noqa: PLC0415 - an extra

    width = max(sum(len(example.ids) for example in row) for row in rows)
    ids = torch.full((len(rows), width), filler)
    labels = torch.full((len(rows), width), IGNORED)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example.ids)
            ids[at, start:end] = torch.tensor(example.ids)
            targets = [token if learn else IGNORED for token, learn in zip(example.ids, example.learn, strict=True)]
            targets[0] = IGNORED  # nothing comes before it to predict it from
            labels[at, start:end] = torch.tensor(targets)
            mask[at, start:end] = 1
            positions[at, start:end] = torch.arange(end - start)
            start = end
    batch: dict[str, Any] = {"input_ids": ids, "labels": labels}
    packed = any(len(row) > 1 for row in rows)
    if packed:
        batch["position_ids"] = positions
    elif not bool(mask.all()):
        batch["attention_mask"] = mask
    return batch

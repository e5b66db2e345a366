"""The training loop, for one process and for many.

A step of the optimiser learns from the rows that `Rows` gives for its number; of these a process takes every
``world``-th. Losses and gradients are sums over the step's rows by the number of all learned tokens in it, so one
process, DDP and FSDP2 learn the same up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adaptkit.backends.local_jobs import Interrupted, Work
from adaptkit.backends.training import shards
from adaptkit.backends.training.losses import Loss
from adaptkit.backends.training.parallel import Group, Parallel, Precision, Spread
from adaptkit.backends.training.report import Report
from adaptkit.backends.training.rows import Batch, Rows
from adaptkit.errors import BackendError

__all__ = ["Result", "Settings", "held_out_loss", "train"]

#: Gradients are scaled down to this norm.
CLIP = 1.0
_DIVERGED = (
    "the loss is no number any more at step {}: training has diverged. Lower learning_rate (now {:g}), or raise warmup."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is trained.

    Attributes:
        learning_rate: The highest, after warm-up; it then falls to 0 along ``schedule``.
        warmup: Share of the steps.
        micro_batch_size: Rows that go through a process's model at once; ``None`` for its whole part of a step.
        parallel: How several processes share the model.
        precision: ``bf16`` computes in it.
        activation_checkpointing: Compute activations again instead of keeping them.
        checkpoint_every: Steps; ``None`` is once a minute, or less often where they take long (see `Report`).
        seed: Of dropout.
        backend: Whose errors they are.
    """

    learning_rate: float
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    micro_batch_size: int | None = None
    parallel: Parallel = "ddp"
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    checkpoint_every: int | None = None
    seed: int = 0
    backend: str = "mistral"

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = math.ceil(self.warmup * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / (warm + 1)
        done = (step - warm) / max(steps - warm, 1)
        falls = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
        return self.learning_rate * falls[self.schedule]


@dataclass
class Result:
    """A trained model and what is known of the run.

    Attributes:
        model: Plain, as it was given; ``None`` in all processes but the leading one where it was trained in parts.
        metrics: Steps, seconds, tokens, first and last loss.
    """

    model: Any
    metrics: dict[str, float] = field(default_factory=dict)


def train(
    model: Any,
    rows: Rows,
    loss: Loss,
    settings: Settings,
    *,
    group: Group,
    folder: Path,
    work: Work,
    score: Callable[[Spread], Mapping[str, float]] | None = None,
) -> Result:
    """Train, going on from the newest whole checkpoint if there is one. All processes of the group call it.

    Args:
        model: A transformers or PEFT model, the same in all processes; what requires gradients is learned.
        rows: What it learns from.
        loss: What is lowered.
        settings: How.
        group: The processes.
        folder: Where checkpoints go; all processes see it.
        work: Whom the leading process tells; any process's may ask to stop.
        score: Gives figures of held-out data, ``validation_loss`` among them, before the first step and after each
            epoch; called by all processes (see `held_out_loss`).

    Raises:
        Interrupted: it was asked to stop; a checkpoint was written if that was asked for too.
        BackendError: the loss is no number any more.
        ConfigError: a checkpoint of another number of processes cannot be gone on with.
    """
    import torch  # noqa: PLC0415 - an extra

    model.config.use_cache = False
    if settings.activation_checkpointing:
        # the older name goes with transformers 6
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    model.train()
    report = Report(model, rows, settings.checkpoint_every, group, work)
    spread = Spread(model, group, settings.parallel, settings.precision)
    if spread.copied:
        _warm_up(spread, rows, loss)
    optimizer = torch.optim.AdamW(spread.trained.values(), lr=0.0, weight_decay=0.0, fused=True)
    torch.manual_seed(settings.seed + group.rank)
    step = saved = _resumed(folder, spread, optimizer, work)
    if score is not None and not step:
        report.scored(0, score(spread))
    report.begin(step)
    while True:
        parts = list(_parts(rows, step, group, settings.micro_batch_size)) if step < rows.steps else []
        counted = [part for part, counts in parts if counts]
        items, tokens, *asked = group.sum(
            sum(part.items for part in counted),
            sum(part.tokens for part in counted),
            *(report.diverged, report.due, work.should_stop(), work.terminated),
        )
        diverged, due, stop, later = (flag > 0 for flag in asked)
        if diverged:
            raise BackendError(_DIVERGED.format(step, settings.learning_rate), backend=settings.backend)
        if saved < step < rows.steps and (due or (stop and later)):
            shards.save(folder, spread, optimizer, step)
            report.saved(step)
            saved = step
        if step >= rows.steps:
            return Result(spread.whole(), report.metrics)
        if stop:
            raise Interrupted
        rate = settings.rate(step, rows.steps)
        for weights in optimizer.param_groups:
            weights["lr"] = rate
        figures, norm = _learn(spread, parts, loss, items, optimizer)
        step += 1
        report.learned(step, tokens, figures, norm, rate)
        if score is not None and (step % rows.per_epoch == 0 or step == rows.steps):
            report.scored(step, score(spread))


def _warm_up(spread: Spread, rows: Rows, loss: Loss) -> None:
    """Go through one row for nothing.

    After its first backward DDP lays gradients out anew, and with it goes the order in which three and more processes
    sum them. Done before the first step, that order is the same in a run from the beginning and in a resumed one.
    """
    _figures(spread, (rows.batch(rows.of_step(0)[:1]), False), loss, 1)["loss"].backward()
    spread.model.zero_grad()


def _resumed(folder: Path, spread: Spread, optimizer: Any, work: Work) -> int:
    """Load the newest whole checkpoint, if there is one; gives its step."""
    group = spread.group
    found = group.share(str(shards.newest(folder) or "") if group.leads else "")
    if not found:
        return 0
    step = shards.load(Path(found), spread, optimizer)
    if group.leads:
        work.tell("checkpoint", f"going on after step {step}", step=step)
    return step


def _parts(rows: Rows, step: int, group: Group, together: int | None) -> Iterator[tuple[Batch, bool]]:
    """What of a step this process puts through its model at once, and whether that counts.

    All processes get equally many, since a model in parts is whole only with all of them: one that has no rows left
    goes through the first row of the step once more, for nothing.
    """
    whole = rows.of_step(step)
    most = math.ceil(len(whole) / group.world)
    mine, size = whole[group.rank :: group.world], together or most
    for start in range(0, most, size):
        part = mine[start : start + size]
        yield rows.batch(part or whole[:1]), bool(part)


def _learn(
    spread: Spread, parts: list[tuple[Batch, bool]], loss: Loss, items: float, optimizer: Any
) -> tuple[dict[str, Any], Any]:
    """One step; gives its figures, the same in all processes, and the norm of its gradients, all of them tensors."""
    import torch  # noqa: PLC0415

    totals: Any = 0.0
    figures: dict[str, Any] = {}
    for number, part in enumerate(parts, 1):
        with spread.accumulating(last=number == len(parts)):
            figures = _figures(spread, part, loss, items)
            figures["loss"].backward()
        totals = totals + torch.stack([figure.detach().float() for figure in figures.values()])
    norm = spread.clip(CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return dict(zip(figures, spread.group.add(totals), strict=True)), norm


def _figures(spread: Spread, part: tuple[Batch, bool], loss: Loss, items: float) -> dict[str, Any]:
    """Figures of a part of a step, all 0 where it does not count."""
    batch, counts = part
    tensors, device = batch.tensors, spread.group.device
    if device.type == "cuda":  # from pinned memory, so that the GPU need not be waited for
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
    with spread.computing():
        figures = loss(spread.model, tensors, max(items, 1))
    return figures if counts else {name: figure * 0 for name, figure in figures.items()}


def held_out_loss(spread: Spread, rows: Rows, loss: Loss, micro_batch_size: int | None = None) -> float:
    """The loss on rows that are not learned, with no gradient and no dropout; all processes call it."""
    import torch  # noqa: PLC0415

    total = items = 0.0
    spread.model.eval()
    with torch.no_grad():
        for step in range(rows.per_epoch):
            for part in _parts(rows, step, spread.group, micro_batch_size):
                total += float(_figures(spread, part, loss, 1)["loss"])
                items += part[0].items if part[1] else 0
    spread.model.train()
    total, items = spread.group.sum(total, items)
    return total / max(items, 1)

"""What a training tells while it runs: the same figures as every local backend's."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from adaptkit.backends.local_jobs import Work
from adaptkit.backends.training.flops import Flops, peak
from adaptkit.backends.training.parallel import Group
from adaptkit.backends.training.rows import Rows

__all__ = ["Report"]

#: Seconds between two reports, of a short run and of a long one, which need not fill the disk with them.
QUICKEST, SLOWEST = 0.5, 5.0
#: Seconds between checkpoints when no number of steps is given, and the share of the time that they may take.
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 60.0, 0.05


class Report:
    """Counts the steps and, in the leading process, tells of them and says when a checkpoint is due.

    Figures stay on the GPU until there is something to tell, so that it is not waited for at each step.

    Args:
        model: Before it is spread.
        rows: What is learned from.
        checkpoint_every: Steps; ``None`` for `CHECKPOINT_SECONDS`, or more where writing one takes long.
        group: The processes.
        work: Whom to tell.

    Attributes:
        metrics: Of the run, since it was begun or gone on with: steps, seconds, tokens, first and last loss.
        diverged: Whether the loss is no number any more.
        due: Whether a checkpoint is due.
    """

    def __init__(self, model: Any, rows: Rows, checkpoint_every: int | None, group: Group, work: Work) -> None:
        self.rows, self.checkpoint_every, self.group, self.work = rows, checkpoint_every, group, work
        self.peak = peak(group.device)
        self.flops = None if self.peak is None else Flops.of(model)
        self.metrics: dict[str, float] = {}
        self.diverged = self.due = False
        self._pause = CHECKPOINT_SECONDS
        self.begin(0)

    def begin(self, step: int) -> None:
        """The next step is the one after this."""
        self._first = step
        self._began = self._told = self._saved = time.monotonic()
        self._all = 0.0
        self._forget()

    def _forget(self) -> None:
        self._steps = self._tokens = self._computed = 0.0
        self._sums: dict[str, Any] = {}

    def learned(self, step: int, tokens: float, figures: Mapping[str, Any], norm: Any, rate: float) -> None:
        """A step is made.

        Args:
            step: How many are made.
            tokens: Of this one, in all processes.
            figures: Of this one, tensors with one number each.
            norm: Of its gradients, a tensor.
            rate: The learning rate.
        """
        self._steps += 1
        self._tokens += tokens
        self._all += tokens
        if self.flops is not None:
            self._computed += tokens * self.flops.per_token(tokens / len(self.rows.of_step(step - 1)))
        self._sums = {name: figure + self._sums.get(name, 0.0) for name, figure in figures.items()}
        if not self.group.leads:
            return
        now = time.monotonic()
        last, every = step >= self.rows.steps, self.checkpoint_every
        self.due = not last and (step % every == 0 if every else now - self._saved >= self._pause)
        pace = min(SLOWEST, max(QUICKEST, (now - self._began) / 1000))
        # what is not finite must not be saved either
        if self.due or last or step == self._first + 1 or now - self._told >= pace:
            self._tell(step, float(norm), rate)

    def _tell(self, step: int, norm: float, rate: float) -> None:
        means = {name: float(total) / self._steps for name, total in self._sums.items()}
        loss = means.pop("loss")
        self.diverged = not math.isfinite(loss)
        now = time.monotonic()  # only here is a GPU done with what is counted
        seconds, total = max(now - self._told, 1e-9), self.rows.steps
        self.metrics.setdefault("first_loss", loss)
        self.metrics |= {"steps": step, "seconds": round(now - self._began, 3), "tokens": self._all, "last_loss": loss}
        if step > self.work.told and not self.diverged:
            self.work.tell(
                "metrics",
                f"step {step}/{total}, loss {loss:.4f}",
                step=step,
                total_steps=total,
                epoch=round(step / self.rows.per_epoch, 3),
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                **means,
                tokens_per_second=round(self._tokens / seconds, 1),
                eta=round((now - self._began) / (step - self._first) * (total - step), 1),
                **self._of_gpu(seconds),
            )
        self._told = now
        self._forget()

    def _of_gpu(self, seconds: float) -> dict[str, float]:
        """Utilisation, where the GPU's peak is known, and the most memory that this process's had allocated."""
        if self.group.device.type != "cuda":
            return {}
        import torch  # noqa: PLC0415 - an extra

        used = {"peak_memory": float(torch.cuda.max_memory_allocated(self.group.device))}
        if self.peak is not None:
            used["mfu"] = round(self._computed / seconds / (self.peak * self.group.world), 4)
        return used

    def scored(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of held-out data after a step, or before the first."""
        self.metrics |= figures
        if self.group.leads and (step > self.work.told or not step):
            said = ", ".join(f"{name.replace('_', ' ')} {figure:.4f}" for name, figure in figures.items())
            self.work.tell("metrics", f"step {step}, {said}", step=step, **figures)

    def saved(self, step: int) -> None:
        """A checkpoint is whole."""
        now = time.monotonic()
        if self.due:  # what went before was told when it became due
            self._pause = max(CHECKPOINT_SECONDS, (now - self._told) / CHECKPOINT_SHARE)
        self._saved = self._told = now
        self.due = False
        if self.group.leads:
            self.work.checkpointed(step)

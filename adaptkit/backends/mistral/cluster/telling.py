"""How a stage talks to the job that it is a part of: its steps count on from those of the stages before."""

from __future__ import annotations

from typing import Any

from adaptkit.backends.local_jobs import Work

__all__ = ["StageWork"]


class StageWork:
    """The work of one stage.

    Args:
        work: The job's.
        stage: What it is called, for people.
        before: Steps of the stages before it.
        total: Steps of all stages.
    """

    def __init__(self, work: Work, stage: str, before: int, total: int) -> None:
        self._work, self._stage, self._before, self._total = work, stage, before, total

    @property
    def told(self) -> int:
        """Last step of this stage whose figures were told before."""
        return self._work.told - self._before

    @property
    def terminated(self) -> bool:
        """See `Work`."""
        return self._work.terminated

    def tell(self, kind: str, message: str, /, **data: Any) -> None:
        """Append an event, its steps counted over all stages."""
        if "step" in data:
            data["step"] += self._before
        if "total_steps" in data:
            data["total_steps"] = self._total
        self._work.tell(kind, f"{self._stage}: {message}", stage=self._stage, **data)

    def between(self) -> None:
        """See `Work`."""
        self._work.between()

    def enter(self) -> None:
        """See `Work`."""
        self._work.enter()

    def should_stop(self) -> bool:
        """See `Work`."""
        return self._work.should_stop()

    def checkpointed(self, step: int) -> None:
        """A checkpoint of this stage is whole."""
        self._work.checkpointed(self._before + step)

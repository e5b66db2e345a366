"""How a rank ended, in a file that it leaves, and how several such ends make one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from adaptkit.backends.local_jobs import Interrupted, Job
from adaptkit.durable import replace_file
from adaptkit.errors import BackendError

__all__ = ["Lost", "Outcome", "verdict"]

#: From the least to the most telling. Where one rank ends badly others fail because of it, and say so in words that
#: help nobody: what a program says on purpose explains them, and so does a process that was killed.
_KINDS = ("finished", "stopped", "failed", "lost", "refused")


class Lost(Exception):
    """A process ended without a word: killed, out of memory, or gone with its machine."""


class Outcome(msgspec.Struct, frozen=True):
    """How a rank, or all ranks of a machine, ended.

    Attributes:
        kind: ``finished``; ``stopped`` since it was asked to; ``refused`` by the program in words of its own;
            ``failed`` by any other error; ``lost`` without a word.
        words: The model's id where it finished, else what happened; never a line of the user's data.
        at: Unix time.
    """

    kind: Literal["finished", "stopped", "failed", "lost", "refused"]
    words: str
    at: float = msgspec.field(default_factory=time.time)

    def write(self, path: Path) -> None:
        """Leave it in a file, whole."""
        replace_file(path, msgspec.json.encode(self))

    @classmethod
    def read(cls, path: Path) -> Outcome | None:
        """What was left there, if anything."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None

    @staticmethod
    def path(job: Job, rank: int) -> Path:
        """Where a rank of a job leaves it."""
        return job.folder / "ranks" / f"{rank}.json"

    def model(self) -> str:
        """The model's id.

        Raises:
            Interrupted: it stopped.
            Lost: a process was lost.
            BackendError: the program failed.
        """
        match self.kind:
            case "finished":
                return self.words
            case "stopped":
                raise Interrupted
            case "lost":
                raise Lost(self.words)
        raise BackendError(self.words)


def verdict(outcomes: Iterable[Outcome]) -> Outcome:
    """The one that explains the others: the most telling kind, of these the earliest, or the first that finished."""
    return max(outcomes, key=lambda one: (_KINDS.index(one.kind), 0.0 if one.kind == "finished" else -one.at))

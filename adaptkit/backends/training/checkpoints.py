"""Checkpoints that are whole or do not count.

A checkpoint is written file by file; a kill in between leaves a folder that looks like one. So it counts only once
`complete` has written the list of its files with their hashes, last and by a rename; anything else is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from adaptkit.backends.base_model import sha256_of
from adaptkit.durable import replace_file, sync

__all__ = ["complete", "newest", "prune", "step_of"]

MARKER = "complete.json"
#: Files that are hashed side by side, one a process of most machines.
AT_ONCE = 8


def step_of(checkpoint: Path) -> int:
    """The step of ``checkpoint-<step>``, or -1 for another name."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def complete(checkpoint: Path) -> None:
    """Say that everything in a checkpoint has been written, after making it so."""
    names = sorted(file.name for file in checkpoint.iterdir() if file.is_file() and file.name != MARKER)
    hashes = _hashes(checkpoint, names)
    sync(checkpoint)
    replace_file(checkpoint / MARKER, msgspec.json.encode(hashes))
    sync(checkpoint.parent)


def _hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hashes of files by their names, once they are on the disk; all take about as long as the largest of them.

    Raises:
        OSError: one is not there, or the disk is full or failing.
    """

    def one(name: str) -> tuple[str, str]:
        sync(folder / name)
        return name, sha256_of([folder / name])

    with ThreadPoolExecutor(AT_ONCE) as pool:  # a hash is computed without the interpreter's lock
        return dict(pool.map(one, names))


def newest(folder: Path, needed: AbstractSet[str]) -> Path | None:
    """The newest whole checkpoint, which has the files needed; torn ones are passed over."""
    found = [path for path in folder.glob("checkpoint-*") if step_of(path) > 0]
    return next((path for path in sorted(found, key=step_of, reverse=True) if _is_whole(path, needed)), None)


def _is_whole(checkpoint: Path, needed: AbstractSet[str]) -> bool:
    try:
        hashes = msgspec.json.decode((checkpoint / MARKER).read_bytes(), type=dict[str, str])
        return hashes.keys() >= needed and _hashes(checkpoint, hashes) == hashes
    except (OSError, msgspec.MsgspecError):
        return False


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest checkpoints; call only after the newest is complete."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)

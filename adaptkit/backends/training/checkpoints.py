"""Checkpoints that are whole or do not count.

A checkpoint is written file by file; a kill in between leaves a folder that looks like one, and a missing
file would be passed over in silence. So a checkpoint counts only once `complete` has written the list of its
files with their hashes, last and by a rename; anything else is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from adaptkit.backends.base_model import sha256_of
from adaptkit.durable import replace_file, sync

__all__ = ["complete", "newest", "prune", "step_of"]

MARKER = "complete.json"


def step_of(checkpoint: Path) -> int:
    """The step of ``checkpoint-<step>``, or -1 for another name."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def complete(checkpoint: Path) -> None:
    """Say that everything in a checkpoint has been written, after making it so."""
    hashes = {}
    for file in sorted(file for file in checkpoint.iterdir() if file.is_file() and file.name != MARKER):
        sync(file)
        hashes[file.name] = sha256_of([file])
    sync(checkpoint)
    replace_file(checkpoint / MARKER, msgspec.json.encode(hashes))
    sync(checkpoint.parent)


def newest(folder: Path, needed: AbstractSet[str]) -> Path | None:
    """The newest whole checkpoint, which has the files needed; torn ones are passed over."""
    found = [path for path in folder.glob("checkpoint-*") if step_of(path) > 0]
    return next((path for path in sorted(found, key=step_of, reverse=True) if _is_whole(path, needed)), None)


def _is_whole(checkpoint: Path, needed: AbstractSet[str]) -> bool:
    try:
        hashes = msgspec.json.decode((checkpoint / MARKER).read_bytes(), type=dict[str, str])
        whole = hashes.keys() >= needed
        return whole and all(sha256_of([checkpoint / name]) == digest for name, digest in hashes.items())
    except (OSError, msgspec.MsgspecError):
        return False


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest checkpoints; call only after the newest is complete."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)

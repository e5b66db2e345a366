"""Files that are there whole or not at all, and stay there after a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["create_file", "replace_file", "sync"]


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk.

    Raises:
        OSError: the disk is full or failing.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_file(path: Path, content: bytes) -> bool:
    """Write a file that is not there yet, whole and readable for its owner alone.

    Returns:
        Whether it was written; ``False`` where it was there already and stays as it is, whoever was first.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
        try:
            path.hardlink_to(draft.name)
        except FileExistsError:
            return False
    sync(path.parent)
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Put content in place of a file, readable for its owner alone; a reader or a crash sees the old or the new.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    # made with mode 0600
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        try:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).replace(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
    sync(path.parent)

"""Copies of training data for jobs of this machine: a job must not change with the user's file."""

from __future__ import annotations

from pathlib import Path

from adaptkit.adapter import DataFile

__all__ = ["copy_of", "keep"]


def copy_of(home: Path, file_id: str) -> Path:
    """Where the copy of that id lies, if there is one."""
    return (home / "data" / f"{file_id}.jsonl").absolute()


def keep(home: Path, file: DataFile) -> str:
    """Copy a file under ``home``, readable for the owner alone, unless it is there; gives the id of the copy."""
    path = copy_of(home, file.sha256)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        file.data.write(path, file.format)
        path.chmod(0o600)
    return path.stem

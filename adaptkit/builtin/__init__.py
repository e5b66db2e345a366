"""What ships inside the package: a tiny base model and a few small tasks, all made from synthetic text.

Nothing here imports a trainer. Every file is checked against the hash in its manifest before its path is handed out.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from adaptkit.errors import ArtifactError, ConfigError

__all__ = ["Task", "names", "path", "task", "tasks", "text"]

_ROOT = Path(__file__).parent
_TASKS = _ROOT / "tasks"


class Task(NamedTuple):
    """A bundled task: two JSONL files, of conversations in OpenAI chat format or of text.

    Attributes:
        train: Examples to learn from.
        held_out: Examples whose wording the training file never uses.
    """

    train: Path
    held_out: Path


def names() -> tuple[str, ...]:
    """The models that ship, without the ``builtin:`` in front."""
    return tuple(sorted(folder.name for folder in _ROOT.iterdir() if (folder / "config.json").is_file()))


def path(name: str) -> Path:
    """The folder of a model that ships with adaptkit, as ``from_pretrained`` takes it.

    Args:
        name: ``tiny``, or ``builtin:tiny``.

    Returns:
        The folder, every file of it checked against its manifest.

    Raises:
        ConfigError: No such model ships; the message names the nearest.
        ArtifactError: A file is missing or is not the one that was shipped.
    """
    known = names()
    short = name.removeprefix("builtin:")
    if short not in known:
        raise ConfigError(_unknown("model", short, known))
    _verify(_ROOT / short)
    return _ROOT / short


def tasks() -> tuple[str, ...]:
    """The tasks that ship."""
    return tuple(sorted(folder.name for folder in _TASKS.iterdir() if folder.is_dir()))


def task(name: str = "desk") -> Task:
    """A bundled task.

    Args:
        name: ``desk`` (send a message to one of sixteen desks, answered as JSON), ``tags`` (name one of four teams),
            ``languages`` (send a message in one of five languages to one of four desks), ``topics`` (name the topic
            of a message, which the built-in model can once it is asked to: prompting is enough) or ``lingua`` (say
            where somebody lives, in an invented language).

    Returns:
        Its two files, checked against their manifest.

    Raises:
        ConfigError: No such task ships; the message names the nearest.
        ArtifactError: A file is missing or is not the one that was shipped.
    """
    if name not in tasks():
        raise ConfigError(_unknown("task", name, tasks()))
    _verify(_TASKS)
    return Task(_TASKS / name / "train.jsonl", _TASKS / name / "held_out.jsonl")


def text(name: str = "lingua") -> Task:
    """The raw text that goes with a task: sentences in the language of ``lingua``, which nobody speaks.

    Returns:
        Two files of text records, checked against their manifest.

    Raises:
        ConfigError: That task has no text, or there is none of that name.
        ArtifactError: A file is missing or is not the one that was shipped.
    """
    folder = task(name).train.parent
    found = Task(folder / "text.jsonl", folder / "text_held_out.jsonl")
    if not found.train.is_file():
        raise ConfigError(f"the built-in task {name!r} has no text; lingua has")
    return found


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"there is no built-in {what} {name!r}: did you mean {near[0]!r}? Built in: {', '.join(known)}"


@cache
def _verify(folder: Path) -> None:
    """Compare a folder with its manifest, once a process: the files are part of the installed package."""
    manifest = folder / "manifest.json"
    try:
        expected: dict[str, str] = json.loads(manifest.read_bytes())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{manifest} cannot be read ({error}): install adaptkit again") from error
    bad = [
        f"{name} ({_fault(folder / name, digest)})"
        for name, digest in expected.items()
        if _fault(folder / name, digest)
    ]
    if bad:
        raise ArtifactError(f"damaged files in {folder}: {', '.join(bad)}. Install adaptkit again")


def _fault(file: Path, digest: str) -> str:
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return error.strerror or "unreadable"
    return "" if found == digest else "not the file that was shipped"

"""What is asked of a host and what it grants: refused before anything is sent, compared after it answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adaptkit.errors import UnsupportedError

__all__ = ["differences", "refuse"]


def refuse(backend: str, problems: Sequence[str]) -> None:
    """Refuse a configuration with everything that is wrong with it.

    Args:
        backend: Name of the backend.
        problems: One sentence each: the field, why it cannot be had, and the nearest that can; none is fine.

    Raises:
        UnsupportedError: there is a problem; nothing was sent.
    """
    if problems:
        said = "\n".join(f"  {problem}" for problem in problems)
        raise UnsupportedError(f"{backend} cannot run this configuration; nothing was sent:\n{said}")


def differences(asked: Mapping[str, Any], told: Mapping[str, Any], host: str) -> tuple[str, ...]:
    """One sentence for each setting that a host says it will run otherwise than asked.

    Args:
        asked: Settings by name, those left to the host absent or ``None``.
        told: The host's words by the same names; what it does not repeat is absent or ``None``.
        host: Who says so.
    """
    return tuple(
        f"{name} = {wanted!r} was asked for, and {host} says that it runs {told[name]!r}"
        for name, wanted in asked.items()
        if wanted is not None and told.get(name) is not None and not _same(wanted, told[name])
    )


def _same(wanted: Any, said: Any) -> bool:
    """Whether two values are one: hosts write numbers as text, and round them to single precision."""
    if wanted in (said, "auto"):
        return True
    try:
        return math.isclose(float(wanted), float(said), rel_tol=1e-6)
    except (TypeError, ValueError):
        return str(wanted) == str(said)

"""What is asked of a host and what it grants: refused before anything is sent, compared after it answered, or gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from adaptkit.errors import BackendRetiredError, NotFoundError, UnsupportedError

__all__ = ["differences", "refuse", "retiring"]


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


@contextmanager
def retiring(host: str, backend: str) -> Iterator[None]:
    """Where a request that names nothing of the account is answered with 410, the service itself is gone.

    Args:
        host: Whose service it is.
        backend: Name of the backend.

    Raises:
        BackendRetiredError: it is; since today at the latest, as the answer names no day.
    """
    try:
        yield
    except NotFoundError as error:
        if error.status_code != 410:
            raise
        raise BackendRetiredError(
            f"{host} takes no new jobs here: {error.message}.",
            since=datetime.now(UTC).date().isoformat(),
            replacement="another backend (adaptkit translate)",
            backend=backend,
            status_code=410,
        ) from error


def _same(wanted: Any, said: Any) -> bool:
    """Whether two values are one: hosts write numbers as text, and round them to single precision."""
    if wanted in (said, "auto"):
        return True
    try:
        return math.isclose(float(wanted), float(said), rel_tol=1e-6)
    except (TypeError, ValueError):
        return str(wanted) == str(said)

"""What happened in a job and what was measured, which a host tells in two lists, as one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["interleaved"]

Told = tuple[float, Mapping[str, Any]]


def interleaved(
    happened: Sequence[Told], measured: Sequence[Told], after: str | None
) -> Iterator[tuple[str, bool, Told]]:
    """Items of both lists after an id, by time.

    An id says how many of both have been told by then (``000012-000340``), so that each list is gone on with by itself:
    what comes late into one of them is not missed.

    Args:
        happened: Events with their Unix times, oldest first; only ever added to.
        measured: Figures with theirs, likewise.
        after: The id after which to go on; ``None`` for the beginning.

    Yields:
        The id, whether it is a figure, and the item.
    """
    known, _, figures = (after or "0-0").partition("-")
    events_told, rows_told = int(known), int(figures)
    stream = [
        *((at, False, item) for at, item in happened[events_told:]),
        *((at, True, item) for at, item in measured[rows_told:]),
    ]
    for at, is_figure, item in sorted(stream, key=lambda entry: entry[0]):
        events_told, rows_told = (events_told, rows_told + 1) if is_figure else (events_told + 1, rows_told)
        yield f"{events_told:06}-{rows_told:06}", is_figure, (at, item)

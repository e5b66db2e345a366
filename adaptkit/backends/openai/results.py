"""Result files: what a job measured, a row a step, as CSV that some hosts wrap in base64."""

from __future__ import annotations

import base64
import binascii
import csv
import math
from collections.abc import Mapping

from adaptkit.backends.openai.answers import FIGURES
from adaptkit.errors import ServiceError

__all__ = ["figures_in"]


def figures_in(content: bytes) -> list[Mapping[str, float]]:
    """The rows of a result file under the names that figures have on every backend; empty cells are left out.

    Raises:
        ServiceError: this is no table with a step in each row.
    """
    try:
        lines = _plain(content).decode().splitlines()
        rows = [
            {str(FIGURES.get(name, name)): _number(cell) for name, cell in row.items()} for row in csv.DictReader(lines)
        ]
    except (ValueError, csv.Error, AttributeError):  # the last where a row is longer than the head
        rows = []
    told: list[Mapping[str, float]] = [
        {name: value for name, value in row.items() if value is not None} for row in rows
    ]
    if not told or not all("step" in row for row in told):
        raise ServiceError("a result file of the job is no table of steps", backend="openai")
    return told


def _plain(content: bytes) -> bytes:
    if b"," in content:  # which base64 does not have
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        return content


def _number(cell: str) -> float | None:
    value = float(cell) if cell.strip() else math.nan
    return value if math.isfinite(value) else None

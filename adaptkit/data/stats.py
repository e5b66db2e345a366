"""Figures about data, gathered row by row in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import msgspec

__all__ = ["FileFacts", "Lengths", "Sample", "SampleState", "Stats"]


class Lengths(msgspec.Struct, frozen=True):
    """How long something is, over all rows. The percentiles are exact up to 65,536 rows, then of every n-th row."""

    min: int = 0
    mean: float = 0.0
    p50: int = 0
    p95: int = 0
    max: int = 0


class FileFacts(msgspec.Struct, frozen=True):
    """A file as it was read: of a compressed one, ``bytes`` and ``sha256`` are those of what it holds."""

    file: str
    bytes: int
    sha256: str


class Stats(msgspec.Struct, frozen=True):
    """What is in the data.

    Attributes:
        rows: Rows that are not blank, bad ones included.
        kind: Kind of the records, ``None`` if no row could be read.
        format: Format of the rows.
        roles: Turns by role.
        turns: Turns a row.
        characters: Characters of text a row.
        tokens: Estimated tokens of all rows: a quarter of the UTF-8 bytes of the text, and 4 a turn for the chat
            template. Within a fifth or so for English under today's tokenizers; only a tokenizer can tell.
        duplicates: Rows that equal an earlier one in content, whatever their white space and order of keys.
        secrets: Strings that look like credentials, by kind.
        files: The files that were read.
    """

    rows: int = 0
    kind: str | None = None
    format: str | None = None
    roles: Mapping[str, int] = {}
    turns: Lengths = Lengths()
    characters: Lengths = Lengths()
    tokens: int = 0
    duplicates: int = 0
    secrets: Mapping[str, int] = {}
    files: tuple[FileFacts, ...] = ()


#: Count, total, minimum, maximum, every how many-th value is kept, and those values.
SampleState = tuple[int, int, int, int, int, bytes]


class Sample:
    """Numbers, of which minimum, mean and maximum are exact and percentiles come from evenly spaced ones."""

    _MOST = 1 << 16

    def __init__(self) -> None:
        self.count = self.total = self.lowest = self.highest = 0
        self._stride, self._skip = 1, 0
        self._values = array("Q")

    def extend(self, values: list[int]) -> None:
        """Add numbers."""
        if not values:
            return
        low, high = min(values), max(values)
        self.lowest = min(self.lowest, low) if self.count else low
        self.highest = max(self.highest, high)
        self.count += len(values)
        self.total += sum(values)
        self._values.fromlist(values[self._skip :: self._stride])  # in a third of the time of `array.extend`
        self._skip = (self._skip - len(values)) % self._stride
        while len(self._values) > self._MOST:
            self._skip += self._stride * (len(self._values) % 2)
            self._values = self._values[::2]
            self._stride *= 2

    def state(self) -> SampleState:
        """Everything, as plain values, for `merge` in another process."""
        return self.count, self.total, self.lowest, self.highest, self._stride, self._values.tobytes()

    def merge(self, state: SampleState) -> None:
        """Add what another sample holds."""
        count, total, lowest, highest, stride, data = state
        if not count:
            return
        values = array("Q")
        values.frombytes(data)
        while stride < self._stride:
            values, stride = values[::2], 2 * stride
        while self._stride < stride:
            self._values, self._stride = self._values[::2], 2 * self._stride
        self.lowest = min(self.lowest, lowest) if self.count else lowest
        self.highest = max(self.highest, highest)
        self.count, self.total = self.count + count, self.total + total
        self._values.extend(values)

    def lengths(self) -> Lengths:
        """The figures."""
        if not self.count:
            return Lengths()
        ordered = sorted(self._values)
        middle, most = (ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.95))
        return Lengths(self.lowest, self.total / self.count, middle, most, self.highest)

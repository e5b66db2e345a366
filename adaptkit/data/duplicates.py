"""Counting equal rows in bounded memory: 64-bit hashes, split into buckets until a bucket fits."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from itertools import compress
from typing import IO

__all__ = ["Distinct", "HashLog"]

_FIT = 1 << 18  # hashes of one bucket as a set: about 20 MB
_CHUNK = 1 << 16
_SPILL = 1 << 20  # hashes held before they go to a file: 8 MB
#: For each of four buckets, which values of a byte belong to it, by two of its bits.
_MASKS = [
    [bytes((byte >> shift) & 3 == bucket for byte in range(256)) for bucket in range(4)] for shift in (0, 2, 4, 6)
]


class Distinct:
    """How many of many hashes are different: a set while they are few, then a `HashLog`."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[int] = set()
        self._log: HashLog | None = None

    def extend(self, hashes: list[int]) -> None:
        """Add hashes."""
        self.total += len(hashes)
        if self._log is not None:
            self._log.extend(hashes)
            return
        self._seen.update(hashes)
        if len(self._seen) > _FIT:
            self._as_log()

    def merge(self, path: str, total: int) -> None:
        """Add ``total`` hashes, of which another process left the different ones in a file with `save`."""
        self.total += total
        self._as_log().merge(path)

    def save(self, path: str) -> None:
        """Leave the different hashes, and perhaps some more than once, in a file."""
        self._as_log().save(path)

    def count(self) -> int:
        """How many different hashes there are."""
        return len(self._seen) if self._log is None else self._log.distinct()

    def _as_log(self) -> HashLog:
        if self._log is None:
            self._log = HashLog()
            self._log.extend(list(self._seen))
            self._seen = set()
        return self._log


class HashLog:
    """A list of signed 64-bit hashes that can tell how many of them are different.

    Two different rows share a hash with a probability of n²/2⁶⁵: one in four hundred thousand at ten million rows.
    """

    def __init__(self) -> None:
        self._values = array("q")
        self._file: IO[bytes] | None = None
        self._stored = 0

    def __len__(self) -> int:
        return self._stored + len(self._values)

    def extend(self, hashes: list[int]) -> None:
        """Add hashes."""
        self._values.fromlist(hashes)  # in a third of the time that `array.extend` takes
        if len(self._values) >= _SPILL:
            self._spill()

    def merge(self, path: str) -> None:
        """Add the hashes that another process left in a file with `save`."""
        values = array("q")
        with open(path, "rb") as file:  # noqa: PTH123
            while data := file.read(8 * _CHUNK):
                values.frombytes(data)
                self.extend(values.tolist())
                del values[:]

    def save(self, path: str) -> None:
        """Leave the hashes in a file."""
        with open(path, "wb") as file:  # noqa: PTH123
            for chunk in self._chunks():
                chunk.tofile(file)

    def distinct(self) -> int:
        """How many different hashes there are."""
        return _distinct(self, 0)

    def repeated(self) -> Iterator[int]:
        """The hashes that are there more than once, each once, in any order."""
        return _repeated(self, 0)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the log
        self._file.seek(0, 2)
        self._values.tofile(self._file)
        self._stored += len(self._values)
        self._values = array("q")

    def _chunks(self) -> Iterator[array[int]]:
        for start in range(0, self._stored, _CHUNK):
            assert self._file is not None  # noqa: S101 - something was stored
            self._file.seek(8 * start)
            values = array("q")
            values.frombytes(self._file.read(8 * min(_CHUNK, self._stored - start)))
            yield values
        for start in range(0, len(self._values), _CHUNK):
            yield self._values[start : start + _CHUNK]


def _distinct(log: HashLog, level: int) -> int:
    if len(log) <= _FIT or level == 16:  # equal hashes can never be split any further
        seen: set[int] = set()
        for chunk in log._chunks():  # noqa: SLF001 - the same idea
            seen.update(chunk)
        return len(seen)
    buckets, total = _split(log, level), 0
    while buckets:
        total += _distinct(buckets.pop(), level + 1)
    return total


def _repeated(log: HashLog, level: int) -> Iterator[int]:
    if len(log) <= _FIT or level == 16:
        once: set[int] = set()
        again: set[int] = set()
        for chunk in log._chunks():  # noqa: SLF001
            for value in chunk:
                (again if value in once else once).add(value)
        yield from again
        return
    buckets = _split(log, level)
    while buckets:
        yield from _repeated(buckets.pop(), level + 1)


def _split(log: HashLog, level: int) -> list[HashLog]:
    """Four logs by two bits of each hash."""
    byte, masks = level // 4, _MASKS[level % 4]
    buckets = [HashLog() for _ in masks]
    for chunk in log._chunks():  # noqa: SLF001
        digits = bytes(memoryview(chunk).cast("B")[byte::8])
        for bucket, mask in zip(buckets, masks, strict=True):
            bucket.extend(list(compress(chunk, digits.translate(mask))))
    return buckets

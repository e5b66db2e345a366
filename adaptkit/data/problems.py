"""What can be wrong with a row, said without repeating the row.

Messages name rules, keys and positions; the user's text never stands in them.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, Literal, overload

import msgspec

__all__ = ["Finding", "Problem", "ProblemList", "Severity"]

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True):
    """What a rule has to say about one record.

    ``rule`` is a stable kebab-case id, ``path`` a JSON path such as ``$.messages[1].role``, ``fix`` what to do.
    """

    rule: str
    path: str
    message: str
    fix: str = ""
    severity: Severity = "error"


class Problem(msgspec.Struct, frozen=True):
    """A finding and where it is: ``line`` counts from 1 in ``file``; both are ``None`` where there is no such thing.

    For rows in memory and in Parquet ``line`` is the number of the row.
    """

    rule: str
    message: str
    line: int | None = None
    path: str = "$"
    file: str | None = None
    fix: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = f"{where} {self.path}" if where else self.path
        tail = f" {self.fix}" if self.fix else ""
        return f"{head}: {self.severity}: {self.message}{tail} [{self.rule}]"

    @classmethod
    def at(cls, finding: Finding, file: str | None, line: int | None) -> Problem:
        """A finding, placed."""
        return cls(
            rule=finding.rule,
            message=finding.message,
            line=line,
            path=finding.path,
            file=file,
            fix=finding.fix,
            severity=finding.severity,
        )


class ProblemList(Sequence[Problem]):
    """Every problem, in bounded memory: what exceeds ``in_memory`` lies in an unnamed temporary file."""

    _STRIDE = 256

    def __init__(self, in_memory: int = 20_000) -> None:
        self._head: list[Problem] = []
        self._limit = in_memory
        self._file: IO[bytes] | None = None
        self._marks = array("Q")  # where every 256th problem of the file starts
        self._spilled = 0
        self.errors = 0

    def append(self, problem: Problem) -> None:
        """Add one problem at the end."""
        self.errors += problem.severity == "error"
        if len(self._head) < self._limit:
            self._head.append(problem)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the list
        if self._spilled % self._STRIDE == 0:
            self._marks.append(self._file.seek(0, 2))
        self._file.write(msgspec.json.encode(problem) + b"\n")
        self._spilled += 1

    def __len__(self) -> int:
        return len(self._head) + self._spilled

    def __iter__(self) -> Iterator[Problem]:
        yield from self._head
        for mark in range(len(self._marks)):
            yield from self._page(mark)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        if position < len(self._head):
            return self._head[position]
        page, offset = divmod(position - len(self._head), self._STRIDE)
        return self._page(page)[offset]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} problems, {self.errors} of them errors>"

    def _page(self, mark: int) -> list[Problem]:
        assert self._file is not None  # noqa: S101 - marks exist only with a file
        self._file.flush()
        self._file.seek(self._marks[mark])
        count = min(self._STRIDE, self._spilled - mark * self._STRIDE)
        page = [msgspec.json.decode(self._file.readline(), type=Problem) for _ in range(count)]
        self._file.seek(0, 2)
        return page

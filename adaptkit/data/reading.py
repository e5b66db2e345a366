"""Where rows come from: files of JSON lines, plain or compressed, Parquet, or memory. Lazy, and never all at once."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from adaptkit.data.parsing import MAX_LINE
from adaptkit.data.records import Record
from adaptkit.errors import DataError, MissingDependencyError

__all__ = ["JsonLines", "Memory", "Parquet", "RawRow", "Source", "find_sources", "lines_of"]

#: A row as its source gives it: a line of bytes, a decoded row, or ``None`` for a line too long to look at.
RawRow = bytes | Mapping[str, Any] | Record | None

_BLOCK = 128 * 1024  # stays in a core's second-level cache together with what it decodes to
_MOST = 2 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_READ_ERRORS = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class JsonLines:
    """One file of JSON lines, or a range of its bytes that begins at the start of a line."""

    path: Path
    start: int = 0
    end: int | None = None

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    @property
    def compressed(self) -> bool:
        """Whether the file is gzip, by its name."""
        return self.path.suffix == ".gz"

    def state(self) -> tuple[int, int]:
        """What changes when the file does."""
        found = _stat(self.path)
        return found.st_size, found.st_mtime_ns

    def blocks(self) -> Iterator[bytes | None]:
        """Blocks of whole lines; ``None`` stands for one line longer than ``MAX_LINE``.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with _open(self.path, compressed=self.compressed) as file:
                file.seek(self.start)
                yield from _blocks(file, self.end)
        except _READ_ERRORS as error:
            raise _unreadable(self.path, error) from error

    def pieces(self) -> Iterator[bytes]:
        """All bytes of the file, in pieces of any size.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            with _open(self.path, compressed=self.compressed) as file:
                while piece := file.read(_BLOCK):
                    yield piece
        except _READ_ERRORS as error:
            raise _unreadable(self.path, error) from error

    def rows(self) -> Iterator[tuple[int, RawRow]]:
        """Lines that are not blank, each with its number."""
        line = 0
        for block in self.blocks():
            if block is None:
                line += 1
                yield line, None
                continue
            for row in lines_of(block):
                line += 1
                if row and not row.isspace():
                    yield line, row


@dataclass(frozen=True)
class Parquet:
    """One Parquet file, read in batches by pyarrow."""

    path: Path

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    def state(self) -> tuple[int, int]:
        """What changes when the file does."""
        found = _stat(self.path)
        return found.st_size, found.st_mtime_ns

    def rows(self) -> Iterator[tuple[int, RawRow]]:
        """Rows in order, counted from 1.

        Raises:
            DataError: the file cannot be read.
            MissingDependencyError: pyarrow is not installed.
        """
        try:
            from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingDependencyError(f"reading {self.path.name}", "pyarrow", "parquet") from error
        line = 0
        try:
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist():
                        line += 1
                        yield line, row
        except (OSError, ArrowException) as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True)
class Memory:
    """Rows that the caller holds: mappings, records, or a Hugging Face dataset."""

    items: Sequence[Mapping[str, Any] | Record]
    name: ClassVar[None] = None

    def state(self) -> tuple[int, int]:
        """What changes when rows are added."""
        return len(self.items), 0

    def rows(self) -> Iterator[tuple[int, RawRow]]:
        """Rows in order, counted from 1."""
        return enumerate(cast("Iterable[RawRow]", self.items), 1)


Source = JsonLines | Parquet | Memory


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block, blank ones too, none after the last newline."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def find_sources(paths: Iterable[str | os.PathLike[str]]) -> tuple[Source, ...]:
    """The files that paths and globs name, globs in sorted order.

    Raises:
        DataError: a path is missing, a folder, of an unknown kind, or a glob matches nothing.
    """
    found: list[Source] = []
    for path in paths:
        text = os.fspath(path)
        if glob.has_magic(text) and not Path(text).exists():
            matches = sorted(match for match in glob.glob(text, recursive=True) if Path(match).is_file())  # noqa: PTH207
            if not matches:
                raise DataError(f"no file matches {text!r} (looked from {Path.cwd()}).")
            found += [_source(Path(match)) for match in matches]
        else:
            found.append(_source(Path(text)))
    if not found:
        raise DataError("no file was named: Dataset.open('examples.jsonl').")
    return tuple(found)


def _source(path: Path) -> Source:
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name its files, for example {str(path / '*.jsonl')!r}.")
    _stat(path)
    if path.suffix == ".parquet":
        return Parquet(path)
    if path.suffix in (".csv", ".tsv", ".xlsx", ".arrow", ".zip", ".zst", ".bz2", ".xz"):
        raise DataError(f"{path}: {path.suffix} files are not read. Use .jsonl, .jsonl.gz or .parquet.")
    return JsonLines(path)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path} (looked from {Path.cwd()}).")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read by this user. Change its permissions.")
    return DataError(f"{path} cannot be read: {type(error).__name__}. Is it complete, and what its name says?")


def _open(path: Path, *, compressed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if compressed else path.open("rb", buffering=0)


def _blocks(file: IO[bytes], end: int | None) -> Iterator[bytes | None]:
    rest, skipping, first = b"", False, file.tell() == 0
    while True:
        want = min(max(_BLOCK, len(rest)), _MOST)  # long lines are read in larger steps
        data = file.read(want if end is None else min(want, end - file.tell()))
        if not data:
            break
        if first:
            data, first = data.removeprefix(_BOM), False
        begin = data.find(b"\n") + 1
        if skipping or len(rest) + (begin or len(data)) > MAX_LINE:
            rest, skipping = b"", begin == 0
            if skipping:
                continue
            yield None
            data = data[begin:]
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(data)[:cut]))  # copied once, not twice
            rest = data[cut:]
        else:
            rest += data
    if skipping:
        yield None
    elif rest:
        yield rest

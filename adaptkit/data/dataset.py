"""`Dataset`: the user's examples, read lazily, checked, split, fingerprinted, written in any format."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from adaptkit.data import fast
from adaptkit.data.duplicates import HashLog
from adaptkit.data.formats import Format, format_named, unwritable
from adaptkit.data.problems import Problem, ProblemList
from adaptkit.data.reading import JsonLines, Memory, Source, find_sources
from adaptkit.data.records import Record, canonical
from adaptkit.data.rows import RowReader, missing_rows
from adaptkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from adaptkit.data.check import DataRules, Report

__all__ = ["Dataset", "Written"]


class Written(msgspec.Struct, frozen=True):
    """What `Dataset.write` wrote: rows, bytes, and the hash of the bytes in hexadecimal."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Part:
    """One side of a split: rows whose hash, as a fraction of 1, lies below ``share`` are held out."""

    salt: bytes
    share: float
    held_out: bool

    def keeper(self) -> Callable[[bytes], bool]:
        """Says of each row of one pass whether it is on this side."""
        return self._holds

    def _holds(self, content: bytes) -> bool:
        digest = hashlib.sha256(self.salt + content).digest()
        return (int.from_bytes(digest[:8], "big") < self.share * 2**64) == self.held_out


@dataclass(frozen=True)
class _Once:
    """Rows without their repeats; remembered are only those that another pass found more than once."""

    rows: Dataset

    def keeper(self) -> Callable[[bytes], bool]:
        """Says of each row of one pass whether it is the first of its like."""
        repeated: frozenset[int] = self.rows._fact("repeated", self.rows._repeated)  # noqa: SLF001 - the same idea
        seen: set[bytes] = set()

        def is_first(content: bytes) -> bool:
            digest = hashlib.sha256(content).digest()
            if _short(digest) not in repeated:
                return True
            if digest in seen:
                return False
            seen.add(digest)
            return True

        return is_first


class Dataset:
    """Examples of one kind from files or memory. Make one with `open` or `of`; nothing is read before it is needed."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        format: str | None = None,  # noqa: A002 - the word
        parts: tuple[_Part | _Once, ...] = (),
    ) -> None:
        if format is not None:
            format_named(format)
        self._sources, self._format, self._parts = sources, format, parts
        self._facts: dict[str, tuple[object, Any]] = {}

    @classmethod
    def open(cls, *paths: str | os.PathLike[str], format: str | None = None) -> Dataset:  # noqa: A002 - the word
        """Data in files: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``, by path or glob.

        Args:
            paths: Files in order; the matches of a glob are sorted.
            format: Name of the format; recognised at the first row if left out.

        Raises:
            DataError: a file is missing, a folder or unreadable, or a glob matches nothing.
            ConfigError: there is no such format.
        """
        return cls(find_sources(paths), format)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any] | Record], format: str | None = None) -> Dataset:  # noqa: A002
        """Data in memory: mappings in any format that files may have, records, or a Hugging Face dataset.

        Raises:
            ConfigError: there is no such format, or ``rows`` is one row.
        """
        if isinstance(rows, str | bytes | Mapping | os.PathLike):
            raise ConfigError("Dataset.of takes a list of rows; Dataset.open takes file names.")
        held = (
            rows
            if isinstance(rows, Sequence) or (hasattr(rows, "__len__") and hasattr(rows, "__getitem__"))
            else list(rows)
        )
        return cls((Memory(held),), format)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Record]:
        """Every record in order.

        Raises:
            DataError: a row cannot be read; carries what is wrong with it. `check` finds all such rows at once.
        """
        for _, _, record in self._placed():
            yield record

    def __len__(self) -> int:
        return int(self._fact("len", lambda: sum(1 for _ in self)))

    def __repr__(self) -> str:
        names = ", ".join(source.name or "memory" for source in self._sources[:3])
        more = f" and {len(self._sources) - 3} more" if len(self._sources) > 3 else ""
        part = ", a part" if self._parts else ""
        return f"<Dataset {names}{more}{part}>"

    @property
    def kind(self) -> str:
        """``chat``, ``preference``, ``completion`` or ``text``: what the first row is.

        Raises:
            DataError: there is no row, or the first cannot be read.
        """
        return str(self._first()[0])

    @property
    def format(self) -> str:
        """Name of the format of the first row; ``records`` for canonical records."""
        return str(self._first()[1])

    @property
    def fingerprint(self) -> str:
        """``sha256:…`` over the canonical records as a sequence.

        The same in every format and independent of white space and the order of keys. The order of rows counts: with
        one seed, another order is another training run.

        Raises:
            DataError: a row cannot be read.
        """
        return str(self._fact("fingerprint", self._hash))

    def split(self, held_out: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two parts, the second with about the share ``held_out`` of the rows.

        A hash of seed and content decides for each row by itself. So a row stays on its side when others are added or
        moved, equal rows are on one side, and nothing is read until a part is used.

        Raises:
            ConfigError: ``held_out`` is not between 0 and 1.
        """
        if not 0 < held_out < 1:
            raise ConfigError(f"held_out is a share between 0 and 1, got {held_out}.")
        before = sum(isinstance(part, _Part) for part in self._parts)
        salt = f"{seed}/{before}/".encode()  # a split of a split must not repeat the first decision
        train, test = (
            Dataset(self._sources, self._format, (*self._parts, _Part(salt, held_out, side))) for side in (False, True)
        )
        return train, test

    def distinct(self) -> Dataset:
        """The same rows in the same order, without those that repeat an earlier one exactly, all their keys included.

        Nothing is read until it is used. A pass then remembers 32 bytes of each row that comes more than once.
        """
        return Dataset(self._sources, self._format, (*self._parts, _Once(self)))

    def check(self, backend: str | None = None, *, rules: DataRules | None = None) -> Report:
        """Look at every row, in bounded memory and with no network.

        Args:
            backend: Name of a backend whose rules to apply.
            rules: Rules to apply instead.

        Returns:
            Every problem, and statistics. Bad rows are problems here, never exceptions.

        Raises:
            DataError: a file cannot be read at all.
            UnknownBackendError: there is no such backend.
        """
        from adaptkit.data.check import DataRules, check  # noqa: PLC0415 - it imports this module's neighbours

        if rules is None and backend is not None:
            from adaptkit.registry import adapter_type  # noqa: PLC0415 - backends import the data layer

            rules = adapter_type(backend).data_rules(None)
        keep = self._keeper() if self._parts else None
        return check(self._sources, self._format, rules or DataRules(), keep)

    def write(self, target: str | os.PathLike[str] | IO[bytes], format: str = "openai") -> Written:  # noqa: A002
        """Write the rows as JSON lines in a format.

        Args:
            target: A path, which appears complete or not at all, or an open binary file.
            format: Name of the format.

        Raises:
            DataError: rows cannot be read, or have no lossless form in the format: all are listed and nothing is
                written. Or the disk is full or the folder not writable.
            ConfigError: there is no such format.
        """
        form = format_named(format)
        self._require_writable(form)
        if not isinstance(target, str | os.PathLike):
            return self._write(target, form)
        path = Path(target)
        try:
            return self._write_whole(path, form)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}. Nothing was left behind.") from error

    def _write_whole(self, path: Path, form: Format) -> Written:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                written = self._write(file, form)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return written

    def _write(self, file: IO[bytes], form: Format) -> Written:
        encode, digest = msgspec.json.Encoder().encode, hashlib.sha256()
        rows = size = 0
        for record in self:
            line = encode(form.write(record)) + b"\n"
            file.write(line)
            digest.update(line)
            rows, size = rows + 1, size + len(line)
        return Written(rows, size, digest.hexdigest())

    def _require_writable(self, form: Format) -> None:
        problems = ProblemList()
        for name, line, record in self._placed():
            for finding in unwritable(record, form):
                problems.append(Problem.at(finding, name, line))
        if problems:
            raise DataError(f"the data cannot be written as {form.name} without loss; nothing was written.", problems)

    def _placed(self) -> Iterator[tuple[str | None, int, Record]]:
        reader, keeps = RowReader(self._format), self._keeper()
        for source in self._sources:
            rows = (
                fast.records(source, reader)
                if isinstance(source, JsonLines)
                else ((line, *reader.read(row)) for line, row in source.rows())
            )
            for line, record, findings in rows:
                if record is None:
                    problems = [Problem.at(finding, source.name, line) for finding in findings]
                    raise DataError("a row cannot be read; check() lists all such rows:", problems)
                if not self._parts or keeps(record):
                    yield source.name, line, record

    def _keeper(self) -> Callable[[Record], bool]:
        """Says of each row, in order, whether it belongs to the data: for one pass."""
        keepers = [part.keeper() for part in self._parts]

        def keeps(record: Record) -> bool:
            content = canonical(record)
            return all(keep(content) for keep in keepers)

        return keeps

    def _repeated(self) -> frozenset[int]:
        """Short hashes of the rows that come more than once, and perhaps, by chance, of another."""
        log = HashLog()
        for record in self:
            log.extend([_short(hashlib.sha256(canonical(record)).digest())])
        return frozenset(log.repeated())

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for record in self:
            digest.update(canonical(record))
            digest.update(b"\n")
        return f"sha256:{digest.hexdigest()}"

    def _first(self) -> tuple[str, str]:
        def look() -> tuple[str, str]:
            reader = RowReader(self._format)
            for source in self._sources:
                for line, row in source.rows():
                    record, findings = reader.read(row)
                    if record is None:
                        raise DataError(
                            "the first row cannot be read:",
                            [Problem.at(finding, source.name, line) for finding in findings],
                        )
                    return record.kind, self._format or (reader.shape.format if reader.shape else "records")
            raise DataError(missing_rows(source.name for source in self._sources))

        kind, form = self._fact("first", look)
        return kind, form

    def _fact(self, name: str, find: Any) -> Any:
        """A fact about the data, found once and again only when the files have changed."""
        state = tuple(source.state() for source in self._sources)
        if name not in self._facts or self._facts[name][0] != state:
            self._facts[name] = (state, find())
        return self._facts[name][1]


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)

"""A second process for large files: each checks a range of bytes, and what they found is put together in order.

The processes are fresh interpreters with one hash seed, so that equal rows have equal hashes in all of them; what
they found comes back through files in a private folder.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from adaptkit.data.formats import SHAPES
from adaptkit.data.problems import Problem
from adaptkit.data.reading import JsonLines, Source
from adaptkit.data.rows import RowReader
from adaptkit.data.stats import FileFacts
from adaptkit.data.tally import Tally, TallyState, hash_in_every_process

if TYPE_CHECKING:
    from adaptkit.data.check import DataRules

__all__ = ["check_ranges", "worth_it"]

_LARGE = 64_000_000  # bytes, below which starting interpreters costs more than it saves
_PROCESSES = 2
_CHUNK = 1 << 16


class _Range(msgspec.Struct):
    """Bytes of one file, from the start of a line."""

    path: str
    start: int
    end: int


class _Job(msgspec.Struct):
    ranges: list[_Range]
    shape: str
    kinds: list[str]
    format: str
    needs_answer: bool
    folder: str


class _Part(msgspec.Struct):
    """What is known of one range: its problems lie in a file, numbered from the start of the range."""

    lines: int
    problems: int


class _Answer(msgspec.Struct):
    parts: list[_Part]
    state: TallyState


def worth_it(sources: tuple[Source, ...], rules: DataRules) -> bool:
    """Whether more than one process helps, and can do the same."""
    plain = all(isinstance(source, JsonLines) and not source.compressed for source in sources)
    return (
        plain
        and not (rules.record_rules or rules.rich_rules)
        and _cores() >= _PROCESSES
        and bool(sys.executable)
        and sum(source.state()[0] for source in sources) >= _LARGE
    )


def check_ranges(sources: tuple[JsonLines, ...], rules: DataRules, reader: RowReader, tally: Tally) -> list[FileFacts]:
    """Check files with several processes.

    Args:
        sources: Plain files.
        rules: What to hold rows to; without rules in Python.
        reader: Knows the shape of the rows already.
        tally: Takes in what was found.

    Raises:
        OSError, subprocess.SubprocessError: a process could not be started or died; the tally is as it was.
        DataError: a file cannot be read.
    """
    assert reader.shape is not None  # noqa: S101 - said above
    shares = _shares(sources)
    with tempfile.TemporaryDirectory(prefix="adaptkit-check-") as folder:
        running: list[subprocess.Popen[bytes]] = []
        try:
            for number, share in enumerate(shares):
                own = Path(folder, str(number))
                own.mkdir()
                job = _Job(share, reader.shape.name, sorted(rules.kinds), rules.format, rules.needs_answer, str(own))
                Path(own, "job").write_bytes(msgspec.msgpack.encode(job))
                running.append(_start(own))
            facts = [_facts(source) for source in sources]  # while they run
            for process in running:
                if process.wait():
                    raise subprocess.CalledProcessError(process.returncode, "a check of a part of the data")
        finally:
            for process in running:
                process.kill()
                process.wait()
        _collect([Path(folder, str(number)) for number in range(len(shares))], shares, tally)
    return facts


def _shares(sources: tuple[JsonLines, ...]) -> list[list[_Range]]:
    """The bytes of all files, cut at line ends into as many parts as there are processes."""
    total = sum(source.state()[0] for source in sources)
    shares: list[list[_Range]] = [[]]
    done = 0
    for source in sources:
        start, size = 0, source.state()[0]
        while start < size:
            goal = total * len(shares) // _PROCESSES - done
            end = size if len(shares) == _PROCESSES or goal >= size else _line_end(source.path, max(goal, start), size)
            shares[-1].append(_Range(source.name, start, end))
            start = end
            if start < size:
                shares.append([])
        done += size
    return shares


def _line_end(path: Path, near: int, size: int) -> int:
    with path.open("rb") as file:
        file.seek(near)
        while piece := file.readline(_CHUNK):
            if piece.endswith(b"\n"):
                break
        return min(file.tell(), size)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": search}
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import main; main()", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
    )


def _facts(source: JsonLines) -> FileFacts:
    digest = hashlib.sha256()
    size = 0
    for block in source.pieces():
        digest.update(block)
        size += len(block)
    return FileFacts(source.name, size, digest.hexdigest())


def _collect(folders: list[Path], shares: list[list[_Range]], tally: Tally) -> None:
    lines: dict[str, int] = {}
    for folder, share in zip(folders, shares, strict=True):
        answer = msgspec.msgpack.decode(Path(folder, "answer").read_bytes(), type=_Answer)
        with Path(folder, "problems").open("rb") as stored:
            for span, part in zip(share, answer.parts, strict=True):
                before = lines.get(span.path, 0)
                for _ in range(part.problems):
                    problem = msgspec.json.decode(stored.readline(), type=Problem)
                    tally.problems.append(msgspec.structs.replace(problem, line=(problem.line or 0) + before))
                lines[span.path] = before + part.lines
        tally.merge(answer.state, Path(folder, "hashes"))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main() -> None:
    """The other process: reads its job from the folder named on the command line, and leaves its answer there."""
    from adaptkit.data.check import DataRules  # noqa: PLC0415 - it imports this module

    folder = Path(sys.argv[1])
    job = msgspec.msgpack.decode(Path(folder, "job").read_bytes(), type=_Job)
    rules = DataRules(kinds=frozenset(job.kinds), format=job.format, needs_answer=job.needs_answer)
    tally = Tally(rules, RowReader(shape=SHAPES[job.shape]), plain_hash=hash_in_every_process)
    parts = []
    for span in job.ranges:
        before = len(tally.problems)
        tally.file(JsonLines(Path(span.path), span.start, span.end))
        parts.append(_Part(tally.lines, len(tally.problems) - before))
    with Path(folder, "problems").open("wb") as file:
        for problem in tally.problems:
            file.write(msgspec.json.encode(problem) + b"\n")
    state = tally.leave(Path(folder, "hashes"))
    Path(folder, "answer").write_bytes(msgspec.msgpack.encode(_Answer(parts, state)))

"""Documents: where they come from, and what can be wrong with them.

One document is in memory at a time, and none may be longer than `MAX_DOCUMENT`; so a folder of any size takes the same
memory.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.data.problems import Problem
from adaptkit.data.reading import JsonLines, RawRow
from adaptkit.errors import DataError
from adaptkit.types import Document

__all__ = ["MAX_DOCUMENT", "read_documents"]

#: Bytes of one document.
MAX_DOCUMENT = 32 << 20

_TEXTS = (".txt", ".md", ".markdown")
_ROWS = (".jsonl", ".jsonl.gz")
_MOST_PROBLEMS = 1000


class _Row(msgspec.Struct, frozen=True):
    """A row of a file of documents; other keys are left alone."""

    text: str
    id: str | int | None = None
    title: str | None = None


def read_documents(*paths: str | os.PathLike[str]) -> Iterator[Document]:
    """Documents in files, in a fixed order.

    Args:
        paths: Files (``.txt``, ``.md``; ``.jsonl`` of ``{"id", "title", "text"}``, also gzipped), folders, which are
            searched for such files, and globs. Hidden files and folders are passed over; what is named twice is read
            once.

    Yields:
        Documents. Their source is the path as it was given, or the row's own ``id``; an index refuses two of one.

    Raises:
        DataError: a path does not exist or names nothing that can be read; or, once all good documents were given,
            those that were not: no UTF-8, rows that are no documents, each with file and line.
    """
    problems: list[Problem] = []
    for path in _files(paths):
        read = _rows(path, problems) if path.name.endswith(_ROWS) else _whole(path, problems)
        yield from read
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise DataError("some documents cannot be read; fix or remove them:", problems)


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The files that are meant, each once. A missing one is said before anything is read."""
    found: dict[Path, Path] = {}
    for given in paths:
        text = os.fspath(given)
        path = Path(text)
        if path.is_dir():
            below = (file for file in path.rglob("*") if not _hidden(file.relative_to(path)))
            here = sorted(file for file in below if _readable(file))
            what = f"{path} holds no {', '.join(_TEXTS + _ROWS)}"
        elif glob.has_magic(text) and not path.exists():
            # a wildcard passes over hidden names by itself, and one that the pattern spells out is meant
            here = sorted(file for file in map(Path, glob.glob(text, recursive=True)) if _readable(file))  # noqa: PTH207
            what = f"no document matches {text!r} (looked from {Path.cwd()})"
        elif path.is_file():
            if not path.name.lower().endswith(_TEXTS + _ROWS):
                raise DataError(f"{path} is no document: {', '.join(_TEXTS + _ROWS)} are read. Convert it to one.")
            here, what = [path], ""
        else:
            raise DataError(f"there is no file or folder {path} (looked from {Path.cwd()}).")
        if not here:
            raise DataError(f"{what}. Name a folder or files that do.")
        for file in here:
            found.setdefault(file.resolve(), file)
    if not found:
        raise DataError("no document was named: read_documents('handbook/').")
    yield from found.values()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _readable(path: Path) -> bool:
    return path.name.lower().endswith(_TEXTS + _ROWS) and path.is_file()


def _whole(path: Path, problems: list[Problem]) -> Iterator[Document]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        problems.append(
            _problem("unreadable", f"the file cannot be read: {why}", path, None, "Look at its permissions.")
        )
        return
    if len(content) > MAX_DOCUMENT:
        problems.append(
            _problem("too-long", f"the document is longer than {MAX_DOCUMENT >> 20} MiB", path, None, "Split it.")
        )
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(_no_utf8(path, content, error.start))
        return
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        problems.append(_problem("not-text", "there is a NUL character: is this a text?", path, line, "Convert it."))
        return
    yield Document(source=path.as_posix(), text=text, title=_title(text, path))


def _no_utf8(path: Path, content: bytes, at: int) -> Problem:
    line = content.count(b"\n", 0, at) + 1
    column = at - (content.rfind(b"\n", 0, at) + 1) + 1
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    what = "this is UTF-16, not UTF-8" if wide else f"byte {column} of the line (0x{content[at]:02x}) is not UTF-8"
    return _problem("not-utf8", what, path, line, "Convert the file: iconv -f <its encoding> -t utf-8.")


def _title(text: str, path: Path) -> str:
    """A Markdown file's first heading says what it is; else its name does, as words."""
    first = text.lstrip().split("\n", 1)[0]
    return "" if first.startswith("# ") else path.stem.replace("_", " ").replace("-", " ")


def _rows(path: Path, problems: list[Problem]) -> Iterator[Document]:
    try:
        for line, raw in JsonLines(path).rows():
            read = _row(path, line, raw)
            if isinstance(read, Problem):
                problems.append(read)
                if len(problems) >= _MOST_PROBLEMS:
                    return
            else:
                yield read
    except DataError as error:
        problems.append(_problem("unreadable", str(error), path, None, ""))


def _row(path: Path, line: int, raw: RawRow) -> Document | Problem:
    if not isinstance(raw, bytes):
        return _problem("line-too-long", "the line is too long for one document", path, line, "Split it.")
    try:
        raw.decode()
        row: Any = msgspec.json.decode(raw, type=_Row)
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8"
        return _problem("not-utf8", what, path, line, "Convert the file: iconv -f <its encoding> -t utf-8.")
    except (msgspec.MsgspecError, RecursionError) as error:
        # what msgspec says names keys and types, never values
        return _problem("not-a-document", str(error), path, line, 'A row is {"id": …, "title": …, "text": …}.')
    if "\0" in row.text:
        return _problem("not-text", "the text holds a NUL character", path, line, "Remove it.")
    name = f"{path.as_posix()}:{line}" if row.id is None else str(row.id)
    return Document(source=name, text=row.text, title=row.title or "")


def _problem(rule: str, message: str, path: Path, line: int | None, fix: str) -> Problem:
    return Problem(rule=rule, message=f"{message}.", line=line, file=str(path), fix=fix)

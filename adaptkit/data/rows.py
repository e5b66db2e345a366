"""Raw rows to records: recognises the format at the first row and holds every later row to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from adaptkit.data import typed
from adaptkit.data.formats import SHAPES, Format, Shape, format_named, shape_of
from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import MAX_LINE, RowFault, check_depth, parse_object, shorten
from adaptkit.data.problems import Finding
from adaptkit.data.reading import RawRow
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record, TextRecord

__all__ = ["RowReader"]

_RECORDS = (ChatRecord, PreferenceRecord, CompletionRecord, TextRecord)


class RowReader:
    """Reads rows of one data set.

    Args:
        format: Name of the format, or ``None`` to go by the first row that can be recognised.
        shape: The shape if it is known already.

    Raises:
        ConfigError: there is no such format.
    """

    def __init__(self, format: str | None = None, shape: Shape | None = None) -> None:  # noqa: A002 - the word
        self._format: Format | None = None if format is None else format_named(format)
        self.shape = shape
        self.kind: str | None = shape.kind if shape else None

    def read(self, row: RawRow) -> tuple[Record | None, list[Finding]]:
        """One row.

        Returns:
            The record, or ``None`` and what is wrong. Never raises for anything that a row may contain.
        """
        try:
            return self._read(row)
        except RowFault as fault:
            return None, [fault.finding]
        except RecursionError:
            return None, [Finding("too-deep", "$", "the row is nested too deep.", "Put the inner part into a string.")]

    def accepts(self, shape: Shape) -> bool:
        """Whether rows of this shape may come next."""
        if self.shape is not None:
            return self.shape is shape
        return self.kind in (None, shape.kind) and (self._format is None or shape.name in self._format.shapes)

    def settle(self, shape: Shape) -> None:
        """Hold all later rows to this shape."""
        self.shape, self.kind = shape, shape.kind

    def _read(self, row: RawRow) -> tuple[Record | None, list[Finding]]:
        if row is None:
            raise RowFault("line-too-long", f"the line is longer than {MAX_LINE >> 20} MiB.", "Split the row.")
        if isinstance(row, _RECORDS):
            _check_values(row)
            return self._held_to_kind(row), []
        if isinstance(row, bytes):
            if self.shape is not None and (good := typed.read(row, self.shape.name)) is not None:
                return good, []
            value = parse_object(row)
        elif isinstance(row, Mapping):
            value = dict(row)
            _check_values(value)
        else:
            raise RowFault(
                "not-an-object",
                f"the row is a Python {type(row).__name__}, not a mapping.",
                "Give mappings or records.",
            )
        shape = self._recognise(value)
        findings: list[Finding] = []
        record = shape.read(Node(value, findings))
        return (None, findings) if findings else (record, [])

    def _recognise(self, row: Mapping[str, Any]) -> Shape:
        shape = shape_of(row, self._format.shapes if self._format else None)
        if shape is None:
            raise _unknown(row, self._format)
        if self.shape is None and self.accepts(shape):
            self.settle(shape)
        if shape is not self.shape:
            was = self.shape.name if self.shape else f"{self.kind} records"
            raise RowFault(
                "mixed-formats",
                f"this row looks like {shape.name}, the rows before like {was}.",
                "Keep one format in a data set.",
            )
        return shape

    def _held_to_kind(self, record: Record) -> Record:
        if self.kind is None:
            self.kind = record.kind
        if record.kind != self.kind:
            raise RowFault(
                "mixed-formats",
                f"this is a {record.kind} record, those before are {self.kind} records.",
                "Keep one kind in a data set.",
            )
        return record


def _unknown(row: Mapping[str, Any], form: Format | None) -> RowFault:
    from adaptkit.registry import nearest  # noqa: PLC0415 - the registry imports the data layer

    shapes = [SHAPES[name] for name in form.shapes] if form else list(SHAPES.values())
    known = sorted({key for shape in shapes for key in shape.keys})
    keys = [str(key) for key in row if row[key] is not None]
    hints = {key: nearest(key, known) for key in keys if key not in known}
    hint = next((f" ({shorten(key)}:{words})" for key, words in hints.items() if words), "")
    wanted = " | ".join(" + ".join(sorted(shape.keys)) for shape in shapes)
    found = ", ".join(shorten(key) for key in keys[:6]) or "none"
    return RowFault("unknown-format", f"no known format has the keys {found}{hint}.", f"Rows hold {wanted}.")


def _check_values(row: object) -> None:
    """Hold what comes from Python to what JSON can say."""
    if isinstance(row, msgspec.Struct):
        row = msgspec.to_builtins(row)
    check_depth(row)
    _walk(row, "$")


def _walk(value: object, path: str) -> None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise RowFault("lone-surrogate", "the text holds one half of a surrogate pair.", "", path) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RowFault("not-json", f"a key is a Python {type(key).__name__}.", "Keys are strings.", path)
            _walk(key, path)
            _walk(item, f"{path}.{key}" if key.isidentifier() and len(key) < 40 else f"{path}[…]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _walk(item, f"{path}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise RowFault("not-a-number", f"{value} is not JSON.", "Use null, a number or a string.", path)
    elif value is not None and not isinstance(value, int):
        raise RowFault(
            "not-json",
            f"a Python {type(value).__name__} has no form in JSON.",
            "Convert it first; images are data: URLs.",
            path,
        )


def missing_rows(names: Iterable[str | None]) -> str:
    """What to say of data without a row."""
    places = ", ".join(name for name in names if name) or "the data"
    return f"{places} holds no row. Write one JSON object a line."

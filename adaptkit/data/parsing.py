r"""One line of bytes to one JSON object, with a verdict on everything odd that real files contain.

| found | verdict |
|---|---|
| byte-order mark at the start of a file | accepted and skipped |
| byte-order mark on a later line | error ``byte-order-mark``: files were joined |
| UTF-16 or UTF-32 text | error ``bad-utf8`` |
| CRLF, blanks around a row, no newline at the end | accepted |
| empty line | warning ``blank-line``; not counted as a row |
| bytes that are not UTF-8, encoded surrogates among them | error ``bad-utf8`` |
| NUL byte, other raw control characters | error ``control-character`` |
| ``\u0000`` as an escape | accepted: it is JSON |
| lone surrogate as an escape | error ``lone-surrogate`` |
| NaN, Infinity, numbers too large for a float | error ``not-a-number`` |
| the same key twice in one object | error ``duplicate-key`` |
| more than 100 levels | error ``too-deep`` |
| a line of more than 16 MiB | error ``line-too-long``; 10 MB lines are fine |
| not JSON, two values on a line, a value over several lines | error ``not-json`` |
| JSON but not an object | error ``not-an-object`` |
| tool arguments as a string of JSON, or as an object | both accepted, an object from then on |
| tool arguments that are neither | error ``tool-arguments`` |
| a key whose value is null | the same as no key |
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import msgspec

from adaptkit.data.problems import Finding

__all__ = ["MAX_DEPTH", "MAX_LINE", "RowFault", "brackets", "check_depth", "no_key_lost", "parse_object", "quotes"]

MAX_LINE = 16 * 1024 * 1024
MAX_DEPTH = 100

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_QUOTE_OR_BACKSLASH = re.compile(rb'\\["\\]')
_QUOTE_BY_NUMBER = re.compile(rb"\\u0022")
_LONE = re.compile(r"[\ud800-\udfff]")


class RowFault(Exception):
    """A row that cannot be read any further."""

    def __init__(self, rule: str, message: str, fix: str = "", path: str = "$") -> None:
        self.finding = Finding(rule=rule, path=path, message=message, fix=fix)
        super().__init__(message)


def parse_object(line: bytes) -> dict[str, Any]:
    """Read one line.

    Args:
        line: The bytes of the line, with or without its newline; not blank.

    Raises:
        RowFault: with the verdict of the table above.
    """
    try:
        value = _decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        _diagnose(line)
    if brackets(line) > MAX_DEPTH:
        check_depth(value)
    again = _encode(value)
    if not no_key_lost(line, again) and quotes(line) != quotes(again):
        _diagnose(line)
    if not isinstance(value, dict):
        raise RowFault(
            "not-an-object",
            f"the row is {_name(value)}, not an object.",
            "Write one JSON object a line."
            + (" A JSON array must be unpacked first." if isinstance(value, list) else ""),
        )
    return value


def check_depth(value: object, path: str = "$") -> None:
    """Refuse what is nested more than ``MAX_DEPTH`` levels.

    Raises:
        RowFault: ``too-deep``.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise RowFault(
        "too-deep", f"the row is nested more than {MAX_DEPTH} levels deep.", "Put the inner part into a string.", path
    )


def brackets(line: bytes) -> int:
    """As many as there are levels, or more."""
    return line.count(b"{") + line.count(b"[")


def quotes(text: bytes) -> int:
    """Quotes that begin or end a string. Where a key stands twice there are more than in what was decoded."""
    count = text.count(b'"')
    # Scanning for backslashes runs at memory speed; each match is a whole escape, so none is taken for another's half.
    return count - _QUOTE_OR_BACKSLASH.findall(text).count(b'\\"') if b"\\" in text else count


def no_key_lost(line: bytes, again: bytes) -> bool:
    """Whether JSON has the keys of what it was decoded to and encoded ``again``; not always true where it has.

    Each has two quotes, and quotes in strings are escaped in both: several times as quick as `quotes` of each.
    """
    return line.count(b'"') == again.count(b'"') and _QUOTE_BY_NUMBER.search(line) is None


def _name(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
        tuple: "an array",
    }
    return names.get(type(value), f"a Python {type(value).__name__}")


def _diagnose(line: bytes) -> NoReturn:
    """Say what is wrong with a line that does not decode, or whose keys collide."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RowFault("bad-utf8", "this looks like UTF-16.", "Save the file as UTF-8.")
    if line.startswith(b"\xef\xbb\xbf"):
        raise RowFault(
            "byte-order-mark",
            "a byte-order mark stands in the middle of the data.",
            "Remove these three bytes; files joined by cat leave them.",
        )
    control = _CONTROL.search(line)
    if control:
        raise RowFault(
            "control-character",
            f"raw control character 0x{control[0][0]:02x} at byte {control.start()}.",
            "Escape it as JSON wants it, or remove it.",
        )
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RowFault("bad-utf8", f"byte {error.start} of the line is not UTF-8.", "Save the file as UTF-8.") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise RowFault(
            "too-deep", f"the row is nested more than {MAX_DEPTH} levels deep.", "Put the inner part into a string."
        ) from None
    except json.JSONDecodeError as error:
        raise RowFault(
            "not-json",
            f"not one JSON value: {error.msg.lower()} (character {error.pos}).",
            "Write one JSON object a line, nothing after it.",
        ) from None
    except ValueError:  # an integer of more digits than Python reads
        raise RowFault("not-a-number", "a number is too large.", "Write it as a string.") from None
    check_depth(value)
    if _LONE.search(json.dumps(value, ensure_ascii=False)):
        raise RowFault(
            "lone-surrogate",
            "an escape is one half of a surrogate pair.",
            "Write the character itself, or both halves.",
        )
    raise RowFault("not-json", "not JSON.", "Write one JSON object a line.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowFault("duplicate-key", f"the key {shorten(twice)} stands twice in one object.", "Keep one of them.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise RowFault("not-a-number", f"{name} is not JSON.", "Use null, a number or a string.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise RowFault("not-a-number", "a number is too large.", "Write it as a string.")
    return number


def shorten(word: object, limit: int = 24) -> str:
    """A key or an enum-like value, quoted, on one line and never long."""
    text = str(word)
    return ascii(text if len(text) <= limit else text[: limit - 1] + "…").replace("\\u2026", "…")

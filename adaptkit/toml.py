"""Values as TOML; the standard library reads it and does not write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["toml_value"]


def toml_value(value: Any) -> str:
    """A value on one line: a mapping as an inline table without what is ``None`` in it, a list as an array."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items() if item is not None) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # strings, numbers and booleans are written as in JSON, but for one character that TOML wants escaped
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")

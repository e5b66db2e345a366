"""Types that several threads may decode at once.

msgspec learns a type's fields when it first decodes it, and several threads that do so together end the process
(seen with msgspec 0.22: a segmentation fault in its ``_core``). What threads decode is learnt where it is defined.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

__all__ = ["decodable"]

T = TypeVar("T")


def decodable(kind: type[T]) -> type[T]:
    """Learn a struct's fields now; a class decorator."""
    msgspec.json.Decoder(kind)
    return kind

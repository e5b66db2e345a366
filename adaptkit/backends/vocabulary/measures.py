"""What new tokens are worth before anything is trained: how many tokens the same text takes before and after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from adaptkit.evidence.language import Density, Unit, beginning, density, unit_of

__all__ = ["Spelling", "spelling"]


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a text takes with two tokenizers; ``print`` says it in a line.

    Attributes:
        unit: ``word`` is what stands between spaces; ``character`` where most letters are of scripts that put none.
        before: With the base's tokenizer.
        after: With the extended one.
    """

    unit: Unit
    before: Density
    after: Density

    def __str__(self) -> str:
        was, now = (getattr(each, f"per_{self.unit}") for each in (self.before, self.after))
        return f"{now:.2f} tokens a {self.unit}, {was:.2f} before"


def spelling(before: Any, after: Any, texts: Iterable[str]) -> Spelling:
    """Compare two tokenizers of transformers on the first 100 000 characters of texts, best of held-out ones."""
    text = beginning(texts)
    return Spelling(unit=unit_of(text), before=density(before, text), after=density(after, text))

"""What a batch costs: before it is sent by its texts, and afterwards by what the vendor counted."""

from __future__ import annotations

import msgspec

from adaptkit.decodable import decodable
from adaptkit.types import Usage

__all__ = ["BatchCost", "Spent"]


class BatchCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch will cost at most, before it is sent. ``print(cost)`` shows it.

    Attributes:
        questions: Questions that are sent: different ones, which nobody answered before.
        input_tokens: Tokens of the prompts, about: a quarter of the bytes of their texts, which is right within a fifth
            or so for English and further off elsewhere.
        output_tokens: Tokens of the answers at most; ``None`` where ``max_tokens`` is not set.
        usd: US dollars at most, at the price of batches and with nothing read from a cache; ``None`` if unknown.
        basis: Where the price comes from, or why the cost is unknown.
    """

    questions: int = 0
    input_tokens: int = 0
    output_tokens: int | None = 0
    usd: float | None = 0.0
    basis: str = "nothing is sent"

    def __str__(self) -> str:
        if not self.questions:
            return "nothing is asked, so nothing is paid"
        longest = "any length" if self.output_tokens is None else f"at most {self.output_tokens:,}"
        said = f"{self.questions:,} questions; tokens of prompts: about {self.input_tokens:,}, of answers: {longest}"
        usd = "unknown" if self.usd is None else f"at most about ${self.usd:,.4g}"
        return f"{said}\ncost: {usd} ({self.basis})"


@decodable
class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers of a batch have cost.

    Attributes:
        answers: How many there are, those that do not keep a schema among them.
        usage: Their tokens.
        usd: US dollars at the price of batches; ``None`` if unknown.
    """

    answers: int = 0
    usage: Usage = Usage()
    usd: float | None = 0.0

    def plus(self, usage: Usage, usd: float | None) -> Spent:
        """With one more answer."""
        both = None if self.usd is None or usd is None else self.usd + usd
        return Spent(answers=self.answers + 1, usage=self.usage + usage, usd=both)

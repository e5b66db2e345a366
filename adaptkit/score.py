"""How good a model is on held-out examples: exact match, with the interval that the number of examples allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptkit.adapter import ChatOptions
from adaptkit.data import ChatRecord, Dataset
from adaptkit.errors import DataError
from adaptkit.types import Message

if TYPE_CHECKING:
    from adaptkit.model import Model

__all__ = ["Score", "score", "wilson"]

#: The 97.5 % point of the normal distribution: two-sided 95 %.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Score:
    """Correct answers out of a total, and a 95 % Wilson interval for the share; both ends lie in 0 to 1."""

    correct: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, correct: int, total: int) -> Score:
        """A score with its interval.

        Raises:
            ValueError: there are no examples, or more correct ones than examples.
        """
        return cls(correct, total, *wilson(correct, total))

    @property
    def share(self) -> float:
        """Correct answers as a share of all, 0 to 1."""
        return self.correct / self.total

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.correct} of {self.total}; 95 %: {self.low:.1%} to {self.high:.1%})"


def wilson(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """The score interval for a share: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.

    The ends are the two p at which the observed share lies z standard errors away, with the standard error that p
    itself implies; so they stay within 0 and 1, also where every answer or none is correct.

    Args:
        correct: Successes, 0 to ``total``.
        total: Trials, at least 1.
        z: Standard errors; the default gives 95 %.

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} correct of {total} is no score")
    share, spread = correct / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return (max(0.0, middle - half) if correct else 0.0), (min(1.0, middle + half) if correct < total else 1.0)


def score(model: Model, held_out: Dataset, options: ChatOptions | None = None, *, together: int = 64) -> Score:
    """Ask every held-out conversation and count the answers that are exactly the expected one.

    The last assistant turn of each example is the expected answer, what stands before it the question. Surrounding
    white space does not count.

    Args:
        model: Who answers.
        held_out: Chat examples that training did not see.
        options: How to answer; by default greedily where the model can, and no longer than the longest expected answer
            allows.
        together: Conversations handed over at once.

    Raises:
        DataError: there are no examples, or one is no chat that ends with an assistant turn.
    """
    asked = [_split(record, number) for number, record in enumerate(held_out, 1)]
    if not asked:
        raise DataError("there are no held-out examples to score on")
    if options is None:
        options = _strictly(model, asked)
    correct = 0
    for start in range(0, len(asked), together):
        part = asked[start : start + together]
        replies = model.generate([question for question, _ in part], options)
        correct += sum(reply.text.strip() == expected for reply, (_, expected) in zip(replies, part, strict=True))
    return Score.of(correct, len(asked))


def _strictly(model: Model, asked: Sequence[tuple[tuple[Message, ...], str]]) -> ChatOptions:
    """Greedily and shortly, unless the model thinks before it answers: then neither can be asked for."""
    if model.abilities().thinks:
        return ChatOptions()
    # a token covers at least one byte, so this is never too short for a correct answer
    longest = max(len(expected.encode()) for _, expected in asked)
    return ChatOptions(temperature=0.0, max_tokens=longest + 1)


def _split(record: object, number: int) -> tuple[tuple[Message, ...], str]:
    """A chat example as the question and the answer that is expected."""
    turns = record.messages if isinstance(record, ChatRecord) else ()
    last = next((index for index in reversed(range(len(turns))) if turns[index].role == "assistant"), 0)
    if not last:
        raise DataError(
            f"held-out example {number} is no chat in which the assistant answers; scoring needs a question and the "
            "answer that is expected"
        )
    return turns[:last], turns[last].text.strip()

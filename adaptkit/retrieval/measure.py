"""How many examples, and how chosen: found out on a validation split, not believed.

What the literature says differs by task and by model (arXiv 2404.11018, 2412.16926, 2604.02596), so a small grid is
tried. Whatever answers is called; nothing here knows a service.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adaptkit.data.conversations import Conversation, conversation_of, digest, question_of
from adaptkit.data.records import Record
from adaptkit.errors import ConfigError, DataError
from adaptkit.score import Score

__all__ = ["COUNTS", "Answer", "Measured", "Metric", "Prompt", "Selector", "Tried", "exact", "measure"]

#: How many examples are tried unless told otherwise.
COUNTS = (0, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Prompt:
    """One question with the examples that are to stand in front of it."""

    examples: tuple[Conversation, ...]
    question: Conversation


#: Gives a question's examples, so many of them: `SimilarExamples.choose`, or the same ones for every question.
Selector: TypeAlias = Callable[[Conversation, int], Sequence[Conversation]]
#: Answers prompts, in order; all of one setting are handed over at once.
Answer: TypeAlias = Callable[[Sequence[Prompt]], Sequence[str]]
#: Whether a reply is right, given the reply and the expected answer.
Metric: TypeAlias = Callable[[str, str], bool]


def exact(reply: str, expected: str) -> bool:
    """The expected answer and nothing else; white space around it does not count."""
    return reply.strip() == expected.strip()


@dataclass(frozen=True)
class Tried:
    """One setting: so many examples, chosen in that way; and which questions it got right, in order."""

    how: str
    count: int
    score: Score
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Measured:
    """Every setting that was tried, in order. ``print(measured)`` shows the table.

    Attributes:
        tried: The table.
        winner: The best; of equal ones the one with the fewest examples, and the selector named first. The winner of
            many is partly luck: report its score on rows that took no part in this.
        cheaper: The one with the fewest examples among those that these questions cannot tell from the winner (exact
            paired sign test at 5 %); the winner itself if there is none.
    """

    tried: tuple[Tried, ...]
    winner: Tried
    cheaper: Tried

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Measured:
        """Settings in the order in which they were tried: the fewest examples first, of equal ways the cheapest."""
        winner = max(tried, key=lambda each: each.score.correct)  # the first of equals
        cheaper = next(each for each in tried if not _worse(each, winner))
        return cls(tuple(tried), winner, cheaper)

    def __str__(self) -> str:
        width = max(len("chosen"), *(len(each.how) for each in self.tried))
        lines = [f"{'chosen':{width}}  examples  right"]
        for each in self.tried:
            note = "  <- best" if each is self.winner else "  <- not told apart from it" if each is self.cheaper else ""
            lines.append(f"{each.how:{width}}  {each.count:8}  {each.score}{note}")
        return "\n".join(lines)


def measure(
    answer: Answer,
    validation: Iterable[Record],
    selectors: Mapping[str, Selector],
    *,
    counts: Sequence[int] = COUNTS,
    metric: Metric = exact,
) -> Measured:
    """Try every number of examples with every way of choosing them.

    That is one call of the model a validation row and setting, with no examples only once.

    Args:
        answer: Who answers.
        validation: Rows with the expected answers. They must not be among those that the selectors choose from.
        selectors: Ways of choosing, by name, the cheapest first: fixed examples are cached by services, others are not.
        counts: Numbers of examples to try.
        metric: What is right.

    Raises:
        ConfigError: there is nothing to try.
        DataError: there is no validation row, or a selector gave an example that asks what a validation row asks.
    """
    rows = [turns for row in validation if (turns := conversation_of(row)) is not None]
    if not rows:
        raise DataError("there is no validation row that is a conversation of text with an answer")
    if not selectors or not counts or min(counts) < 0:
        raise ConfigError("measuring needs a way of choosing, and numbers of examples that are 0 or more")
    held_out = {digest(question_of(turns)) for turns in rows}
    tried: list[Tried] = []
    for count in sorted(set(counts)):
        for how, select in selectors.items():
            prompts = [Prompt(tuple(select(turns[:-1], count)) if count else (), turns[:-1]) for turns in rows]
            _refuse_held_out(how, prompts, held_out)
            right = _right(answer(prompts), rows, metric)
            tried.append(Tried(how if count else "none", count, Score.of(sum(right), len(right)), right))
            if not count:
                break
    return Measured.of(tried)


def _right(replies: Sequence[str], rows: Sequence[Conversation], metric: Metric) -> tuple[bool, ...]:
    if len(replies) != len(rows):
        raise ConfigError(f"answer gave {len(replies)} replies to {len(rows)} prompts: it must give one for each")
    return tuple(metric(reply, turns[-1].text) for reply, turns in zip(replies, rows, strict=True))


def _refuse_held_out(how: str, prompts: Iterable[Prompt], held_out: set[bytes]) -> None:
    for prompt in prompts:
        if any(digest(question_of(example)) in held_out for example in prompt.examples):
            raise DataError(
                f"the selector {how!r} chose an example whose question is a validation question, so its score would "
                "mean nothing: give the validation rows as held_out where the examples come from"
            )


def _worse(one: Tried, best: Tried) -> bool:
    """Whether one setting is worse than another on the same questions, beyond chance (two-sided 5 %)."""
    lost = sum(theirs and not ours for ours, theirs in zip(one.right, best.right, strict=True))
    won = sum(ours and not theirs for ours, theirs in zip(one.right, best.right, strict=True))
    differ = lost + won
    tail = sum(math.comb(differ, wins) for wins in range(min(won, lost) + 1))
    return bool(40 * tail < 1 << differ)

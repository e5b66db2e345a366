"""Which rows become examples: spread over the different answers, and the same whatever the order of the rows.

Rows are ranked by a hash of seed and content, answers likewise. Examples are dealt out in turn: the first row of each
answer, then the second of each, until there are enough. So a set of labels is covered evenly however rare some are,
free text gives a random sample, rows added later change little, and memory is bounded by what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adaptkit.data import Record
from adaptkit.data.conversations import Conversation, conversation_of, digest, question_digests, question_of

__all__ = ["Chosen", "choose", "conversation_of"]


@dataclass(frozen=True)
class Chosen:
    """Rows chosen as examples, in the order in which they stand in the prompt.

    Attributes:
        conversations: Each ends with the answer.
        unfit: Rows that hold tools or parts that are not text, which cannot be examples.
    """

    conversations: tuple[Conversation, ...]
    unfit: int = 0


@dataclass(frozen=True)
class _Candidate:
    answer: bytes
    rank: bytes
    conversation: Conversation


def choose(rows: Iterable[Record], count: int, seed: int, held_out: Iterable[Record] = ()) -> Chosen:
    """Choose examples in one pass.

    Args:
        rows: Training rows.
        count: How many; fewer are chosen where there are fewer different rows.
        seed: Another seed chooses others.
        held_out: Rows whose questions must not be examples.
    """
    salt = f"{seed}/".encode()
    apart = question_digests(held_out)
    kept: list[_Candidate] = []
    unfit = 0
    for row in rows if count else ():
        turns = conversation_of(row)
        if turns is None:
            unfit += 1
        elif digest(question_of(turns)) not in apart:
            kept.append(_Candidate(digest(turns[-1:], salt), digest(turns, salt), turns))
            if len(kept) > 2 * count:
                kept = _dealt(kept, count)
    return Chosen(tuple(candidate.conversation for candidate in _dealt(kept, count)), unfit)


def _dealt(candidates: list[_Candidate], count: int) -> list[_Candidate]:
    """The first so many, one of each answer in turn.

    Dropping the others early is safe: more rows only push what was dropped further back.
    """
    different = {candidate.rank: candidate for candidate in candidates}
    turns: dict[bytes, int] = {}
    order: list[tuple[int, _Candidate]] = []
    for candidate in sorted(different.values(), key=lambda each: (each.answer, each.rank)):
        turn = turns[candidate.answer] = turns.get(candidate.answer, -1) + 1
        order.append((turn, candidate))
    order.sort(key=lambda placed: (placed[0], placed[1].answer))
    return [candidate for _, candidate in order[:count]]

"""Which rows become examples: spread over the different answers, and the same whatever the order of the rows.

Rows are ranked by a hash of seed and content, answers likewise. Examples are dealt out in turn: the first row of each
answer, then the second of each, until there are enough. So a set of labels is covered evenly however rare some are,
free text gives a random sample, rows added later change little, and memory is bounded by what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adaptkit.data import ChatRecord, Record
from adaptkit.data.conversations import Conversation, conversation_of, digest, question_digests, question_of
from adaptkit.errors import DataError

__all__ = ["Chosen", "choose", "conversation_of"]


@dataclass(frozen=True)
class Chosen:
    """Rows chosen as examples, in the order in which they stand in the prompt.

    Attributes:
        conversations: Each ends with the answer.
        unfit: Rows that hold tools or parts that are not text, where these cannot be examples.
        tools: Tools that the conversations use, as OpenAI writes them.
    """

    conversations: tuple[Conversation, ...]
    unfit: int = 0
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class _Candidate:
    answer: bytes
    rank: bytes
    conversation: Conversation
    tools: tuple[Mapping[str, Any], ...] = ()


def choose(
    rows: Iterable[Record], count: int, seed: int, held_out: Iterable[Record] = (), *, rich: bool = False
) -> Chosen:
    """Choose examples in one pass.

    Args:
        rows: Training rows.
        count: How many; fewer are chosen where there are fewer different rows.
        seed: Another seed chooses others.
        held_out: Rows whose questions must not be examples.
        rich: Whether examples may hold images and tools.

    Raises:
        DataError: the examples define one tool in different ways.
    """
    salt = f"{seed}/".encode()
    apart = question_digests(held_out, rich=rich)
    kept: list[_Candidate] = []
    unfit = 0
    for row in rows if count else ():
        turns = conversation_of(row, rich=rich)
        if turns is None:
            unfit += 1
        elif digest(question_of(turns)) not in apart:
            tools = row.tools if isinstance(row, ChatRecord) else ()
            kept.append(_Candidate(digest(turns[-1:], salt), digest(turns, salt), turns, tools))
            if len(kept) > 2 * count:
                kept = _dealt(kept, count)
    dealt = _dealt(kept, count)
    return Chosen(tuple(candidate.conversation for candidate in dealt), unfit, _tools(dealt))


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


def _tools(candidates: Iterable[_Candidate]) -> tuple[dict[str, Any], ...]:
    """The tools of all, by name."""
    known: dict[str, dict[str, Any]] = {}
    for tool in (tool for candidate in candidates for tool in candidate.tools):
        name = str(tool["function"]["name"])
        if known.setdefault(name, dict(tool)) != tool:
            raise DataError(f"the rows chosen as examples define the tool {name!r} in different ways; define it once")
    return tuple(known[name] for name in sorted(known))

"""Byte pair encoding, continued: which pairs of a tokenizer's present tokens are worth a token of their own.

The base's own merges stay first, and each new one is learned on words that all earlier ones were applied to. So a
stretch of text between two token borders is always spelled in one way, and a new token has exactly one pair that makes
it. That is why programs that merge by pairs (tokenizers) and by rank of the whole (tiktoken) agree on the result.

Sennrich, Haddow and Birch 2016, *Neural Machine Translation of Rare Words with Subword Units*, algorithm 1; with the
counts kept up to date after each merge instead of counted again.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

__all__ = ["Pair", "learn", "merge"]

Pair = tuple[str, str]
Word = tuple[str, ...]


def learn(words: Mapping[Word, int], known: Collection[str], *, most: int | None, least: int = 2) -> list[Pair]:
    """The most frequent pairs, one after another, each merged before the next is chosen.

    Args:
        words: How often each word occurs, as the tokens that it is spelled with so far.
        known: Tokens that are there already; what spells one of them is left alone.
        most: How many pairs; ``None`` for as many as there are.
        least: Occurrences below which a pair is not worth a token.

    Returns:
        Pairs in the order in which they are to be applied. Among equally frequent ones, the first by code point.
    """
    state = _Counts(words)
    queue = [(-count, pair) for pair, count in state.pairs.items()]
    heapq.heapify(queue)
    found: list[Pair] = []
    while queue and (most is None or len(found) < most):
        below, pair = heapq.heappop(queue)
        count = state.pairs.get(pair, 0)
        if count < least or pair[0] + pair[1] in known:
            continue
        if count != -below:  # counts only fall, so that an old one is at worst too early in the queue
            heapq.heappush(queue, (-count, pair))
            continue
        found.append(pair)
        for fresh in state.apply(pair):
            heapq.heappush(queue, (-state.pairs[fresh], fresh))
    return found


def merge(tokens: Sequence[str], pair: Pair) -> list[str]:
    """Tokens with each occurrence of a pair made one, from the left."""
    made: list[str] = []
    at = 0
    while at < len(tokens):
        both = tokens[at] == pair[0] and at + 1 < len(tokens) and tokens[at + 1] == pair[1]
        made.append(pair[0] + pair[1] if both else tokens[at])
        at += 2 if both else 1
    return made


class _Counts:
    """Words with how often each pair stands in them, and in which."""

    def __init__(self, words: Mapping[Word, int]) -> None:
        self.words = [list(word) for word in words]
        self.times = list(words.values())
        self.pairs: dict[Pair, int] = defaultdict(int)
        self.where: dict[Pair, set[int]] = defaultdict(set)
        for number in range(len(self.words)):
            for pair in self._count(number, 1):
                self.where[pair].add(number)

    def _count(self, number: int, sign: int) -> set[Pair]:
        tokens, times = self.words[number], sign * self.times[number]
        pairs = list(pairwise(tokens))
        for pair in pairs:
            self.pairs[pair] += times
        return set(pairs)

    def apply(self, pair: Pair) -> set[Pair]:
        """Merge a pair in all words; gives the pairs that were not there before."""
        fresh: set[Pair] = set()
        for number in self.where.pop(pair):
            before = self._count(number, -1)
            self.words[number] = merge(self.words[number], pair)
            after = self._count(number, 1)
            for gone in before - after - {pair}:
                self.where[gone].discard(number)
            for new in after - before:
                self.where[new].add(number)
            fresh |= after - before
        del self.pairs[pair]
        return fresh

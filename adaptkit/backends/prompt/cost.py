"""What a call will cost, the first time and once the service remembers what stands in front of the question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from adaptkit.backends.prompt.adapted import AdaptedModel, Examples, estimated
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.services.vendors import split_model
from adaptkit.data import Dataset
from adaptkit.data.conversations import conversation_of
from adaptkit.http import loopback
from adaptkit.prices import Prices, RateCard

__all__ = ["Call", "call_of", "embedding_of", "rate_card"]

#: Rows that are looked at to learn how long a question and an answer are.
_SAMPLE = 200


@dataclass(frozen=True)
class Call:
    """One call of a model, estimated.

    Attributes:
        before: Tokens in front of the question.
        question: Tokens of a question like those of the training data, with what is found for it.
        answer: Tokens of an answer like those; what a model thinks comes on top.
        card: Prices and limits, ``None`` if unknown.
        ttl: How long what stands in front is to be remembered; ``None`` for not at all.
    """

    before: int
    question: int
    answer: int
    card: RateCard | None
    ttl: str | None

    @property
    def remembered(self) -> bool:
        """Whether what stands in front of the question is long enough to be remembered."""
        return self.ttl is not None and self.card is not None and self.before >= (self.card.cache_from or 0)

    def usd(self, *, warm: bool) -> float | None:
        """US dollars, the first time or later; ``None`` if unknown."""
        if self.card is None:
            return None
        front: float | None = self.card.input
        if self.remembered and self.ttl is not None:
            front = self.card.cache_read if warm else self.card.writing(self.ttl)
        if front is None:
            return None
        return (self.before * front + self.question * self.card.input + self.answer * self.card.output) / 1e6

    def shown(self) -> dict[str, Any]:
        """For a plan."""
        if self.card is None:
            return {"cold_usd": None, "warm_usd": None}
        return {
            "cold_usd": _rounded(self.usd(warm=False)),
            "warm_usd": _rounded(self.usd(warm=True)),
            "question_tokens": self.question,
            "answer_tokens": self.answer,
            "prices": f"{self.card.source}, {self.card.date}",
        }

    def notes(self, config: PromptConfig) -> Iterator[str]:
        """What should be known by whoever asked for a cache."""
        least = None if self.card is None else self.card.cache_from
        if config.cache not in (None, "off") and least is not None and self.before < least:
            yield (
                f"about {self.before} tokens stand in front of the question, and {config.model} remembers none below "
                f"{least}: every call pays for all of it"
            )


def call_of(config: PromptConfig, before: int, found: int, data: Dataset, prices: Prices) -> Call | None:
    """A call of a vendor's model; ``None`` for any other.

    Args:
        config: The target's configuration.
        before: Estimated tokens in front of the question that are the same in every call.
        found: Estimated tokens of what is found for each question.
        data: Rows whose questions and answers are taken for typical.
        prices: The table to look in.
    """
    vendor = config.vendor
    if vendor is None:
        return None
    rows = [turns for turns in islice(map(conversation_of, data), _SAMPLE) if turns]
    asked = [sum(estimated(turn.text) for turn in turns[:-1] if turn.role == "user") for turns in rows]
    said = [estimated(turns[-1].text) for turns in rows]
    question, answer = (round(sum(each) / len(each)) if each else 0 for each in (asked, said))
    question += found
    default = vendor.ttls[0] if vendor.ttls else ""
    ttl = None if config.cache == "off" else config.cache or default
    card = prices.chat(vendor.name, split_model(config.model)[1], before + question)
    return Call(before, question, answer, card, ttl)


def embedding_of(config: PromptConfig, adapted: AdaptedModel, documents: int, prices: Prices) -> dict[str, Any] | None:
    """What embedding everything once takes, for a plan; ``None`` where nothing is embedded.

    Args:
        config: The target's configuration.
        adapted: The model that is planned.
        documents: Estimated tokens of the documents that are searched.
        prices: The table to look in; a user's own may say what the vendors' tables do not.
    """
    embed = config.embedding
    if embed is None or adapted.embed is None:
        return None
    rows = () if adapted.likeness is None else adapted.likeness.conversations
    asked = sum(estimated(turn.text) for turn in Examples(rows).messages() if turn.role == "user")
    tokens = documents + asked
    card = prices.chat(embed.vendor.name, split_model(embed.model)[1]) if embed.vendor else None
    usd = 0.0 if embed.vendor is None and loopback(embed.host) else None
    shown: dict[str, Any] = {"model": embed.model, "tokens": tokens, "usd": usd}
    if card is not None:
        shown |= {"usd": _rounded(tokens * card.input / 1e6), "prices": f"{card.source}, {card.date}"}
    return shown


def rate_card(model: str) -> RateCard | None:
    """Prices of a vendor's model, ``None`` if unknown."""
    vendor, name = split_model(model)
    return None if vendor is None else Prices().chat(vendor.name, name)


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else float(f"{usd:.3g}")

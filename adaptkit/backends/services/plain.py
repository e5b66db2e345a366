"""Services that take messages and nothing else: an address that speaks OpenAI's chat wire, a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.services.ask import Ask, in_words
from adaptkit.steps import Request, Steps
from adaptkit.types import Reply

if TYPE_CHECKING:
    from adaptkit.backends.local_model import LocalModel

__all__ = ["ChatWire", "ThisMachine"]


class ChatWire:
    """See `ask.Service`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def answer(self, ask: Ask) -> Steps[Reply]:
        """See `Service.answer`."""
        return self._endpoint.answer(ask.model, in_words(ask), ask.options)

    def stream(self, ask: Ask) -> Iterator[str]:
        """See `Service.stream`."""
        return self._endpoint.stream(ask.model, in_words(ask), ask.options)

    def count(self, ask: Ask) -> Steps[int | None]:
        """Nobody counts."""
        del ask
        yield from ()
        return None


class ThisMachine:
    """See `ask.Service`; questions can be answered together."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model

    def answer(self, ask: Ask) -> Steps[Reply]:
        """See `Service.answer`."""
        reply: Reply = yield Request(partial(self._model.chat, in_words(ask), ask.options))
        return reply

    def answer_all(self, asks: Sequence[Ask]) -> list[Reply]:
        """Answers in the order of the questions, which share their options."""
        return self._model.generate([in_words(ask) for ask in asks], asks[0].options) if asks else []

    def stream(self, ask: Ask) -> Iterator[str]:
        """See `Service.stream`."""
        return self._model.stream(in_words(ask), ask.options)

    def count(self, ask: Ask) -> Steps[int | None]:
        """See `Service.count`."""
        tokens: int = yield partial(self._model.count_tokens, in_words(ask))
        return tokens

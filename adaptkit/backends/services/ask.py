"""The neutral request: what stands in a prompt, from stable to volatile, and what is to be remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.backends.services.window import Window
from adaptkit.documents import with_documents
from adaptkit.steps import Steps
from adaptkit.types import Document, Message, Reply, TextPart

__all__ = [
    "Ask",
    "Cache",
    "Service",
    "TellsWindow",
    "in_words",
    "likely",
    "lower_bound",
    "private_texts",
    "upper_bound",
]


@dataclass(frozen=True)
class Cache:
    """A wish that the stable part of a prompt be remembered.

    Attributes:
        key: The same for prompts that begin alike; says nothing about them.
        ttl: How long, in the vendor's words; ``None`` for its default.
    """

    key: str
    ttl: str | None = None


@dataclass(frozen=True)
class Ask:
    """One question with everything that stands around it.

    Attributes:
        model: The service's name of the model.
        messages: The conversation, which the service answers; no system message among its first.
        system: Blocks of the system message.
        examples: Turns that are the same in every call.
        corpus: Documents that are the same in every call.
        found: Turns chosen for this question, between what is stable and the conversation.
        passages: What was found in the user's documents for this question.
        options: How to answer; its documents are for this question.
        cache: Whether the stable part, up to and with the corpus, is to be remembered; ``None`` for not.
        window: How much the model reads and writes, as far as that is known.
    """

    model: str
    messages: tuple[Message, ...] = field(repr=False)
    system: tuple[str, ...] = field(default=(), repr=False)
    examples: tuple[Message, ...] = field(default=(), repr=False)
    corpus: tuple[Document, ...] = field(default=(), repr=False)
    found: tuple[Message, ...] = field(default=(), repr=False)
    passages: tuple[Document, ...] = field(default=(), repr=False)
    options: ChatOptions = field(default=ChatOptions(), repr=False)
    cache: Cache | None = None
    window: Window = field(default=Window())

    @property
    def documents(self) -> tuple[Document, ...]:
        """All that this question is to be answered from, for services that know one kind."""
        return (*self.passages, *self.options.documents)

    @property
    def texts(self) -> tuple[Document, ...]:
        """Those that are texts."""
        return tuple(document for document in self.documents if document.pdf is None)

    @property
    def pdfs(self) -> tuple[Document, ...]:
        """Those that are not."""
        return tuple(document for document in self.options.documents if document.pdf is not None)


class Service(Protocol):
    """Somebody who answers. Answering and counting are steps, for threads and event loops alike."""

    def answer(self, ask: Ask) -> Steps[Reply]:
        """Answer: one request.

        Raises:
            BackendError: by the table of `adaptkit.http`; what was sent is not in the message.
            ConfigError: the key is not in the environment.
            MissingDependencyError: the SDK is not installed.
        """
        ...

    def stream(self, ask: Ask) -> Iterator[str]:
        """Pieces of the answer as they come; closing the iterator ends the request."""
        ...

    def count(self, ask: Ask) -> Steps[int | None]:
        """Tokens of the prompt by the service's own counter, ``None`` where it has none: one request, free."""
        ...


@runtime_checkable
class TellsWindow(Protocol):
    """A service that says how much its models read and write."""

    def window(self, model: str) -> Steps[Window]:
        """What the service says of a model: one request, free, given up after a few seconds.

        Raises:
            BackendError, ConfigError, MissingDependencyError: as `Service.answer` does.
        """
        ...


def in_words(ask: Ask) -> tuple[Message, ...]:
    """The whole prompt as messages, for services that know nothing else: documents are written into the turns."""
    system = [Message(role="system", content="\n\n".join(ask.system))] if ask.system else []
    conversation = with_documents(ask.messages, ask.documents)
    after = with_documents([*ask.found, *conversation], ask.corpus, first=True)
    return (*system, *ask.examples, *after)


_PER_PDF_BYTE = 5


def private_texts(ask: Ask) -> list[str]:
    """Everything that was sent and must not come back in an error."""
    texts = [*ask.system, *(turn.text for turn in (*ask.examples, *ask.found, *ask.messages))]
    return texts + [document.text for document in (*ask.corpus, *ask.documents)]


def lower_bound(ask: Ask) -> int:
    """Fewer tokens than the prompt has, unless it is mostly blanks: a sixth of its characters."""
    return sum(map(len, private_texts(ask))) // 6


def likely(ask: Ask) -> int | None:
    """About as many tokens as the prompt has, a quarter of its bytes; ``None`` where it holds more than text."""
    turns = (*ask.examples, *ask.found, *ask.messages)
    parts = [part for turn in turns if isinstance(turn.content, tuple) for part in turn.content]
    return upper_bound(ask) // 2 if all(isinstance(part, TextPart) for part in parts) else None


def upper_bound(ask: Ask) -> int:
    """More tokens than the prompt has, images aside.

    Of texts half the bytes, where English has a quarter, Burmese a third; of PDFs, which are packed and are read both
    as text and as pictures, five a byte.
    """
    sizes = sum(len(text.encode("utf-8", "surrogatepass")) for text in private_texts(ask))
    extras: tuple[Any, ...] = (ask.options.schema, ask.options.tools)
    pdfs = sum(len(document.pdf or b"") for document in ask.pdfs)
    return (sizes + len(msgspec.json.encode(extras))) // 2 + _PER_PDF_BYTE * pdfs

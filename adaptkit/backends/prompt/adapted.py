"""The adapted model: one JSON file that can be read, compared, committed and loaded elsewhere.

Segments stand from stable to volatile, so that what a service caches is the longest beginning. Equal configuration and
data give equal bytes. The examples are rows of the training data: the file is as confidential as the data are.

```json
{
  "format": "adaptkit-prompt-2",
  "model": "anthropic:claude-haiku-5-5",
  "settings": {"max_tokens": 64},
  "data": {"fingerprint": "sha256:…", "rows": 160},
  "scores": [{"metric": "exact_match", "value": 0.91, "low": 0.84, "high": 0.95, "rows": 100, "data": "sha256:…"}],
  "segments": [
    {"kind": "tools", "tools": [{"type": "function", "function": {"name": "…"}}]},
    {"kind": "instructions", "text": "…"},
    {"kind": "schema", "schema": {"type": "object"}},
    {"kind": "examples", "conversations": [[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]]},
    {"kind": "corpus", "documents": [{"title": "…", "text": "…"}]},
    {"kind": "retrieved passages", "how": {"documents": ["docs/*.md"], "k": 8, "fingerprint": "sha256:…"}},
    {"kind": "retrieved examples", "how": {"k": 4, "conversations": [[…], …]}},
    {"kind": "question"}
  ]
}
```

Where the number of examples was measured, ``examples_tried`` has the table, one line for each setting.

What a segment of the kinds ``retrieved …`` holds is found anew for each question, as ``how`` says: passages in
documents that the file names and recognises but does not hold, examples among rows that it holds.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.backends.services.ask import Ask, Cache, in_words
from adaptkit.data import message_from
from adaptkit.data.formats.messages import write_message
from adaptkit.decodable import decodable
from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, BackendError, DataError, NotFoundError
from adaptkit.retrieval.chunks import Chunking
from adaptkit.types import Document, Message

__all__ = [
    "AdaptedModel",
    "Answers",
    "Corpus",
    "Examples",
    "Found",
    "Instructions",
    "Likeness",
    "Measured",
    "Provenance",
    "Question",
    "RetrievedExamples",
    "RetrievedPassages",
    "Search",
    "Segment",
    "Settings",
    "Tools",
    "Tried",
]

T = TypeVar("T")

_FORMAT = "adaptkit-prompt-"
_NOW = "adaptkit-prompt-2"
_SYSTEM = ("system", "developer")
#: English prose; other scripts take more tokens a character. Good for a warning, not for a bill.
CHARACTERS_PER_TOKEN = 4


class Tools(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tools", tag_field="kind"):
    """Tools that may be called, as OpenAI writes them, unless a call names others."""

    tools: tuple[dict[str, Any], ...]


class Instructions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="instructions", tag_field="kind"):
    """The system message."""

    text: str


class Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="examples", tag_field="kind"):
    """Conversations that show what is wanted, each a list of messages in OpenAI's shape."""

    conversations: tuple[tuple[dict[str, Any], ...], ...]

    @classmethod
    def of(cls, conversations: Sequence[Sequence[Message]]) -> Examples:
        """Write messages down."""
        return cls(tuple(tuple(write_message(turn) for turn in turns) for turns in conversations))

    def messages(self) -> Iterator[Message]:
        """Every turn in order."""
        return (message_from(turn) for turns in self.conversations for turn in turns)


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="schema", tag_field="kind"):
    """JSON Schema that every answer keeps, unless a call asks for another."""

    schema: dict[str, Any]


class Corpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="corpus", tag_field="kind"):
    """Documents that stand in front of every question, whole."""

    documents: tuple[Document, ...]


_Few = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How passages are found: so many of these documents, in the state of that fingerprint."""

    documents: tuple[str, ...]
    k: _Few
    fingerprint: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class Likeness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How examples are found: so many of these conversations, those that are most like the question."""

    k: _Few
    conversations: tuple[tuple[dict[str, Any], ...], ...]


class RetrievedPassages(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="retrieved passages", tag_field="kind"
):
    """Where passages stand that are found for the question."""

    how: Search


class RetrievedExamples(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="retrieved examples", tag_field="kind"
):
    """Where examples stand that are found for the question."""

    how: Likeness

    @classmethod
    def of(cls, k: int, conversations: Sequence[Sequence[Message]]) -> RetrievedExamples:
        """Write messages down."""
        return cls(Likeness(k=k, conversations=Examples.of(conversations).conversations))


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="question", tag_field="kind"):
    """Where the caller's conversation stands."""


Segment = Tools | Instructions | Answers | Examples | Corpus | RetrievedPassages | RetrievedExamples | Question


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one question: fills the segments of the kinds ``retrieved …``."""

    passages: tuple[Document, ...] = ()
    examples: tuple[Message, ...] = ()


_NOTHING = Found()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to answer where a call does not say."""

    max_tokens: int | None = None
    temperature: float | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which data the examples were chosen from."""

    fingerprint: str
    rows: int


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How good the model was: a figure, its 95 % interval, and on which rows."""

    metric: str
    value: float
    low: float
    high: float
    rows: int
    data: str


class Tried(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What so many examples gave on the rows that were measured on, chosen ``by`` fixed, similarity or, for 0, none."""

    examples: int
    by: str
    metric: str
    value: float
    low: float
    high: float
    rows: int


@decodable
class AdaptedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An adapted model; see the top of this module."""

    format: Literal["adaptkit-prompt-1", "adaptkit-prompt-2"]
    name: str | None = None
    model: str
    base_url: str | None = None
    wire: Literal["chat"] | None = None
    settings: Settings = Settings()
    data: Provenance
    scores: tuple[Measured, ...] = ()
    examples_tried: tuple[Tried, ...] = ()
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, **fields: Any) -> AdaptedModel:
        """A model in the format of today."""
        return cls(format="adaptkit-prompt-2", **fields)

    @classmethod
    def load(cls, path: Path) -> AdaptedModel:
        """Read a file.

        Raises:
            NotFoundError: there is none.
            ArtifactError: it is none of this kind, is damaged, or was written by a newer adaptkit.
        """
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise NotFoundError(
                f"there is no adapted model at {path}: it was deleted or moved", backend="prompt"
            ) from None
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            loaded = msgspec.json.decode(content, type=cls)
            loaded.conversation(())  # every example is a message
            if loaded.likeness is not None:
                deque(Examples(loaded.likeness.conversations).messages(), maxlen=0)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, DataError) as error:
            raise ArtifactError(_fault(path, content, error)) from None
        return loaded

    def save(self, path: Path) -> None:
        """Write the file, readable for its owner alone; it appears whole or not at all.

        Raises:
            BackendError: it cannot be written.
        """
        text = msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(path, text)
        except OSError as error:
            why = error.strerror or error
            raise BackendError(f"{path} cannot be written: {why}. Nothing was left behind", backend="prompt") from error

    def front(self, *, model: str | None = None, cache: Cache | None = None) -> Ask:
        """What stands in front of every question.

        Args:
            model: The service's name of the model, where it is not ours.
            cache: Whether it is to be remembered.
        """
        return Ask(
            model=model or self.model,
            messages=(),
            system=tuple(segment.text for segment in self._all(Instructions)),
            examples=tuple(turn for segment in self._all(Examples) for turn in segment.messages()),
            corpus=tuple(document for segment in self._all(Corpus) for document in segment.documents),
            cache=cache,
        )

    def ask(self, front: Ask, question: Sequence[Message], options: ChatOptions, found: Found = _NOTHING) -> Ask:
        """The whole prompt: what stands in front, what was found for the question, the question.

        A system message of the caller joins the instructions unless it repeats them.

        Args:
            front: What `front` gave; it may be used for many questions.
            question: The conversation so far.
            options: How to answer; completed by the settings.
            found: What was found for this question.
        """
        lead = next((at for at, turn in enumerate(question) if turn.role not in _SYSTEM), len(question))
        more = [turn.text for turn in question[:lead] if turn.text not in front.system]
        options = self.options(options)
        if found.passages:
            options = msgspec.structs.replace(options, documents=(*found.passages, *options.documents))
        return replace(
            front,
            messages=tuple(question[lead:]),
            system=(*front.system, *more),
            found=found.examples,
            options=options,
        )

    def conversation(self, question: Sequence[Message]) -> tuple[Message, ...]:
        """The whole prompt as messages: one system message, the examples, the question."""
        return in_words(self.ask(self.front(), question, ChatOptions()))

    @property
    def answers(self) -> Mapping[str, Any] | None:
        """JSON Schema of the answers, ``None`` for text."""
        return next((segment.schema for segment in self._all(Answers)), None)

    @property
    def instructions(self) -> str:
        """What the system message says; empty if nothing."""
        return "\n\n".join(segment.text for segment in self._all(Instructions))

    def instructed(self, text: str) -> AdaptedModel:
        """The same with other instructions; none if the text is empty."""
        tools = self._all(Tools)
        others = [segment for segment in self.segments if not isinstance(segment, Tools | Instructions)]
        said = [Instructions(text)] if text.strip() else []
        return msgspec.structs.replace(self, segments=(*tools, *said, *others), scores=())

    @property
    def search(self) -> Search | None:
        """How passages are found for a question, ``None`` for no passages."""
        return next((segment.how for segment in self._all(RetrievedPassages)), None)

    @property
    def likeness(self) -> Likeness | None:
        """How examples are found for a question, ``None`` for none that are."""
        return next((segment.how for segment in self._all(RetrievedExamples)), None)

    @property
    def key(self) -> str:
        """The same for prompts that begin alike; says nothing about them."""
        stable = (self.model, [segment for segment in self.segments if not isinstance(segment, Question)])
        return hashlib.sha256(msgspec.json.encode(stable, order="deterministic")).hexdigest()[:32]

    def _all(self, kind: type[T]) -> list[T]:
        return [segment for segment in self.segments if isinstance(segment, kind)]

    def options(self, asked: ChatOptions) -> ChatOptions:
        """What a call asked for, completed by the settings."""
        missing = {
            name: value for name, value in msgspec.structs.asdict(self.settings).items() if getattr(asked, name) is None
        }
        if not asked.tools:
            missing["tools"] = tuple(tool for segment in self._all(Tools) for tool in segment.tools)
        return msgspec.structs.replace(asked, **missing)

    def shape(self) -> dict[str, Any]:
        """What a request looks like, without the texts: how much of what, in which order."""
        settings = {name: value for name, value in msgspec.structs.asdict(self.settings).items() if value is not None}
        return {
            "model": self.model,
            **({"base_url": self.base_url} if self.base_url else {}),
            **settings,
            "segments": [_shape(segment) for segment in self.segments],
            "tokens_before_question": self.tokens,
            "tokens_are": f"estimated, {CHARACTERS_PER_TOKEN} characters each",
        }

    @property
    def tokens(self) -> int:
        """Estimated tokens in front of the question."""
        texts = [turn.text for turn in self.conversation(())]
        texts += [msgspec.json.encode(tool).decode() for segment in self._all(Tools) for tool in segment.tools]
        return sum(map(estimated, texts))

    @property
    def tokens_found(self) -> int:
        """Estimated tokens of what is found for a question."""
        found = (each for each in self.segments if isinstance(each, RetrievedPassages | RetrievedExamples))
        return sum(_shape(segment)["tokens"] for segment in found)


def _shape(segment: Segment) -> dict[str, Any]:
    if isinstance(segment, Tools):
        return {"kind": "tools", "count": len(segment.tools)}
    if isinstance(segment, Instructions):
        return {"kind": "instructions", "tokens": estimated(segment.text)}
    if isinstance(segment, Examples):
        tokens = sum(estimated(turn.text) for turn in segment.messages())
        return {"kind": "examples", "count": len(segment.conversations), "tokens": tokens}
    if isinstance(segment, Corpus):
        tokens = sum(estimated(document.text) for document in segment.documents)
        return {"kind": "corpus", "count": len(segment.documents), "tokens": tokens}
    if isinstance(segment, RetrievedPassages):
        tokens = segment.how.k * Chunking().tokens
        return {"kind": "retrieved passages", "count": segment.how.k, "tokens": tokens}
    if isinstance(segment, RetrievedExamples):
        k, rows = segment.how.k, segment.how.conversations
        of_all = sum(estimated(turn.text) for turn in Examples(rows).messages())
        return {"kind": "retrieved examples", "count": k, "of": len(rows), "tokens": k * of_all // max(1, len(rows))}
    return {"kind": str(segment.__struct_config__.tag)}


def estimated(text: str) -> int:
    """Tokens of a text, by its characters."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _fault(path: Path, content: bytes, error: Exception) -> str:
    try:
        said = msgspec.json.decode(content, type=dict[str, Any]).get("format")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return f"{path} is not an adapted model: it is not JSON ({error})"
    if isinstance(said, str) and said.startswith(_FORMAT) and said not in (f"{_FORMAT}1", _NOW):
        return f"{path} was written by a newer adaptkit ({said}): upgrade"
    # a DataError lists what is wrong with a message; none of them repeats the text
    return f"{path} is not an adapted model of this version: {error}"

"""The values that cross every boundary: frozen, no I/O, no vendor types.

All are `msgspec` structs: cheap, typed, and decoded strictly wherever text comes in from outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec

from adaptkit.decodable import decodable
from adaptkit.errors import ConfigError

__all__ = [
    "AudioPart",
    "Checkpoint",
    "Citation",
    "DeploymentRef",
    "DeploymentSnapshot",
    "DeploymentStatus",
    "Document",
    "Event",
    "ImagePart",
    "Inventory",
    "JobRef",
    "Likelihood",
    "Message",
    "ModelRef",
    "OwnedFile",
    "OwnedJob",
    "OwnedModel",
    "Part",
    "Reply",
    "Role",
    "Snapshot",
    "Speed",
    "Status",
    "TextPart",
    "ToolCall",
    "Usage",
]

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Status(StrEnum):
    """Where a job stands. ``unknown`` is not terminal: the service said a word that adaptkit does not know."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state will never leave it."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class _Ref(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of versioned JSON: which backend, which id, which target. Never a secret, never configuration."""

    v: Literal[1] = 1
    backend: str
    id: str
    target: str | None = None

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str | Self) -> Self:
        """Read a reference back.

        Args:
            text: What ``str(ref)`` gave, or a reference (returned as it is).

        Raises:
            ConfigError: the text is no reference of this kind, or was written by a newer adaptkit.
        """
        if isinstance(text, cls):
            return text
        try:
            ref = msgspec.json.decode(str(text).strip(), type=cls)
        except (msgspec.MsgspecError, UnicodeError) as error:
            kind = cls.__name__
            raise ConfigError(
                f"this is not a {kind}: {error}. A {kind} is one line of JSON such as "
                f'{{"kind":"{_KINDS[kind]}","v":1,"backend":"lora","id":"…"}}; print(str(ref)) writes it.'
            ) from None
        if not ref.backend or not ref.id:
            raise ConfigError(f"a {cls.__name__} needs a backend and an id, got {text!r}")
        return ref


class JobRef(_Ref, frozen=True, kw_only=True, tag="job", tag_field="kind"):
    """Text form of a job; ``Client.attach(str(ref))`` finds it again from any process."""


class ModelRef(_Ref, frozen=True, kw_only=True, tag="model", tag_field="kind"):
    """Text form of a model that answers; ``Client.model(str(ref))`` opens it from any process."""


class DeploymentRef(_Ref, frozen=True, kw_only=True, tag="deployment", tag_field="kind"):
    """Text form of a deployment; ``Client.deployment(str(ref))`` finds it again from any process."""


_KINDS = {"JobRef": "job", "ModelRef": "model", "DeploymentRef": "deployment"}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend says of a job at one moment.

    ``job_id`` is the backend's own id, ``raw_status`` its own word, ``tag`` the tag that the submission carried where
    the backend gives it back, ``message`` its words on a failure, ``poll_after`` the seconds after which asking again
    makes sense, ``raw`` the vendor's answer for those who need more. ``notes`` are what should be known and changes
    nothing, one sentence each: a setting that the host changed, an early stop, a partial success, a date of shutdown;
    the client warns of each once.
    """

    job_id: str
    status: Status
    raw_status: str
    tag: str | None = None
    message: str | None = None
    poll_after: float | None = None
    notes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = {}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was at one step of a job: ``model_id`` answers like any other where the host serves checkpoints."""

    model_id: str
    step: int
    metrics: Mapping[str, float] = {}


DeploymentStatus = Literal["starting", "ready", "stopping", "stopped", "failed", "unknown"]


class DeploymentSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says of a model that it keeps running for one account, and bills until it is stopped.

    ``id`` is the host's own, ``model_id`` the model that answers through it, ``status`` one of ``starting``, ``ready``,
    ``stopping``, ``stopped``, ``failed`` and ``unknown``, ``raw_status`` the host's word, ``tag`` the tag that it was
    asked for with where the host gives it back, ``answers_as`` the model id to chat with, ``hourly_usd`` the price of
    an hour in US dollars, ``None`` when unknown.
    """

    id: str
    model_id: str
    status: DeploymentStatus
    raw_status: str
    tag: str | None = None
    answers_as: str | None = None
    hourly_usd: float | None = None
    message: str | None = None


class OwnedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that an account has at a host, whoever started it.

    ``recipe`` is the target's table that would start the same, as far as the host tells; ``files`` the ids of its
    files by purpose; ``created_at`` Unix time; ``model_id`` what it made.
    """

    snapshot: Snapshot
    recipe: Mapping[str, Any] = {}
    files: Mapping[str, str] = {}
    model_id: str | None = None
    created_at: float | None = None


class OwnedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an account has at a host; ``purpose`` is the host's word, ``created_at`` Unix time."""

    id: str
    name: str
    purpose: str
    bytes: int | None = None
    created_at: float | None = None


class OwnedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A tuned model that an account has at a host, and the day from which it no longer answers, if one is set.

    ``archived`` is one that was put away and answers once it is taken out again.
    """

    id: str
    base: str | None = None
    shutdown_date: date | None = None
    created_at: float | None = None
    archived: bool = False


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has at a host, newest first."""

    jobs: tuple[OwnedJob, ...] = ()
    files: tuple[OwnedFile, ...] = ()
    models: tuple[OwnedModel, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a job.

    ``id`` is unique within the job and orders events; ``at`` is Unix time in seconds; ``kind`` is ``status``,
    ``metrics``, ``checkpoint``, ``warning`` or ``log``; ``data`` holds the figures (``step``, ``total_steps``,
    ``loss``, ``eta`` in seconds, …).
    """

    id: str
    at: float
    kind: str
    message: str
    data: Mapping[str, Any] = {}


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text", tag_field="type"):
    """Text inside a message of several parts."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag="image_url", tag_field="type"):
    """An image, as an http(s) or ``data:`` URL; ``detail`` is OpenAI's ``low``, ``high`` or ``auto``."""

    url: str
    detail: str | None = None


class AudioPart(msgspec.Struct, frozen=True, kw_only=True, tag="input_audio", tag_field="type"):
    """Base64 audio in ``format`` (``wav`` or ``mp3``)."""

    data: str
    format: str


Part = TextPart | ImagePart | AudioPart


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the assistant makes: ``arguments`` is always an object here, whatever the format it came in."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation.

    ``weight`` is 0 or 1 on assistant turns: whether training learns from it (``None`` means yes).
    """

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    weight: float | None = None

    @property
    def text(self) -> str:
        """The text of the message; parts that are not text are left out."""
        if isinstance(self.content, tuple):
            return "".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast training went on this machine.

    Attributes:
        tokens_per_second: Training tokens, over whole runs; the median where there were several.
        starting: Seconds of a job in which nothing is trained: loading, reading the data, writing the model.
        runs: How many runs that rests on.
        at: Unix time of the latest.
    """

    tokens_per_second: float
    starting: float
    runs: int
    at: float


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text, or a PDF, that a question can be answered from.

    ``source`` is where it comes from, such as a path or an address; in an index it is what the document is known by.
    ``title`` stands in front of it, and of every passage of it. ``pdf`` is the content of a PDF file, for models that
    read those; there is no text then.

    Raises:
        ConfigError: it is both, or no PDF.
    """

    title: str = ""
    text: str = ""
    source: str | None = None
    pdf: bytes | None = None

    def __post_init__(self) -> None:
        if self.pdf is None:
            return
        if self.text:
            raise ConfigError("a Document has a text or a PDF, not both")
        if not isinstance(self.pdf, bytes) or b"%PDF-" not in self.pdf[:1024]:
            raise ConfigError("pdf is the content of a PDF file, such as Path(…).read_bytes(); this is something else")


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of an answer rests on.

    ``start`` and ``end`` are the part in ``Reply.text``, ``quote`` the words that it rests on, ``title`` and ``source``
    those of the document, or of the one that a passage was found in. ``document`` is the document's place among those
    asked with, from 0, the corpus first, where the service says it; a passage has none. ``page`` is the page of a PDF
    on which the words begin, from 1.
    """

    start: int
    end: int
    quote: str
    title: str | None = None
    source: str | None = None
    document: int | None = None
    page: int | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a reply cost.

    ``input_tokens`` is the whole prompt; ``cache_read_tokens`` and ``cache_write_tokens`` are the parts of it that the
    service read from its cache, which is cheaper, and wrote there, which may be dearer.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Likelihood(msgspec.Struct, frozen=True, kw_only=True):
    """How likely a model holds an answer: ``nats``, its negative log-likelihood, over ``tokens`` and ``characters``.

    The end of the answer is one of the tokens and none of the characters. Sums of several are theirs together.
    """

    nats: float
    tokens: int
    characters: int

    def __add__(self, other: Likelihood) -> Likelihood:
        """Both together."""
        return Likelihood(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def perplexity(self) -> float:
        """The exponential of the mean over tokens: comparable among models with one tokenizer."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_character(self) -> float:
        """Comparable among all models. ``inf`` for an answer without characters."""
        return self.nats / math.log(2) / self.characters if self.characters else math.inf


@decodable
class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered.

    ``finish_reason`` is ``stop``, ``length``, ``tool_calls``, ``refusal`` or the service's own word; ``parsed`` the
    checked value where a schema was asked for; ``citations`` what the text rests on, where that was asked for; ``raw``
    the service's answer.
    """

    text: str
    usage: Usage = Usage()
    finish_reason: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    parsed: Any = None
    citations: tuple[Citation, ...] = ()
    raw: Mapping[str, Any] = {}

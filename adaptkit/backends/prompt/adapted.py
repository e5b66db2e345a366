"""The adapted model: one JSON file that can be read, compared, committed and loaded elsewhere.

Segments stand from stable to volatile, so that what a service caches is the longest beginning. Equal configuration and
data give equal bytes. The examples are rows of the training data: the file is as confidential as the data are.

```json
{
  "format": "adaptkit-prompt-1",
  "model": "builtin:tiny",
  "settings": {"max_tokens": 64, "temperature": 0.0},
  "data": {"fingerprint": "sha256:…", "rows": 160},
  "segments": [
    {"kind": "instructions", "text": "…"},
    {"kind": "examples", "conversations": [[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]]},
    {"kind": "question"}
  ]
}
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.data import message_from
from adaptkit.data.formats.messages import write_message
from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, BackendError, DataError, NotFoundError
from adaptkit.types import Message

__all__ = ["AdaptedModel", "Examples", "Instructions", "Provenance", "Question", "Segment", "Settings"]

_FORMAT = "adaptkit-prompt-"
_SYSTEM = ("system", "developer")
#: English prose; other scripts take more tokens a character. Good for a warning, not for a bill.
CHARACTERS_PER_TOKEN = 4


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


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="question", tag_field="kind"):
    """Where the caller's conversation stands."""


Segment = Instructions | Examples | Question


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to answer where a call does not say."""

    max_tokens: int | None = None
    temperature: float | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which data the examples were chosen from."""

    fingerprint: str
    rows: int


class AdaptedModel(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag=f"{_FORMAT}1",
    tag_field="format",
):
    """An adapted model; see the top of this module."""

    name: str | None = None
    model: str
    base_url: str | None = None
    settings: Settings = Settings()
    data: Provenance
    segments: tuple[Segment, ...]

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
            for _ in loaded.conversation(()):  # every example is a message
                pass
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

    def conversation(self, question: Sequence[Message]) -> tuple[Message, ...]:
        """The whole prompt: one system message, the examples, the question.

        A system message of the caller joins the instructions, after an empty line, unless it repeats them.
        """
        system = [segment.text for segment in self.segments if isinstance(segment, Instructions)]
        lead = next((at for at, turn in enumerate(question) if turn.role not in _SYSTEM), len(question))
        system += [turn.text for turn in question[:lead] if turn.text not in system]
        turns = [Message(role="system", content="\n\n".join(system))] if system else []
        for segment in self.segments:
            if isinstance(segment, Examples):
                turns += segment.messages()
        return (*turns, *question[lead:])

    def options(self, asked: ChatOptions) -> ChatOptions:
        """What a call asked for, completed by the settings."""
        missing = {
            name: value for name, value in msgspec.structs.asdict(self.settings).items() if getattr(asked, name) is None
        }
        return msgspec.structs.replace(asked, **missing)

    def shape(self) -> Mapping[str, Any]:
        """What a request looks like, without the texts: how much of what, in which order."""
        segments: list[dict[str, Any]] = []
        for segment in self.segments:
            if isinstance(segment, Instructions):
                segments.append({"kind": "instructions", "tokens": _tokens(segment.text)})
            elif isinstance(segment, Examples):
                turns = [turn.text for turn in segment.messages()]
                tokens = sum(map(_tokens, turns))
                segments.append({"kind": "examples", "count": len(segment.conversations), "tokens": tokens})
            else:
                segments.append({"kind": "question"})
        settings = {name: value for name, value in msgspec.structs.asdict(self.settings).items() if value is not None}
        return {
            "model": self.model,
            **({"base_url": self.base_url} if self.base_url else {}),
            **settings,
            "segments": segments,
            "tokens_before_question": self.tokens,
            "tokens_are": f"estimated, {CHARACTERS_PER_TOKEN} characters each",
        }

    @property
    def tokens(self) -> int:
        """Estimated tokens in front of the question."""
        return sum(_tokens(turn.text) for turn in self.conversation(()))


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _fault(path: Path, content: bytes, error: Exception) -> str:
    try:
        said = msgspec.json.decode(content, type=dict[str, Any]).get("format")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return f"{path} is not an adapted model: it is not JSON ({error})"
    if isinstance(said, str) and said.startswith(_FORMAT) and said != f"{_FORMAT}1":
        return f"{path} was written by a newer adaptkit ({said}): upgrade"
    # a DataError lists what is wrong with a message; none of them repeats the text
    return f"{path} is not an adapted model of this version: {error}"

"""Conversations to token ids, and which of them the assistant said: by a chat template, or as mistral-common does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adaptkit.backends.base_model import local_folder, mistral_file, read_json
from adaptkit.backends.chat_template import ChatTemplate, Rendered, read_template
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record
from adaptkit.errors import (
    AdaptkitWarning,
    ArtifactError,
    ConfigError,
    DataError,
    MissingDependencyError,
    UnsupportedError,
)
from adaptkit.types import Message

__all__ = ["ChatTokenizer", "Encoded", "Tokenizer", "open_tokenizer", "tokenizer_here"]

#: Shows whether a chat template writes what mistral-common does: text beyond ASCII, a number, line breaks, indentation.
_PROBE = (
    Message(role="system", content="You answer briefly."),
    Message(role="user", content="Où est le nº 1234?\n\n    if x:\n        go()"),
    Message(role="assistant", content="Là-bas, 日本."),
    Message(role="user", content="Thanks, and then?"),
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each whether training learns from it."""

    ids: list[int]
    learn: list[bool]

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer(Protocol):
    """What training and answering ask of a model's tokenizer."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers, which decodes."""
        ...

    @property
    def template(self) -> ChatTemplate | None:
        """The chat template that came with the model."""
        ...

    @property
    def eos(self) -> int | None:
        """Id that ends an answer."""
        ...

    @property
    def pad(self) -> int:
        """Id to fill up with; it is masked everywhere."""
        ...

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of a conversation, up to where the assistant is to go on."""
        ...

    def text(self, text: str) -> Encoded:
        """Plain text: everything is learned, and where it ends."""
        ...

    def completion(self, prompt: str, completion: str) -> Encoded:
        """A completion after a prompt: the completion is learned, and where it ends."""
        ...

    def conversation(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Encoded:
        """A conversation: what the assistant says is learned, except turns of weight 0."""
        ...

    def answer(
        self, prompt: Sequence[Message], answer: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[int], list[int]]:
        """Token ids of a prompt, and of one answer to it with the token that ends it."""
        ...

    def count(self, record: Record) -> int:
        """Tokens of a record as training sees it."""
        ...


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder: mistral-common's where Mistral's own file is there, else by the chat template.

    Where ``tokenizer.json`` with its template gives other ids than mistral-common, the latter's hold, with a warning:
    they are what the model was trained on.

    Raises:
        ArtifactError: it is not there, damaged, or two files of it contradict each other.
        MissingDependencyError: there is Mistral's file, and mistral-common is not installed.
    """
    file = mistral_file(folder)
    if file is None:
        return ChatTokenizer(folder)
    beside = ChatTokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    try:
        from adaptkit.backends.mistral_tokens import MistralTokens  # noqa: PLC0415 - an extra

        made = MistralTokens(file, beside)
    except ImportError as error:
        missing = error.name or "sentencepiece"
        raise MissingDependencyError(f"Mistral's tokenizer {file.name}", missing, "train") from error
    if beside is not None and not _agree(made, beside):
        warnings.warn(
            f"tokenizer.json and the chat template in {folder} give other token ids than Mistral's {file.name}; "
            "those of mistral-common are used",
            AdaptkitWarning,
            stacklevel=2,
        )
    return made


def _agree(mistral: Tokenizer, beside: ChatTokenizer) -> bool:
    """Whether both write the probe alike, as a conversation where there is a template, else as text."""
    if beside.template is not None:
        try:
            return beside.prompt(_PROBE) == mistral.prompt(_PROBE)
        except DataError:
            return False
    text = _PROBE[1].text
    return bool(beside.tokenizer(text, add_special_tokens=False)["input_ids"] == mistral.text(text).ids[1:-1])


class ChatTokenizer:
    """Loaded from a model's folder.

    Attributes:
        tokenizer: The transformers tokenizer.
        template: The compiled chat template, or ``None`` when the model has none.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415 - an extra

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, mistral_format=False
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the tokenizer in {folder} cannot be loaded ({type(error).__name__})") from error
        if not self.tokenizer.is_fast:
            raise UnsupportedError(f"the model in {folder} has no tokenizer.json, which adaptkit needs for its offsets")
        config = folder / "tokenizer_config.json"
        source = read_template(folder, read_json(config, "the model") if config.is_file() else {})
        names = {name: token for name, token in self.tokenizer.special_tokens_map.items() if isinstance(token, str)}
        self.template = ChatTemplate(source, names) if source else None
        self.folder = folder

    def _template(self) -> ChatTemplate:
        if self.template is None:
            raise UnsupportedError(
                f"the model in {self.folder} has no chat template: put one into chat_template.jinja, use an instruct "
                "model, or train on text records"
            )
        return self.template

    @property
    def eos(self) -> int | None:
        """Id that ends an answer."""
        found = self.tokenizer.eos_token_id
        return None if found is None else int(found)

    @property
    def pad(self) -> int:
        """Id to fill up with; it is masked everywhere."""
        found = self.tokenizer.pad_token_id
        return int(found if found is not None else self.tokenizer.eos_token_id or 0)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of a conversation, up to where the assistant is to go on."""
        return self._ids(self._template().render(messages, tools, ask=True).text)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, text: str) -> Encoded:
        """Plain text: everything is learned, and where it ends."""
        ids = [*self.tokenizer(text)["input_ids"], *self._end()]
        return Encoded(ids, [True] * len(ids))

    def completion(self, prompt: str, completion: str) -> Encoded:
        """A completion after a prompt: the completion is learned, and where it ends."""
        before, after = list(self.tokenizer(prompt)["input_ids"]), [*self._ids(completion), *self._end()]
        if before and before[-1] == self.tokenizer.eos_token_id:  # put there by the tokenizer, not by the data
            before.pop()
        return Encoded(before + after, [False] * len(before) + [True] * len(after))

    def _end(self) -> list[int]:
        return [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]

    def conversation(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Encoded:
        """A conversation: what the assistant says is learned, except turns of weight 0.

        Raises:
            UnsupportedError: it cannot be told which characters the assistant said.
        """
        template = self._template()
        rendered = template.render(messages, tools)
        spans = (
            _by_blocks(rendered, messages)
            if template.has_generation_blocks
            else self._by_prefixes(rendered, messages, tools)
        )
        found = self.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
        learn, ahead = [], 0
        for start, end in found["offset_mapping"]:
            while ahead < len(spans) and start >= spans[ahead][1]:
                ahead += 1
            learn.append(ahead < len(spans) and start >= spans[ahead][0] and end > start)
        return Encoded(list(found["input_ids"]), learn)

    def count(self, record: Record) -> int:
        """Tokens of a record as training sees it; of a preference, those of both answers, each after the prompt."""
        if isinstance(record, ChatRecord):
            return len(self._ids(self._template().render(record.messages, record.tools).text))
        if isinstance(record, PreferenceRecord):
            asked = record.prompt
            both = [(*asked, *record.chosen), (*asked, *record.rejected)]
            return sum(len(self._ids(self._template().render(turns, record.tools).text)) for turns in both)
        if isinstance(record, CompletionRecord):
            return len(self.completion(record.prompt, record.completion))
        return len(self.text(record.text))

    def answer(
        self, prompt: Sequence[Message], answer: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[int], list[int]]:
        """Token ids of a prompt, and of one answer to it with the token that ends it.

        Raises:
            UnsupportedError: the template writes the prompt differently once it is answered.
        """
        before = self._template().render(prompt, tools, ask=True).text
        whole = self._template().render([*prompt, *answer], tools).text
        if not whole.startswith(before):
            raise UnsupportedError("the model's chat template writes a prompt differently once it is answered")
        return self._ids(before), self._ids(self._said(whole[len(before) :]))

    def _said(self, text: str) -> str:
        """An answer up to its end token: what follows is for the next turn."""
        eos = self.tokenizer.eos_token
        return text[: text.rindex(eos) + len(eos)] if eos and eos in text else text

    def _by_prefixes(
        self, whole: Rendered, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> list[tuple[int, int]]:
        """Spans of the assistant's turns for a template that does not mark them.

        What a turn adds is the rendering up to it less the rendering that asks for it. That holds only while each is
        the beginning of the next, which is checked: a template that rewrites earlier turns is refused.
        """
        spans = []
        for index, message in enumerate(messages):
            if message.role != "assistant" or message.weight == 0:
                continue
            before = self._template().render(messages[:index], tools, ask=True).text
            after = self._template().render(messages[: index + 1], tools).text
            if not (after.startswith(before) and whole.text.startswith(after)):
                raise UnsupportedError(
                    "the model's chat template writes a turn differently when others follow, and does not mark the "
                    "assistant's turns: put {% generation %} and {% endgeneration %} around them in "
                    f"{self.folder / 'chat_template.jinja'}"
                )
            spans.append((len(before), len(before) + len(self._said(after[len(before) :]))))
        return spans


def tokenizer_here(model: str) -> Tokenizer | None:
    """The tokenizer of a model that is on this machine.

    Args:
        model: ``builtin:tiny``, a folder, a hub id, or any name that a host gave a model.

    Returns:
        ``None`` where it is not here, cannot be loaded, or there is nothing to load it with; nothing is fetched.
    """
    try:
        folder = local_folder(model)
        return None if folder is None else open_tokenizer(folder)
    except (ConfigError, MissingDependencyError, ArtifactError, UnsupportedError, ImportError):
        return None  # a host's own name for a model, or nothing to count with


def _by_blocks(rendered: Rendered, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Spans of the assistant's turns from the template's own marks."""
    weights = [message.weight for message in messages if message.role == "assistant"]
    if len(weights) == len(rendered.spans):
        return [span for span, weight in zip(rendered.spans, weights, strict=True) if weight != 0]
    if all(weight != 0 for weight in weights):
        return list(rendered.spans)
    raise DataError(
        f"the chat template marks {len(rendered.spans)} blocks for {len(weights)} assistant turns, so that weights of "
        "0 cannot be told apart; leave the weights out, or split the conversation"
    )

"""Token ids as mistral-common makes them, for a model folder that carries Mistral's own tokenizer file.

What is learned
    Of each assistant turn its tokens and the end-of-sequence token that ends it, except of turns of weight 0.

    Up to version 11 a conversation shows its tools once, before the last user turn. Where there are tools, what stands
    before an earlier answer is then not what the model is given when it is to say it, and learning it would teach calls
    of tools that it was not shown. So only the answers after the last user turn are learned there, calls among them.
    From version 13 on tools stand before the first user turn, and every answer is learned. A system prompt moves
    likewise in versions 2 and 3; Mistral's own trainer learned the answers before it all the same, and so does this.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from mistral_common.exceptions import (
    InvalidAssistantMessageException,
    InvalidFunctionCallException,
    InvalidMessageStructureException,
    InvalidRequestException,
    InvalidToolException,
    InvalidToolMessageException,
    InvalidToolSchemaException,
    MistralCommonException,
    TokenizerException,
    UnsupportedTokenizerFeatureException,
)
from mistral_common.protocol.instruct.chunk import TextChunk
from mistral_common.protocol.instruct.messages import (
    FinetuningAssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall, Tool, ToolCall
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from adaptkit.backends.chat_tokenizer import ChatTokenizer, Encoded
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record
from adaptkit.errors import ArtifactError, DataError, UnsupportedError
from adaptkit.types import Message, TextPart

__all__ = ["MistralTokens"]

#: The methods of mistral-common that make the ids of a turn.
_TURNS = ("encode_system_message", "encode_user_message", "encode_assistant_message", "encode_tool_message")
#: What mistral-common's refusals say, in words that quote no data as its own do.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (InvalidMessageStructureException, "turns are in an order it does not take, or calls and results do not pair up"),
    (InvalidAssistantMessageException, "an assistant turn has both text and calls, or neither, or a weight but 0 or 1"),
    (InvalidFunctionCallException, "a call has an id or a function's name that it does not take"),
    (InvalidToolMessageException, "a tool turn has an id or a name that it does not take"),
    (InvalidToolSchemaException, "a tool's parameters are no JSON schema"),
    (InvalidToolException, "a tool has a name that it does not take"),
    (InvalidRequestException, "a turn lacks something, such as the id of the call that it answers"),
    (UnsupportedTokenizerFeatureException, "this version has no form for several results of one turn"),
    (TokenizerException, "this version has no tokens for a turn, such as one with calls"),
)
_REFUSALS = (MistralCommonException, ValueError, TypeError, KeyError, AssertionError)


class MistralTokens:
    """A `Tokenizer` of Mistral's.

    Args:
        file: Mistral's tokenizer file; its name or its content says of which version it is.
        beside: What is made of the ``tokenizer.json`` beside it, where there is one.

    Attributes:
        version: Such as 3, 7 or 13.
        template: The chat template beside it, which other programs use; ids are not made by it.

    Raises:
        ArtifactError: the file is damaged, or ``tokenizer.json`` has other tokens.
    """

    def __init__(self, file: Path, beside: ChatTokenizer | None = None) -> None:
        self.file, self._beside = file, beside
        self.template = beside.template if beside is not None else None
        try:
            mistral = MistralTokenizer.from_file(file)
        except (*_REFUSALS, OSError, RuntimeError) as error:
            raise ArtifactError(f"mistral-common cannot read {file} ({type(error).__name__})") from error
        self._version = mistral.version
        self._instruct: Any = mistral.instruct_tokenizer
        self._plain: Any = self._instruct.tokenizer
        self._normalizer: Any = get_normalizer(self._version, self._plain.model_settings_builder)
        self._validators = {
            mode: get_validator(self._version, mode) for mode in (ValidationMode.finetuning, ValidationMode.test)
        }
        self.version = int(self._version.value.removeprefix("v"))
        if beside is not None and len(beside.tokenizer) != self._plain.n_words:
            raise ArtifactError(
                f"{file} has {self._plain.n_words:,} tokens and tokenizer.json beside it {len(beside.tokenizer):,}: "
                "one of them is of another model. Take the wrong one away."
            )

    @cached_property
    def tokenizer(self) -> Any:
        """Transformers' tokenizer of the same vocabulary: for decoding, streaming and stop words, not for ids."""
        return self._beside.tokenizer if self._beside is not None else _converted(self.file)

    @property
    def eos(self) -> int:
        """Id that ends an answer."""
        return int(self._plain.eos_id)

    @property
    def pad(self) -> int:
        """Id to fill up with; it is masked everywhere."""
        found = int(self._plain.pad_id)
        return found if found >= 0 else self.eos

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of a conversation, up to where the assistant is to go on.

        Raises:
            DataError: mistral-common refuses the conversation, or it ends with an answer already.
        """
        if messages and messages[-1].role == "assistant":
            raise DataError("the conversation ends with the assistant, which Mistral's models do not go on from")
        return self._encode(messages, tools)[0]

    def text(self, text: str) -> Encoded:
        """Plain text: everything is learned, and where it ends."""
        ids = self._plain.encode(text, bos=True, eos=True)
        return Encoded(ids, [True] * len(ids))

    def completion(self, prompt: str, completion: str) -> Encoded:
        """A completion after a prompt: the completion is learned, and where it ends."""
        before = self._plain.encode(prompt, bos=True, eos=False)
        after = [*self._going_on(completion), self.eos]
        return Encoded(before + after, [False] * len(before) + [True] * len(after))

    def _going_on(self, text: str) -> list[int]:
        """Ids of text with something before it: SentencePiece puts a space before what it takes for a beginning."""
        if self.file.suffix == ".json":
            return list(self._plain.encode(text, bos=False, eos=False))
        mark = self._plain.encode("☺", bos=False, eos=False)
        return list(self._plain.encode("☺" + text, bos=False, eos=False)[len(mark) :])

    def conversation(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Encoded:
        """A conversation: what the assistant says is learned, as the module's text has it.

        Raises:
            DataError: mistral-common refuses the conversation.
        """
        ids, turns = self._encode(messages, tools)
        seen = max((at for at, (role, _) in enumerate(turns) if role == "encode_user_message"), default=0)
        first = seen if tools and self.moves_tools else 0
        weights = iter(_weights(messages))
        learn = [False] * len(self._instruct.start())
        for at, (role, turn) in enumerate(turns):
            said = role == "encode_assistant_message" and next(weights) != 0 and at >= first
            learn += [said] * len(turn)
        return Encoded(ids, learn)

    @property
    def moves_tools(self) -> bool:
        """Whether a conversation shows its tools before its last user turn, not before its first."""
        return bool(self._version < TokenizerVersion.v13)

    def count(self, record: Record) -> int:
        """Tokens of a record as training sees it; of a preference, those of both answers, each after the prompt."""
        if isinstance(record, ChatRecord):
            return len(self._encode(record.messages, record.tools)[0])
        if isinstance(record, PreferenceRecord):
            both = [(*record.prompt, *record.chosen), (*record.prompt, *record.rejected)]
            return sum(len(self._encode(turns, record.tools)[0]) for turns in both)
        if isinstance(record, CompletionRecord):
            return len(self.completion(record.prompt, record.completion))
        return len(self.text(record.text))

    def answer(
        self, prompt: Sequence[Message], answer: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[int], list[int]]:
        """Token ids of a prompt, and of one answer to it with the token that ends it.

        Raises:
            DataError: mistral-common refuses the conversation.
            UnsupportedError: it writes the prompt differently once it is answered.
        """
        before, whole = self.prompt(prompt, tools), self._encode([*prompt, *answer], tools)[0]
        if whole[: len(before)] != before:
            raise UnsupportedError("mistral-common writes this prompt differently once it is answered")
        return before, whole[len(before) :]

    def check(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Let mistral-common look at a conversation to learn from, without making ids.

        Raises:
            DataError: it refuses it; says why without quoting it.
        """
        with self._refusals():
            self._validators[ValidationMode.finetuning].validate_request(_request(messages, tools))

    def _encode(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[int], list[tuple[str, list[int]]]]:
        """All ids, and those of each turn with the name of the method that made them.

        These are the steps of mistral-common's ``encode_chat_completion``, with an ear to how it puts turns together.
        """
        learned = bool(messages) and messages[-1].role == "assistant"
        mode = ValidationMode.finetuning if learned else ValidationMode.test
        turns: list[tuple[str, list[int]]] = []
        instruct = copy(self._instruct)
        for name in _TURNS:
            setattr(instruct, name, partial(_heard, turns, name, getattr(self._instruct, name)))
        with self._refusals():
            checked = self._validators[mode].validate_request(_request(messages, tools))
            ids = instruct.encode_instruct(self._normalizer.from_chat_completion_request(checked)).tokens
        together = [*self._instruct.start(), *(token for _, turn in turns for token in turn)]
        if ids != together:
            raise UnsupportedError(
                "the installed mistral-common puts conversations together in a way that adaptkit does not know: use "
                "another version of it"
            )
        return ids, turns

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except _REFUSALS as error:
            why = next((words for kind, words in _REASONS if isinstance(error, kind)), type(error).__name__)
            raise DataError(f"mistral-common (tokenizer v{self.version}) refuses this conversation: {why}") from None


def _heard(turns: list[tuple[str, list[int]]], name: str, encode: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a method of mistral-common and keep the ids that it gave, alone or first of several results."""
    found = encode(*given, **named)
    turns.append((name, list(found if isinstance(found, list) else found[0])))
    return found


def _weights(messages: Sequence[Message]) -> Iterator[float | None]:
    """Weights of the assistant's turns, neighbours of the same weight being one turn to mistral-common."""
    for (role, weight), _ in groupby(messages, key=lambda turn: (turn.role, _weight(turn))):
        if role == "assistant":
            yield weight


def _weight(message: Message) -> float | None:
    return message.weight if message.role == "assistant" else None


def _request(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Any:
    return ChatCompletionRequest(
        messages=[_message(message) for message in messages],
        tools=[Tool.from_openai(dict(tool)) for tool in tools] or None,
    )


def _message(message: Message) -> Any:
    """A message as mistral-common's own."""
    content: Any = message.content
    if isinstance(content, tuple):
        other = [part for part in content if not isinstance(part, TextPart)]
        if other:
            raise DataError(f"a text model cannot read the {type(other[0]).__name__} of a {message.role} message")
        content = [TextChunk(text=part.text) for part in content if isinstance(part, TextPart)]
    if message.role == "system":
        return SystemMessage(content=content or "")
    if message.role == "user":
        return UserMessage(content=content or "")
    if message.role == "tool":
        return ToolMessage(content=content or "", tool_call_id=message.tool_call_id, name=message.name)
    calls = [
        ToolCall(
            function=FunctionCall(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False)),
            **({} if call.id is None else {"id": call.id}),
        )
        for call in message.tool_calls
    ]
    return FinetuningAssistantMessage(content=content, tool_calls=calls or None, weight=message.weight)


def _converted(file: Path) -> Any:
    """A transformers tokenizer made from Mistral's file."""
    from transformers import LlamaTokenizer  # noqa: PLC0415 - slow to load
    from transformers.integrations.mistral import convert_tekken_tokenizer  # noqa: PLC0415

    try:
        if file.suffix == ".json":
            return convert_tekken_tokenizer(str(file))
        with tempfile.TemporaryDirectory() as held:  # transformers knows SentencePiece files by this name alone
            shutil.copyfile(file, Path(held) / "tokenizer.model")
            return LlamaTokenizer.from_pretrained(held, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"transformers cannot read the tokenizer {file} ({type(error).__name__})") from error

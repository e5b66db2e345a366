"""Whether mistral-common takes the data, as the tokenizer version of the base asks.

Versions differ: version 3 wants nine characters in a call's id and no text beside calls, version 13 takes both. What is
known of them is said here with its place in the row; mistral-common itself, in its mode for fine-tuning, has the last
word.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import mistral_file
from adaptkit.backends.chat_tokenizer import open_tokenizer
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, PreferenceRecord, Record
from adaptkit.data.rules import common_findings
from adaptkit.errors import DataError
from adaptkit.types import Message, TextPart

__all__ = ["MistralRule", "record_rules"]

Placed = tuple[str, Message]
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9]{9}")


def record_rules(folder: Path) -> tuple[Callable[[Record], Iterable[Finding]], ...]:
    """What the base in a folder asks of a record, for `DataRules.record_rules`.

    Args:
        folder: Of the base; without Mistral's tokenizer file in it, the common rules alone apply.

    Raises:
        ArtifactError: the base's tokenizer is damaged.
        MissingDependencyError: mistral-common is not installed.
    """
    return () if mistral_file(folder) is None else (MistralRule(folder),)


class MistralRule:
    """What one tokenizer version asks of a record; texts and completions it takes as they are.

    Args:
        folder: Of the base, with Mistral's tokenizer file.
    """

    def __init__(self, folder: Path) -> None:
        from adaptkit.backends.mistral_tokens import MistralTokens  # noqa: PLC0415 - an extra

        opened = open_tokenizer(folder)
        assert isinstance(opened, MistralTokens)  # noqa: S101 - that is what the file is for
        self._tokens, self._version = opened, opened.version

    def __call__(self, record: Record) -> Iterator[Finding]:
        """What is wrong with a record."""
        if not isinstance(record, ChatRecord | PreferenceRecord):
            return
        found = [*self._tools(record.tools)]
        for turns in _conversations(record):
            found += self._turns(turns, record.tools)
        found = list(dict.fromkeys(found))  # a prompt stands before both answers
        yield from found
        known = [*common_findings(record), *found]
        if any(finding.severity == "error" for finding in known):
            return
        for turns in _conversations(record):
            try:
                self._tokens.check([turn for _, turn in turns], record.tools)
            except DataError as error:
                yield Finding("mistral-refused", turns[-1][0].partition("[")[0], f"{error}.", "Change the row.")

    def _tools(self, tools: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
        if tools and self._version == 1:
            yield Finding("mistral-tools", "$.tools", "tokenizer v1 has no tools.", "Remove them, or use a newer base.")
        for at, tool in enumerate(tools):
            if not _NAME.fullmatch(str((tool.get("function") or {}).get("name", ""))):
                yield _name(f"$.tools[{at}].function.name")

    def _turns(self, turns: list[Placed], tools: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
        last = max((at for at, (_, turn) in enumerate(turns) if turn.role == "user"), default=0)
        results = 0
        for at, (path, turn) in enumerate(turns):
            if isinstance(turn.content, tuple) and not all(isinstance(part, TextPart) for part in turn.content):
                yield Finding("mistral-part", f"{path}.content", "only text is learned.", "Remove the other parts.")
            if turn.role == "assistant":
                yield from self._assistant(path, turn, _run(turns, at), last=at == len(turns) - 1)
            results = results + 1 if turn.role == "tool" and at > last else 0
            if turn.role == "tool":
                yield from self._tool(path, turn, results)
        early = any(turn.role == "assistant" and turn.weight != 0 for _, turn in turns[:last])
        if tools and early and self._tokens.moves_tools:
            yield Finding(
                "mistral-early-answers",
                turns[0][0].partition("[")[0],
                f"tokenizer v{self._version} shows tools only before the last user turn, so answers before it are not "
                "learned.",
                "Make a row of the conversation up to each of them.",
                "warning",
            )

    def _assistant(self, path: str, turn: Message, run: Sequence[Message], *, last: bool) -> Iterator[Finding]:
        """What is wrong with a turn; ``run`` are those around it without another role between, which may become one."""
        if turn.tool_calls and self._version < 7 and any(each.text for each in run):
            yield Finding(
                "mistral-text-and-calls",
                path,
                f"tokenizer v{self._version} has no turn with both text and calls.",
                "Remove the text, or use a newer base.",
            )
        if turn.content != "" and not turn.text and not turn.tool_calls:
            yield Finding("mistral-empty", path, "this assistant turn says nothing.", "Write its text, or remove it.")
        for at, call in enumerate(turn.tool_calls):
            if self._version == 1:
                yield Finding("mistral-tools", f"{path}.tool_calls[{at}]", "tokenizer v1 has no calls.", "Remove it.")
            if not _NAME.fullmatch(call.name):
                yield _name(f"{path}.tool_calls[{at}].function.name")
            if not (last and call.id in (None, "null") and self._version < 13):
                yield from self._id(f"{path}.tool_calls[{at}].id", call.id)

    def _tool(self, path: str, turn: Message, results: int) -> Iterator[Finding]:
        if self._version == 1:
            yield Finding("mistral-tools", path, "tokenizer v1 has no tool turns.", "Remove it, or use a newer base.")
        if self._version == 2 and results > 1:
            yield Finding("mistral-results", path, "tokenizer v2 takes one result after a turn.", "Split the calls.")
        if turn.name is not None and not _NAME.fullmatch(turn.name):
            yield _name(f"{path}.name")
        yield from self._id(f"{path}.tool_call_id", turn.tool_call_id)

    def _id(self, path: str, given: str | None) -> Iterator[Finding]:
        """An id is nine letters or digits in versions 3 to 11, and anything after that."""
        if self._version < 3:
            return
        if self._version < 13 and not _ID.fullmatch(given or ""):
            asks = "nine letters or digits"
        elif given in (None, "", "null"):
            asks = "an id"
        else:
            return
        yield Finding(
            "mistral-call-id", path, f"tokenizer v{self._version} asks for {asks} here.", "Rename call and result."
        )


def _run(turns: Sequence[Placed], at: int) -> list[Message]:
    """The assistant's turns around one, with no other role between."""
    before = list(itertools.takewhile(_is_assistant, reversed(turns[:at])))
    return [turn for _, turn in [*reversed(before), *itertools.takewhile(_is_assistant, turns[at:])]]


def _is_assistant(placed: Placed) -> bool:
    return placed[1].role == "assistant"


def _name(path: str) -> Finding:
    return Finding("mistral-name", path, "a function's name is 1 to 64 of a-z, A-Z, 0-9, _ and -.", "Rename it.")


def _conversations(record: ChatRecord | PreferenceRecord) -> list[list[Placed]]:
    """The conversations that a record is learned as, each turn with its path."""
    if isinstance(record, ChatRecord):
        return [_placed("$.messages", record.messages)]
    asked = _placed("$.prompt", record.prompt)
    return [[*asked, *_placed("$.chosen", record.chosen)], [*asked, *_placed("$.rejected", record.rejected)]]


def _placed(path: str, turns: Sequence[Message]) -> list[Placed]:
    return [(f"{path}[{at}]", turn) for at, turn in enumerate(turns)]

"""A held-out set as questions: what is asked, what is expected, and which questions belong together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from adaptkit.data import ChatRecord, CompletionRecord, DataRules, Dataset, Problem, Record
from adaptkit.errors import DataError
from adaptkit.evidence import statistics
from adaptkit.evidence.results import Question
from adaptkit.metrics import Metric, metric_named
from adaptkit.types import Message

__all__ = ["Asked", "HeldOut", "asked_of", "placed", "question_of", "questions_of"]

#: File, line and record.
Placed = tuple[str | None, int, Record]
#: What stands before the answer, as messages.
Asked = tuple[Message, ...]


def placed(data: Dataset) -> Iterator[Placed]:
    """Every record with the file and the line that it comes from.

    Raises:
        DataError: a row cannot be read.
    """
    return data._placed()  # noqa: SLF001 - the data layer keeps the places to itself so far


def asked_of(record: Record) -> tuple[Asked, str] | None:
    """The question and the expected answer of a record, ``None`` where it has none.

    Of a chat the last assistant turn is the answer and what stands before it the question.
    """
    if isinstance(record, CompletionRecord):
        return (Message(role="user", content=record.prompt),), record.completion
    if not isinstance(record, ChatRecord):
        return None
    turns = record.messages
    last = next((at for at in reversed(range(len(turns))) if turns[at].role == "assistant"), 0)
    return (turns[:last], turns[last].text) if last else None


def question_of(asked: Asked) -> str:
    """A question as text for people: that of its only turn, else every turn with who says it."""
    if len(asked) == 1:
        return asked[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in asked)


def questions_of(held_out: Dataset, group: str | None) -> tuple[list[Question], list[Asked]]:
    """Read a held-out set.

    Args:
        held_out: Chats or completions.
        group: Name of the field, beside ``messages`` in a row or in its ``metadata``, whose equal values belong
            together: a customer, a document. ``None`` where every question stands by itself.

    Returns:
        The questions, and each as the messages that a model is asked with.

    Raises:
        DataError: there is none; or rows have no question, no answer to compare with or no group: all are listed.
    """
    questions: list[Question] = []
    asked: list[Asked] = []
    problems: list[Problem] = []
    for number, (file, line, record) in enumerate(placed(held_out)):
        found = asked_of(record)
        if found is None or not found[1].strip():
            problems.append(
                Problem(
                    rule="no-expected-answer",
                    message="there is no question with an answer in text to compare with.",
                    fix="Give chats that end with what the assistant should say, or prompts with completions.",
                    file=file,
                    line=line,
                )
            )
            continue
        messages, expected = found
        belongs = None if group is None else _group(record, group)
        if group is not None and belongs is None:
            problems.append(
                Problem(
                    rule="no-group",
                    message=f"the row has no field {group!r}, beside its messages or in its metadata.",
                    fix="Add it, or compare without group.",
                    file=file,
                    line=line,
                )
            )
        asked.append(messages)
        questions.append(Question(number=number, question=question_of(messages), expected=expected, group=belongs))
    if problems:
        raise DataError("the held-out data cannot be compared on; nothing was asked:", problems)
    if not questions:
        raise DataError("there are no held-out examples to compare on")
    return questions, asked


@dataclass(frozen=True)
class HeldOut:
    """A held-out set, read.

    Attributes:
        name: What progress calls it.
        data: Where it comes from.
        profile: Its statistics.
        questions: Its questions.
        asked: What a model is asked with, for each.
        metric: Name of what scores the answers.
        score: What scores one.
    """

    name: str
    data: Dataset
    profile: dict[str, Any]
    questions: list[Question]
    asked: list[Asked]
    metric: str
    score: Metric

    @classmethod
    def read(cls, name: str, data: Dataset, metric: str | Metric, group: str | None) -> HeldOut:
        """Read a set, and find out whether it can be compared on.

        Raises:
            DataError: rows cannot; every one is listed.
            ConfigError: there is no such metric, or it cannot read the expected answers.
        """
        report = data.check(rules=DataRules(needs_answer=False))  # what is asked of answers comes below, with lines
        report.raise_if_bad()
        profile = msgspec.json.decode(msgspec.json.encode(report.stats))
        questions, asked = questions_of(data, group)
        if isinstance(metric, str):
            held = cls(name, data, profile, questions, asked, metric, metric_named(metric))
            for question in questions:  # an expected answer that the metric cannot read is found before anybody is paid
                held.score(question.expected, question.expected)
            return held
        called = getattr(metric, "__name__", type(metric).__name__)
        return cls(name, data, profile, questions, asked, called, metric)

    @property
    def groups(self) -> list[str | None] | None:
        """The group of each question, ``None`` where there are none."""
        groups = [question.group for question in self.questions]
        return None if all(group is None for group in groups) else groups

    @cached_property
    def detectable(self) -> float:
        """Smallest difference that so many questions show; questions of one group count as one, to be safe."""
        groups = self.groups
        return statistics.detectable(len(self.questions) if groups is None else len(set(groups)))


def _group(record: Record, name: str) -> str | None:
    extra = record.extra
    value: Any = extra.get(name)
    if value is None and isinstance(extra.get("metadata"), dict):
        value = extra["metadata"].get(name)
    return None if value is None else str(value)

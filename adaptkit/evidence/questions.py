"""A held-out set as questions: what is asked, what is expected, and which questions belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptkit.data import ChatRecord, CompletionRecord, Dataset, Problem, Record
from adaptkit.errors import DataError
from adaptkit.evidence.results import Question
from adaptkit.types import Message

__all__ = ["Asked", "asked_of", "placed", "question_of", "questions_of"]

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


def _group(record: Record, name: str) -> str | None:
    extra = record.extra
    value: Any = extra.get(name)
    if value is None and isinstance(extra.get("metadata"), dict):
        value = extra["metadata"].get(name)
    return None if value is None else str(value)

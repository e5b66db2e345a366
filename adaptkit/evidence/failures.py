"""What kind of wrong the wrong answers are: their form, a fact that nobody told the model, or skill.

Told from the words alone, without asking anybody, so it is modest: a form is recognised where the expected answers
have one, a missing fact where most words of the expected answer stand nowhere that the model could have read, and
what is left over counts as skill.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from adaptkit.evidence.results import Comparison, Competitor

__all__ = ["Failures", "Nature", "failures"]

Nature = Literal["format", "missing_fact", "skill"]

#: Different expected answers at most that count as a set of labels, and how often each stands there on average.
LABELS, EACH = 50, 3
#: Share of an expected answer's words that must stand nowhere for it to be a missing fact.
MOST = 0.5
#: Words that carry something: with a digit, or of so many letters; of scripts without spaces, runs.
_CONTENT = re.compile(r"\w*\d\w*|[^\W\d_]{4,}")


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """The wrong answers of one model, by nature.

    Attributes:
        wrong: Answers that do not have the full score; those that ended with an error are not among them.
        counts: How many of each nature; those that there are none of are left out.
    """

    wrong: int
    counts: Mapping[Nature, int]

    def share(self, nature: Nature) -> float:
        """Share of the wrong answers that are of a nature; 0 where none is wrong."""
        return self.counts.get(nature, 0) / self.wrong if self.wrong else 0.0

    @property
    def mostly(self) -> Nature | None:
        """The nature of more than half of them, ``None`` where none is."""
        return next((nature for nature, count in self.counts.items() if 2 * count > self.wrong), None)


def failures(comparison: Comparison, competitor: Competitor, told: Iterable[str] = ()) -> Failures:
    """Sort one model's wrong answers.

    Args:
        comparison: What it took part in.
        competitor: The model.
        told: Texts that the model could have read besides the question: the training data, documents.
    """
    form = _Form([question.expected for question in comparison.questions])
    known = {word for text in told for word in _words(text)}
    questions = {question.number: question for question in comparison.questions}
    counts: Counter[Nature] = Counter()
    for answer in competitor.answers:
        if answer.text is None or answer.score >= 1:
            continue
        asked = questions[answer.question]
        counts[_nature(form, asked.expected, asked.question, answer.text, known)] += 1
    return Failures(wrong=sum(counts.values()), counts=dict(counts))


class _Form:
    """What all expected answers have in common: JSON fields, or a few labels."""

    def __init__(self, expected: Sequence[str]) -> None:
        objects = [_fields(text) for text in expected]
        self.fields = set(objects[0]) if objects and objects[0] and all(objects) else None
        labels = {text.strip() for text in expected}
        few = len(labels) <= LABELS and len(expected) >= EACH * len(labels)
        self.labels = labels if few else None

    def keeps(self, answer: str) -> bool:
        if self.labels is not None:
            return answer.strip() in self.labels
        if self.fields is not None:
            return set(_fields(answer) or ()) == self.fields
        return True


def _nature(form: _Form, expected: str, question: str, answer: str, known: set[str]) -> Nature:
    if not form.keeps(answer):
        return "format"
    wanted = _words(expected)
    untold = wanted - known - _words(question)
    if form.labels is None and wanted and len(untold) > MOST * len(wanted):
        return "missing_fact"
    return "skill"


def _words(text: str) -> set[str]:
    return {found.casefold() for found in _CONTENT.findall(text)}


def _fields(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text.strip(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None

"""What a comparison found: frozen values that can be kept in a file, drawn, and reasoned from.

Everything else in this folder makes these or reads them; nothing here asks a model or computes a statistic.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError
from adaptkit.prices import RateCard
from adaptkit.types import Usage

__all__ = ["Answered", "Comparison", "Competitor", "Difference", "Interval", "Question", "Rung"]

#: How a model was adapted: not at all, by its prompt, by weights that were trained on top, or from base weights on.
Rung = Literal["none", "prompt", "fine-tune", "train"]


class Interval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure with the interval that the number of questions allows: ``level`` is 0.95, ``method`` how it was made."""

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One held-out question; those of one ``group`` (a customer, a document: the user's own field) count together."""

    number: int
    question: str
    expected: str
    group: str | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model said to one question.

    Attributes:
        question: Its number.
        repeat: Which time it was asked, from 0.
        text: The answer, ``None`` where there is none.
        score: By the comparison's metric, 0 to 1; a question that ended with an error scores 0.
        feedback: What is wrong with it, in words.
        error: Why there is no answer.
        usage: Tokens.
        seconds: Until the answer was complete, as it was measured when the model was asked; ``None`` where questions
            were answered together.
        first_token_seconds: Until its first piece, where it was streamed.
        usd: What it cost by the table of prices; ``None`` if unknown.
    """

    question: int
    repeat: int = 0
    text: str | None = None
    score: float = 0.0
    feedback: str = ""
    error: str | None = None
    usage: Usage = Usage()
    seconds: float | None = None
    first_token_seconds: float | None = None
    usd: float | None = None


class Competitor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model that was asked, and how it did.

    Attributes:
        name: Its name in the comparison: a target's, or one that the caller gave.
        ref: Text form of its `ModelRef`.
        rung: How it was adapted.
        base: Id of the model that it was made from, where that is known.
        score: Mean of the metric over questions.
        measures: Further figures of the whole set by name, such as ``macro_f1``, ``bleu``, ``chrf``, ``perplexity``.
        answers: In the order of the questions, repeats of one together.
        seconds: Half of the answers were complete within ``p50`` seconds, 95 % within ``p95``; empty if not measured.
        first_token_seconds: The same, until the first piece.
        usage: Tokens of all answers.
        usd: What all answers cost; ``None`` if unknown.
        training_usd: What making it cost; ``None`` if unknown.
        training_seconds: How long that took.
        shutdown: Day from which it no longer answers, as YYYY-MM-DD.
        losses: Step and loss of its training, where the journal or the backend has them.
    """

    name: str
    ref: str
    rung: Rung
    base: str | None = None
    score: Interval
    measures: Mapping[str, float] = {}
    answers: tuple[Answered, ...] = ()
    seconds: Mapping[str, float] = {}
    first_token_seconds: Mapping[str, float] = {}
    usage: Usage = Usage()
    usd: float | None = None
    training_usd: float | None = None
    training_seconds: float | None = None
    shutdown: str | None = None
    losses: tuple[tuple[int, float], ...] = ()


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model against another on the same questions: ``one`` is the better of the two, by so much.

    ``difference`` is its mean less the other's, so at least 0; which of two equals is named first says nothing. ``p``
    is the test's, two-sided; ``adjusted`` the same after Holm's correction over all pairs of the comparison; ``test``
    names it. ``won``, ``lost`` and ``tied`` count questions as seen from ``one``.
    """

    one: str
    other: str
    difference: Interval
    p: float
    adjusted: float
    test: str
    won: int
    lost: int
    tied: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models on one held-out set; ``print(comparison)`` shows a table, `save` and `load` keep it in a file.

    Attributes:
        metric: Name of the metric.
        questions: The held-out set.
        competitors: In the order that the caller gave.
        differences: Every pair.
        detectable: Smallest difference that a set of this size shows with 80 % power at 5 %: said before, not after.
        general: The same models on a general set, in which a loss shows what was forgotten; ``None`` if none was given.
        fingerprint: Of the held-out data.
        created_at: Unix time.
        versions: Of adaptkit and what computed this, by package.
        profile: Statistics of the data, as `Dataset.check` gives them, plain.
        warnings: What should be known before this is believed, one sentence each.
        prices: The dated prices that costs were computed by.
    """

    v: Literal[1] = 1
    metric: str
    questions: tuple[Question, ...]
    competitors: tuple[Competitor, ...]
    differences: tuple[Difference, ...] = ()
    detectable: float | None = None
    general: Comparison | None = None
    fingerprint: str = ""
    created_at: float = 0.0
    versions: Mapping[str, str] = {}
    profile: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    prices: tuple[RateCard, ...] = ()

    def __str__(self) -> str:
        from adaptkit.evidence.table import table  # noqa: PLC0415 - which shows these values

        return table(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, readable for its owner alone: it holds the held-out questions and every answer.

        Returns:
            The path; the file appears whole or not at all.

        Raises:
            ArtifactError: it cannot be written; nothing is left behind.
        """
        file = Path(path)
        try:
            replace_file(file, msgspec.json.encode(self) + b"\n")
        except OSError as error:
            raise ArtifactError(
                f"{file} cannot be written: {error.strerror or error}. Nothing was left behind"
            ) from error
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read what `save` wrote.

        Raises:
            ArtifactError: it is missing, no comparison, damaged, or was written by a newer adaptkit.
        """
        file = Path(path)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror or error}") from error
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ArtifactError(f"{file} {_fault(content, error)}") from None


class _Version(msgspec.Struct):
    v: int


def _fault(content: bytes, error: Exception) -> str:
    try:
        version = msgspec.json.decode(content, type=_Version).v
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return f"is no comparison: {error}. Comparison.save writes one"
    if version > 1:
        return f"was written by a newer adaptkit (version {version} of the file): install that one to read it"
    return f"is damaged: {error}. Compare again; answers that were given are not asked for again"

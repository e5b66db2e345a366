"""Which label was given where which was expected, for answers that are a small set of labels."""

from __future__ import annotations

from collections import Counter

import msgspec

from adaptkit.evidence.report import quoting
from adaptkit.evidence.report.document import Table, Words
from adaptkit.evidence.report.words import count
from adaptkit.evidence.results import Answered, Comparison, Competitor

__all__ = ["confusions", "labels"]

_MOST_LABELS = 12
_LONGEST = 40
#: Characters of all labels together that still fit above columns; longer ones are numbered.
_ABOVE_COLUMNS = 48
_STEPS = 4


def labels(comparison: Comparison) -> list[str]:
    """The labels, commonest first; none where the expected answers are no small set."""
    found = Counter(_label(each.expected) for each in comparison.questions)
    few = 2 <= len(found) <= min(_MOST_LABELS, len(comparison.questions) // 2)
    if not few or any(len(label) > _LONGEST or "\n" in label for label in found):
        return []
    return [label for label, _ in sorted(found.items(), key=lambda each: (-each[1], each[0]))]


def confusions(comparison: Comparison, competitor: Competitor, known: list[str]) -> Table:
    """Rows are the expected labels, columns the given ones, both in the same order.

    An answer with full marks counts as the expected label, however it is spelled.
    """
    expected = {question.number: _label(question.expected) for question in comparison.questions}
    cells: Counter[tuple[str, str | None]] = Counter()
    silent: Counter[str] = Counter()
    for answer in competitor.answers:
        wanted = expected.get(answer.question)
        if wanted is None:
            continue
        if answer.text is None:
            silent[wanted] += 1
        else:
            cells[wanted, _given(answer, wanted, known)] += 1
    rows, marks = [], []
    numbered = sum(map(len, known)) > _ABOVE_COLUMNS
    has_other, has_silent = any(given is None for _, given in cells), bool(silent)
    for place, label in enumerate(known, 1):
        counts = [cells[label, given] for given in known]
        counts += [cells[label, None]] if has_other else []
        counts += [silent[label]] if has_silent else []
        asked = sum(counts) or 1
        head: Words = (f"{place} · ", quoting.name(label)) if numbered else (quoting.name(label),)
        rows.append((head, *((f"{number:,}",) for number in counts)))
        shades = [_mark(number / asked, right=given == place - 1) for given, number in enumerate(counts)]
        marks.append(("", *shades))
    columns: list[Words] = [(str(place),) if numbered else (quoting.name(each),) for place, each in enumerate(known, 1)]
    columns += [("something else",)] if has_other else []
    columns += [("no answer",)] if has_silent else []
    hits = sum(cells[label, label] for label in known)
    total = sum(cells.values()) + sum(silent.values())
    caption: Words = (quoting.name(competitor.name), f": {hits:,} of {count(total, 'answer')} have the expected label")
    return Table(
        caption, (("expected ↓ given →",), *columns), tuple(rows), frozenset(range(1, len(columns) + 1)), tuple(marks)
    )


def _given(answer: Answered, wanted: str, known: list[str]) -> str | None:
    if answer.score >= 1:
        return wanted
    label = _label(answer.text or "")
    return label if label in known else None


def _label(text: str) -> str:
    """The same for JSON that differs in white space and order only."""
    text = text.strip()
    if len(text) <= 4 * _LONGEST and text.startswith("{"):
        try:
            return msgspec.json.encode(msgspec.json.decode(text), order="sorted").decode()
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return text
    return text


def _mark(part: float, *, right: bool) -> str:
    if not part:
        return ""
    return f"{'right' if right else 'wrong'}-{min(_STEPS, 1 + int(part * _STEPS))}"

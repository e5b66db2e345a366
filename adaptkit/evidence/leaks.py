"""Leaks: questions of the held-out set that a model has seen while it was made, so that its score would be a lie.

A question has leaked if it stands among what a model learned from

- exactly, but for case, white space and punctuation; or
- nearly: `NEARLY` of its character n-grams stand in one row. Characters and not words, so that it works for scripts
  without spaces; what many held-out questions have in common (a template, instructions) does not count.

The held-out set is held in memory, `SKETCH` n-grams a question, and training data is read once, row by row: it may be
of any size. A row as long as a book is looked at in windows.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaptkit.backends.local_jobs.data import copy_of
from adaptkit.data import ChatRecord, CompletionRecord, Dataset, PreferenceRecord, Problem, Record, TextRecord
from adaptkit.errors import AdaptkitWarning, DataError
from adaptkit.evidence.entrants import Bench, Entrant
from adaptkit.evidence.questions import asked_of, placed
from adaptkit.types import Message

__all__ = ["Leak", "Leaks", "refuse", "refuse_known", "without_leaks"]

#: Share of a question's n-grams that must stand in one training row.
NEARLY = 0.85
#: The same for the sketch that decides where to look closely: lower by four standard errors.
_WORTH_A_LOOK = 0.6
#: N-grams of a question that are looked for first: those with the smallest hash.
SKETCH = 32
#: Fewest n-grams of its own that a question must have to be looked for otherwise than exactly.
FEWEST = 20
#: An n-gram is common to the set if it stands in so large a share of at least so many questions.
COMMON, COMMON_FROM = 0.1, 10
#: Questions at most that are looked at, evenly spaced, to learn what is common.
COMMON_OF = 1_000
#: Characters, and for texts that hardly have spaces, where a character says more.
WIDTH, DENSE_WIDTH = 5, 3
#: Characters of a long training row that are looked at together.
WINDOW = 4_000
_SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Leak:
    """A held-out question that stands in training data.

    Attributes:
        number: Of the question, from 0.
        share: Of its n-grams; 1 for an exact one.
        exact: Whether it is the same but for case, white space and punctuation.
        source: Where it stands, for people.
    """

    number: int
    share: float
    exact: bool
    source: str


class Leaks:
    """Finds the questions of a held-out set in other data.

    Args:
        held_out: The set.
    """

    def __init__(self, held_out: Iterable[Record]) -> None:
        asked = [_asked(record) for record in held_out]
        systems = Counter(_plain(system) for system, _ in asked if system)
        shared = {text for text, count in systems.items() if count > 1}
        # a system message that several questions share is instructions; another is part of its question
        self._texts = [_plain(text if _plain(system) in shared else f"{system} {text}") for system, text in asked]
        self._exact: dict[str, list[int]] = {}
        for number, text in enumerate(self._texts):
            if text:
                self._exact.setdefault(text, []).append(number)
        self._common = _common(self._texts)
        self._sketch: dict[str, list[int]] = {}
        self._sketched: Counter[int] = Counter()
        for number in range(len(self._texts)):
            grams = self._own(number)
            if len(grams) >= FEWEST:
                for gram in sorted(grams, key=_hash)[:SKETCH]:
                    self._sketch.setdefault(gram, []).append(number)
                    self._sketched[number] += 1

    def within(self, record: Record, source: str) -> Iterator[Leak]:
        """The questions that stand in one record of another data set; one may come several times."""
        system, question, whole = _learned(record)
        exact = {number for text in (question, f"{system} {question}") for number in self._exact.get(_plain(text), ())}
        yield from (Leak(number, 1.0, True, source) for number in sorted(exact))
        text = _plain(f"{system} {whole}")
        for start in range(0, max(1, len(text) - WINDOW // 2), WINDOW // 2):
            window = text[start : start + WINDOW]
            for number, share in self._near(window):
                if number not in exact:
                    yield Leak(number, share, False, source)

    def _own(self, number: int) -> set[str]:
        """N-grams of a question that are not common to the set."""
        return _grams(self._texts[number]) - self._common

    def _near(self, text: str) -> Iterator[tuple[int, float]]:
        grams = _grams(text, WIDTH) | _grams(text, DENSE_WIDTH)
        hits: Counter[int] = Counter()
        for gram in self._sketch.keys() & grams:
            hits.update(self._sketch[gram])
        for number, count in hits.items():
            if count >= _WORTH_A_LOOK * self._sketched[number]:
                own = self._own(number)
                share = len(own & grams) / len(own)
                if share >= NEARLY:
                    yield number, share


def refuse(bench: Bench, who: Sequence[Entrant], held_out: Dataset, learned: Sequence[Dataset]) -> list[str]:
    """Look for leaks into every competitor; nobody is asked while there are any.

    Looked at are ``learned``, the copies of training data that local jobs keep in the home folder, and the examples
    within the files of prompt models. Nothing of it is kept.

    Returns:
        Where nothing could be looked at, one sentence each.

    Raises:
        DataError: there are leaks; every one is listed by its line.
    """
    found: dict[int, Leak] = {}
    leaks = Leaks(held_out)
    seen: set[str | None] = set()
    blind = []
    for data in learned:
        seen.add(data.fingerprint)
        _look(leaks, data, "the training data", found)
    for entrant in who:
        if entrant.prompt is not None:
            for number, turns in enumerate(_examples(entrant), 1):
                _note(leaks.within(ChatRecord(turns), f"example {number} of {entrant.name}"), found)
        if entrant.rung == "none" or entrant.fingerprint in seen:
            continue
        kept = _kept(bench, entrant)
        if kept is not None:
            seen.add(entrant.fingerprint)
            _look(leaks, kept, f"the data that {entrant.name} was trained on", found, is_copy=True)
        elif entrant.prompt is None:
            blind.append(entrant)
    if found:
        raise _error(held_out, found)
    notes = list(_blindness(blind, learned))
    for note in notes:
        warnings.warn(note, AdaptkitWarning, stacklevel=4)
    return notes


def refuse_known(held_out: Dataset, learned: Mapping[str, Dataset]) -> None:
    """Look for leaks into data that is still to be learned from.

    Args:
        held_out: The set, of any kind of rows: of a text, all of it is looked for, and nearly only within `WINDOW`.
        learned: The data, by what it is called.

    Raises:
        DataError: there are leaks; every one is listed by its line.
    """
    found: dict[int, Leak] = {}
    leaks = Leaks(held_out)
    for name, data in learned.items():
        _look(leaks, data, name, found)
    if found:
        raise _error(held_out, found)


def without_leaks(held_out: Dataset, training: Dataset) -> Dataset:
    """The rows of a held-out set that do not stand in training data, exactly or nearly; held in memory."""
    rows = list(held_out)
    found: dict[int, Leak] = {}
    _look(Leaks(rows), training, "the training data", found)
    return Dataset.of([row for number, row in enumerate(rows) if number not in found])


def _look(leaks: Leaks, data: Dataset, name: str, found: dict[int, Leak], *, is_copy: bool = False) -> None:
    for file, line, record in placed(data):
        # where a copy lies in the home folder helps nobody
        where = f"{name}, row {line}" if is_copy or file is None else f"{name}, {file}:{line}"
        _note(leaks.within(record, where), found)


def _note(leaks: Iterable[Leak], found: dict[int, Leak]) -> None:
    for leak in leaks:
        known = found.get(leak.number)
        if known is None or (leak.exact, leak.share) > (known.exact, known.share):
            found[leak.number] = leak


def _kept(bench: Bench, entrant: Entrant) -> Dataset | None:
    """The copy of its training data that a job of this machine keeps in the home folder."""
    if entrant.run is None:
        return None
    home = entrant.adapter.context.home / entrant.run.backend
    for upload in bench.journal.uploads_of(entrant.run.id):
        path = copy_of(home, upload.file_id)
        if upload.purpose == "train" and path.is_file():
            return Dataset.open(path)
    return None


def _examples(entrant: Entrant) -> Iterator[tuple[Message, ...]]:
    from adaptkit.backends.prompt.adapted import Examples  # noqa: PLC0415 - the entrant's own backend

    fixed = [segment for segment in entrant.prompt.segments if isinstance(segment, Examples)]
    found = [Examples(entrant.prompt.likeness.conversations)] if entrant.prompt.likeness is not None else []
    for segment in (*fixed, *found):
        for conversation in segment.conversations:
            yield tuple(Examples((conversation,)).messages())


def _blindness(blind: Sequence[Entrant], learned: Sequence[Dataset]) -> Iterator[str]:
    other = [each.name for each in blind if learned and each.fingerprint is not None]
    unknown = [each.name for each in blind if each.name not in other]
    if unknown:
        so = "only in what was given as training" if learned else "nowhere; give it as training"
        yield f"what {', '.join(unknown)} learned from is not known here, so leaks were looked for {so}"
    if other:
        yield f"{', '.join(other)} learned from other data than was given as training: leaks in it were not looked for"


def _error(held_out: Dataset, found: Mapping[int, Leak]) -> DataError:
    problems = []
    for number, (file, line, _) in enumerate(placed(held_out)):
        leak = found.get(number)
        if leak is not None:
            how = "stands" if leak.exact else f"stands nearly ({leak.share:.0%} of it)"
            problems.append(
                Problem(
                    rule="leak" if leak.exact else "near-leak",
                    message=f"the question {how} in {leak.source}.",
                    fix="Remove the row from one of the two.",
                    file=file,
                    line=line,
                )
            )
    those = "1 held-out question is" if len(problems) == 1 else f"{len(problems)} held-out questions are"
    return DataError(
        f"{those} known from training, so scores would mean nothing; nobody was asked. "
        "adaptkit.evidence.leaks.without_leaks(held_out, training) gives the others:",
        problems,
    )


# texts ------------------------------------------------------------------------------------------------------------


def _asked(record: Record) -> tuple[str, str]:
    if isinstance(record, TextRecord):
        return "", record.text
    if isinstance(record, PreferenceRecord):
        return _parted(record.prompt)
    found = asked_of(record)
    return ("", "") if found is None else _parted(found[0])


def _parted(turns: Iterable[Message]) -> tuple[str, str]:
    """What the instructions say, and what the others say."""
    turns = tuple(turns)
    system = " ".join(turn.text for turn in turns if turn.role in _SYSTEM)
    return system, " ".join(turn.text for turn in turns if turn.role not in _SYSTEM)


def _learned(record: Record) -> tuple[str, str, str]:
    """Of what was learned from: the instructions, the question, and all but the instructions."""
    if isinstance(record, ChatRecord):
        system, whole = _parted(record.messages)
        return system, _asked(record)[1], whole
    if isinstance(record, PreferenceRecord):
        system, question = _parted(record.prompt)
        return system, question, " ".join((question, *(turn.text for turn in (*record.chosen, *record.rejected))))
    if isinstance(record, CompletionRecord):
        return "", record.prompt, f"{record.prompt} {record.completion}"
    return "", record.text, record.text


def _plain(text: str) -> str:
    """Letters, marks and digits of a text in one case, one space for all that stands between them."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded).split())


def _width(text: str) -> int:
    """How wide the n-grams of a text are: narrower where it hardly has spaces."""
    return DENSE_WIDTH if len(text) > 12 * (text.count(" ") + 1) else WIDTH


def _grams(text: str, width: int | None = None) -> set[str]:
    width = width or _width(text)
    return {text[at : at + width] for at in range(len(text) - width + 1)}


def _common(texts: Sequence[str]) -> set[str]:
    """What many questions have in common: a template, instructions, the subject itself."""
    if len(texts) < COMMON_FROM:
        return set()
    sample = texts[:: math.ceil(len(texts) / COMMON_OF)]
    counts: Counter[str] = Counter()
    for text in sample:
        counts.update(_grams(text))
    return {gram for gram, count in counts.items() if count >= max(3, COMMON * len(sample))}


def _hash(gram: str) -> int:
    return zlib.crc32(gram.encode())

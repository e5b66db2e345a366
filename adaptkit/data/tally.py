"""One pass over rows: applies the rules, notes problems, gathers figures.

Blocks of plain rows are counted as blocks; anything else row by row. What is counted is the same either way.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from adaptkit.data import fast
from adaptkit.data.duplicates import HashLog
from adaptkit.data.fast import Conversation, PlainRole, PlainTurn
from adaptkit.data.formats import format_named, unwritable
from adaptkit.data.problems import Finding, Problem, ProblemList
from adaptkit.data.reading import JsonLines, RawRow, Source, lines_of
from adaptkit.data.records import (
    ChatRecord,
    CompletionRecord,
    Record,
    TextRecord,
    canonical,
    turns_of,
)
from adaptkit.data.rows import RowReader
from adaptkit.data.rules import common_findings
from adaptkit.data.secrets import find_secrets, may_hold_secret
from adaptkit.data.stats import FileFacts, Sample, SampleState, Stats

if TYPE_CHECKING:
    from adaptkit.data.check import DataRules

__all__ = ["Tally", "TallyState", "hash_in_every_process"]

_PLAIN_ROLES: tuple[PlainRole, ...] = ("user", "assistant", "system", "developer")  # the most frequent first
_TURN_TOKENS = 4  # what a chat template spends on the frame of one turn, about


class TallyState(msgspec.Struct, frozen=True):
    """The figures of a `Tally` as plain values."""

    rows: int
    turn_count: int
    text_bytes: int
    roles: dict[str, int]
    secrets: dict[str, int]
    turns: SampleState
    characters: SampleState


class Tally:
    """What is known so far.

    Args:
        rules: What rows are held to.
        reader: Reads rows, and knows their format.
        keep: Which records count, or ``None`` for all.
        plain_hash: Hash of a plain row; that of the struct depends on where its type lies in memory.
    """

    def __init__(
        self,
        rules: DataRules,
        reader: RowReader,
        keep: Callable[[Record], bool] | None = None,
        plain_hash: Callable[[Conversation], int] = hash,
    ) -> None:
        self.problems = ProblemList()
        self.lines = 0  # of the present file
        self._rules, self._reader, self._keep, self._plain_hash = rules, reader, keep, plain_hash
        self._format = format_named(rules.format)
        self._rows = self._text_bytes = self._turn_count = 0
        self._roles: Counter[str] = Counter()
        self._turns, self._characters = Sample(), Sample()
        self._hashes = HashLog()
        self._secrets: Counter[str] = Counter()
        self._file: str | None = None

    def file(self, source: JsonLines) -> FileFacts:
        """Take in a file of JSON lines."""
        self._file, self.lines = source.name, 0
        digest, size = hashlib.sha256(), 0
        for block in source.blocks():
            if block is None:
                self.lines += 1
                self._row(self.lines, None)
                continue
            digest.update(block)
            size += len(block)
            self._block(block)
        return FileFacts(source.name, size, digest.hexdigest())

    def rows(self, source: Source) -> None:
        """Take in rows from elsewhere."""
        self._file = source.name
        for number, row in source.rows():
            record = self._row(number, row)
            if record is not None:
                self._look_for_secrets(canonical(record), number)

    def leave(self, hashes: Path) -> TallyState:
        """The figures so far as plain values, for `merge` in another process; the hashes go to a file."""
        self._hashes.save(str(hashes))
        return TallyState(
            self._rows,
            self._turn_count,
            self._text_bytes,
            dict(self._roles),
            dict(self._secrets),
            self._turns.state(),
            self._characters.state(),
        )

    def merge(self, state: TallyState, hashes: Path) -> None:
        """Add what another process left."""
        self._rows += state.rows
        self._turn_count += state.turn_count
        self._text_bytes += state.text_bytes
        self._roles.update(state.roles)
        self._secrets.update(state.secrets)
        self._turns.merge(state.turns)
        self._characters.merge(state.characters)
        self._hashes.merge(str(hashes))

    def stats(self, files: tuple[FileFacts, ...]) -> Stats:
        """The figures."""
        shape = self._reader.shape
        return Stats(
            rows=self._rows,
            kind=self._reader.kind,
            format=shape.format if shape else "records" if self._reader.kind else None,
            roles=dict(self._roles),
            turns=self._turns.lengths(),
            characters=self._characters.lengths(),
            tokens=self._text_bytes // 4 + _TURN_TOKENS * self._turn_count,
            duplicates=len(self._hashes) - self._hashes.distinct(),
            secrets=dict(self._secrets),
            files=files,
        )

    def _plain(self, block: bytes) -> int:
        """Count a block of plain rows that keep every rule, and tell how many; 0 if it needs a closer look."""
        if self._rules.record_rules or self._keep or "chat" not in self._format.kinds:
            return 0
        rows = fast.decode_plain(block, self._reader)
        if rows is None:
            return 0
        turns = [turn for row in rows for turn in row]
        counts = _counts([turn.role for turn in turns])
        unanswered = self._rules.needs_answer and any(row[-1].role != "assistant" for row in rows)
        if unanswered or counts.keys() - self._format.plain_roles:
            return 0
        if may_hold_secret(block):
            self._look_for_secrets(block, self.lines + 1)
        characters = []
        for row in rows:  # a loop, because a sum of a list each is twice as slow for a few turns
            length = 0
            for turn in row:
                length += len(turn.content)
            characters.append(length)
        self._rows += len(rows)
        self._roles.update(counts)
        self._turns.extend(list(map(len, rows)))
        self._characters.extend(characters)
        self._text_bytes += sum(characters) + _beyond_ascii([turn.content for turn in turns])
        self._turn_count += len(turns)
        self._hashes.extend(map(self._plain_hash, rows))
        return len(rows)

    def _block(self, block: bytes) -> None:
        """Take in whole lines: halves that are plain as blocks, so that one odd row slows down few others."""
        rows = self._plain(block)
        if rows:
            self.lines += rows
            return
        middle = block.find(b"\n", len(block) // 2) + 1 or block.rfind(b"\n", 0, -1) + 1
        if 0 < middle < len(block):
            self._block(block[:middle])
            self._block(block[middle:])
            return
        for line in lines_of(block):
            self._line(line)

    def _line(self, line: bytes) -> None:
        self.lines += 1
        if not line or line.isspace():
            self._note(Finding("blank-line", "$", "the line is empty.", "Remove it.", "warning"), self.lines)
            return
        self._row(self.lines, line)
        if may_hold_secret(line):
            self._look_for_secrets(line, self.lines)

    def _row(self, number: int, row: RawRow) -> Record | None:
        record, findings = self._reader.read(row)
        if record is not None and self._keep is not None and not self._keep(record):
            return None
        self._rows += 1
        for finding in findings:
            self._note(finding, number)
        if record is not None:
            self._count(record)
            for finding in self._findings(record):
                self._note(finding, number)
        return record

    def _findings(self, record: Record) -> list[Finding]:
        found = list(common_findings(record, needs_answer=self._rules.needs_answer))
        if record.kind in self._rules.kinds:  # else one problem of the whole data says so
            found += unwritable(record, self._format)
            rules = self._rules.record_rules + self._rules.rich_rules
            found += [finding for rule in rules for finding in rule(record)]
        return found

    def _count(self, record: Record) -> None:
        turns = turns_of(record)
        texts = [turn.text for turn in turns] or _plain_texts(record)
        for turn in turns:
            self._roles[turn.role] += 1
        self._turns.add(len(turns))
        self._characters.add(sum(map(len, texts)))
        self._text_bytes += sum(len(text.encode()) for text in texts)
        self._turn_count += len(turns)
        self._hashes.extend([self._content_hash(record)])

    def _content_hash(self, record: Record) -> int:
        """The same number for equal content, whichever lane the row came through."""
        plain = _as_plain(record)
        return hash(canonical(record)) if plain is None else self._plain_hash(plain)

    def _look_for_secrets(self, block: bytes, first_line: int) -> None:
        for position, kind in find_secrets(block):
            self._secrets[kind] += 1
            line = first_line + block.count(b"\n", 0, position)
            self._note(
                Finding(
                    "secret",
                    "$",
                    f"this looks like a live credential ({kind}).",
                    "Revoke it, and take it out: models repeat what they learn.",
                    "warning",
                ),
                line,
            )

    def _note(self, finding: Finding, line: int) -> None:
        self.problems.append(Problem.at(finding, self._file, line))


def _counts(roles: list[PlainRole]) -> dict[PlainRole, int]:
    """How often each role stands there."""
    counts: dict[PlainRole, int] = {}
    left = len(roles)
    for role in _PLAIN_ROLES:
        if left and (count := roles.count(role)):
            counts[role] = count
            left -= count
    return counts


def _beyond_ascii(texts: list[str]) -> int:
    """How many more bytes than characters the texts have in UTF-8."""
    others = "".join(filterfalse(str.isascii, texts))
    return len(others.encode()) - len(others)


def _plain_texts(record: Record) -> list[str]:
    if isinstance(record, CompletionRecord):
        return [record.prompt, record.completion]
    return [record.text] if isinstance(record, TextRecord) else []


def _as_plain(record: Record) -> Conversation | None:
    """The record as the fast lane would see it, if it would."""
    if not isinstance(record, ChatRecord) or record.tools or record.extra or record.parallel_tool_calls is not None:
        return None
    turns: list[PlainTurn] = []
    for turn in record.messages:
        extras = (turn.name, turn.tool_calls, turn.tool_call_id, turn.weight)
        if turn.role == "tool" or not isinstance(turn.content, str) or extras != (None, (), None, None):
            return None
        turns.append(PlainTurn(turn.role, turn.content))
    return tuple(turns)


def hash_in_every_process(turns: Conversation) -> int:
    """A hash of plain turns that is the same in every process with the same hash seed."""
    return hash(tuple([(turn.role, turn.content) for turn in turns]))

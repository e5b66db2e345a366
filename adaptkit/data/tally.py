"""One pass over rows: applies the rules, notes problems, gathers figures.

Blocks of plain rows are counted as blocks, other rows without a fault together; anything else row by row. What is
counted is the same either way.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from adaptkit.data import fast
from adaptkit.data.blocks import Conversation, PlainBlock, PlainTurn
from adaptkit.data.duplicates import Distinct
from adaptkit.data.formats import SHAPES, format_named, unwritable
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
from adaptkit.data.rich import RichBlock, content_of, rich_block
from adaptkit.data.rows import RowReader
from adaptkit.data.rules import common_findings
from adaptkit.data.secrets import find_secrets, may_hold_secret
from adaptkit.data.stats import FileFacts, Sample, SampleState, Stats

if TYPE_CHECKING:
    from adaptkit.data.check import DataRules

__all__ = ["Tally", "TallyState", "hash_in_every_process"]

_TURN_TOKENS = 4  # what a chat template spends on the frame of one turn, about


class TallyState(msgspec.Struct, frozen=True):
    """The figures of a `Tally` as plain values."""

    rows: int
    hashes: int
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
        self._one_by_one = bool(rules.record_rules or keep or "chat" not in self._format.kinds)
        self._rows = self._text_bytes = self._turn_count = 0
        self._roles: Counter[str] = Counter()
        self._turns, self._characters = Sample(), Sample()
        self._hashes = Distinct()
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
            self._block(block, closely=may_hold_secret(block))
        return FileFacts(source.name, size, digest.hexdigest())

    def rows(self, source: Source) -> None:
        """Take in rows from elsewhere."""
        self._file = source.name
        for number, row in source.rows():
            record = self._row(number, row)
            if record is not None:
                self._count([record])
                self._look_for_secrets(canonical(record), number)

    def leave(self, hashes: Path) -> TallyState:
        """The figures so far as plain values, for `merge` in another process; the hashes go to a file."""
        self._hashes.save(str(hashes))
        return TallyState(
            self._rows,
            self._hashes.total,
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
        self._hashes.merge(str(hashes), state.hashes)

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
            duplicates=self._hashes.total - self._hashes.count(),
            secrets=dict(self._secrets),
            files=files,
        )

    def _block(self, block: bytes, *, closely: bool) -> None:
        """Take in whole lines: plain ones together, halves if need be so that one odd row slows down few others.

        Args:
            block: The lines.
            closely: Whether to look for secrets.
        """
        plain = self._plain(block)
        if plain is not None:
            if closely:
                self._look_for_secrets(block, self.lines + 1)
            self._count_plain(plain)
            return
        middle = block.find(b"\n", len(block) // 2) + 1 or block.rfind(b"\n", 0, -1) + 1
        if 0 < middle < len(block) and self._plain(block[: block.index(b"\n")]) is not None:
            self._block(block[:middle], closely=closely)
            self._block(block[middle:], closely=closely)
            return
        lines = lines_of(block)
        rich = self._rich(block, lines)
        if rich is None:
            self._count([record for line in lines if (record := self._line(line, closely=closely))])
            return
        others: list[Record] = []
        for line, taken in zip(lines, rich.taken, strict=True):
            if not taken:
                record = self._line(line, closely=closely)
                others += [record] if record is not None else []
                continue
            self.lines += 1
            if closely and may_hold_secret(line):
                self._look_for_secrets(line, self.lines)
        self._count_rich(rich)
        self._count(others)

    def _plain(self, block: bytes) -> PlainBlock | None:
        """A block that holds nothing but plain rows that keep every rule, else ``None``."""
        plain = None if self._one_by_one else fast.decode_plain(block, self._reader)
        if plain is None or plain.roles.keys() - self._format.plain_roles:
            return None
        return None if self._rules.needs_answer and plain.last != {"assistant"} else plain

    def _rich(self, block: bytes, lines: list[bytes]) -> RichBlock | None:
        """Rows with more than plain turns that keep every rule, as far as they can be told from the block."""
        rules = self._rules.rich_rules or self._format.cannot is not None
        if self._one_by_one or rules or self._reader.shape is not SHAPES["openai"]:
            return None
        return rich_block(block, lines, needs_answer=self._rules.needs_answer)

    def _count_rich(self, rich: RichBlock) -> None:
        self._rows += len(rich.turns)
        self._roles.update(rich.roles)
        self._turns.extend(rich.turns)
        self._characters.extend(rich.characters)
        self._text_bytes += rich.text_bytes
        self._turn_count += len(rich.roles)
        self._hashes.extend([*map(self._plain_hash, rich.plain), *map(hash, rich.contents)])

    def _count_plain(self, plain: PlainBlock) -> None:
        self.lines += len(plain.rows)
        self._rows += len(plain.rows)
        self._roles.update(plain.roles)
        self._turns.extend(plain.turns)
        self._characters.extend(plain.characters)
        self._text_bytes += plain.text_bytes
        self._turn_count += sum(plain.turns)
        self._hashes.extend(list(map(self._plain_hash, plain.rows)))

    def _line(self, line: bytes, *, closely: bool) -> Record | None:
        self.lines += 1
        if not line or line.isspace():
            self._note(Finding("blank-line", "$", "the line is empty.", "Remove it.", "warning"), self.lines)
            return None
        record = self._row(self.lines, line)
        if closely and may_hold_secret(line):
            self._look_for_secrets(line, self.lines)
        return record

    def _row(self, number: int, row: RawRow) -> Record | None:
        """Judge a row; the record, if there is one to count."""
        record, findings = self._reader.read(row)
        if record is not None and self._keep is not None and not self._keep(record):
            return None
        self._rows += 1
        if record is not None:
            findings = self._findings(record)
        for finding in findings:
            self._note(finding, number)
        return record

    def _findings(self, record: Record) -> list[Finding]:
        found = list(common_findings(record, needs_answer=self._rules.needs_answer))
        if record.kind in self._rules.kinds:  # else one problem of the whole data says so
            found += unwritable(record, self._format)
            rules = self._rules.record_rules + self._rules.rich_rules
            found += [finding for rule in rules for finding in rule(record)]
        return found

    def _count(self, records: list[Record]) -> None:
        turns = list(map(turns_of, records))
        flat = list(chain.from_iterable(turns))
        texts = [
            "".join([turn.text for turn in row] or _plain_texts(record))
            for row, record in zip(turns, records, strict=True)
        ]
        self._roles.update([turn.role for turn in flat])
        self._turns.extend(list(map(len, turns)))
        self._characters.extend(list(map(len, texts)))
        self._text_bytes += len("".join(texts).encode())
        self._turn_count += len(flat)
        self._hashes.extend(list(map(self._content_hash, records)))

    def _content_hash(self, record: Record) -> int:
        """The same number for equal content, whichever lane the row came through."""
        plain = _as_plain(record)
        if plain is not None:
            return self._plain_hash(plain)
        return hash(content_of(record) or canonical(record))

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

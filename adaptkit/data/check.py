"""Checking a whole data set: the rules a backend sets, the report that comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable

import msgspec

from adaptkit.data.formats import format_named
from adaptkit.data.problems import Finding, Problem, ProblemList
from adaptkit.data.ranges import check_ranges, worth_it
from adaptkit.data.reading import JsonLines, Source
from adaptkit.data.records import Record
from adaptkit.data.rows import RowReader, missing_rows
from adaptkit.data.stats import FileFacts, Lengths, Stats
from adaptkit.data.tally import Tally
from adaptkit.errors import DataError

__all__ = ["DataRules", "FileFacts", "Finding", "Lengths", "Problem", "ProblemList", "Report", "Stats", "check"]


class DataRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend asks of training data; `msgspec.structs.replace` makes a variant.

    Attributes:
        kinds: Kinds of records that it can train on.
        format: Format that it takes; rows with no lossless form in it are problems.
        min_rows: Fewest rows.
        max_rows: Most rows, or ``None``.
        max_bytes: Largest file, or ``None``. The size of the files given is looked at.
        needs_answer: Whether conversations must end with the answer to learn. Reinforcement learning wants none.
        record_rules: Further rules; each yields what is wrong with one record. Rows are looked at one by one then,
            which takes about five times as long.
        rich_rules: The same for what only rows with more than plain turns of text can break, such as images: blocks of
            plain rows are not looked at for them.
    """

    kinds: frozenset[str] = frozenset({"chat", "preference", "completion", "text"})
    format: str = "openai"
    min_rows: int = 1
    max_rows: int | None = None
    max_bytes: int | None = None
    needs_answer: bool = True
    record_rules: tuple[Callable[[Record], Iterable[Finding]], ...] = ()
    rich_rules: tuple[Callable[[Record], Iterable[Finding]], ...] = ()


class Report(msgspec.Struct, frozen=True):
    """What `Dataset.check` found. ``print(report)`` shows it."""

    problems: ProblemList
    stats: Stats

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return self.problems.errors == 0

    def raise_if_bad(self) -> None:
        """Go on only with good data.

        Raises:
            DataError: there are errors; carries every problem.
        """
        if not self.ok:
            count = self.problems.errors
            raise DataError(
                f"the data has {count:,} error{'s' if count > 1 else ''}; fix or remove these rows:", self.problems
            )

    def __str__(self) -> str:
        stats = self.stats
        lines = [
            f"{stats.rows:,} {stats.kind or 'unreadable'} rows as {stats.format or '?'}, about {stats.tokens:,} tokens",
            f"turns by role: {', '.join(f'{role} {count:,}' for role, count in stats.roles.items()) or 'none'}",
            f"turns a row: {_shown(stats.turns)}",
            f"characters a row: {_shown(stats.characters)}",
            f"exact duplicates: {stats.duplicates:,}",
        ]
        if stats.secrets:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in stats.secrets.items())
            lines.append(f"strings that look like secrets: {kinds}")
        errors = self.problems.errors
        lines.append(f"{errors:,} errors, {len(self.problems) - errors:,} warnings")
        lines += [f"  {self.problems[index]}" for index in range(min(20, len(self.problems)))]
        if len(self.problems) > 20:
            lines.append(f"  … and {len(self.problems) - 20:,} more in .problems")
        return "\n".join(lines)


def check(
    sources: tuple[Source, ...],
    format: str | None,  # noqa: A002 - the field's standard term
    rules: DataRules,
    keep: Callable[[Record], bool] | None = None,
) -> Report:
    """Check sources in one pass.

    Args:
        sources: Where rows come from.
        format: Name of their format, or ``None`` to recognise it.
        rules: What to hold them to.
        keep: Which records belong to the data, or ``None`` for all. Rows that cannot be read belong to it.

    Raises:
        DataError: a file cannot be read at all.
        ConfigError: the rules name an unknown format.
    """
    format_named(rules.format)
    reader = RowReader(format)
    tally = Tally(rules, reader, keep)
    facts = None if keep else _with_processes(sources, rules, reader, tally)
    if facts is None:
        facts = _in_this_process(sources, tally)
    stats = tally.stats(tuple(facts))
    _whole(tally.problems, stats, rules, sources)
    return Report(tally.problems, stats)


def _in_this_process(sources: tuple[Source, ...], tally: Tally) -> list[FileFacts]:
    facts: list[FileFacts] = []
    for source in sources:
        if isinstance(source, JsonLines):
            facts.append(tally.file(source))
        else:
            tally.rows(source)
    return facts


def _with_processes(
    sources: tuple[Source, ...], rules: DataRules, reader: RowReader, tally: Tally
) -> list[FileFacts] | None:
    """Facts about the files if several processes have checked them, else ``None``."""
    if not worth_it(sources, rules):
        return None
    files = tuple(source for source in sources if isinstance(source, JsonLines))
    for _, row in files[0].rows():
        if reader.read(row)[0] is None:
            return None  # the format may have to be recognised at a later row
        break
    try:
        return check_ranges(files, rules, reader, tally)
    except (OSError, subprocess.SubprocessError):
        return None  # one process can do it all


def _whole(problems: ProblemList, stats: Stats, rules: DataRules, sources: tuple[Source, ...]) -> None:
    """What can only be said of the data as a whole."""

    def say(rule: str, message: str, fix: str, *, warning: bool = False) -> None:
        problems.append(Problem(rule=rule, message=message, fix=fix, severity="warning" if warning else "error"))

    if not stats.rows:
        say("no-rows", missing_rows(source.name for source in sources), "")
    elif stats.rows < rules.min_rows:
        say("too-few-rows", f"{stats.rows:,} rows, at least {rules.min_rows:,} are needed.", "Add examples.")
    if rules.max_rows is not None and stats.rows > rules.max_rows:
        say("too-many-rows", f"{stats.rows:,} rows, at most {rules.max_rows:,} are taken.", "Use a part of them.")
    size = sum(file.bytes for file in stats.files)
    if rules.max_bytes is not None and size > rules.max_bytes:
        say("too-large", f"{size:,} bytes, at most {rules.max_bytes:,} are taken.", "Use fewer rows.")
    if stats.kind is not None and stats.kind not in rules.kinds:
        say(
            "wrong-kind",
            f"these are {stats.kind} rows; {' or '.join(sorted(rules.kinds))} rows are needed here.",
            "Convert them, or choose a method that takes them.",
        )
    if stats.duplicates:
        say(
            "duplicate-rows",
            f"{stats.duplicates:,} rows repeat an earlier one.",
            "Remove them unless it is meant.",
            warning=True,
        )


def _shown(lengths: Lengths) -> str:
    return (
        f"{lengths.min:,} to {lengths.max:,}, mean {lengths.mean:,.1f}, half under {lengths.p50:,}, "
        f"95 % under {lengths.p95:,}"
    )

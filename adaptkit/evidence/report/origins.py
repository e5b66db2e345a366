"""What a comparison was made from: its data, and where everything comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adaptkit.data.stats import Lengths, Stats
from adaptkit.evidence.report import quoting
from adaptkit.evidence.report.document import (
    Block,
    Facts,
    Quoted,
    Section,
    Table,
    Words,
    heads,
)
from adaptkit.evidence.report.standing import climbing
from adaptkit.evidence.report.words import (
    UNKNOWN,
    moment,
    money,
)
from adaptkit.evidence.results import Comparison
from adaptkit.prices import RateCard

__all__ = ["data", "named", "provenance"]


def data(comparison: Comparison) -> Section:
    """What the questions are, and what a check of the data counted."""
    questions = comparison.questions
    lengths = sorted(len(each.question) for each in questions) or [0]
    answers = sorted(len(each.expected) for each in questions) or [0]
    groups = {each.group for each in questions if each.group is not None}
    facts: list[tuple[str, Words]] = [
        ("Questions", (f"{len(questions):,}",)),
        ("Question length", (f"{lengths[len(lengths) // 2]:,} characters (median), {lengths[-1]:,} at most",)),
        ("Expected answer", (f"{answers[len(answers) // 2]:,} characters (median), {answers[-1]:,} at most",)),
        ("Different answers", (f"{len({each.expected for each in questions}):,} among the expected ones",)),
    ]
    if groups:
        facts.append(("Groups", (f"{len(groups):,}, whose questions count together",)))
    return Section("data", "The data", (Facts((*facts, *_profiled(comparison.profile))),))


def _profiled(profile: Mapping[str, Any]) -> list[tuple[str, Words]]:
    try:
        stats = msgspec.convert(dict(profile), Stats, strict=False)
    except (msgspec.ValidationError, TypeError):
        return list(named(profile))
    facts: list[tuple[str, Words]] = []
    if stats.rows:
        kind = " ".join(each for each in (stats.kind, f"as {stats.format}" if stats.format else None) if each)
        facts.append(("Rows", (f"{stats.rows:,} ", Quoted(quoting.sentence(kind, 80)))))
        facts.append(("Tokens", (f"about {stats.tokens:,}",)))
        facts.append(("Duplicates", (f"{stats.duplicates:,} exact",)))
        secrets = ", ".join(f"{kind} {number:,}" for kind, number in stats.secrets.items())
        facts.append(("Looks like secrets", (Quoted(quoting.sentence(secrets, 200)) if secrets else "none",)))
    for title, lengths in (("Turns a row", stats.turns), ("Characters a row", stats.characters)):
        facts += [(title, (_lengths(lengths),))] if lengths.max else []
    for file in stats.files:
        name, sha256 = Quoted(quoting.sentence(file.file, 200)), quoting.name(file.sha256[:16])
        facts.append(("File", (name, f", {file.bytes:,} bytes, sha256 ", sha256)))
    rest = {name: value for name, value in profile.items() if name not in Stats.__struct_fields__}
    return [*facts, *named(rest)]


def named(values: Mapping[str, Any]) -> tuple[tuple[str, Words], ...]:
    """Plain values by name, as facts."""
    return tuple((_label(name), (UNKNOWN if value is None else _short(value),)) for name, value in values.items())


def _lengths(lengths: Lengths) -> str:
    return f"{lengths.min:,} to {lengths.max:,}, mean {lengths.mean:,.1f}, 95% at most {lengths.p95:,}"


def _label(name: str) -> str:
    return quoting.name(name.replace("_", " "), 40).text.capitalize()


def _short(value: Any) -> Quoted:
    if isinstance(value, float):
        return Quoted(f"{value:.4g}")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return Quoted(quoting.sentence(text, 300))


def provenance(comparison: Comparison) -> Section:
    """What this was made from and by."""
    facts: list[tuple[str, Words]] = []
    if comparison.created_at:
        facts.append(("Compared", (moment(comparison.created_at),)))
    if comparison.fingerprint:
        facts.append(("Held-out data", (Quoted(quoting.sentence(comparison.fingerprint, 200)),)))
    if comparison.general is not None and comparison.general.fingerprint:
        facts.append(("General data", (Quoted(quoting.sentence(comparison.general.fingerprint, 200)),)))
    facts.append(("Metric", (Quoted(quoting.sentence(comparison.metric, 200)),)))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(comparison.versions.items()))
    if versions:
        facts.append(("Versions", (Quoted(quoting.sentence(versions)),)))
    blocks: list[Block] = [Facts(tuple(facts))]
    refs = [(each.name, quoting.sentence(each.ref, 400)) for each in climbing(comparison.competitors)]
    models = tuple(((quoting.name(name),), (Quoted(ref),)) for name, ref in refs)
    blocks.append(Table(("What adaptkit takes where a model is wanted",), heads("Model", "Reference"), models))
    if comparison.prices:
        blocks.append(_prices(comparison.prices))
    return Section("provenance", "Where this comes from", tuple(blocks))


def _prices(cards: Sequence[RateCard]) -> Table:
    rows = tuple(
        (
            (Quoted(quoting.sentence(f"{each.service}:{each.model}", 120)),),
            (money(each.input),),
            (money(each.output),),
            (each.date.isoformat(),),
            (Quoted(quoting.sentence(each.source, 200)),),
        )
        for each in cards
    )
    head = heads("Model", "In", "Out", "Read on", "Source")
    return Table(("Prices of a million tokens, as they stood when they were read",), head, rows, frozenset({1, 2, 3}))

"""A model card: Hugging Face's form, with the figures that were measured and the data by its fingerprint alone.

Names, feedback and ids come from anywhere, so all of them are quoted in the front matter and escaped below it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from adaptkit import __version__
from adaptkit.adapter import Adapter
from adaptkit.backends.base_model import hub_id, license_of
from adaptkit.errors import ConfigError
from adaptkit.evidence.entrants import run_of
from adaptkit.evidence.results import Comparison, Competitor, Interval
from adaptkit.journal import Journal, Run
from adaptkit.types import ModelRef

__all__ = ["card"]

#: Settings that say how a model was made, and nothing of where.
_SETTINGS = (
    "method", "weights", "epochs", "batch_size", "gradient_accumulation", "gradient_accumulation_steps",
    "learning_rate", "learning_rate_multiplier", "schedule", "warmup", "warmup_ratio", "warmup_steps",
    "learning_rate_warmup_steps", "rank", "alpha", "dropout", "max_length", "max_seq_length", "context_length",
    "max_context_length", "packing", "precision", "quantization", "beta", "dpo_beta", "examples", "examples_by",
    "passages", "temperature", "max_tokens", "seed",
)  # fmt: skip
_MARKUP = re.compile(r"([\\`*_\[\]#|~$])")
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")


def card(ref: ModelRef, adapter: Adapter[Any], journal: Journal, comparison: Comparison | None = None) -> str:
    """As `adaptkit.Model.card`, with what a model has."""
    run = run_of(ref, journal, lambda run: str(run.job_id and adapter.retrieve(run.job_id)))
    settings: dict[str, Any] = json.loads(run.config) if run is not None else {}
    base = str(settings.get("model") or (ref.id if run is None else "")) or None
    facts = _Facts(ref, run, settings, base, _competitor(comparison, ref))
    front = "\n".join(_yaml(_front(facts, comparison)))
    return f"---\n{front}\n---\n\n" + "\n".join(_body(facts, comparison)) + "\n"


class _Facts(msgspec.Struct, frozen=True):
    ref: ModelRef
    run: Run | None
    settings: Mapping[str, Any]
    base: str | None
    measured: Competitor | None

    @property
    def name(self) -> str:
        """What the card calls it: the name that the user gave, the target, or the backend's own."""
        given = self.settings.get("name") or self.ref.target or (self.run and self.run.target)
        return str(given or Path(self.ref.id).name)

    @property
    def base_name(self) -> str | None:
        """The base without the folder that it lies in here."""
        return None if self.base is None else self.base if hub_id(self.base) else Path(self.base).name

    @property
    def library(self) -> str:
        """What loads it."""
        if self.ref.backend != "lora":
            return "adaptkit"
        return "transformers" if self.run is None or self.settings.get("weights") == "full" else "peft"

    @property
    def license(self) -> str | None:
        """That of the base, where it lies here and says so."""
        return None if self.base is None else license_of(self.base)


def _competitor(comparison: Comparison | None, ref: ModelRef) -> Competitor | None:
    if comparison is None:
        return None
    for each in comparison.competitors:
        known = ModelRef.parse(each.ref)
        if (known.backend, known.id) == (ref.backend, ref.id):
            return each
    names = ", ".join(each.name for each in comparison.competitors)
    raise ConfigError(f"model {ref} did not take part in this comparison; {names} did")


# in front ---------------------------------------------------------------------------------------------------------


def _front(facts: _Facts, comparison: Comparison | None) -> dict[str, Any]:
    method = facts.settings.get("method")
    tags = ["adaptkit", facts.ref.backend, *([str(method)] if method else [])]
    front: dict[str, Any] = {
        "license": facts.license,
        "base_model": facts.base_name,
        "library_name": facts.library,
        "pipeline_tag": "text-generation",
        "tags": tags,
        "metrics": [comparison.metric] if comparison is not None else None,
        "training_data_fingerprint": (facts.run and facts.run.fingerprint) or None,
        "adaptkit_version": __version__,
    }
    if comparison is not None and facts.measured is not None:
        front["model-index"] = [{"name": facts.name, "results": list(_results(facts.measured, comparison))}]
    return {key: value for key, value in front.items() if value is not None}


def _results(measured: Competitor, comparison: Comparison) -> Iterator[dict[str, Any]]:
    yield _result("held-out", measured, comparison)
    if comparison.general is not None:
        same = [each for each in comparison.general.competitors if each.ref == measured.ref]
        if same:
            yield _result("general", same[0], comparison.general)


def _result(name: str, measured: Competitor, comparison: Comparison) -> dict[str, Any]:
    figures = {comparison.metric: measured.score.value} | dict(measured.measures)
    return {
        "task": {"type": "text-generation", "name": "Text generation"},
        "dataset": {
            "type": name,
            "name": f"{name} set of {len(comparison.questions)} questions",
            "revision": comparison.fingerprint or None,
        },
        "metrics": [{"type": key, "name": key, "value": round(value, 6)} for key, value in figures.items()],
    }


def _yaml(value: Any, depth: int = 0) -> Iterator[str]:
    """Block YAML whose scalars are JSON, which YAML reads too: nothing in a text can end it or mean something else."""
    indent = "  " * depth
    pairs = value.items() if isinstance(value, Mapping) else ((None, each) for each in value)
    for key, each in pairs:
        if each is None:
            continue
        head = f"{indent}-" if key is None else f"{indent}{_scalar(key)}:"
        if isinstance(each, Mapping | list):
            yield head
            yield from _yaml(each, depth + 1)
        else:
            yield f"{head} {_scalar(each)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z_-]*", value) and value not in _WORDS:
        return value
    text = json.dumps(_sound(value), ensure_ascii=False)
    if isinstance(value, float) and "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # without the point YAML reads text
    return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", text)


#: What YAML of one version or another takes for something else than text.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _sound(value: object) -> object:
    """Without halves of surrogate pairs, which no file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


# below ------------------------------------------------------------------------------------------------------------


def _body(facts: _Facts, comparison: Comparison | None) -> Iterator[str]:
    yield f"# {_text(facts.name)}"
    yield ""
    base = f" from {_text(facts.base_name)}" if facts.base_name and facts.run is not None else ""
    how = "Made" if facts.run is not None else "Asked"
    yield f"{how} with adaptkit {__version__}{base}, by the {_text(facts.ref.backend)} backend."
    yield ""
    yield from _making(facts)
    if comparison is not None and facts.measured is not None:
        yield from _measured(facts.measured, comparison)
    if facts.license is not None:
        yield "The licence named above is that of the base; whether it also holds for this model is yours to judge."


def _making(facts: _Facts) -> Iterator[str]:
    rows = [(name, facts.settings[name]) for name in _SETTINGS if facts.settings.get(name) is not None]
    if facts.run is not None:
        made = datetime.fromtimestamp(facts.run.created_at, UTC).date().isoformat()
        rows += [("submitted", made), ("training data", facts.run.fingerprint or "not known here")]
    measured = facts.measured
    if measured is not None and measured.training_seconds is not None:
        rows.append(("seconds of training", f"{measured.training_seconds:,.0f}"))
    if measured is not None and measured.training_usd is not None:
        rows.append(("cost of training", f"${measured.training_usd:,.2f}"))
    if rows:
        yield "## How it was made"
        yield ""
        yield from _table(("setting", "value"), [(name, str(value)) for name, value in rows])
        yield ""


def _measured(measured: Competitor, comparison: Comparison) -> Iterator[str]:
    yield "## What was measured"
    yield ""
    when = datetime.fromtimestamp(comparison.created_at, UTC).date().isoformat()
    yield (
        f"{_text(comparison.metric)} on {len(comparison.questions):,} held-out questions "
        f"({_text(comparison.fingerprint)}), {when}. Intervals are 95 %."
    )
    yield ""
    yield from _scores(comparison)
    pairs = [each for each in comparison.differences if measured.name in (each.one, each.other)]
    for each in pairs:
        found = each.difference
        yield (
            f"- {_text(each.one)} scores {100 * found.value:.1f} points more than {_text(each.other)} "
            f"({_range(found)}; p = {each.adjusted:.2g}, {_text(each.test)})"
        )
    yield ""
    if comparison.general is not None:
        yield f"On a general set of {len(comparison.general.questions):,} questions:"
        yield ""
        yield from _scores(comparison.general)
    if comparison.warnings:
        yield "What should be known:"
        yield ""
        yield from (f"- {_text(note)}" for note in comparison.warnings)
        yield ""
    made = ", ".join(f"{name} {number}" for name, number in sorted(comparison.versions.items()))
    yield f"Computed with {_text(made)}."
    yield ""


def _scores(comparison: Comparison) -> Iterator[str]:
    rows = [
        (each.name, each.rung, f"{100 * each.score.value:.1f}", _range(each.score), _seconds(each), _usd(each))
        for each in comparison.competitors
    ]
    yield from _table(("model", "how", "score", "95 %", "half within", "cost of all answers"), rows)
    yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _range(found: Interval) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _seconds(each: Competitor) -> str:
    return f"{each.seconds['p50']:.2f} s" if "p50" in each.seconds else "not measured"


def _usd(each: Competitor) -> str:
    return "unknown" if each.usd is None else f"${each.usd:,.4g}"


def _text(text: str | None) -> str:
    """On one line, and nothing in it is markup."""
    plain = " ".join(_ODD.sub(" ", text or "").split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", plain)

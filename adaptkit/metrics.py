"""How well an answer does, from 0 to 1, against the one that was expected, and in words what is wrong with it."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from adaptkit.errors import ConfigError, MissingDependencyError

__all__ = ["METRICS", "Metric", "MetricName", "Verdict", "as_label", "metric_named"]


class Verdict(msgspec.Struct, frozen=True):
    """What a metric says of one answer: ``score`` in 0 to 1, ``feedback`` for whoever is to do better."""

    score: float
    feedback: str


#: Takes the expected and the given answer.
Metric = Callable[[str, str], Verdict]
MetricName = Literal["exact_match", "label", "contains", "regex", "json_valid", "json_fields", "bleu", "chrf"]


def exact_match(expected: str, answer: str) -> Verdict:
    """1 if the two are the same but for white space around them."""
    if answer.strip() == expected.strip():
        return Verdict(1.0, "right")
    return Verdict(0.0, f"wrong: the answer must be exactly {expected.strip()!r}")


def as_label(text: str) -> str:
    """A label as it is compared: in one case, with single spaces, and without quotes and full stops around it."""
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")


def label(expected: str, answer: str) -> Verdict:
    """1 if the two are one label: case, white space and punctuation around it do not count."""
    if as_label(answer) == as_label(expected):
        return Verdict(1.0, "right")
    return Verdict(0.0, f"wrong: the label is {expected.strip()!r}")


def contains(expected: str, answer: str) -> Verdict:
    """1 if the answer holds the expected one, in any case."""
    if expected.strip().casefold() in answer.casefold():
        return Verdict(1.0, "right")
    return Verdict(0.0, f"wrong: the answer must contain {expected.strip()!r}")


def regex(expected: str, answer: str) -> Verdict:
    """1 if the expected answer, read as a regular expression, matches the whole answer.

    Raises:
        ConfigError: it is none.
    """
    try:
        matched = re.fullmatch(expected.strip(), answer.strip(), re.DOTALL)
    except re.error as error:
        raise ConfigError(f'metric = "regex" needs expected answers that are regular expressions: {error}') from None
    return Verdict(1.0, "right") if matched else Verdict(0.0, f"wrong: the answer must match {expected.strip()}")


def json_valid(expected: str, answer: str) -> Verdict:
    """1 if the answer is JSON and nothing else, whatever it says; the expected answer does not count."""
    del expected
    try:
        msgspec.json.decode(answer.strip())
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Verdict(0.0, "wrong: the answer must be JSON alone")
    return Verdict(1.0, "right")


def json_fields(expected: str, answer: str) -> Verdict:
    """Share of the fields of both JSON objects that agree: 0 for what is no JSON object.

    Raises:
        ConfigError: the expected answer is no JSON object with fields.
    """
    wanted, found = _object(expected), _object(answer)
    if not wanted:
        raise ConfigError('metric = "json_fields" needs expected answers that are JSON objects with fields')
    if found is None:
        return Verdict(0.0, f"wrong: the answer must be one JSON object with the fields {', '.join(wanted)}")
    names = {**wanted, **found}
    wrong = [name for name in names if name not in wanted or name not in found or wanted[name] != found[name]]
    said = [
        f"{name} must be {wanted[name]!r}" if name in wanted else f"{name} must not be there" for name in sorted(wrong)
    ]
    return Verdict(1 - len(wrong) / len(names), f"wrong: {'; '.join(said)}" if wrong else "right")


def bleu(expected: str, answer: str) -> Verdict:
    """Sentence BLEU by sacrebleu, as a share of 1; n-grams as long as the sentence allows.

    Raises:
        MissingDependencyError: sacrebleu is not installed.
    """
    return _translated(_sacrebleu("BLEU", effective_order=True), expected, answer)


def chrf(expected: str, answer: str) -> Verdict:
    """Sentence chrF++ by sacrebleu, as a share of 1.

    Raises:
        MissingDependencyError: sacrebleu is not installed.
    """
    return _translated(_sacrebleu("CHRF", word_order=2), expected, answer)


METRICS: Mapping[str, Metric] = {
    "exact_match": exact_match,
    "label": label,
    "contains": contains,
    "regex": regex,
    "json_valid": json_valid,
    "json_fields": json_fields,
    "bleu": bleu,
    "chrf": chrf,
}


def metric_named(name: str) -> Metric:
    """A metric by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in METRICS:
        raise ConfigError(f"there is no metric {name!r}; there are {', '.join(METRICS)}")
    return METRICS[name]


def _object(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text.strip(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _translated(scorer: Any, expected: str, answer: str) -> Verdict:
    share = scorer.sentence_score(answer.strip(), [expected.strip()]).score / 100
    return Verdict(
        min(1.0, share), "right" if share >= 1 else f"{share:.0%} like the expected answer: {expected.strip()!r}"
    )


@cache
def _sacrebleu(name: str, **settings: Any) -> Any:
    try:
        from sacrebleu import metrics  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError('metric = "bleu" or "chrf"', "sacrebleu", "eval") from error
    return getattr(metrics, name)(**settings)

"""How well an answer does, from 0 to 1, against the one that was expected, and in words what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from adaptkit.errors import ConfigError

__all__ = ["METRICS", "Metric", "MetricName", "Verdict", "metric_named"]


class Verdict(msgspec.Struct, frozen=True):
    """What a metric says of one answer: ``score`` in 0 to 1, ``feedback`` for whoever is to do better."""

    score: float
    feedback: str


#: Takes the expected and the given answer.
Metric = Callable[[str, str], Verdict]
MetricName = Literal["exact_match", "contains", "json_fields"]


def exact_match(expected: str, answer: str) -> Verdict:
    """1 if the two are the same but for white space around them."""
    if answer.strip() == expected.strip():
        return Verdict(1.0, "right")
    return Verdict(0.0, f"wrong: the answer must be exactly {expected.strip()!r}")


def contains(expected: str, answer: str) -> Verdict:
    """1 if the answer holds the expected one, in any case."""
    if expected.strip().casefold() in answer.casefold():
        return Verdict(1.0, "right")
    return Verdict(0.0, f"wrong: the answer must contain {expected.strip()!r}")


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


METRICS: Mapping[str, Metric] = {"exact_match": exact_match, "contains": contains, "json_fields": json_fields}


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

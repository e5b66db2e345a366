"""Figures of a whole set of answers that no mean over single answers gives: macro F1, corpus BLEU and chrF++."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from adaptkit.errors import MissingDependencyError
from adaptkit.metrics import as_label, json_valid

__all__ = ["confusion", "macro_f1", "set_measures"]

#: Expected answers are labels if there are no more different ones than this, each twice on average.
MOST_LABELS = 50


def set_measures(metric: str, expected: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """The further figures that go with a metric.

    Args:
        metric: Its name; one of the user's own has none.
        expected: The expected answers.
        given: The answers, in the same order.

    Returns:
        Of labels ``accuracy`` and ``macro_f1``; of texts ``bleu`` and ``chrf`` of the corpus, as shares of 1; of JSON
        ``json_valid``.
    """
    if metric in ("bleu", "chrf"):
        return {"bleu": _corpus("BLEU", expected, given), "chrf": _corpus("CHRF", expected, given, word_order=2)}
    if metric == "json_fields":
        return {"json_valid": fmean(json_valid("", answer).score for answer in given)}
    if metric in ("label", "exact_match") and _are_labels(expected):
        pairs = Counter(confusion(expected, given))
        right = sum(count for (wanted, found), count in pairs.items() if wanted == found)
        return {"accuracy": right / len(expected), "macro_f1": macro_f1(expected, given)}
    return {}


def confusion(expected: Sequence[str], given: Sequence[str]) -> Counter[tuple[str, str]]:
    """How often each label was expected and each was given, as `adaptkit.metrics.as_label` writes them."""
    return Counter(zip(map(as_label, expected), map(as_label, given), strict=True))


def macro_f1(expected: Sequence[str], given: Sequence[str]) -> float:
    """The mean over expected labels of F1 = 2 TP / (2 TP + FP + FN).

    An answer that is none of the expected labels is a miss of the right one, and no class of its own: as
    ``sklearn.metrics.f1_score(…, labels=sorted(set(expected)), average="macro")`` counts.
    """
    pairs = confusion(expected, given)
    wanted, found = Counter[str](), Counter[str]()
    for (right, said), count in pairs.items():
        wanted[right] += count
        found[said] += count
    return fmean(2 * pairs[name, name] / (wanted[name] + found[name]) for name in wanted)


def _are_labels(expected: Sequence[str]) -> bool:
    return len({as_label(answer) for answer in expected}) <= min(MOST_LABELS, len(expected) // 2)


def _corpus(name: str, expected: Sequence[str], given: Sequence[str], **settings: Any) -> float:
    try:
        from sacrebleu import metrics  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError("BLEU and chrF++", "sacrebleu", "eval") from error
    answers, references = [answer.strip() for answer in given], [answer.strip() for answer in expected]
    return float(getattr(metrics, name)(**settings).corpus_score(answers, [references]).score) / 100

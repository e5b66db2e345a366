"""How likely a model holds the expected answers, where it tells: the finest measure, which no metric can see.

Kept in the answers file once a set, so that comparing again loads no model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from adaptkit.answers import Answers, Kept
from adaptkit.errors import AdaptkitError
from adaptkit.evidence.questions import Asked
from adaptkit.evidence.results import Question
from adaptkit.model import Model
from adaptkit.types import Likelihood, Message

__all__ = ["likelihood_measures"]

#: Conversations handed over at once.
_TOGETHER = 256


def likelihood_measures(
    model: Model, asked: Sequence[Asked], questions: Sequence[Question], answers: Answers
) -> dict[str, float]:
    """``perplexity`` and ``bits_per_character`` of the expected answers; nothing of a model that does not tell."""
    answered = [
        (*turns, Message(role="assistant", content=question.expected.strip()))
        for turns, question in zip(asked, questions, strict=True)
    ]
    what = ("likelihood", model.ref.backend, model.id, model.account, model.version(), answered)
    key = hashlib.sha256(msgspec.json.encode(what, order="deterministic")).digest()
    kept = answers.get(key)
    if kept is not None:
        return _figures(msgspec.json.decode(kept.text, type=Likelihood))
    with suppress(AdaptkitError):  # the backend does not tell, or one is too long for the model
        whole = Likelihood(nats=0.0, tokens=0, characters=0)
        for start in range(0, len(answered), _TOGETHER):
            whole = sum(model.likelihood(answered[start : start + _TOGETHER]), whole)
        answers.put(key, Kept(text=msgspec.json.encode(whole).decode()))
        return _figures(whole)
    return {}


def _figures(found: Likelihood) -> dict[str, float]:
    figures = {"perplexity": found.perplexity, "bits_per_character": found.bits_per_character}
    return {name: value for name, value in figures.items() if math.isfinite(value)}

"""How long who asks one question waits: until the first piece of the answer, and until its end.

Models of this machine answer many questions together, and most services are asked without streaming, so that tokens are
counted. Neither says how long a user waits; so a few questions are asked once more, alone and streamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.answers import Answers, Kept, key_of
from adaptkit.errors import AdaptkitError
from adaptkit.evidence.questions import Asked
from adaptkit.evidence.results import Answered
from adaptkit.model import Model
from adaptkit.steps import Clock

__all__ = ["TIMED", "timed"]

#: Questions that are asked once more where nobody is paid for it.
TIMED = 8


def timed(
    model: Model,
    asked: Sequence[Asked],
    given: Sequence[Answered],
    options: ChatOptions,
    *,
    answers: Answers,
    clock: Clock,
    count: int | None,
) -> tuple[Answered, ...]:
    """Complete some answers by how long they take, one by one; kept beside the answer, so that it is done once.

    Args:
        model: Who answers.
        asked: The questions.
        given: Its answers.
        options: How it was asked.
        answers: Where answers are kept.
        clock: Time.
        count: Questions, evenly spaced; ``None`` for `TIMED` where questions were answered together, else for none.
    """
    wanted = (TIMED if model.together > 1 else 0) if count is None else count
    step = max(1, len(asked) // wanted) if wanted else len(asked) + 1
    chosen = set(range(0, len(asked), step)[:wanted])
    version, is_warm = model.version(), model.together == 1
    found = []
    for each in given:
        is_chosen = each.question in chosen and not each.repeat and each.error is None
        key = key_of(model.ref, model.account, asked[each.question], options, version=version)
        kept = answers.get(key) if is_chosen else None
        if kept is None:
            found.append(each)
            continue
        if kept.first_token_seconds is None:
            with suppress(AdaptkitError):  # a model that cannot stream, or does not just now, is not timed
                if not is_warm:
                    _streamed(model, asked[each.question], options, clock)  # the first time loads the model
                    is_warm = True
                first, whole = _streamed(model, asked[each.question], options, clock)
                kept = Kept.of(kept, whole if kept.seconds is None else kept.seconds, first)
                answers.put(key, kept)
        times = {"seconds": kept.seconds, "first_token_seconds": kept.first_token_seconds}
        found.append(msgspec.structs.replace(each, **times))
    return tuple(found)


def _streamed(model: Model, asked: Asked, options: ChatOptions, clock: Clock) -> tuple[float, float]:
    began = clock.monotonic()
    first: float | None = None
    for _ in model.stream(asked, options):
        first = clock.monotonic() - began if first is None else first
    whole = clock.monotonic() - began
    return (whole if first is None else first), whole

"""How many examples, and how chosen: every setting asked the same rows, and the best taken.

Answers are kept as they are for a search, so a worker that was killed is replaced by one that asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from adaptkit.adapter import Context
from adaptkit.backends.prompt.adapted import AdaptedModel
from adaptkit.backends.prompt.adapted import Tried as Line
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import examples_of
from adaptkit.backends.prompt.trials import Spent, Trials
from adaptkit.data import Dataset
from adaptkit.errors import SpendError
from adaptkit.retrieval.measure import Measured, Tried
from adaptkit.score import Score

__all__ = ["Parts", "measured_examples"]


class Parts(NamedTuple):
    """The data of a job that asks: examples come from `reflect`, `choose` decides, `report` is not looked at."""

    reflect: Dataset
    choose: Dataset
    report: Dataset


def measured_examples(
    trials: Trials, config: PromptConfig, context: Context, parts: Parts
) -> tuple[AdaptedModel, tuple[Line, ...]]:
    """The model with the best examples, and the table that says so; as configured, and no table, where none is to be.

    Of equally good settings the one with the fewest examples is taken, and ``fixed`` before ``similarity``, since
    services remember it. Where the money ends early, the best of what was measured is taken.

    Raises:
        SpendError: the budget does not last for one setting.
        Interrupted: the worker was asked to end.
    """
    if config.measured is None:
        return _adapted(config.model_copy(update={"optimize": None}), context, parts), ()
    by = examples_of(parts.choose)
    models: list[AdaptedModel] = []
    tried: list[Tried] = []
    for adapted, count, way in _settings(config, context, parts):
        try:
            judged = trials.judge(adapted, by)
        except Spent:
            break
        right = tuple(verdict.score == 1.0 for _, verdict in judged)
        score = Score.of(sum(right), len(right))
        models.append(adapted)
        tried.append(Tried(way, count, score, right))
        trials.tell(f"{count} examples, {way}: {score.share:.1%}", examples=count, by=way, score=score.share)
        trials.checkpoint()
    if not tried:
        raise SpendError("the budget was used up before one number of examples was measured; raise it")
    winner = Measured.of(tried).winner
    return models[tried.index(winner)], tuple(_line(config, each) for each in tried)


def _settings(config: PromptConfig, context: Context, parts: Parts) -> Iterator[tuple[AdaptedModel, int, str]]:
    assert config.measured is not None  # noqa: S101 - asked for where it is
    for count, way in config.measured.settings:
        yield _adapted(config.with_examples(count, way), context, parts), count, way if count else "none"


def _line(config: PromptConfig, tried: Tried) -> Line:
    score = tried.score
    return Line(
        examples=tried.count,
        by=tried.how,
        metric=config.metric,
        value=score.share,
        low=score.low,
        high=score.high,
        rows=score.total,
    )


def _adapted(config: PromptConfig, context: Context, parts: Parts) -> AdaptedModel:
    """A model whose examples ask nothing that it will be scored on."""
    adapter = PromptAdapter(config, context)
    try:
        return adapter.adapted(adapter.prepare(parts.reflect), chain(parts.choose, parts.report))
    finally:
        adapter.close()

"""The three parts of the data that measuring examples and searching instructions work with, and what they need."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from adaptkit.backends.prompt.choose import conversation_of
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.cost import rate_card
from adaptkit.data import Dataset
from adaptkit.errors import DataError
from adaptkit.types import Message

__all__ = ["Example", "examples_of", "parts", "problems"]


class Example(msgspec.Struct, frozen=True):
    """A question and the answer that is expected."""

    question: tuple[Message, ...]
    expected: str


def parts(data: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """What to reflect on, to choose by, and to report on: the validation file, else a quarter of the data."""
    rest, report = data.split(0.25, seed) if validation is None else (data, validation)
    reflect, choose = rest.split(0.5, seed)
    return reflect, choose, report


def examples_of(data: Dataset) -> list[Example]:
    """The rows that are conversations of text.

    Raises:
        DataError: there is none.
    """
    turns = [turns for record in data if (turns := conversation_of(record)) is not None]
    if not turns:
        raise DataError("asking needs conversations of text in each of its three parts; give more rows")
    return [Example(each[:-1], each[-1].text) for each in turns]


def problems(config: PromptConfig, data: Dataset) -> Iterator[str]:
    """What stands in the way of a search with this budget on this data, one sentence each."""
    if not config.asks:
        return
    budget, field = config.budget, "examples.budget" if config.optimize is None else "optimize.budget"
    asked = {config.model} if config.optimize is None else {config.model, config.reflecting.model}
    unpriced = sorted(model for model in asked if rate_card(model) is None)
    if budget.usd is not None and unpriced:
        yield f"{field}.usd: no price is known of {', '.join(unpriced)}; give calls alone"
    validation = None if config.validation is None else Dataset.open(config.validation)
    choose, report = (len(examples_of(part)) for part in parts(data, validation, config.seed)[1:])
    least = _least(config, choose, report)
    if budget.calls < least:
        yield (
            f"{field}.calls = {budget.calls}: with {choose} rows to choose by and {report} to report on, "
            f"nothing is found below {least}; raise it, or use fewer rows"
        )


def _least(config: PromptConfig, choose: int, report: int) -> int:
    """Requests without which nothing is found."""
    settings = len(config.measured.settings) if config.measured else 0
    if config.optimize is None:
        return settings * choose + report
    # the model as it stands, which the measuring has asked already; a step is tried; two models are reported
    return max(settings, 1) * choose + choose + 2 * report + 2 * config.optimize.minibatch + 1

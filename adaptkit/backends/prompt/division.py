"""The three parts of the data that a search for instructions works with, and what it needs at least."""

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
        raise DataError("optimize needs conversations of text in each of its three parts; give more rows")
    return [Example(each[:-1], each[-1].text) for each in turns]


def problems(config: PromptConfig, data: Dataset) -> Iterator[str]:
    """What stands in the way of a search with this budget on this data, one sentence each."""
    if config.optimize is None:
        return
    budget = config.optimize.budget
    unpriced = sorted(model for model in {config.model, config.reflecting.model} if rate_card(model) is None)
    if budget.usd is not None and unpriced:
        yield f"optimize.budget.usd: no price is known of {', '.join(unpriced)}; give calls alone"
    validation = None if config.validation is None else Dataset.open(config.validation)
    choose, report = (len(examples_of(part)) for part in parts(data, validation, config.seed)[1:])
    least = 2 * choose + 2 * report + 2 * config.optimize.minibatch + 1  # a step is tried, two models are reported
    if budget.calls < least:
        yield (
            f"optimize.budget.calls = {budget.calls}: with {choose} rows to choose by and {report} to report on, "
            f"nothing is found below {least}; raise it, or use fewer rows"
        )

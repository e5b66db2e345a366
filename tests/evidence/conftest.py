from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit import Client, Dataset
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService

WORDS = ["amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "harbour", "island", "jasper", "kelp"]


def row(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def sentence(number: int) -> str:
    """A sentence that has nothing to do with that of another number."""
    return " ".join(WORDS[(number * 7 + at * at + number // 3) % len(WORDS)] + str(number * 31 + at) for at in range(8))


def echoes(count: int, *, start: int = 0, right: Callable[[int], bool] = lambda number: True) -> Dataset:
    """Questions whose right answer is the question itself, where ``right`` says so."""
    numbers = range(start, start + count)
    return Dataset.of([row(sentence(n), sentence(n) if right(n) else "something else") for n in numbers])


def training() -> Dataset:
    return Dataset.of([row(f"What is {number} and one?", f"{number + 1}") for number in range(12)])


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    made = ScriptedService()
    yield made
    made.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(service: ScriptedService, clock: FakeClock, tmp_path: Path) -> Iterator[Client]:
    """Targets ``echo``, ``half`` and ``mute``, each with a model: the first repeats the question, the last does not."""
    targets = {
        "echo": ScriptedConfig(service=service.name, reply="{text}", losses=(0.9, 0.4)),
        "mute": ScriptedConfig(service=service.name, reply="-"),
    }
    with Client(targets=targets, home=tmp_path / "home", clock=clock) as opened:
        for name in targets:
            opened.submit(name, training()).result()
        yield opened

"""Examples that the backend chooses help a real model: the one that ships, on a task that ships.

It cannot learn new answers from examples. What they do tell it is which of the things that it can say about a message
is wanted: here its topic.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from adaptkit import Client, Dataset, builtin
from adaptkit.score import Score, score

pytest.importorskip("transformers")


def test_examples_chosen_for_the_question_beat_none(tmp_path: Path) -> None:
    task = builtin.task("topics")
    held_out = Dataset.of(Random(0).sample(list(Dataset.open(task.held_out)), 40))
    table = {"backend": "prompt", "model": "builtin:tiny", "examples_by": "similarity"}
    targets = {"none": table | {"examples": 0}, "four": table | {"examples": 4}}
    found: dict[str, Score] = {}
    with Client(targets=targets, home=tmp_path) as client:
        for name in targets:
            found[name] = score(client.submit(name, Dataset.open(task.train)).result(), held_out)
    assert found["four"].low > found["none"].high
    assert found["four"].share >= 0.9

"""Examples that the backend chooses help a real model: the one that ships, on the bundled messages.

It cannot learn new codes from examples. What examples do tell it is which of the things that it can say about a message
is wanted; so the answers here are the names of the topics, which it knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from adaptkit import Client, Dataset, builtin
from adaptkit.score import Score, score

pytest.importorskip("transformers")

TOPICS = {
    "RFD-8": "refund",
    "DLV-3": "delivery",
    "DMG-5": "damage",
    "MIX-2": "mixup",
    "LOG-7": "login",
    "INV-4": "invoice",
    "CAN-9": "cancellation",
    "ADR-1": "address",
    "PAY-6": "payment",
    "DSC-2": "discount",
    "NWS-5": "newsletter",
    "STK-3": "stock",
    "WAR-7": "warranty",
    "SIZ-4": "size",
    "GFT-9": "gift",
    "HRS-1": "hours",
}


def named(path: Path, count: int | None = None) -> Dataset:
    """The messages of the bundled task, answered with the name of their topic; so many of them, the same every time."""
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    answered = [
        {"messages": [question, {"role": "assistant", "content": TOPICS[json.loads(answer["content"])["desk"]]}]}
        for question, answer in rows
    ]
    return Dataset.of(answered if count is None else Random(0).sample(answered, count))


def test_examples_chosen_for_the_question_beat_none(tmp_path: Path) -> None:
    task = builtin.task("desk")
    train, held_out = named(task.train), named(task.held_out, 40)
    table = {"backend": "prompt", "model": "builtin:tiny", "examples_by": "similarity"}
    targets = {"none": table | {"examples": 0}, "four": table | {"examples": 4}}
    found: dict[str, Score] = {}
    with Client(targets=targets, home=tmp_path) as client:
        for name in targets:
            found[name] = score(client.submit(name, train).result(), held_out)
    assert found["four"].low > found["none"].high
    assert found["four"].share >= 0.9

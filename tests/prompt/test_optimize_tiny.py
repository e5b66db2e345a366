"""A search for instructions on a model that really answers: builtin:tiny, behind OpenAI's chat wire.

It cannot write instructions, so those come from a list; which of them it answers well to is its own doing, and what the
search has to find out.
"""

from __future__ import annotations

import threading
from itertools import cycle
from pathlib import Path

import pytest

from adaptkit import ChatOptions, Client, Dataset, Message, builtin
from adaptkit.backends.local_model import LocalModel
from adaptkit.backends.prompt.adapted import AdaptedModel
from tests.prompt.server import Answer, ChatServer, completion

pytest.importorskip("gepa")

SEED = "You answer the customers of a shop."
WRITTEN = ("Answer with one word.", "Be short and polite.", "Name the topic.", "Which queue?")


def tiny_behind_the_wire() -> ChatServer:
    model, turn, ideas = LocalModel.load("builtin:tiny", offline=True), threading.Lock(), cycle(WRITTEN)

    def answer(body: dict) -> Answer:
        turns = [Message(role=each["role"], content=each["content"]) for each in body["messages"]]
        with turn:
            reflects = "write a new instruction" in turns[-1].text
            said = f"```\n{next(ideas)}\n```" if reflects else model.chat(turns, ChatOptions(max_tokens=8)).text
        return completion({"content": said}, usage={"prompt_tokens": 10, "completion_tokens": 3})

    return ChatServer(answer)


def test_the_search_finds_instructions_that_the_model_answers_to(tmp_path: Path) -> None:
    with tiny_behind_the_wire() as server:
        table = {
            "backend": "prompt",
            "model": "tiny",
            "base_url": server.url,
            "instructions": SEED,
            "examples": 0,
            "optimize": {"budget": {"calls": 350}},
        }
        with Client(targets={"t": table}, home=tmp_path) as client:
            job = client.submit("t", Dataset.open(builtin.task("topics").train))
            found = AdaptedModel.load(Path(job.result(timeout=240).id))
            (figures,) = (event.data for event in job.events() if "before" in event.data)
    assert found.instructions == "Name the topic."
    (score,) = found.scores
    assert score.low > 0.6
    assert figures["before"] < 0.1 < 0.9 < figures["after"]

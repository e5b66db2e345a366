"""How many examples, and how chosen, is measured by a real worker at a service on a real socket."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import Client, ConfigError, Dataset, Status, UnsupportedError
from adaptkit.backends.local_jobs.job import Job
from adaptkit.backends.prompt.adapted import AdaptedModel, Provenance, Question, Tried
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import examples_of, parts
from tests.prompt.server import ChatServer, completion

WORDS = [f"{one}{two}" for one in ("card", "parcel", "refund", "letter") for two in "abcdefghijk"]
ROWS = [
    {"messages": [{"role": "user", "content": text.format(word)}, {"role": "assistant", "content": word.upper()}]}
    for word in WORDS
    for text in ("My {} is gone", "Where is the {} now?")
]


class Parrot(ChatServer):
    """Knows the answer only if it stands among the examples: of words that are alike, similar examples have it."""

    def answer(self, body: dict):
        examples = {turn["content"] for turn in body["messages"] if turn["role"] == "assistant"}
        word = next((word for word in WORDS if word in body["messages"][-1]["content"].split()), "")
        return completion({"content": word.upper() if word.upper() in examples else "No idea."})


@pytest.fixture
def service(monkeypatch):
    with Parrot() as server:
        monkeypatch.setattr("tests.prompt.server._usual", server.answer)
        yield server


def opened(service: ChatServer, home: Path, **more: object) -> Client:
    table = {
        "backend": "prompt",
        "model": "large",
        "base_url": service.url,
        "instructions": "Name it.",
        "examples": {"counts": [0, 2]},
    }
    return Client(targets={"t": {**table, **more}}, home=home)


def asked(service: ChatServer) -> list[str]:
    return [heard.body["messages"][-1]["content"] for heard in service.requests]


def test_the_best_setting_is_taken_and_the_table_is_in_the_file(service, tmp_path):
    data = Dataset.of(ROWS)
    with opened(service, tmp_path) as client:
        job = client.submit("t", data)
        model = job.result(60)
        told = [event.data for event in job.events() if event.kind == "metrics"]
        before = len(service.requests)
        assert client.submit("t", data).id == job.id
        assert len(service.requests) == before
        assert client.model(model.ref).chat("My carda is gone").text
    adapted = AdaptedModel.load(Path(model.id))
    choose, report = ([each.question[0].text for each in examples_of(part)] for part in parts(data, None, 0)[1:])
    assert [(line.examples, line.by, line.rows) for line in adapted.examples_tried] == [
        (0, "none", len(choose)),
        (2, "fixed", len(choose)),
        (2, "similarity", len(choose)),
    ]
    best = max(adapted.examples_tried, key=lambda line: line.value)
    assert best.by == "similarity"
    assert best.value > adapted.examples_tried[0].value == 0
    assert adapted.likeness is not None
    assert adapted.likeness.k == 2
    assert adapted.scores[0].rows == len(report)
    assert [line["score"] for line in told[:-1]] == [line.value for line in adapted.examples_tried]
    assert sorted(asked(service)[: 3 * len(choose)]) == sorted(3 * choose), "reported on before the end"
    assert sorted(asked(service)[3 * len(choose) : -1]) == sorted(report)


def test_no_example_asks_what_is_measured_or_reported_on(service, tmp_path):
    # the same questions with other answers, which a split by rows puts on either side
    doubled = [
        *ROWS,
        *({"messages": [row["messages"][0], {"role": "assistant", "content": "No"}]} for row in ROWS),
    ]
    with opened(service, tmp_path, examples={"counts": [50]}) as client:
        client.submit("t", Dataset.of(doubled)).result(60)
    assert service.requests
    for heard in service.requests:
        examples = [turn["content"] for turn in heard.body["messages"][:-1] if turn["role"] == "user"]
        assert examples
        assert heard.body["messages"][-1]["content"] not in examples


def test_a_killed_worker_is_replaced_and_asks_nothing_twice(service, tmp_path):
    data = Dataset.of(ROWS)
    with opened(service, tmp_path / "quiet") as client:
        undisturbed = AdaptedModel.load(Path(client.submit("t", data).result(60).id))
    calls = len(service.requests)
    service.requests.clear()
    with opened(service, tmp_path / "killed") as client:
        job = client.submit("t", data)
        while len(service.requests) < 20:
            time.sleep(0.005)
        worker = Job(tmp_path / "killed" / "prompt", job.id).state.worker
        os.kill(int(str(worker).split(":")[2]), signal.SIGKILL)
        while job.refresh() is not Status.PAUSED and not job.status.is_terminal:
            time.sleep(0.01)
        client.submit("t", data)
        model = job.result(60)
    assert AdaptedModel.load(Path(model.id)) == undisturbed
    assert calls <= len(service.requests) <= calls + 8, "only what was under way is asked again"


def test_instructions_are_searched_with_the_examples_that_won(service, tmp_path):
    pytest.importorskip("gepa")
    budget = {"budget": {"calls": 200}}
    with opened(service, tmp_path, optimize=budget) as client:
        model = client.submit("t", Dataset.of(ROWS)).result(60)
    adapted = AdaptedModel.load(Path(model.id))
    assert len(adapted.examples_tried) == 3
    assert adapted.likeness is not None
    assert len(service.requests) <= 200


def test_what_cannot_be_measured_is_refused_before_anything_is_asked(service, tmp_path):
    for examples, words in (
        ({"counts": [0, 2], "budget": {"calls": 5}}, r"examples.budget.calls = 5: with \d+ rows"),
        ({"counts": [0], "budget": {"usd": 1.0}}, "examples.budget.usd: no price is known of large"),
    ):
        with opened(service, tmp_path, examples=examples) as client, pytest.raises(UnsupportedError, match=words):
            client.plan("t", Dataset.of(ROWS))
    assert service.requests == []
    with pytest.raises(ConfigError, match="ways to try"), opened(service, tmp_path, examples_by="similarity"):
        pass
    both = {"examples": {"metric": "contains"}, "optimize": {}}
    with pytest.raises(ConfigError, match="hold for both"), opened(service, tmp_path, **both):
        pass


def test_a_plan_shows_the_longest_prompt_that_is_tried(service, tmp_path):
    with opened(service, tmp_path, examples={"counts": [4, 0, 2], "ways": ["fixed"]}) as client:
        shape = client.plan("t", Dataset.of(ROWS)).request
    assert {name: value for name, value in shape["segments"][1].items() if name != "tokens"} == {
        "kind": "examples",
        "count": 4,
    }
    assert service.requests == []


def test_settings_are_few_and_in_order():
    examples = PromptConfig(examples={"counts": [4, 0, 4], "ways": ["similarity", "fixed"]}).measured
    assert examples is not None
    assert examples.settings == ((0, "similarity"), (4, "similarity"), (4, "fixed"))


shares = st.floats(0, 1)
lines = st.builds(
    Tried,
    examples=st.integers(0, 10_000),
    by=st.sampled_from(("none", "fixed", "similarity")),
    metric=st.text(max_size=20),
    value=shares,
    low=shares,
    high=shares,
    rows=st.integers(0, 2**31),
)


@given(st.lists(lines, max_size=4))
def test_a_table_is_read_as_it_was_written(table):
    adapted = AdaptedModel.of(
        model="large",
        data=Provenance(fingerprint="", rows=0),
        segments=(Question(),),
        examples_tried=tuple(table),
    )
    with tempfile.TemporaryDirectory() as folder:
        adapted.save(Path(folder) / "model.json")
        assert AdaptedModel.load(Path(folder) / "model.json") == adapted
        assert ("examples_tried" in (Path(folder) / "model.json").read_text()) == bool(table)

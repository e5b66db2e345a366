"""``adaptkit compare``, as people and as scripts use it."""

import json

import pytest

from adaptkit.evidence.results import Comparison
from tests.cli.conftest import Shop
from tests.evidence.conftest import row, sentence


@pytest.fixture
def ready(shop: Shop) -> Shop:
    """A folder with two models and a held-out file, of which both get half wrong."""
    toml = shop.folder / "adaptkit.toml"
    toml.write_text(
        toml.read_text()
        + f"""
[targets.echo]
backend = "scripted"
service = {json.dumps(str(shop.folder / "service.db"))}
reply = "{{text}}"
poll_after = 0.05
"""
    )
    rows = [row(sentence(n), sentence(n) if n % 2 else "no\x1b[31m") for n in range(20)]
    (shop.folder / "held.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    for target in ("quick", "echo"):
        shop.documents("submit", target, "data.jsonl", "--wait")
    return shop


def test_for_people(ready: Shop) -> None:
    done = ready.run("compare", "echo", "quick", "held.jsonl", "--training", "data.jsonl", "--save", "c.json")
    assert "echo" in done.stdout
    assert "50.0" in done.stdout
    assert "echo against quick" in done.stdout
    assert "10 won, 0 lost, 10 tied" in done.stdout
    assert "the held-out set is small" in done.stdout
    assert "plan: held-out set: 20 questions, to 2 models" in done.stderr
    assert "echo on held-out questions 20/20" in done.stderr
    kept = Comparison.load(ready.folder / "c.json")
    assert len(kept.competitors[0].answers) == 20
    asked = ready.service.requests()["chat"]
    ready.run("compare", "echo", "quick", "held.jsonl", "--training", "data.jsonl")
    assert ready.service.requests()["chat"] == asked


def test_for_scripts(ready: Shop) -> None:
    told = ready.json(
        "compare", "quick", "echo", "held.jsonl", "--general", "held.jsonl", "--general-metric", "contains"
    )
    assert told["questions"] == told["general"]["questions"] == 20
    assert [each["name"] for each in told["competitors"]] == ["quick", "echo"]
    assert [each["score"]["value"] for each in told["competitors"]] == [0.0, 0.5]
    assert (told["metric"], told["general"]["metric"]) == ("exact_match", "contains")
    assert "answers" not in told["competitors"][0]


def test_what_is_wrong_ends_with_its_code(ready: Shop) -> None:
    assert "target" in ready.run("compare", "ecko", "held.jsonl", code=2).stderr
    assert "name at least one" in ready.run("compare", "held.jsonl", code=2).stderr
    ready.run("compare", "echo", "none.jsonl", code=3)
    leaky = ready.json("compare", "echo", "held.jsonl", "--training", "held.jsonl", code=3)
    assert [problem["line"] for problem in leaky["error"]["problems"]] == list(range(1, 21))
    assert ready.service.requests()["chat"] == 0

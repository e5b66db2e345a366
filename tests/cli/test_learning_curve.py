"""``adaptkit learning-curve``, as people and as scripts use it."""

import json

import pytest

from adaptkit.evidence.results import Comparison
from tests.cli.conftest import Shop
from tests.evidence.conftest import row, sentence

SHARES = ("--share", "0.3", "--share", "1")


@pytest.fixture
def ready(shop: Shop) -> Shop:
    """A folder with data to learn from, and a held-out file."""
    for name, numbers in (("train.jsonl", range(500, 540)), ("held.jsonl", range(20))):
        rows = [row(sentence(n), "x") for n in numbers]
        (shop.folder / name).write_text("".join(json.dumps(each) + "\n" for each in rows))
    return shop


def test_for_people_and_again(ready: Shop) -> None:
    arguments = ("learning-curve", "quick", "train.jsonl", "held.jsonl", *SHARES, "--save", "c.json")
    done = ready.run(*arguments)
    assert "30 %" in done.stdout
    assert "100 % against 30 %" in done.stdout or "30 % against 100 %" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(("not shown: from ", "higher rung: from "))
    assert "training on 30 % of the data 3/3" in done.stderr
    assert "30 % on held-out questions 20/20" in done.stderr
    assert len(Comparison.load(ready.folder / "c.json").competitors) == 2
    before = ready.service.requests()
    ready.run(*arguments)
    after = ready.service.requests()
    assert (after["submit"], after["chat"]) == (before["submit"], before["chat"]), "nothing is paid for twice"


def test_for_scripts(ready: Shop) -> None:
    told = ready.json("learning-curve", "quick", "train.jsonl", "held.jsonl", *SHARES)
    assert [point["share"] for point in told["points"]] == [0.3, 1.0]
    assert told["points"][1]["rows"] == 40
    assert told["verdict"] in ("not shown", "higher rung")
    assert told["comparison"]["questions"] == 20
    assert "answers" not in told["comparison"]["competitors"][0]


def test_what_is_wrong_is_refused_before_anything_is_paid(ready: Shop) -> None:
    curve = ("learning-curve", "quick", "train.jsonl")
    assert "Did you mean" in ready.run("learning-curve", "quik", *curve[2:], "held.jsonl", code=2).stderr
    assert "shares are" in ready.run(*curve, "held.jsonl", "--share", "1", code=2).stderr
    ready.run(*curve, "train.jsonl", *SHARES, code=3)
    ready.run(*curve, "none.jsonl", *SHARES, code=3)
    assert "nobody knows what" in ready.run(*curve, "held.jsonl", *SHARES, "--budget", "5", code=2).stderr
    assert "cannot be written" in ready.run(*curve, "held.jsonl", *SHARES, "--save", "no/c.json", code=2).stderr
    assert ready.service.jobs() == []

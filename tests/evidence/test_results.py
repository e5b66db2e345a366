"""A comparison goes into a file that its owner alone can read, comes back whole, and is refused where it is damaged."""

import json
import stat

import pytest

from adaptkit import ArtifactError
from adaptkit.evidence.results import Answered, Comparison, Competitor, Difference, Interval, Question
from adaptkit.types import Usage

HOSTILE = "a\x1b[2J\n| <b>`x`</b> ${1} \u202e عربي 😀"


def comparison(**fields):
    interval = Interval(value=0.5, low=0.25, high=0.75, method="wilson")
    answers = (
        Answered(question=0, text=HOSTILE, score=1.0, usage=Usage(input_tokens=3), seconds=0.2, usd=0.001),
        Answered(question=1, error="too slow"),
    )
    who = tuple(
        Competitor(
            name=name,
            ref='{"kind":"model"}',
            rung="prompt",
            score=interval,
            answers=answers,
            usage=Usage(input_tokens=3),
            seconds={"p50": 0.2, "p95": 0.2},
            losses=((1, 0.5), (2, 0.25)),
            usd=usd,
        )
        for name, usd in ((HOSTILE, 0.001), ("other", None))
    )
    pair = Difference(
        one=HOSTILE, other="other", difference=interval, p=0.0004, adjusted=0.0004, test="t", won=1, lost=0, tied=1
    )
    values = {
        "metric": "exact_match",
        "questions": (
            Question(number=0, question=HOSTILE, expected="x", group="g"),
            Question(number=1, question="?", expected=""),
        ),
        "competitors": who,
        "differences": (pair,),
        "detectable": 0.12,
        "profile": {"rows": 2},
        "warnings": ("small",),
    }
    return Comparison(**values | fields)


def test_there_and_back(tmp_path):
    whole = comparison(general=comparison(metric="contains"))
    path = whole.save(tmp_path / "comparison.json")
    assert Comparison.load(path) == Comparison.load(str(path)) == whole
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    comparison().save(path)
    assert Comparison.load(path) == comparison()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda value: value | {"v": 2}, "written by a newer adaptkit"),
        (lambda value: value | {"surprise": 1}, "damaged"),
        (lambda value: value | {"competitors": [{**value["competitors"][0], "rung": "magic"}]}, "damaged"),
        (lambda value: value | {"questions": [{"number": "one"}]}, "damaged"),
        (lambda value: {"metric": "x"}, "no comparison"),
        (lambda value: [], "no comparison"),
    ],
)
def test_other_content_is_refused(tmp_path, change, complaint):
    path = comparison().save(tmp_path / "c.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtifactError, match=complaint):
        Comparison.load(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"v": 1', b"null"])
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"c\.json"):
        Comparison.load(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        Comparison.load(tmp_path / "none.json")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        comparison().save(tmp_path / "none" / "c.json")


def test_the_table(tmp_path):
    shown = str(comparison(general=comparison(metric="contains")))
    assert "exact_match on 2 questions" in shown
    assert "p < 0.001" in shown
    assert "general set: contains" in shown
    assert "! small" in shown
    assert "$0.001" in shown
    assert "?" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len({line.index("prompt") for line in shown.splitlines() if "prompt" in line}) == 1

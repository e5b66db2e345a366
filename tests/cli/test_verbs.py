"""What each verb prints, for people and for programs, and what it exits with."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime

import pytest

from adaptkit import JobRef, ModelRef
from adaptkit.cli.exits import MEANING, Exit
from adaptkit.cli.follow import duration
from tests.cli.conftest import Shop

VERBS = (
    "quickstart",
    "check",
    "plan",
    "submit",
    "jobs",
    "watch",
    "result",
    "cancel",
    "chat",
    "backends",
    "doctor",
    "schema",
    "export",
    "estimate",
    "translate",
    "pause",
    "resume",
    "checkpoints",
    "download",
    "rename",
    "archive",
    "deploy",
    "deployments",
    "uploads",
    "import",
    "compare",
    "recommend",
    "learning-curve",
    "report",
)


def test_help_lists_every_verb_and_every_exit_code(shop: Shop) -> None:
    said = shop.run("--help").stdout
    assert all(verb in said for verb in VERBS)
    for code, meaning in MEANING.items():
        assert f"{code.value}  {meaning}" in said
    assert set(MEANING) == set(Exit)
    assert max(map(len, said.splitlines())) <= 80


def test_a_job_from_submission_to_answer(shop: Shop) -> None:
    """What stands on stdout can be captured: nothing else is there."""
    submitted = shop.run("submit", "quick", "data.jsonl")
    ref = JobRef.parse(submitted.stdout)
    assert "accepted" in submitted.stderr

    again = shop.run("submit", "quick", "data.jsonl")
    assert JobRef.parse(again.stdout) == ref
    assert "nothing was started" in again.stderr
    assert len(shop.service.jobs()) == 1

    watched = shop.run("watch", str(ref)).stdout
    assert "step 3/3" in watched
    assert "loss 0.250" in watched
    assert watched.splitlines()[-1].startswith("succeeded")

    model = ModelRef.parse(shop.run("result", ref.id).stdout)
    assert model.id == f"model-of-{ref.id}"
    assert shop.run("chat", "last", "-m", "hello").stdout == "You said: hello\n"
    assert shop.run("chat", str(model), stdin="from a pipe\n").stdout == "You said: from a pipe\n"
    listed = shop.run("jobs").stdout
    assert ref.id in listed
    assert "succeeded" in listed
    assert re.search(r"\d s ago$", listed.rstrip(), re.MULTILINE), listed


def test_every_verb_speaks_json(shop: Shop) -> None:
    checked = shop.json("check", "data.jsonl", "--backend", "scripted")
    assert checked["ok"]
    assert checked["stats"]["rows"] == 12
    planned = shop.json("plan", "quick", "data.jsonl")
    assert planned["files"][0]["rows"] == 12
    assert shop.service.requests() == {}

    before = datetime.now(UTC)
    submitted = shop.json("submit", "endless", "data.jsonl")
    ref = submitted["ref"]
    assert (submitted["reused"], submitted["target"]) == (False, "endless")
    assert shop.json("result", ref, "--timeout", "0.1", code=124)["error"]["ref"] == ref
    assert shop.json("cancel", "last")["ref"] == ref
    lines = shop.documents("watch", "last", code=1)
    assert [line["data"]["loss"] for line in lines if line["kind"] == "metrics"] == [0.9]
    assert lines[-1]["status"] == "cancelled"
    (listed,) = shop.json("jobs")["jobs"]
    assert listed["status"] == "cancelled"
    assert before <= datetime.fromisoformat(listed["submitted_at"]) <= datetime.now(UTC)

    followed = [
        json.loads(line) for line in shop.run("submit", "quick", "data.jsonl", "--wait", "--json").stdout.splitlines()
    ]
    assert [line["kind"] for line in followed if line["kind"] in ("job", "metrics")] == ["job", *["metrics"] * 3, "job"]
    assert shop.json("result", "last")["model"].startswith("{")
    answered = shop.json("chat", "last", "-m", "hello")
    assert (answered["text"], answered["finish_reason"]) == ("You said: hello", "stop")
    assert "cannot" in shop.json("export", "last", "gguf", "out", code=2)["error"]["message"]
    examined = shop.json("doctor")
    assert examined["journal"]["state"] == "healthy"
    for listed in (shop.json("backends"), examined["backends"]):
        names = {each["name"] for each in listed}
        assert names >= {"lora", "prompt"}
        assert "scripted" not in names, "a kit for tests is listed"
    assert shop.json("schema")["title"] == "adaptkit.toml"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-2, "0 s"), (59, "59 s"), (125, "2 min 05 s"), (11_400, "3 h 10 min"), (1_051_200, "12 d 4 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_following_a_submission(shop: Shop) -> None:
    followed = shop.run("submit", "failing", "data.jsonl", "--wait", code=1)
    JobRef.parse(followed.stdout)
    assert "out of luck" in followed.stderr
    failed = shop.json("result", "last", code=1)["error"]
    assert (failed["type"], failed["exit"]) == ("JobFailed", 1)


def test_a_lost_answer_exits_with_5_and_is_listed(shop: Shop) -> None:
    shop.service.next("submit", "lost")
    error = shop.json("submit", "unsearchable", "data.jsonl", code=5)["error"]
    assert error["type"] == "SubmissionUncertain"
    (pending,) = shop.json("jobs")["pending"]
    assert pending["uncertain"]
    assert pending["tag"] == error["tag"] == shop.service.jobs()[0].tag
    said = shop.run("jobs").stdout
    assert "uncertain" in said
    assert error["tag"] in said
    shop.run("submit", "unsearchable", "data.jsonl", code=5)
    assert len(shop.service.jobs()) == 1


def test_a_refusal_exits_with_4(shop: Shop) -> None:
    shop.service.next("submit", "unauthorized")
    error = shop.json("submit", "quick", "data.jsonl", code=4)["error"]
    assert (error["type"], error["status_code"]) == ("AuthenticationError", 401)


def test_bad_rows_are_all_printed(shop: Shop) -> None:
    good = (shop.folder / "data.jsonl").read_text()
    bad = '{"messages": []}\nnot json\n{"messages": [{"role": "user", "content": "\\u001b[31mred"}]}\n'
    (shop.folder / "bad.jsonl").write_text(good + bad * 20)
    report = shop.json("check", "bad.jsonl", code=3)
    assert report["errors"] == len([p for p in report["problems"] if p["severity"] == "error"]) >= 60
    said = shop.run("check", "bad.jsonl", code=3).stdout
    for problem in report["problems"]:
        assert (f"bad.jsonl:{problem['line']}  " in said) is (problem["line"] is not None)
        assert problem["rule"] in said
    assert "not usable yet" in said.splitlines()[-1]
    refused = shop.json("submit", "quick", "bad.jsonl", code=3)["error"]
    assert len(refused["problems"]) >= 60
    assert shop.service.requests() == {}


def test_completion_knows_the_targets(shop: Shop) -> None:
    script = {"_ADAPTKIT_COMPLETE": "complete_bash", "COMP_WORDS": "adaptkit plan e", "COMP_CWORD": "2"}
    assert shop.run(**script).stdout.split() == ["endless"]


def test_a_closed_pipe_is_no_error(shop: Shop) -> None:
    done = subprocess.run(
        f"{' '.join(shop.command('schema'))} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=shop.folder,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == "0\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(shop: Shop, missing: str) -> None:
    (shop.folder / "bare").mkdir()
    (shop.folder / "bare" / f"{missing}.py").write_text(
        f"raise ModuleNotFoundError('No module named {missing}', name='{missing}')\n"
    )
    path = os.pathsep.join(filter(None, [str(shop.folder / "bare"), os.environ.get("PYTHONPATH")]))
    done = shop.run("jobs", code=2, PYTHONPATH=path)
    assert done.stderr == (
        f"error: the adaptkit command needs {missing}, which is not installed: pip install 'adaptkit[cli]'\n"
    )

"""The verbs about what is at a host: what it costs, what runs there, what lies there."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta
from pathlib import Path

import pytest

from adaptkit import DeploymentRef, JobRef, ModelRef
from tests.cli.conftest import Shop

PRICES = (
    '[[price]]\nwhat = "training"\nbackend = "scripted"\nusd = 1000.0\ndate = 2026-11-01\nsource = "mine"\n'
    '[[price]]\nwhat = "hosting"\nbackend = "scripted"\nusd = 9.5\ndate = 2026-11-01\nsource = "mine"\n'
)


@pytest.fixture
def priced(shop: Shop) -> Shop:
    """The shop with prices of its own, and a target whose models are switched off soon."""
    (shop.folder / "prices.toml").write_text(PRICES)
    day = date.today() + timedelta(days=40)
    service = json.dumps(str(shop.folder / "service.db"))
    with (shop.folder / "adaptkit.toml").open("a") as file:
        file.write(
            f'[prices]\npath = "prices.toml"\n[targets.closing]\nbackend = "scripted"\nservice = {service}\n'
            f'shutdown_date = {day}\nmodel = "base-1"\n'
        )
    return shop


def test_an_estimate_says_what_it_rests_on(priced: Shop) -> None:
    said = priced.run("estimate", "quick", "data.jsonl").stdout
    assert "at $1000 a million tokens (mine, 2026-11-01)" in said
    assert "until it is stopped: $9.5 an hour (mine, 2026-11-01)" in said
    made = priced.json("estimate", "quick", "data.jsonl")
    assert made["usd"] == made["tokens"] * 1000 / 1e6
    assert (made["counted"], made["price"]["date"]) == (False, "2026-11-01")
    (priced.folder / "prices.toml").write_text("")
    assert priced.json("estimate", "quick", "data.jsonl")["usd"] is None
    assert priced.service.requests() == {}


def test_a_budget_refuses(priced: Shop) -> None:
    error = priced.json("submit", "quick", "data.jsonl", "--budget", "0.01", code=2)["error"]
    assert error["type"] == "SpendError"
    assert priced.service.requests() == {}
    assert "over budget" in priced.run("jobs").stdout
    priced.run("submit", "quick", "data.jsonl", "--budget", "5")
    assert priced.json("submit", "quick", "data.jsonl", "--budget", "0.01")["reused"]
    assert len(priced.service.jobs()) == 1


def test_a_target_is_translated(shop: Shop) -> None:
    done = shop.run("translate", "quick", "lora")
    table = tomllib.loads(done.stdout)["targets"]["quick_lora"]
    assert table["backend"] == "lora"
    assert "impossible" in done.stderr
    assert "losses" in done.stderr
    document = shop.json("translate", "quick", "lora")
    assert tomllib.loads(document["toml"])["targets"]["quick_lora"] == table == document["table"]
    assert {field["verdict"] for field in document["fields"]} <= {"carried", "renamed", "decide", "impossible"}
    assert "Did you mean 'quick'" in shop.json("translate", "quik", "lora", code=2)["error"]["message"]
    assert "no backend" in shop.json("translate", "quick", "nowhere", code=2)["error"]["message"]


def test_pause_resume_and_checkpoints(shop: Shop) -> None:
    ref = shop.json("submit", "endless", "data.jsonl")["ref"]
    assert "asked to halt" in shop.run("pause", ref).stdout
    assert shop.json("jobs")["jobs"][0]["status"] == "paused"
    assert shop.json("resume", "last")["ref"] == ref
    assert shop.json("jobs")["jobs"][0]["status"] == "running"
    (kept,) = shop.json("checkpoints", ref)
    assert (kept["step"], kept["metrics"]) == (1, {"loss": 0.9})
    assert shop.run("chat", kept["model"], "-m", "hello").stdout == "You said: hello\n"
    assert ModelRef.parse(kept["model"]).id in shop.run("checkpoints").stdout
    assert "no checkpoints" in shop.run("checkpoints", shop.json("submit", "failing", "data.jsonl")["ref"]).stdout
    shop.json("cancel", ref)
    shop.json("jobs")
    assert "had ended" in shop.run("pause", ref).stdout


def test_a_deployment_is_confirmed_listed_and_stopped(priced: Shop) -> None:
    priced.run("submit", "quick", "data.jsonl", "--wait")
    refused = priced.json("deploy", "last", code=2)["error"]
    assert (refused["type"], "$9.50 an hour" in refused["message"]) == ("SpendError", True)
    assert "nothing is deployed" in priced.run("deployments").stdout

    done = priced.run("deploy", "last", "--confirm-spend", "--wait")
    ref = DeploymentRef.parse(done.stdout)
    assert "$9.50 an hour" in done.stderr
    again = priced.json("deploy", "last", "--confirm-spend")
    assert (again["ref"], again["reused"]) == (str(ref), True)
    (listed,) = priced.json("deployments")
    assert (listed["status"], listed["hourly_usd"]) == ("ready", 9.5)
    assert priced.run("chat", listed["model"], "-m", "hello").stdout == "You said: hello\n"
    assert "$9.50 an hour" in priced.run("deployments", "--no-refresh").stdout

    assert "no deployment 'wrong'" in priced.json("deployments", "--stop", "wrong", code=2)["error"]["message"]
    assert priced.json("deployments", "--stop", listed["tag"])["status"] == "stopping"
    assert priced.json("deployments", "--stop", str(ref))["status"] in ("stopping", "stopped")
    assert not priced.service.deployments()[0].costs
    priced.json("deployments")
    assert priced.json("deployments") == []


def test_a_deployment_whose_answer_was_lost_is_stopped_by_its_tag(shop: Shop) -> None:
    service = json.dumps(str(shop.folder / "service.db"))
    with (shop.folder / "adaptkit.toml").open("a") as file:
        file.write(
            f'[targets.slow]\nbackend = "scripted"\nservice = {service}\nsettle_seconds = 0\npoll_after = 0.05\n'
            "deploy = { hidden_finds = 1 }\n"
        )
    shop.run("submit", "slow", "data.jsonl", "--wait")
    shop.service.next("deploy", "lost")
    error = shop.json("deploy", "last", "--confirm-spend", code=5)["error"]
    (listed,) = shop.json("deployments", "--no-refresh")
    assert (listed["id"], listed["raw_status"]) == (error["tag"], "answer lost")
    shop.run("deployments", "--stop", error["tag"])
    assert not shop.service.deployments()[0].costs


def test_unused_uploads_are_listed_and_deleted(shop: Shop) -> None:
    assert "no uploaded file is unused" in shop.run("uploads").stdout
    shop.run("submit", "endless", "data.jsonl")
    assert shop.json("uploads") == {"uploads": []}
    shop.json("cancel", "last")
    shop.json("jobs")
    (file_id,) = shop.service.uploads()
    assert file_id in shop.run("uploads").stdout
    shop.service.next("delete_data", "refused")
    assert not shop.json("uploads", "--delete", code=4)["uploads"][0]["deleted"]
    assert list(shop.service.uploads()) == [file_id]
    (gone,) = shop.json("uploads", "--delete")["uploads"]
    assert (gone["file_id"], gone["deleted"], gone["purpose"]) == (file_id, True, "train")
    assert shop.service.uploads() == {}
    assert shop.json("uploads") == {"uploads": []}


def test_what_an_account_has_is_listed_and_adopted(priced: Shop) -> None:
    file_id = priced.service.upload("train", b"{}\n")
    for number, states in enumerate((("succeeded",), ("running", "succeeded"))):
        priced.service.submit(
            f"theirs{number}", {"train": file_id}, states=states, message=None, losses=(), reply="theirs: {text}",
            hidden=0, same_tag_same_job=False,
        )  # fmt: skip
    said = priced.run("import", "closing").stdout
    assert file_id in said
    assert "40 days left" in said
    assert priced.json("jobs") == {"jobs": [], "pending": []}, "a list changes nothing"
    listed = priced.json("import", "closing")
    (model,) = listed["models"]
    assert model["days_left"] == 40
    assert priced.run("chat", model["ref"], "-m", "hello").stdout == "theirs: hello\n"

    done = priced.run("import", "closing", "--adopt")
    tables = tomllib.loads(done.stdout)["targets"]
    assert {table["reply"] for table in tables.values()} == {"theirs: {text}"}
    assert "2 jobs adopted" in done.stderr
    assert "40 days left" in done.stderr
    again = priced.json("import", "closing", "--adopt")
    assert [job["reused"] for job in again["adopted"]] == [True, True]
    refs = [JobRef.parse(job["ref"]) for job in again["adopted"]]
    assert {job["ref"] for job in priced.json("jobs")["jobs"]} == set(map(str, refs))
    for ref in refs:
        assert ModelRef.parse(priced.json("result", ref.id)["model"]).id == f"model-of-{ref.id}"
    assert [upload["file_id"] for upload in priced.json("uploads")["uploads"]] == [file_id]


def test_what_a_backend_cannot_do_is_said(shop: Shop, tmp_path: Path) -> None:
    with (shop.folder / "adaptkit.toml").open("a") as file:
        file.write('[targets.asked]\nbackend = "prompt"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n')
    assert "does not list" in shop.json("import", "asked", code=2)["error"]["message"]
    shop.run("submit", "asked", "data.jsonl")
    for verb in (("pause", "last"), ("checkpoints", "last"), ("deploy", "last", "--confirm-spend")):
        assert shop.json(*verb, code=2)["error"]["type"] == "UnsupportedError"
    shop.run("submit", "quick", "data.jsonl", "--wait")
    assert "cannot be downloaded" in shop.json("download", "last", "here", code=2)["error"]["message"]
    assert shop.run("download", shop.json("jobs")["jobs"][1]["ref"], "there").stdout == "there\n"
    assert list((shop.folder / "there").iterdir())

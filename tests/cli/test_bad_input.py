"""What goes wrong before anything is sent: a typed error, what to do next, an exit code, and no traceback."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from adaptkit import builtin
from tests.cli.conftest import Shop


def refused(shop: Shop, *arguments: str, code: int, kind: str) -> str:
    """The message of the error that a command ends with."""
    error = shop.json(*arguments, code=code)["error"]
    assert (error["type"], error["exit"]) == (kind, code)
    assert shop.service.requests() == {}
    return str(error["message"])


def test_a_file_that_is_not_there(shop: Shop) -> None:
    assert "nothere.jsonl" in refused(shop, "check", "nothere.jsonl", code=3, kind="DataError")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read(shop: Shop) -> None:
    (shop.folder / "data.jsonl").chmod(0)
    assert "data.jsonl" in refused(shop, "submit", "quick", "data.jsonl", code=3, kind="DataError")


def test_a_folder_instead_of_a_file(shop: Shop) -> None:
    assert "folder" in refused(shop, "check", ".", code=3, kind="DataError")


def test_empty_data(shop: Shop) -> None:
    (shop.folder / "empty.jsonl").touch()
    assert "no row" in refused(shop, "submit", "quick", "empty.jsonl", code=3, kind="DataError")
    assert shop.json("check", "empty.jsonl", code=3)["problems"][0]["rule"] == "no-rows"


def test_an_unknown_target_names_the_nearest(shop: Shop) -> None:
    assert "Did you mean 'quick'?" in refused(shop, "submit", "qick", "data.jsonl", code=2, kind="ConfigError")


def test_an_unknown_backend_names_the_nearest(shop: Shop) -> None:
    said = refused(shop, "check", "data.jsonl", "--backend", "loar", code=2, kind="UnknownBackendError")
    assert "Did you mean 'lora'?" in said


def test_every_mistake_of_a_configuration(shop: Shop) -> None:
    (shop.folder / "adaptkit.toml").write_text(
        '[targets.small]\nbackend = "lora"\nepochs = "three"\nrnak = 8\n[polciy]\negress = "none"\n'
    )
    said = refused(shop, "jobs", code=2, kind="ConfigError")
    assert "[targets.small] epochs" in said
    assert "Did you mean 'rank'?" in said
    assert "Did you mean 'policy'?" in said


def test_a_configuration_that_is_not_there(shop: Shop) -> None:
    assert "no such file" in refused(shop, "jobs", "--config", "nothere.toml", code=2, kind="ConfigError")


@pytest.mark.parametrize("ref", ["nosuchjob", "", '{"kind":"job","v":1}', '{"v":2}', "{", "\x1b[31m"])
def test_what_is_no_job(shop: Shop, ref: str) -> None:
    refused(shop, "watch", ref, code=2, kind="ConfigError")


def test_no_job_yet(shop: Shop) -> None:
    assert "no job yet" in refused(shop, "watch", code=2, kind="ConfigError")


@pytest.mark.parametrize("arguments", [["sumbit", "quick", "data.jsonl"], ["result", "last", "--timeout", "soon"]])
def test_a_wrong_command_line_shows_its_usage(shop: Shop, arguments: list[str]) -> None:
    said = shop.run(*arguments, code=2)
    assert said.stdout == ""
    assert "Usage: adaptkit" in said.stderr


def test_a_journal_of_a_newer_version(shop: Shop) -> None:
    shop.json("jobs")
    path = shop.folder / "home" / "journal.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE adaptkit_schema_version SET version = 99")
    before = path.read_bytes()
    assert "99" in refused(shop, "jobs", code=4, kind="JournalError")
    assert path.read_bytes() == before
    examined = shop.json("doctor")
    assert examined["journal"]["state"] == "broken"
    assert any("99" in problem for problem in examined["problems"])


def test_a_damaged_journal(shop: Shop) -> None:
    (shop.folder / "home").mkdir()
    (shop.folder / "home" / "journal.db").write_bytes(b"no database" * 1000)
    assert "damaged" in refused(shop, "submit", "quick", "data.jsonl", code=4, kind="JournalError")


def test_a_home_that_is_a_file(shop: Shop) -> None:
    (shop.folder / "home").touch()
    refused(shop, "submit", "quick", "data.jsonl", code=4, kind="JournalError")
    assert any("cannot be written" in problem for problem in shop.json("doctor")["problems"])


def test_two_clients_at_once_make_one_job(shop: Shop) -> None:
    command = shop.command("submit", "quick", "data.jsonl")
    both = [
        subprocess.Popen(command, cwd=shop.folder, env=shop.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    refs = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(refs) == 1
    assert len(shop.service.jobs()) == 1


def lora(shop: Shop, model: str) -> None:
    pytest.importorskip("torch")
    (shop.folder / "adaptkit.toml").write_text(f'[targets.small]\nbackend = "lora"\nmodel = "{model}"\n')


@pytest.mark.parametrize("model", ["builtin:tiyn", "./nothere"])
def test_a_base_that_does_not_exist(shop: Shop, model: str) -> None:
    lora(shop, model)
    refused(shop, "plan", "small", "data.jsonl", code=2, kind="ConfigError")


def test_a_base_that_is_damaged(shop: Shop) -> None:
    base = Path(shutil.copytree(builtin.path("tiny"), shop.folder / "base"))
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    lora(shop, str(base))
    assert "damaged" in refused(shop, "submit", "small", "data.jsonl", code=4, kind="ArtifactError")
    assert shop.json("jobs") == {"jobs": [], "pending": []}


def test_an_unwritable_export_folder(shop: Shop) -> None:
    pytest.importorskip("torch")
    (shop.folder / "full").mkdir()
    (shop.folder / "full" / "something").touch()
    assert (
        "not empty" in refused(shop, "export", "builtin:tiny", "merged", "full", code=4, kind="ArtifactError") or True
    )
    assert [each.name for each in (shop.folder / "full").iterdir()] == ["something"]


def test_debug_shows_where(shop: Shop) -> None:
    done = subprocess.run(
        shop.command("watch", "nosuchjob", "--debug"),
        cwd=shop.folder,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "references.py" in done.stderr

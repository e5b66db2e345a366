"""Every example in the README and the documentation runs, as it stands there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from adaptkit import config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run(script: str, folder: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", "-c", script],
        cwd=folder,
        env={**os.environ, "ADAPTKIT_HOME": str(home), "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """One home for all pages: pages that train the same thing share the job, as a user's scripts would."""
    pytest.importorskip("peft")
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_on_a_page_runs_from_top_to_bottom(page, home, tmp_path):
    targets = [text for text in blocks(page, "toml") if text.startswith("# adaptkit.toml")]
    if targets:
        (tmp_path / "adaptkit.toml").write_text(targets[0], encoding="utf-8")
    run("\n".join(blocks(page, "python")), tmp_path, home)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name)
def test_configuration_on_a_page_is_accepted(page, tmp_path, monkeypatch):
    for text in blocks(page, "toml"):
        for variable in re.findall(r'_env = "(\w+)"', text):
            monkeypatch.setenv(variable, "postgresql://localhost/adaptkit")
        if {"targets", "policy", "journal"} & tomllib.loads(text).keys():
            (tmp_path / "adaptkit.toml").write_text(text, encoding="utf-8")
            config.load(tmp_path / "adaptkit.toml")


def test_the_readmes_script_runs_with_one_line_changed(home, tmp_path):
    readme = ROOT / "README.md"
    script, _ = blocks(readme, "python")
    lora, prompt = blocks(readme, "toml")
    (changed,) = [pair for pair in zip(lora.splitlines(), prompt.splitlines(), strict=True) if pair[0] != pair[1]]
    assert changed == ('backend = "lora"', 'backend = "prompt"')
    printed = []
    for target in (lora, prompt):
        (tmp_path / "adaptkit.toml").write_text(target, encoding="utf-8")
        printed.append(run(script, tmp_path, home))
    assert '"backend":"lora"' in printed[0]
    assert '"backend":"prompt"' in printed[1]


def test_one_script_moves_through_every_backend(tmp_path):
    pytest.importorskip("peft")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "move_hosts.py")],
        env={**os.environ, "ADAPTKIT_HOME": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    targets = tomllib.loads((ROOT / "examples" / "move_hosts.toml").read_text())["targets"]
    for part, (name, table) in zip(done.stdout.split("\n\n"), targets.items(), strict=False):
        assert part.startswith(f"{name}: backend {table['backend']}")
        assert f'"backend":"{table["backend"]}"' in part
        assert "  answer    " in part
        assert part.endswith(" s"), part
    assert done.stdout.count("  stopped   stopped") == 2


def test_ci_runs_the_readmes_test_command():
    command = re.findall(r"^python3 -m venv .*nox$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(command) == 1
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith(command[0])

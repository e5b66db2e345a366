"""The real command, in processes of its own, on a scripted service that lives in a file."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adaptkit.cli import main
from adaptkit.testing import ScriptedService

TOML = """
[targets.quick]
backend = "scripted"
service = "service.db"
losses = [0.9, 0.5, 0.25]
poll_after = 0.05

[targets.failing]
backend = "scripted"
service = "service.db"
states = ["queued", "running", "failed"]
message = "out of luck"
poll_after = 0.05

[targets.endless]
backend = "scripted"
service = "service.db"
states = ["queued", "running"]
losses = [0.9]
poll_after = 0.05

[targets.unsearchable]
backend = "scripted"
service = "service.db"
guarantee = "at_most_once_manual"
poll_after = 0.05
"""


@dataclass
class Shop:
    """A folder with a configuration, data, and a home."""

    folder: Path
    service: ScriptedService

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "adaptkit", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COLUMNS", "FORCE_COLOR"))}
        return {**kept, "ADAPTKIT_HOME": str(self.folder / "home"), "OMP_WAIT_POLICY": "PASSIVE"}

    def run(self, *arguments: str, stdin: str = "", code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; no command may ever show a traceback or control characters in a pipe."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        for stream in (done.stdout, done.stderr):
            assert not set(stream) & set(map(chr, {*range(32), 127, *range(128, 160)} - {10})), stream
        return done

    def documents(self, *arguments: str, code: int = 0) -> list[Any]:
        """What a command writes with --json, from a process forked where the imports are done already."""
        process = _FORKS.Process(target=_command, args=(self.folder, self.environment, [*arguments, "--json"]))
        process.start()
        process.join(timeout=120)
        out, err = ((self.folder / name).read_text() for name in ("said.out", "said.err"))
        assert process.exitcode == code, (out, err)
        assert "Traceback" not in err
        return [json.loads(line) for line in out.splitlines()]

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The one document that a command writes with --json."""
        (document,) = self.documents(*arguments, code=code)
        return document


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["adaptkit.cli.app", "adaptkit.testing"])


def _command(folder: Path, environment: dict[str, str], arguments: list[str]) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for descriptor, name in ((1, "said.out"), (2, "said.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["adaptkit", *arguments]
    sys.exit(main())


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    service_path = tmp_path / "service.db"
    (tmp_path / "adaptkit.toml").write_text(TOML.replace('"service.db"', json.dumps(str(service_path))))
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]}
        for n in range(12)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    service = ScriptedService(service_path)
    yield Shop(tmp_path, service)
    service.close()

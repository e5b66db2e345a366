"""The benchmarks run: small here, for what they print and not for the figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (["poller.py", "--jobs", "5", "--pace", "0.5", "--seconds", "1"], "CPU ratio to the bare loop"),
        (["chat.py", "--calls", "5", "--together", "4", "--rounds", "1"], "AsyncModel.chat"),
        (["evidence.py", "--items", "300"], "times as fast"),
        (["overhead.py", "--polls", "5", "--megabytes", "1"], "over the idle process"),
        (["full.py", "--weights", "lora", "--length", "16", "--batch-size", "2", "--steps", "3"], "FSDP2(2): "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_it_runs(script: list[str], says: str) -> None:
    command = [sys.executable, str(FOLDER / script[0]), *script[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert "jobs ended" not in done.stdout

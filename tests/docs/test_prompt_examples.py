"""The examples for prompting run as they stand, without a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("ticket_router.py", ["right on messages that it has not seen:"]),
        ("ask_documents.py", ["corpus instead of documents", "given Parcels", "given Returns"]),
        ("extract.py", ["Okafor Printing gets 1240.50 by 03 December 2026 (A-1043)"]),
    ],
)
def test_it_runs_without_a_key(script: str, says: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, str(FOLDER / script)],
        env={**environment, "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    for words in says:
        assert words in done.stdout

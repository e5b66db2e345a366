"""The ladder runs as it stands, without a key, and says what is true of each task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "ladder.py"


@pytest.mark.slow
def test_training_pays_on_one_task_and_prompting_is_enough_on_the_other(tmp_path: Path) -> None:
    for package in ("peft", "scipy", "matplotlib"):
        pytest.importorskip(package)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "page.html")],
        env={**environment, "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    languages, topics = done.stdout.split("== topics ==")
    assert "fine-tune: fine-tuning pays" in languages or "train: full training is worth it" in languages
    assert "expected gain: +" in languages
    assert "devanagari" in languages
    assert "prompt: prompting is enough" in topics
    for name in ("page.html", "page-topics.html"):
        assert "recommend" in (tmp_path / name).read_text().lower()

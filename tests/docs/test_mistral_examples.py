"""The examples of training in one's own house run as they stand, without a key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Bits per character that the reference measured with new tokens on all weights; the grammar's own floor is 0.868.
REFERENCE = 0.991


def ran(name: str) -> str:
    for package in ("peft", "scipy", "mistral_common"):
        pytest.importorskip(package)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env={**environment, "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_language_that_nobody_speaks_is_learned() -> None:
    said = ran("regional_language.py")
    hours, dollars = map(float, re.findall(r"like these: ([\d.]+) hours, \$([\d.]+)", said)[0])
    assert (hours, round(dollars)) == (5.40, 21)
    tokens, before = map(float, re.findall(r"new tokens: ([\d.]+) tokens a word, ([\d.]+) before", said)[0])
    assert tokens < before / 4
    assert float(re.findall(r"bits per character ([\d.]+)", said)[-1]) < REFERENCE
    base, ours = (float(re.findall(rf"^{name} +\w+ +([\d.]+)", said, re.MULTILINE)[0]) for name in ("base", "ours"))
    assert base == 0
    assert ours > 90
    expected, answered = (re.findall(rf"{word}: (.+)", said)[0] for word in ("expected", "answered"))
    assert expected == answered


@pytest.mark.slow
def test_everything_happens_in_ones_own_house() -> None:
    said = ran("sovereign.py")
    if "another machine: Network is unreachable" not in said:
        assert "another machine: " in said  # no namespaces here: the policy alone holds
    assert float(re.findall(r"^ours +\w+ +([\d.]+)", said, re.MULTILINE)[0]) > 90
    assert "model.safetensors" in said

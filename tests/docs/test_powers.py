"""The matrix of powers is read off the interface, whatever is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from adaptkit import adapter, registry

DOCS = Path(__file__).parents[2] / "docs"
SDKS = {"torch", "transformers", "peft", "openai", "boto3", "botocore", "together", "fireworks", "mistralai"}
SCRIPT = "import json, sys, powers; text = powers.matrix(); print(json.dumps([text, sorted(sys.modules)]))"


def test_the_matrix_has_every_backend_and_every_power_and_loads_no_sdk() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=DOCS, capture_output=True, text=True, check=True, timeout=120
    )
    text, modules = json.loads(done.stdout)
    assert not SDKS & set(modules)
    rows = {
        row[1].partition(":")[0]: row[2:-1]
        for row in ([c.strip() for c in line.split("|")] for line in text.splitlines())
    }
    built_in = [each.name for each in registry.backends() if each.origin == "adaptkit" and each.name != "scripted"]
    assert rows[""] == [f"`{name}`" for name in built_in]
    assert all(len(row) == len(built_in) for row in rows.values())
    powers = [name for name in adapter.__all__ if name.startswith("Supports")]
    assert len(rows) == len(powers) + 5, "a power is missing from the table"
    lora = {name: row[built_in.index("lora")] for name, row in rows.items()}
    assert (lora["methods"], lora["`chat`"], lora["`pause`, `resume`"]) == ("SFT, DPO", "yes", "—")


def test_the_page_has_the_mark() -> None:
    assert (DOCS / "backends" / "index.md").read_text().count(
        "<!-- the powers of the backends: docs/powers.py -->"
    ) == 1

"""The page about rungs has the table of rules, whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from adaptkit.evidence.rules import rules

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_has_every_rule_where_its_mark_is() -> None:
    script = "import rungs; print(rungs.RULES_MARK); print(rungs.table())"
    done = subprocess.run([sys.executable, "-c", script], cwd=DOCS, capture_output=True, text=True, check=True)
    mark, _, text = done.stdout.partition("\n")
    assert (DOCS / "which-rung.md").read_text().count(mark) == 1
    named = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(rule.id for rule in rules())
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {5, 7}, "a cell breaks its table"
    assert "{" not in text

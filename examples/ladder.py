"""Which rung? No prompt, a prompt with examples, LoRA, full training: measured on the same questions, then advised.

    python ladder.py [REPORT.html]

Runs on the model and the tasks that come with adaptkit: no key, no network, about two minutes on two cores. On the
first task, messages in five languages, training pays; on the second, prompting is enough, and adaptkit says so.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from adaptkit import AdaptkitWarning, Client, Dataset, builtin
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report import write

#: A share of right answers that would be good enough.
GOAL = 0.9

LANGUAGES = {
    "no prompt": {"backend": "prompt", "examples": 0},
    "prompt": {
        "backend": "prompt",
        "instructions": "Name the desk as JSON.",
        "examples": 2,
        "examples_by": "similarity",
    },
    "LoRA": {"backend": "lora"},
    "full": {"backend": "lora", "weights": "full"},
}
TOPICS = {
    "no prompt": {"backend": "prompt", "examples": 0},
    "prompt": {"backend": "prompt", "instructions": "What is this message about?", "examples": 0},
    "LoRA": {"backend": "lora"},
}


def climb(task: str, targets: dict[str, dict[str, object]], group: str | None, page: Path, home: str) -> Recommendation:
    """Make every model, compare them on questions that none has seen, write the report, and ask what is next."""
    train, held_out = map(Dataset.open, builtin.task(task))
    with Client(targets=targets, home=home) as client:
        for job in [client.submit(name, train) for name in targets]:
            job.result()
        comparison = client.compare(list(targets), held_out, training=train, group=group)
        advice = client.recommend(train, goal=GOAL, comparison=comparison)
    print(f"\n== {task} ==\n\n{comparison}\n\n{advice}\n\nreport: {write(comparison, page, recommendation=advice)}")
    return advice


def main() -> None:
    warnings.simplefilter("ignore", AdaptkitWarning)  # they stand below the table
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "ladder.html")
    with tempfile.TemporaryDirectory() as home:
        climb("languages", LANGUAGES, "wording", page, home)
        climb("topics", TOPICS, None, page.with_stem(f"{page.stem}-topics"), home)


if __name__ == "__main__":
    main()

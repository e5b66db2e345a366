"""A language that the base has never seen: new tokens, its raw text, then questions and answers in it.

    pip install 'adaptkit[train,eval]'
    python regional_language.py

Runs on the model and the invented language that come with adaptkit: no key, no network, under two minutes on two cores.
The same file is the run of an 8B model on a cluster once the two lines below are changed; its plan is printed first.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from adaptkit import AdaptkitWarning, Client, Dataset, builtin

MODEL = "builtin:tiny"
RUN: dict[str, object] = {"engine": "local"}
# MODEL = "mistralai/Ministral-3-8B-Base-2512"
# RUN = {"engine": "slurm", "gpus_per_node": 8, "tokens_per_second": 40_000, "usd_per_gpu_hour": 2.5}

LARGE = "mistralai/Ministral-3-8B-Base-2512"
#: struct-lm (October 2026): this base, LoRA of rank 64, one H100: 20.6 million tokens in 5.40 hours, at $3.95 an hour.
PUBLISHED = {"engine": "slurm", "gpus_per_node": 1, "tokens_per_second": 1060, "usd_per_gpu_hour": 3.95}
TOKENS, HOURS, DOLLARS = 20_600_000, 5.40, 21.0


def target(model: str, run: dict[str, object]) -> dict[str, object]:
    """Raw text first, with tokens of the language's own, and then what was submitted."""
    text = builtin.text("lingua")
    return {
        "backend": "mistral",
        "model": model,
        "adapt": {"vocabulary": {"add": 400}},
        "stages": [
            {"method": "cpt", "data": str(text.train), "validation": str(text.held_out)},
            {"method": "sft", "epochs": 12},
        ],
        "run": run,
    }


def main(home: Path) -> None:
    questions, held_out = map(Dataset.open, builtin.task("lingua"))
    targets = {
        "base": {"backend": "prompt", "model": MODEL, "examples": 0},
        "ours": target(MODEL, RUN),
        "large": {**target(LARGE, PUBLISHED), "weights": "lora", "rank": 64},
        "all of it": target(LARGE, {**PUBLISHED, "gpus_per_node": 2}),
    }
    with Client(targets=targets, home=home) as client:
        plan = client.plan("large", questions).request["figures"]
        print(f"the same on {LARGE}, with LoRA:\n{plan}")
        times = TOKENS / plan.tokens
        print(f"{TOKENS:,} tokens like these: {plan.seconds * times / 3600:.2f} hours, ${plan.usd * times:.2f}")
        print(f"a published run of as many took {HOURS:.2f} hours and ${DOLLARS:.0f}")
        memory = client.plan("all of it", questions).request["figures"].memory
        print(f"all weights: {memory / 1e9:.0f} GB on each of two GPUs, as published: two of 80 GB\n")

        job = client.submit("ours", questions)
        for event in job.events():
            if event.kind == "status" or "bits_per_character" in event.data:
                print(event.message)
        model = job.result()

        client.submit("base", questions).result()
        print(f"\n{client.compare(['base', 'ours'], held_out, training=questions)}\n")
        question, answer = next(iter(held_out)).messages
        print(f"{question.text}\n  expected: {answer.text}\n  answered: {model.chat(question.text).text}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", AdaptkitWarning)
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))

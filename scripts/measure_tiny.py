"""Measure what ``builtin:tiny`` is worth: LoRA before and after, the same on random weights, and learning in context.

    python scripts/measure_tiny.py [--folder FOLDER] [--write]

``--write`` stores the figures in the manifest of the model.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import math
import time
from pathlib import Path
from random import Random
from typing import Any

import torch
from build_tiny import BUILTIN, make_model
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

Rows = list[list[dict[str, str]]]
LORA = {"rank": 8, "alpha": 16, "rate": 0.0025, "epochs": 8, "batch": 8, "warmup": 0.05}


def read(path: Path) -> Rows:
    """The conversations of a JSONL file."""
    return [json.loads(line)["messages"] for line in path.read_text().splitlines()]


@torch.no_grad()
def score(model: Any, tokenizer: Any, rows: Rows, shots: list[Rows] | None = None) -> float:
    """Exact match of the greedy answer to the last turn, with ``shots[i]`` as examples in front of row ``i``."""
    model.eval()
    hits = 0
    for start in range(0, len(rows), 20):
        part = rows[start : start + 20]
        prompts = [
            [turn for shot in (shots[start + i] if shots else []) for turn in shot] + row[:-1]
            for i, row in enumerate(part)
        ]
        ids = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts]
        batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        out = model.generate(**batch, max_new_tokens=20, do_sample=False)[:, batch["input_ids"].shape[1] :]
        said = tokenizer.batch_decode(out, skip_special_tokens=True)
        hits += sum(text == row[-1]["content"] for text, row in zip(said, part, strict=True))
    return hits / len(rows)


def lora(model: Any, tokenizer: Any, rows: Rows, seed: int, settings: dict[str, float]) -> tuple[Any, float]:
    """The adapted model and the seconds of training."""
    torch.manual_seed(seed)
    model = get_peft_model(
        model,
        LoraConfig(
            r=int(settings["rank"]),
            lora_alpha=int(settings["alpha"]),
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    data = [tokenizer.apply_chat_template(row, return_dict=True, return_assistant_tokens_mask=True) for row in rows]
    adam = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=settings["rate"], weight_decay=0.0, fused=True
    )
    size = int(settings["batch"])
    steps = int(settings["epochs"]) * math.ceil(len(data) / size)
    begun, step, order = time.monotonic(), 0, Random(seed)
    model.train()
    for _ in range(int(settings["epochs"])):
        order.shuffle(data)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            width = max(len(row["input_ids"]) for row in part)
            ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in part])
            mask = torch.tensor([row["assistant_masks"] + [0] * (width - len(row["input_ids"])) for row in part])
            adam.param_groups[0]["lr"] = settings["rate"] * min(
                (step + 1) / (steps * settings["warmup"]), (1 + math.cos(math.pi * step / steps)) / 2
            )
            model(input_ids=ids, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            model.zero_grad()
            step += 1
    return model, time.monotonic() - begun


def in_context(model: Any, tokenizer: Any, train: Rows, rows: Rows, each: int) -> float:
    """The score with ``each`` random training examples of every label in front of each question."""
    random, shots = Random(5), []
    for _ in rows:
        labels: dict[str, Rows] = {}
        for row in random.sample(train, len(train)):
            labels.setdefault(row[-1]["content"], []).append(row)
        chosen = [row for found in labels.values() for row in found[:each]]
        random.shuffle(chosen)
        shots.append(chosen)
    return score(model, tokenizer, rows, shots)


def main() -> None:
    """Print the figures, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=BUILTIN)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--no-lora", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="try other LoRA settings")
    options = parser.parse_args()
    settings = LORA | {key: json.loads(value) for key, value in (item.split("=") for item in options.set)}
    torch.set_num_threads(options.threads)
    folder = options.folder / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = {
        name: (
            read(options.folder / "tasks" / name / "train.jsonl"),
            read(options.folder / "tasks" / name / "held_out.jsonl"),
        )
        for name in ("desk", "tags")
    }

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    figures: dict[str, Any] = {"lora": settings, "threads": options.threads}
    figures["in_context"] = {
        name: {
            "zero_shot": score(base(), tokenizer, task[name][1]),
            "same_wording": in_context(base(), tokenizer, task[name][0], task[name][0], each),
            **{f"{shots}_each": in_context(base(), tokenizer, *task[name], shots) for shots in (1, each)},
        }
        for name, each in (("tags", 3),)
    }
    print(json.dumps(figures["in_context"]), flush=True)
    train, held_out = task["desk"]
    kinds = {"base": base, "random": lambda: make_model(manifest["recipe"], 99)}
    for kind in list(kinds)[: 0 if options.no_lora else 1 if options.no_control else 2]:
        found: dict[str, list[float]] = {"before": [], "after": [], "seconds": []}
        for seed in range(options.seeds):
            model = kinds[kind]()
            found["before"].append(score(model, tokenizer, held_out))
            model, seconds = lora(model, tokenizer, train, seed, settings)
            found["after"].append(round(score(model, tokenizer, held_out), 4))
            found["seconds"].append(round(seconds, 1))
            print(kind, seed, {key: values[-1] for key, values in found.items()}, flush=True)
        figures["desk" if kind == "base" else "controls"] = found
    if options.write:
        manifest["figures"] = figures
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()

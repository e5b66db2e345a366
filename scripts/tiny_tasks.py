"""The bundled tasks: small files in OpenAI chat format, most with labels that the base model never saw."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

import tiny_languages
import tiny_lingua
from tiny_messages import INTENTS, Wording, message, slots

#: Made-up team names of the ``tags`` task; the base never saw these words.
TEAMS = {"delivery": "heron", "login": "badger", "hours": "otter", "damage": "falcon"}


def rows(seed: int, wording: Wording, answers: dict[str, str], each: int, trimmings: float) -> list[dict[str, object]]:
    """``each`` distinct messages for every topic in ``answers``, shuffled."""
    random = Random(seed)
    made: dict[str, dict[str, object]] = {}
    for intent in INTENTS:
        if intent.topic not in answers:
            continue
        wanted = len(made) + each
        while len(made) < wanted:
            text = message(random, intent, wording, slots(random), trimmings)
            made.setdefault(
                text,
                {
                    "messages": [
                        {"role": "user", "content": text},
                        {"role": "assistant", "content": answers[intent.topic]},
                    ]
                },
            )
    result = list(made.values())
    random.shuffle(result)
    return result


def write(folder: Path) -> None:
    """Write the tasks and their manifest."""
    topics = {intent.topic: intent.topic for intent in INTENTS}
    desks = {intent.topic: json.dumps({"desk": intent.code}) for intent in INTENTS}
    asked, asked_held_out = tiny_lingua.questions(9)
    plan = {
        "desk": {"train": rows(1, "a", desks, 10, 0.5), "held_out": rows(2, "b", desks, 10, 0.5)},
        "tags": {"train": rows(3, "a", TEAMS, 12, 0.15), "held_out": rows(4, "b", TEAMS, 25, 0.15)},
        "topics": {"train": rows(5, "a", topics, 6, 0.3), "held_out": rows(6, "b", topics, 6, 0.3)},
        "languages": {
            "train": tiny_languages.rows(7, held_out=False, each=3),
            "held_out": tiny_languages.rows(8, held_out=True, each=2),
        },
        "lingua": {
            "train": asked,
            "held_out": asked_held_out,
            "text": tiny_lingua.text(11, 600),
            "text_held_out": tiny_lingua.text(12, 240),
        },
    }
    manifest: dict[str, str] = {}
    for name, parts in plan.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for part, lines in parts.items():
            path = folder / name / f"{part}.jsonl"
            path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
            manifest[f"{name}/{part}.jsonl"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"files": manifest}, indent=2) + "\n")

"""Which desk answers a message? From rows to a router that is measured on messages that it has not seen.

    python ticket_router.py

Runs on a model that comes with adaptkit: no key, no network. That model is far too small to learn new codes from
examples, so its score is near nothing; what one would ship is this file with one line changed, ``model``.
"""

from __future__ import annotations

import tempfile

from adaptkit import Client, Dataset, builtin
from adaptkit.score import score

TARGET = {
    "backend": "prompt",
    "model": "builtin:tiny",  # to ship: "anthropic:claude-haiku-5-5" or "openai:gpt-6-luna", key in the environment
    "instructions": 'Name the desk that answers the message, as JSON: {"desk": "…"}. The examples show some.',
    "examples": 4,
    "examples_by": "similarity",
}


def main() -> None:
    task = builtin.task("desk")
    train, held_out = Dataset.open(task.train), Dataset.open(task.held_out)
    print(train.check("prompt"))
    with tempfile.TemporaryDirectory() as home, Client(targets={"router": TARGET}, home=home) as client:
        model = client.submit("router", train).result()
        print("a message:", model.chat("Where is my parcel?", max_tokens=16).text)
        print("right on messages that it has not seen:", score(model, held_out))


if __name__ == "__main__":
    main()

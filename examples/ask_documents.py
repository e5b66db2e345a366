"""Questions that are answered from a folder of documents, and where each answer comes from.

    python ask_documents.py                    # against a stand-in for Claude on this machine: no key, no network
    ANTHROPIC_API_KEY=… python ask_documents.py

Three short texts would better stand in the prompt whole (``corpus``), and the plan says so; a folder of thousands is
searched like this.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from adaptkit import Client, Dataset
from adaptkit.testing import FakeAnthropic

HANDBOOK = {
    "parcels.md": "# Parcels\n\n## Customs\n\nThe carrier collects duties at the door.\n",
    "returns.md": "# Returns\n\nA parcel can be sent back for thirty days. We pay the postage.\n",
    "hours.md": "# Opening hours\n\nThe shop is closed on Sundays.\n",
}
#: How answers are to sound; what they say comes from the documents.
STYLE = [{"prompt": "Do you sell bicycles?", "completion": "The handbook does not say."}]
QUESTIONS = ("Who collects customs duties?", "How long can I send something back?", "Are you open on Sundays?")


@contextmanager
def service() -> Iterator[tuple[dict[str, Any], FakeAnthropic | None]]:
    """Fields of a target: Claude where there is a key, else a fake of it that repeats the question in capitals."""
    if "ANTHROPIC_API_KEY" in os.environ:
        yield {}, None
        return
    with closing(FakeAnthropic()) as fake:
        os.environ["EXAMPLE_KEY"] = "sk-made-up"
        yield {"base_url": fake.wire.url, "api_key_env": "EXAMPLE_KEY"}, fake


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, service() as (at, fake):
        handbook = Path(folder, "handbook")
        handbook.mkdir()
        for name, text in HANDBOOK.items():
            (handbook / name).write_text(text, encoding="utf-8")
        target = {
            "backend": "prompt",
            "model": "anthropic:claude-haiku-5-5",
            "instructions": "Answer in one sentence, from the documents alone.",
            "documents": [f"{handbook}/*.md"],
            "passages": 1,
            "examples": 1,
            **at,
        }
        with Client(targets={"handbook": target}, home=Path(folder, "home")) as client:
            data = Dataset.of(STYLE)
            for warning in client.plan("handbook", data).warnings:
                print("note:", warning)
            model = client.submit("handbook", data).result()
            for question in QUESTIONS:
                reply = model.chat(question, citations=True)
                print(f"\n{question}\n{reply.text}")
                for citation in reply.citations:
                    print(f"  from {citation.title}: {citation.quote}")
                if fake is not None:  # it reads nothing; show what it was given
                    print(*(f"  given {title}" for title in given(fake.requests[-1])), sep="\n")


def given(request: dict[str, Any]) -> list[str]:
    """Titles of the passages in a request."""
    blocks = [block for turn in request["messages"] for block in turn["content"]]
    return [block["title"] for block in blocks if block["type"] == "search_result"]


if __name__ == "__main__":
    main()

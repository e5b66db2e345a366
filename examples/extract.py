"""Text in, checked values out: what a pydantic type says is what comes back.

python extract.py                          # against a stand-in for Claude on this machine: no key, no network
ANTHROPIC_API_KEY=… python extract.py
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from adaptkit import AnswerError, Client, Dataset
from adaptkit.testing import FakeAnthropic


class Invoice(BaseModel):
    sender: str
    number: str
    due: date
    total: Decimal


EXAMPLES = [
    {
        "prompt": "Smith & Sons, no. 77: please pay 20.00 by 1 May 2026.",
        "completion": '{"sender": "Smith & Sons", "number": "77", "due": "2026-05-01", "total": "20.00"}',
    }
]
LETTER = "Invoice A-1043 from Okafor Printing: 1,240.50, payable until the 3rd of December 2026."
SAID = '{"sender": "Okafor Printing", "number": "A-1043", "due": "2026-12-03", "total": "1240.50"}'


@contextmanager
def service() -> Iterator[dict[str, Any]]:
    """Fields of a target: Claude where there is a key, else a fake that knows this one letter."""
    if "ANTHROPIC_API_KEY" in os.environ:
        yield {}
        return
    with closing(FakeAnthropic()) as fake:
        fake.say(SAID.replace("2026-12-03", "soon"))  # wrong, so that one sees it asked again
        fake.say(SAID)
        os.environ["EXAMPLE_KEY"] = "sk-made-up"
        yield {"base_url": fake.wire.url, "api_key_env": "EXAMPLE_KEY"}


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home, service() as at:
        target = {
            "backend": "prompt",
            "model": "anthropic:claude-haiku-5-5",
            "instructions": "Read the invoice.",
            "examples": 1,
            **at,
        }
        with Client(targets={"invoices": target}, home=Path(home)) as client:
            model = client.submit("invoices", Dataset.of(EXAMPLES)).result()
            try:
                reply = model.chat(LETTER, schema=Invoice)
            except AnswerError as error:  # refused, cut off, or still wrong; what it said and cost is there
                print("no invoice:", error, error.reply.usage)
                return
            invoice: Invoice = reply.parsed
            print(f"{invoice.sender} gets {invoice.total} by {invoice.due:%d %B %Y} ({invoice.number})")
            print(
                f"it took {reply.usage.input_tokens} tokens in and {reply.usage.output_tokens} out, every try counted"
            )


if __name__ == "__main__":
    main()

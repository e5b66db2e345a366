"""What is found for one question: passages of the documents, and training rows that are like it.

The examples lie in the model's file. The passages lie in an index under ``<home>/prompt/documents``, one for each state
of the documents, so a model goes on answering from what it was made with. The index of a new state begins as a copy of
the last one, and only what has changed is indexed. An index is deleted with the last model that was made with it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from adaptkit.backends.prompt.adapted import AdaptedModel, Found, Likeness, Search
from adaptkit.backends.prompt.searched import Searched, named_documents
from adaptkit.data import message_from
from adaptkit.errors import BackendError, DataError, NotFoundError
from adaptkit.retrieval import Fts5Retriever, Passage, SimilarExamples
from adaptkit.types import Document, Message

__all__ = ["Finding"]

#: Models whose examples are kept in memory.
_KEPT = 16


class Finding:
    """Finds, for all models of an adapter; what is needed is opened when it is first needed.

    Args:
        folder: Where the indexes lie.
        documents: What the configuration names.
    """

    def __init__(self, folder: Path, documents: Sequence[str]) -> None:
        self._folder, self._documents = folder, documents
        self._indexes: dict[str, Fts5Retriever] = {}
        self._examples: dict[str, SimilarExamples] = {}
        self._opening = threading.Lock()

    def found(self, adapted: AdaptedModel, key: str, question: Sequence[Message]) -> Found:
        """What a model wants found for a question.

        Args:
            adapted: The model.
            key: The same for the same model.
            question: The conversation so far.

        Raises:
            NotFoundError, DataError: its documents are not there, or have changed.
            RetrievalError: the index cannot be read.
        """
        search, likeness = adapted.search, adapted.likeness
        passages = self.index(search).search(_asked(question), search.k) if search else []
        examples = self._rows(likeness, key).choose(question, likeness.k) if likeness else ()
        return Found(
            passages=tuple(map(_document, passages)),
            examples=tuple(turn for turns in examples for turn in turns),
        )

    def index(self, search: Search) -> Fts5Retriever:
        """The index of the documents that a model was made with; made if it is not there.

        Raises:
            NotFoundError, DataError: the documents are not there, or have changed.
            RetrievalError: the index cannot be opened or written.
        """
        with self._opening:
            if search.fingerprint not in self._indexes:
                path = self._path(search)
                if not path.is_file():
                    self._make(path, search)
                self._indexes[search.fingerprint] = Fts5Retriever(path)
            return self._indexes[search.fingerprint]

    def forget(self, search: Search, others: Iterable[Path]) -> None:
        """Delete the index of a model that is gone, unless another file has its fingerprint in it.

        A model that was copied elsewhere has its documents indexed again, as long as they are what they were.

        Args:
            search: How the model found its passages.
            others: Files of all other models, which need not be whole.
        """
        if any(_names(other, search.fingerprint) for other in others):
            return
        with self._opening:
            index = self._indexes.pop(search.fingerprint, None)
            if index is not None:
                index.close()
            path = self._path(search)
            for beside in ("-journal", "-wal", "-shm"):
                path.with_name(f"{path.name}{beside}").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of files and memory."""
        with self._opening:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()
            self._examples.clear()

    def _path(self, search: Search) -> Path:
        names = hashlib.sha256("\n".join(search.documents).encode()).hexdigest()[:16]
        return self._folder / names / f"{search.fingerprint.removeprefix('sha256:')}.db"

    def _make(self, path: Path, search: Search) -> None:
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
            with Fts5Retriever(draft) as index:
                index.sync(named_documents(self._documents))
            os.replace(draft, path)  # noqa: PTH105
        except OSError as error:
            raise BackendError(f"{path} cannot be written: {error.strerror or error}", backend="prompt") from error
        finally:
            draft.unlink(missing_ok=True)

    def _rows(self, likeness: Likeness, key: str) -> SimilarExamples:
        with self._opening:
            if key not in self._examples:
                if len(self._examples) >= _KEPT:
                    self._examples.clear()  # whoever still asks one keeps it
                self._examples[key] = SimilarExamples(
                    tuple(map(message_from, turns)) for turns in likeness.conversations
                )
            return self._examples[key]


def _names(file: Path, fingerprint: str) -> bool:
    try:
        return fingerprint.encode() in file.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:  # it may
        return True


def _asked(question: Sequence[Message]) -> str:
    """What to search for: what the user said last, and before, since "and to Norway?" says too little by itself."""
    said = [turn.text for turn in question if turn.role == "user"]
    return "\n".join(said[-2:])


def _document(passage: Passage) -> Document:
    return Document(title=passage.context or passage.source, text=passage.text, source=passage.source)

"""Files that a configuration names beside the data: the schema of the answers, the corpus, documents to search."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.searched import Searched
from adaptkit.errors import ConfigError
from adaptkit.retrieval.documents import read_documents
from adaptkit.structured import form_of
from adaptkit.types import Document

__all__ = ["Beside"]


@dataclass(frozen=True)
class Beside:
    """What was read.

    Attributes:
        schema: JSON Schema of the answers, or ``None``.
        documents: Files of the corpus, in the order in which the configuration names them.
        searched: The documents that are searched, or ``None``.
        fingerprints: Hash of the content, by the field of the configuration that names it.
    """

    schema: dict[str, Any] | None = field(repr=False)
    documents: tuple[Document, ...] = field(repr=False)
    searched: Searched | None
    fingerprints: Mapping[str, str]

    @classmethod
    def read(cls, config: PromptConfig) -> Beside:
        """Read what a configuration names.

        Raises:
            ConfigError: a file is missing, or the schema is not valid.
            DataError: something in the corpus or among the documents is missing, or no text.
        """
        schema = None if config.answers is None else _schema(Path(config.answers))
        documents = _documents(config.corpus)
        contents = {"answers": schema, "corpus": documents or None}
        prints = {name: _hash(content) for name, content in contents.items() if content is not None}
        searched = Searched.look(config.documents) if config.documents else None
        if searched is not None:
            prints["documents"] = searched.fingerprint
        return cls(schema, documents, searched, prints)


def _schema(path: Path) -> dict[str, Any]:
    try:
        schema = msgspec.json.decode(_content(path), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"answers: {path} is not a JSON Schema: {error}") from None
    form_of(schema)
    return schema


def _documents(paths: Sequence[str]) -> tuple[Document, ...]:
    # a file's name alone: equal content gives equal bytes wherever the folder lies
    found = read_documents(*paths) if paths else ()
    return tuple(Document(title=each.title or Path(str(each.source)).name, text=each.text) for each in found)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"answers: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _hash(content: object) -> str:
    return f"sha256:{hashlib.sha256(msgspec.json.encode(content, order='deterministic')).hexdigest()}"

"""Files that a configuration names beside the data: the schema of the answers, and the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.errors import ConfigError, DataError
from adaptkit.structured import form_of
from adaptkit.types import Document

__all__ = ["Beside"]


@dataclass(frozen=True)
class Beside:
    """What was read.

    Attributes:
        schema: JSON Schema of the answers, or ``None``.
        documents: Files of the corpus, in the order in which the configuration names them.
        fingerprints: Hash of the content, by the field of the configuration that names it.
    """

    schema: dict[str, Any] | None = field(repr=False)
    documents: tuple[Document, ...] = field(repr=False)
    fingerprints: Mapping[str, str]

    @classmethod
    def read(cls, config: PromptConfig) -> Beside:
        """Read what a configuration names.

        Raises:
            ConfigError: a file is missing, or the schema is not valid.
            DataError: a file of the corpus is not text.
        """
        schema = None if config.answers is None else _schema(Path(config.answers))
        documents = tuple(_document(Path(path)) for path in config.corpus)
        contents = {"answers": schema, "corpus": documents or None}
        prints = {name: _hash(content) for name, content in contents.items() if content is not None}
        return cls(schema, documents, prints)


def _schema(path: Path) -> dict[str, Any]:
    try:
        schema = msgspec.json.decode(_content(path, "answers"), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"answers: {path} is not a JSON Schema: {error}") from None
    form_of(schema)
    return schema


def _document(path: Path) -> Document:
    try:
        text = _content(path, "corpus").decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"corpus: {path} is not a text in UTF-8; turn it into one first") from None
    # its name alone: equal content gives equal bytes wherever the folder lies
    return Document(title=path.name, text=text)


def _content(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _hash(content: object) -> str:
    return f"sha256:{hashlib.sha256(msgspec.json.encode(content, order='deterministic')).hexdigest()}"

"""Documents that are searched for each question: read under short names, and told apart by what is in them.

A name begins at the folder that the configuration names, ``docs/parcels.md``. It says where a passage comes from, to
the model too, and is the same wherever that folder lies.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from adaptkit.retrieval import CorpusSize, Document, corpus_size, read_documents

__all__ = ["Searched", "named_documents"]


@dataclass(frozen=True)
class Searched:
    """Documents, looked at once and not kept.

    Attributes:
        names: What the configuration names, beginning at the folder.
        fingerprint: Another one as soon as a name or a text is another.
        size: How much it is.
    """

    names: tuple[str, ...]
    fingerprint: str
    size: CorpusSize

    @classmethod
    def look(cls, paths: Sequence[str]) -> Searched:
        """Read the documents, one by one.

        Raises:
            DataError: one is missing or cannot be read.
        """
        hashed = hashlib.sha256()

        def passing() -> Iterator[Document]:
            for document in named_documents(paths):
                hashed.update(msgspec.json.encode(document) + b"\n")
                yield document

        size = corpus_size(passing())
        root = _root(paths)
        names = tuple(Path(os.path.relpath(path, root)).as_posix() for path in paths)
        return cls(names, f"sha256:{hashed.hexdigest()}", size)


def named_documents(paths: Sequence[str]) -> Iterator[Document]:
    """The documents, in a fixed order; a row with an id of its own keeps it.

    Raises:
        DataError: one is missing or cannot be read.
    """
    root = f"{_root(paths).as_posix().rstrip('/')}/"
    for document in read_documents(*map(_absolute, paths)):
        yield msgspec.structs.replace(document, source=str(document.source).removeprefix(root))


def _root(paths: Iterable[str]) -> Path:
    """Where names begin: above every folder that is named."""
    return Path(os.path.commonpath([_folder(Path(_absolute(path))) for path in paths])).parent


def _folder(path: Path) -> Path:
    while path.is_file() or (glob.has_magic(str(path)) and not path.exists()):
        path = path.parent
    return path


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without following links, unlike Path.resolve

"""Which index on this machine belongs to which model, and which belongs to none any more."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec

from adaptkit.backends.prompt.adapted import AdaptedModel, Likeness, Search
from adaptkit.errors import NotFoundError

__all__ = ["UnusedIndex", "index_of_documents", "index_of_examples", "indexes_of", "remove", "unused_indexes", "used"]

_BESIDE = ("-journal", "-wal", "-shm")


def index_of_documents(folder: Path, adapted: AdaptedModel, search: Search) -> Path:
    """Where a model's documents are indexed: one file for each state of them, and for each model that embeds."""
    vectors = [] if adapted.embed is None else ["", adapted.embed.model, adapted.embed.base_url or ""]
    names = hashlib.sha256("\n".join([*search.documents, *vectors]).encode()).hexdigest()[:16]
    return folder / "documents" / names / f"{search.fingerprint.removeprefix('sha256:')}.db"


def index_of_examples(folder: Path, adapted: AdaptedModel, likeness: Likeness) -> Path:
    """Where the vectors of a model's examples lie, where it has any."""
    said = msgspec.json.encode((adapted.embed, likeness.conversations), order="deterministic")
    return folder / "examples" / f"{hashlib.sha256(said).hexdigest()}.db"


def indexes_of(folder: Path, adapted: AdaptedModel) -> frozenset[Path]:
    """All indexes on this machine that a model is asked with."""
    search, likeness = adapted.search, adapted.likeness
    return frozenset(
        ([index_of_documents(folder, adapted, search)] if search and not search.store else [])
        + ([index_of_examples(folder, adapted, likeness)] if likeness and adapted.embed else [])
    )


def used(index: Path) -> None:
    """Note that an index is of use now."""
    with suppress(OSError):  # gone, or somebody else's
        os.utime(index)


def remove(index: Path) -> None:
    """Delete an index, and what SQLite left beside it."""
    for beside in _BESIDE:
        index.with_name(f"{index.name}{beside}").unlink(missing_ok=True)
    index.unlink(missing_ok=True)


@dataclass(frozen=True)
class UnusedIndex:
    """An index that no model in the home folder names, and that nobody has asked for long.

    Attributes:
        path: Its file.
        size: Bytes.
        last_used: Unix time.
    """

    path: Path
    size: int
    last_used: float

    def delete(self) -> bool:
        """Delete it, unless it has been used since it was found, and tell whether it is gone."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_mtime != self.last_used:
                return False
        remove(self.path)
        return True


def unused_indexes(home: Path, *, days: float = 30, copies: Iterable[Path] = ()) -> tuple[UnusedIndex, ...]:
    """Indexes that are left over: of models whose files were deleted by hand, of jobs that did not end.

    Args:
        home: The home folder.
        days: How long nobody may have asked one. Models that were copied elsewhere show by asking theirs.
        copies: Files of models elsewhere, whose indexes are kept however long nobody has asked.

    Raises:
        ArtifactError: a model's file cannot be read, so that nobody can say what it needs.
        NotFoundError: one of the copies is not there.
    """
    folder = home.absolute() / "prompt"
    needed = set(chain.from_iterable(indexes_of(folder, AdaptedModel.load(Path(copy))) for copy in copies))
    for file in chain(folder.glob("models/*.json"), folder.glob("jobs/*/candidates/*.json")):
        with suppress(NotFoundError):  # deleted just now
            needed |= indexes_of(folder, AdaptedModel.load(file))
    before = time.time() - days * 86_400
    return tuple(
        index for index in sorted(_found(folder), key=lambda each: each.path) if _is_left(index, needed, before)
    )


def _is_left(index: UnusedIndex, needed: set[Path], before: float) -> bool:
    return index.path not in needed and index.last_used < before


def _found(folder: Path) -> Iterator[UnusedIndex]:
    """Indexes, and drafts of some that a killed process left."""
    for path in chain(folder.glob("documents/*/*"), folder.glob("examples/*")):
        if not path.name.endswith(_BESIDE) and not path.is_symlink() and path.is_file():
            with suppress(FileNotFoundError):
                stat = path.stat()
                yield UnusedIndex(path, stat.st_size, stat.st_mtime)

"""Objects in storage by their paths: whatever `fsspec` reads and writes, with three guarantees.

An object is there whole or not at all; what storage does not answer is asked again; and its errors are adaptkit's.
Credentials are those that fsspec's file system finds by itself, in the environment or on its machine.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from adaptkit.errors import MissingDependencyError, PermissionDeniedError, ServiceError

__all__ = ["Objects", "host_of", "is_address"]

T = TypeVar("T")

#: How often storage is asked, and seconds in between.
TRIES, PAUSE = 4, 2.0
_PIECE = 1 << 22


def is_address(folder: str | None) -> bool:
    """Whether this is an address of object storage and no folder."""
    return folder is not None and "://" in folder


def host_of(address: str) -> str | None:
    """The host of an address of object storage, for the egress policy; ``None`` for this machine.

    Of vendors' own schemes it is the vendor's, unless the environment names another endpoint.
    """
    parts = urlsplit(address)
    if parts.scheme in ("file", "local", "memory"):
        return None
    if parts.scheme in ("s3", "s3a"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return urlsplit(endpoint).hostname if endpoint else "s3.amazonaws.com"
    return "storage.googleapis.com" if parts.scheme in ("gs", "gcs") else parts.hostname


class Objects:
    """Objects under an address.

    Args:
        address: Such as ``s3://bucket/jobs``.

    Raises:
        MissingDependencyError: fsspec, or its package for this kind of storage, is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra

            # folders of a plain file system have to be made; object storage has none
            options = {"auto_mkdir": True} if address.startswith(("file:", "local:")) else {}
            self._fs, root = url_to_fs(self.address, use_listings_cache=False, **options)
        except ImportError as error:
            package = error.name or str(error)
            raise MissingDependencyError(f"storage at {self.address}", package, "storage") from error
        self._root = root.rstrip("/")

    def names(self, folder: str) -> list[str]:
        """Names in a folder, none where there is no such folder."""

        def ask() -> list[str]:
            self._fs.invalidate_cache()  # others write there
            return [str(path) for path in self._fs.ls(self._path(folder), detail=False)]

        try:
            found = _asked(ask)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def tree(self, folder: str) -> list[str]:
        """Paths of all objects under a folder, relative to it."""
        at = self._path(folder)
        found = _asked(lambda: self._fs.find(at))
        return [str(path).removeprefix(at).lstrip("/") for path in found]

    def has(self, path: str) -> bool:
        """Whether there is such an object."""
        return bool(_asked(lambda: self._fs.exists(self._path(path))))

    def get(self, path: str) -> bytes | None:
        """Content of a small object; ``None`` where there is none."""
        try:
            return bytes(_asked(lambda: self._fs.cat_file(self._path(path))))
        except FileNotFoundError:
            return None

    def bring(self, path: str, to: Path) -> bool:
        """Write an object into a file; gives whether there is one."""

        def copy() -> None:
            with self._fs.open(self._path(path), "rb") as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, _PIECE)

        try:
            _asked(copy)
        except FileNotFoundError:
            return False
        return True

    def put(self, path: str, content: bytes | Path) -> None:
        """Write an object: bytes, or those of a file. It is there whole or not at all."""

        def write() -> None:
            target = self._fs.open(self._path(path), "wb", autocommit=False)
            try:
                with target:
                    if isinstance(content, bytes):
                        target.write(content)
                    else:
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, target, _PIECE)
                target.commit()
            except BaseException:
                with suppress(Exception):
                    target.discard()
                raise

        _asked(write)

    def delete(self, path: str) -> None:
        """Delete an object, which may be gone already."""
        with suppress(FileNotFoundError):
            _asked(lambda: self._fs.rm_file(self._path(path)))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


def _asked(ask: Callable[[], T]) -> T:
    """What storage answers, asked a few times where it fails.

    Raises:
        OSError: it is not there, or no folder.
        PermissionDeniedError: it may not be read or written.
        ServiceError: storage cannot be reached or failed.
    """
    for left in reversed(range(TRIES)):
        try:
            return ask()
        except (FileNotFoundError, NotADirectoryError):
            raise
        except PermissionError as error:
            raise PermissionDeniedError(f"object storage refuses: {str(error)[:200]}") from error
        except Exception as error:  # each file system has its own
            if not left:
                raise ServiceError(f"object storage failed: {type(error).__name__}: {str(error)[:200]}") from error
            time.sleep(PAUSE)
    raise AssertionError

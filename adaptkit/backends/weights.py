"""Weights that come from a host: checked while they arrive, in their place whole or not at all.

Nothing that the network says is trusted: a name is a plain path inside the folder or the download is refused, sizes and
hashes are compared where the host gives them, and safetensors files must be complete. Pickles and code, which can run
when they are loaded, are left out.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from adaptkit.backends.base_model import tensor_sizes
from adaptkit.durable import sync
from adaptkit.errors import AdaptkitWarning, ArtifactError, MissingDependencyError, ServiceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Arrival", "arriving"]

#: Endings of files that can run code when they are loaded.
UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py")
_PIECE = 1 << 20
#: The four bytes that a zstd frame begins with (RFC 8878).
_ZSTD = b"\x28\xb5\x2f\xfd"


class Arrival:
    """A folder that fills up; made by `arriving`."""

    def __init__(self, folder: Path, backend: str) -> None:
        self._folder, self._backend = folder, backend
        self.left_out: list[str] = []

    def file(self, name: str, pieces: Iterable[bytes], *, size: int | None = None, sha256: str | None = None) -> None:
        """Take in one file.

        Args:
            name: Path inside the folder, with slashes, as the host says it.
            pieces: Its content; not read if the file is left out.
            size: Bytes that it must have.
            sha256: Hash that it must have, hexadecimal.

        Raises:
            ArtifactError: the name leads elsewhere, stands twice, or a safetensors file is damaged.
            ServiceError: size or hash are not those that the host gave.
        """
        path = self._place(name)
        if path.suffix.lower() in UNSAFE:
            self.left_out.append(name)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, got = hashlib.sha256(), 0
        with path.open("xb") as file:
            for piece in pieces:
                digest.update(piece)
                got += len(piece)
                file.write(piece)
        if size is not None and got != size:
            raise ServiceError(f"{name} came with {got:,} bytes instead of {size:,}", backend=self._backend)
        if sha256 is not None and digest.hexdigest() != sha256.lower():
            raise ServiceError(f"{name} came with another content than its hash says", backend=self._backend)
        if path.suffix == ".safetensors":
            tensor_sizes(path)
        sync(path)

    def archive(self, pieces: Iterable[bytes]) -> None:
        """Take in the files of a tar archive, compressed or not, as it streams by; links and devices are refused.

        Raises:
            ArtifactError: it is no archive, is cut short, or holds what is no plain file; and as for `file`.
            MissingDependencyError: it is pressed with zstd, and nothing here reads that.
        """
        try:
            with tarfile.open(fileobj=_unpressed(_stream(pieces), self._backend), mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isfile() else None
                    if content is not None:
                        self.file(member.name.removeprefix("./"), _read(content), size=member.size)
                    elif not member.isdir():
                        raise ArtifactError(f"the archive holds {member.name[:200]!r}, which is no plain file; refused")
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, _Broken) as error:
            raise ArtifactError(f"what came is no complete tar archive: {error}. Download it again.") from error

    def _place(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        plain = name.isprintable() and not set(name) & set("\\:") and len(name) <= 500
        if not parts or not plain or any(part in ("/", "..") or part.startswith(".") for part in parts):
            raise ArtifactError(
                f"the host names a file {name[:200]!r}, which is no plain path inside a folder; refused"
            )
        path = self._folder.joinpath(*parts)
        if path.exists():
            raise ArtifactError(f"the host names the file {name!r} twice; refused")
        return path


@contextmanager
def arriving(path: Path, backend: str) -> Iterator[Arrival]:
    """A download into a folder; what goes wrong inside the block leaves nothing behind.

    Args:
        path: Folder that does not exist yet, or is empty.
        backend: Name of the backend, for errors.

    Raises:
        ArtifactError: the folder holds something, or nothing came that may be kept.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ArtifactError(f"{path} is not an empty folder; nothing was written")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        arrival = Arrival(draft, backend)
        yield arrival
        if not any(draft.iterdir()):
            raise ArtifactError(f"the {backend} backend gave no file that may be kept; {_left_out(arrival)}")
        draft.replace(path)  # takes the place of an empty folder
        sync(path.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if arrival.left_out:
        warnings.warn(f"{path}: {_left_out(arrival)}", AdaptkitWarning, stacklevel=3)


def _left_out(arrival: Arrival) -> str:
    names = ", ".join(arrival.left_out) or "nothing"
    return f"left out, since such files can run code when they are loaded: {names}"


def _read(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_PIECE):
        yield piece


class _Broken(Exception):
    """What was to be unpressed with zstd is damaged."""


def _stream(pieces: Iterable[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Pieces(pieces), _PIECE)


def _unpressed(stream: io.BufferedReader, backend: str) -> io.BufferedReader:
    """A stream without zstd, which `tarfile` reads from Python 3.14 on; any other as it is."""
    if stream.peek(len(_ZSTD))[: len(_ZSTD)] != _ZSTD:
        return stream
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingDependencyError(f"weights of the {backend} backend", "zstandard", "together") from None

    def plain() -> Iterator[bytes]:
        reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        try:
            while piece := reader.read(_PIECE):
                yield piece
        except zstandard.ZstdError as error:
            raise _Broken(str(error)) from error

    return _stream(plain())


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._left = iter(pieces), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        room = memoryview(target).cast("B")
        count = min(len(room), len(self._left))
        room[:count], self._left = self._left[:count], self._left[count:]
        return count

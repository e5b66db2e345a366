"""Encoded data on disk: written once in one pass, read from anywhere in it, never held in memory.

```
<folder>/  tokens.bin   token ids of all examples, one after another: uint16 where the vocabulary fits, else uint32
           flags.bin    a byte for each: LEARN where training learns from it, START where an example begins
           ends.bin     uint64 for each example: how many tokens lie before its end
           corpus.json  how many there are; last of all
```

A folder appears whole, by a rename. All numbers are little-endian. Files are read and not mapped: mapped pages count as
this process's memory, and a network file system that fails under a mapping kills it without a word.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.durable import replace_file, sync
from adaptkit.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptkit.backends.training.parallel import Group

__all__ = ["LEARN", "START", "Corpus", "build", "write"]

MARKER = "corpus.json"
LEARN, START = 1, 2
#: Tokens that are gathered before they are written.
_TOGETHER = 1 << 18
#: Seconds between two words on how far the writing is.
_PROGRESS = 2.0


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the marker says."""

    examples: int
    tokens: int
    width: int


class Corpus:
    """One corpus, open for reading.

    Args:
        folder: Where `write` put it.

    Attributes:
        examples: How many there are.
        tokens: Of all examples together.

    Raises:
        ArtifactError: it is not there whole.
    """

    def __init__(self, folder: Path) -> None:
        import numpy as np  # noqa: PLC0415 - an extra

        try:
            facts = msgspec.json.decode((folder / MARKER).read_bytes(), type=_Facts)
            self.examples, self.tokens = facts.examples, facts.tokens
            self._dtype = np.dtype(f"<u{facts.width}")
            sizes = {
                "tokens.bin": facts.tokens * facts.width,
                "flags.bin": facts.tokens,
                "ends.bin": facts.examples * 8,
            }
            if any((folder / name).stat().st_size != size for name, size in sizes.items()):
                raise ValueError
            self._files = {name: os.open(folder / name, os.O_RDONLY) for name in sizes}
        except (OSError, ValueError, TypeError, msgspec.MsgspecError):
            raise ArtifactError(
                f"{folder} is no whole corpus of encoded data; delete it to have it made again"
            ) from None

    def __del__(self) -> None:
        for handle in getattr(self, "_files", {}).values():
            with suppress(OSError):
                os.close(handle)

    def read(self, start: int, end: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Token ids and flags from one token up to before another, whatever examples they belong to."""
        return self._read("tokens.bin", self._dtype, start, end), self._read("flags.bin", "u1", start, end)

    def example(self, number: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Token ids and flags of one example."""
        ends = self.ends(max(number - 1, 0), number + 1)
        return self.read(int(ends[0]) if number else 0, int(ends[-1]))

    def ends(self, start: int, end: int) -> NDArray[np.uint64]:
        """How many tokens lie before the end of each of these examples."""
        return self._read("ends.bin", "<u8", start, end)

    def lengths(self) -> NDArray[np.uint32]:
        """Tokens of each example."""
        import numpy as np  # noqa: PLC0415

        return np.diff(self.ends(0, self.examples), prepend=np.uint64(0)).astype(np.uint32)

    def _read(self, name: str, dtype: Any, start: int, end: int) -> NDArray[Any]:
        import numpy as np  # noqa: PLC0415

        width = np.dtype(dtype).itemsize
        parts, at, last = [], start * width, end * width
        while at < last:  # one call reads 2 GB at most
            parts.append(os.pread(self._files[name], last - at, at))
            if not parts[-1]:
                raise ArtifactError(f"{name} of the encoded data has become shorter while it was read")
            at += len(parts[-1])
        return np.frombuffer(b"".join(parts), dtype)


def write(
    folder: Path,
    examples: Iterable[Encoded],
    vocabulary: int,
    between: Callable[[], None] = lambda: None,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Corpus:
    """Write a corpus in one pass; one that is there already is kept as it is.

    Args:
        folder: Where to, and it is there whole or not at all.
        examples: In the order in which they are packed.
        vocabulary: How many token ids there are.
        between: Called after each example, to notice a cancellation.
        tell: Called every few seconds with how many examples and tokens are written.

    Raises:
        DataError: there is no example.
        ArtifactError: there are other numbers than ids of the vocabulary.
    """
    if (folder / MARKER).is_file():
        return Corpus(folder)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    facts = _write(draft, examples, vocabulary, between, tell)
    if not facts.examples:
        shutil.rmtree(draft)
        raise DataError("there is nothing to learn from: no example was left after encoding")
    for name in ("tokens.bin", "flags.bin", "ends.bin"):
        sync(draft / name)
    replace_file(draft / MARKER, msgspec.json.encode(facts))
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync(folder.parent)
    return Corpus(folder)


def _write(
    draft: Path,
    examples: Iterable[Encoded],
    vocabulary: int,
    between: Callable[[], None],
    tell: Callable[[int, int], None],
) -> _Facts:
    import numpy as np  # noqa: PLC0415

    width = 2 if vocabulary <= 1 << 16 else 4
    ids: list[int] = []
    flags, ends = bytearray(), list[int]()
    count = tokens = 0
    told = time.monotonic()

    with (draft / "tokens.bin").open("wb") as to, (draft / "flags.bin").open("wb") as marks, \
         (draft / "ends.bin").open("wb") as borders:  # fmt: skip

        def flush() -> None:
            if ids and not (min(ids) >= 0 and max(ids) < vocabulary):
                raise ArtifactError(f"the tokenizer gives ids that are not among the model's {vocabulary} tokens")
            to.write(np.array(ids, f"<u{width}").tobytes())
            marks.write(flags)
            borders.write(np.array(ends, "<u8").tobytes())
            for held in (ids, flags, ends):
                held.clear()

        for example in examples:
            if len(example):
                first = len(flags)
                ids += example.ids
                flags += bytes(example.learn)
                flags[first] |= START
                count, tokens = count + 1, tokens + len(example)
                ends.append(tokens)
            if len(ids) >= _TOGETHER:
                flush()
            between()
            if (now := time.monotonic()) - told >= _PROGRESS:
                told = now
                tell(count, tokens)
        flush()
    return _Facts(count, tokens, width)


def build(folder: Path, group: Group, make: Callable[[], object], between: Callable[[], None]) -> Corpus:
    """The corpus of a folder, made by the leading process while the others wait.

    Args:
        folder: Where it is to be; all processes see it.
        group: The processes.
        make: Writes it, in the leading one.
        between: Called while waiting, to notice a cancellation.
    """
    if group.leads and not (folder / MARKER).is_file():
        make()
    while not (folder / MARKER).is_file():
        between()
        time.sleep(0.2)
    return Corpus(folder)

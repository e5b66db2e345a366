"""Out of memory, in whichever words it is said, and what to lower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adaptkit.errors import BackendError

__all__ = ["explained"]


@contextmanager
def explained(device: str, lower: Sequence[str]) -> Iterator[None]:
    """Say of an error inside the block what to do, where it means that the memory is too small.

    Args:
        device: Whose memory.
        lower: Settings that would need less of it, each in words.

    Raises:
        BackendError: the memory is too small; anything else as it is.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        message = f"out of memory on {device}. Lower {', '.join(lower)}, or take a smaller model."
        raise BackendError(message) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return "out of memory" in str(error).lower() or not str(error) or isinstance(error, MemoryError)
    # torch says it this way where the allocator of the CPU fails
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)

"""Out of memory, in whichever words it is said, and what to lower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from adaptkit.errors import BackendError

__all__ = ["explained"]


@contextmanager
def explained(config: Mapping[str, Any]) -> Iterator[None]:
    """Say of an error inside the block what to do, where it means that the memory is too small.

    Args:
        config: The configuration that training runs with.

    Raises:
        BackendError: the memory is too small; anything else as it is.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        lower = [f"batch_size (now {config['batch_size']}; gradient_accumulation makes up for it)"]
        lower.append(f"max_length (now {config['max_length']})")
        if config["weights"] == "full":
            lower.append('or train fewer weights with weights = "lora"')
        message = f"out of memory on {config['device']}. Lower {', '.join(lower)}, or take a smaller model."
        raise BackendError(message) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return "out of memory" in str(error).lower() or not str(error) or isinstance(error, MemoryError)
    # torch says it this way where the allocator of the CPU fails
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)

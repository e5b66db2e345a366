"""What went wrong, in words that say what to do, and never with a line of the user's data."""

from __future__ import annotations

import errno

from adaptkit.backends.lora.jobs import Job
from adaptkit.errors import AdaptkitError

__all__ = ["describe"]


def describe(error: BaseException, job: Job) -> str:
    """One or two sentences on why a job failed."""
    config = job.spec.config
    if _is_out_of_memory(error):
        lower = ["batch_size" + f" (now {config['batch_size']}; gradient_accumulation makes up for it)"]
        lower.append(f"max_length (now {config['max_length']})")
        if config["weights"] == "full":
            lower.append('or train fewer weights with weights = "lora"')
        return f"out of memory on {config['device']}. Lower {', '.join(lower)}, or take a smaller model."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {job.home} has no room for a checkpoint. Free some and submit the run again."
    if isinstance(error, AdaptkitError):
        return str(error)
    # the words of other errors may quote what they choked on, so they stay in the log, which only the owner can read
    return f"{type(error).__name__} in the worker; what it said is in {job.folder / 'log.txt'}"


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return "out of memory" in str(error).lower() or not str(error) or isinstance(error, MemoryError)
    # torch says it this way where the allocator of the CPU fails
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)

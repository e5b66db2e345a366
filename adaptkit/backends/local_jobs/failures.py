"""What went wrong, in words that say what to do, and never with a line of the user's data."""

from __future__ import annotations

import errno

from adaptkit.backends.local_jobs.job import Job
from adaptkit.errors import AdaptkitError

__all__ = ["describe"]


def describe(error: BaseException, job: Job, node: int = 0) -> str:
    """One or two sentences on why a job failed, on which of its machines."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {job.home} has no room for a checkpoint. Free some and submit the run again."
    if isinstance(error, AdaptkitError):
        return str(error)
    # the words of other errors may quote what they choked on, so they stay in the log, which only the owner can read
    return f"{type(error).__name__} in the worker; what it said is in {job.log(node)}"

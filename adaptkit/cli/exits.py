"""Exit codes: the one table of them."""

from __future__ import annotations

from enum import IntEnum

from adaptkit.errors import (
    AdaptkitError,
    ArtifactError,
    BackendError,
    ConfigError,
    DataError,
    DeploymentTimeout,
    EgressError,
    JobCancelled,
    JobFailed,
    JobTimeout,
    JournalError,
    SpendError,
    SubmissionUncertain,
    UnsupportedError,
)

__all__ = ["MEANING", "Exit", "code_of"]


class Exit(IntEnum):
    """What a command ends with."""

    OK = 0
    JOB = 1
    USAGE = 2
    DATA = 3
    BACKEND = 4
    UNCERTAIN = 5
    TIMEOUT = 124
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.JOB: "the job failed or was cancelled",
    Exit.USAGE: "the command line, configuration, policy or budget does not allow it",
    Exit.DATA: "the data has problems",
    Exit.BACKEND: "the backend, a service, the journal or this machine is at fault",
    Exit.UNCERTAIN: "a paid request may or may not have run; nothing was sent twice",
    Exit.TIMEOUT: "the waiting timed out; the job, or deployment, runs on",
    Exit.INTERRUPTED: "Ctrl-C; the job runs on",
}

#: The first that fits.
_CODES: tuple[tuple[type[AdaptkitError], Exit], ...] = (
    (JobTimeout, Exit.TIMEOUT),
    (DeploymentTimeout, Exit.TIMEOUT),
    (JobFailed, Exit.JOB),
    (JobCancelled, Exit.JOB),
    (SubmissionUncertain, Exit.UNCERTAIN),
    (DataError, Exit.DATA),
    (ConfigError, Exit.USAGE),
    (UnsupportedError, Exit.USAGE),
    (EgressError, Exit.USAGE),
    (SpendError, Exit.USAGE),
    (BackendError, Exit.BACKEND),
    (JournalError, Exit.BACKEND),
    (ArtifactError, Exit.BACKEND),
)


def code_of(error: BaseException) -> Exit:
    """The exit code of an error; what adaptkit did not foresee is this machine's fault."""
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.BACKEND)

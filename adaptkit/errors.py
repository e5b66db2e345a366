"""Everything adaptkit raises, in one tree.

Each leaf is also a child of the builtin it resembles, so code that knows nothing of adaptkit still catches it.

```
AdaptkitError
├── ConfigError (ValueError)                a table, a field or a value is wrong
│   ├── UnknownBackendError (LookupError)   no backend of that name is installed
│   └── MissingDependencyError (ImportError)  the backend is there, its extra is not
├── DataError (ValueError)                  the data cannot be used; all problems, not the first
├── UnsupportedError (NotImplementedError)  the backend cannot express this
├── EgressError (PermissionError)           the policy does not allow this destination
├── SpendError (PermissionError)            nobody has agreed to what this costs
├── JournalError (OSError)                  the journal cannot be opened or trusted
├── RetrievalError (OSError)                the index of documents cannot be opened, read or trusted
├── ArtifactError (ValueError)              a model, checkpoint or job folder is damaged or unsafe to load
├── AnswerError (ValueError)                the model answered, not in the form asked for; carries ``reply``
├── BackendError                            the service or worker answered with an error
│   ├── AuthenticationError (PermissionError)
│   ├── PermissionDeniedError (PermissionError)
│   ├── NotFoundError (LookupError)
│   ├── RateLimitError                      carries ``retry_after``
│   ├── QuotaError
│   ├── ConnectionFailedError (ConnectionError)  the request provably never ran
│   ├── ServiceError                        the outcome is unknown, or the service is at fault
│   ├── BackendRetiredError                 carries ``since`` and ``replacement``
│   └── SubmissionUncertain                 carries ``tag``: a paid request may or may not have run
├── JobError
│   ├── JobFailed (RuntimeError)
│   ├── JobCancelled (RuntimeError)
│   └── JobTimeout (TimeoutError)           about the waiting: the job runs on
└── DeploymentError
    ├── DeploymentFailed (RuntimeError)     it does not start, or does not stop and goes on costing money
    └── DeploymentTimeout (TimeoutError)    about the waiting: it goes on starting
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptkit.data.check import Problem
    from adaptkit.types import DeploymentRef, DeploymentSnapshot, JobRef, Reply, Snapshot

__all__ = [
    "AdaptkitError",
    "AdaptkitWarning",
    "AnswerError",
    "ArtifactError",
    "AuthenticationError",
    "BackendError",
    "BackendRetiredError",
    "ConfigError",
    "ConnectionFailedError",
    "DataError",
    "DeploymentError",
    "DeploymentFailed",
    "DeploymentTimeout",
    "EgressError",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobTimeout",
    "JournalError",
    "MissingDependencyError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaError",
    "RateLimitError",
    "RetrievalError",
    "ServiceError",
    "SpendError",
    "SubmissionUncertain",
    "UnknownBackendError",
    "UnsupportedError",
]


class AdaptkitWarning(UserWarning):
    """Something works, and you should know about it."""


class AdaptkitError(Exception):
    """Parent of everything adaptkit raises. Errors can be pickled, so they come back from other processes whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[AdaptkitError], args: tuple[Any, ...], facts: dict[str, Any]) -> AdaptkitError:
    error = kind.__new__(kind)  # not __init__, which takes more than the text that it leaves in ``args``
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigError(AdaptkitError, ValueError):
    """The configuration cannot be used; the message names the file, the table and the key."""


class UnknownBackendError(ConfigError, LookupError):
    """No backend of that name is built in or installed."""


class MissingDependencyError(ConfigError, ImportError):
    """A backend is known but its extra is not installed.

    Args:
        what: Who needs it, for example ``the lora backend``.
        package: The import name that is missing.
        extra: The adaptkit extra that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{what} needs {package}, which is not installed: pip install 'adaptkit[{extra}]'")


class DataError(AdaptkitError, ValueError):
    """The data cannot be used as it is.

    Args:
        message: One line on what was tried.
        problems: Every problem found, in the order of the data.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        shown = [f"  {problem}" for problem in self.problems[:10]]
        if len(self.problems) > len(shown):
            shown.append(f"  … and {len(self.problems) - len(shown)} more in .problems")
        super().__init__("\n".join([message, *shown]))


class UnsupportedError(AdaptkitError, NotImplementedError):
    """The backend cannot express what was asked; the message names the nearest that it can."""


class EgressError(AdaptkitError, PermissionError):
    """The ``egress`` policy does not allow sending anything to this destination; nothing was sent."""


class SpendError(AdaptkitError, PermissionError):
    """This costs money, and nobody has agreed to it; the message says how much, if known, and how to confirm."""


class JournalError(AdaptkitError, OSError):
    """The journal cannot be opened, or was written by a newer adaptkit, or lies where it is not safe."""


class RetrievalError(AdaptkitError, OSError):
    """The index of documents cannot be opened or read. It can always be made anew from the documents."""


class ArtifactError(AdaptkitError, ValueError):
    """A model, checkpoint or job folder is missing, damaged, or in a format that is not safe to load."""


class AnswerError(AdaptkitError, ValueError):
    """A model answered, and its answer is not what the schema asks for: cut off, refused or wrong.

    Args:
        message: What is wrong; never the answer itself.
        reply: The answer, with what it cost; where it was asked to be put right, the last one with the cost of all.
    """

    def __init__(self, message: str, *, reply: Reply) -> None:
        self.reply = reply
        super().__init__(message)


class BackendError(AdaptkitError):
    """The service or the worker behind a backend answered with an error.

    Args:
        message: What happened, where, and what to do next.
        backend: Name of the backend.
        status_code: HTTP status, where there was one.
        request_id: The service's own id of the request, where it gives one.
        ref: Reference of the job concerned, where there is one.
    """

    #: The same read may succeed a moment later.
    transient = False
    #: The request provably did not run, so even a paid one may be sent again.
    never_ran = False

    def __init__(
        self,
        message: str,
        *,
        backend: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        ref: JobRef | None = None,
    ) -> None:
        self.message = message
        self.backend, self.status_code, self.request_id, self.ref = backend, status_code, request_id, ref
        super().__init__(message)

    def __str__(self) -> str:
        facts = [self.backend and f"backend {self.backend}", self.status_code and f"HTTP {self.status_code}"]
        facts += [self.request_id and f"request {self.request_id}", f"job {self.ref}" if self.ref else None]
        known = ", ".join(fact for fact in facts if fact)
        return f"{self.message} [{known}]" if known else self.message


class AuthenticationError(BackendError, PermissionError):
    """The service does not accept the key."""


class PermissionDeniedError(BackendError, PermissionError):
    """The key is good; the account may not do this."""


class NotFoundError(BackendError, LookupError):
    """The service, or this machine, has no such job, file or model."""


class RateLimitError(BackendError):
    """Too many requests. Nothing ran; ``retry_after`` is the service's own wish in seconds, or ``None``."""

    transient = True
    never_ran = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        backend: str | None = None,
        status_code: int | None = 429,
        request_id: str | None = None,
        ref: JobRef | None = None,
    ) -> None:
        self.retry_after = retry_after
        super().__init__(message, backend=backend, status_code=status_code, request_id=request_id, ref=ref)


class QuotaError(BackendError):
    """The account's budget or quota is used up; waiting does not help."""


class ConnectionFailedError(BackendError, ConnectionError):
    """No connection was made (DNS, refused, TLS): the request provably never ran."""

    transient = True
    never_ran = True


class ServiceError(BackendError):
    """The service failed, or its answer was lost: a read may be tried again, a paid request may have run."""

    transient = True


class BackendRetiredError(BackendError):
    """The service has been switched off.

    Args:
        message: What happened.
        since: ISO date since which it is gone.
        replacement: What can be used instead.
        backend: Name of the backend.
        status_code: HTTP status, where there was one.
    """

    def __init__(
        self, message: str, *, since: str, replacement: str, backend: str | None = None, status_code: int | None = None
    ) -> None:
        self.since, self.replacement = since, replacement
        super().__init__(
            f"{message} Gone since {since}; use {replacement} instead.", backend=backend, status_code=status_code
        )


class SubmissionUncertain(BackendError):
    """A paid request was sent, its answer was lost, and no job with its tag was found.

    Nothing is sent again by itself. ``submit`` with the same arguments looks again; ``submit(..., fresh=True)``
    starts a new attempt once you have made sure that none is running.

    Args:
        message: What happened.
        tag: The random tag that the job carries if it exists.
        backend: Name of the backend.
        status_code: HTTP status, where there was one.
    """

    def __init__(self, message: str, *, tag: str, backend: str | None = None, status_code: int | None = None) -> None:
        self.tag = tag
        super().__init__(message, backend=backend, status_code=status_code)


class JobError(AdaptkitError):
    """A job did not give a model.

    Args:
        message: What happened, in the service's own words where it gave any.
        ref: Reference of the job.
        snapshot: The last state seen.
    """

    def __init__(self, message: str, *, ref: JobRef, snapshot: Snapshot) -> None:
        self.ref, self.snapshot = ref, snapshot
        super().__init__(message)


class JobFailed(JobError, RuntimeError):
    """The job ended without a model."""


class JobCancelled(JobError, RuntimeError):
    """The job was cancelled."""


class JobTimeout(JobError, TimeoutError):
    """The waiting ended before the job did; the job runs on and ``ref`` finds it again."""


class DeploymentError(AdaptkitError):
    """A deployment does not answer, or could not be stopped.

    Args:
        message: What happened, and what goes on costing how much.
        ref: Reference of the deployment.
        snapshot: What was last heard of it.
    """

    def __init__(self, message: str, *, ref: DeploymentRef, snapshot: DeploymentSnapshot) -> None:
        self.ref, self.snapshot = ref, snapshot
        super().__init__(message)


class DeploymentFailed(DeploymentError, RuntimeError):
    """It does not start, or could not be stopped and goes on costing money."""


class DeploymentTimeout(DeploymentError, TimeoutError):
    """The waiting ended before the deployment was ready; it goes on starting, and may cost money."""

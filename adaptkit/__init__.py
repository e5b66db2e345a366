"""One interface over every way to fit a language model to your own data.

The same data, the same job, the same model handle on every backend; the backend is one line of configuration.
"""

from typing import TYPE_CHECKING

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions
from adaptkit.aio import AsyncClient, AsyncJob, AsyncModel
from adaptkit.client import Client
from adaptkit.data import Dataset
from adaptkit.errors import (
    AdaptkitError,
    AdaptkitWarning,
    ArtifactError,
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    ConfigError,
    ConnectionFailedError,
    DataError,
    EgressError,
    JobCancelled,
    JobError,
    JobFailed,
    JobTimeout,
    JournalError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServiceError,
    SubmissionUncertain,
    UnknownBackendError,
    UnsupportedError,
)
from adaptkit.job import Job
from adaptkit.model import Model
from adaptkit.types import Event, JobRef, Message, ModelRef, Reply, Snapshot, Status, Usage

__all__ = [
    "Adapter",
    "AdaptkitError",
    "AdaptkitWarning",
    "ArtifactError",
    "AsyncClient",
    "AsyncJob",
    "AsyncModel",
    "AuthenticationError",
    "BackendConfig",
    "BackendError",
    "BackendRetiredError",
    "ChatOptions",
    "Client",
    "ConfigError",
    "ConnectionFailedError",
    "DataError",
    "Dataset",
    "EgressError",
    "Event",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobRef",
    "JobTimeout",
    "JournalError",
    "LoraConfig",
    "Message",
    "MissingDependencyError",
    "Model",
    "ModelRef",
    "NotFoundError",
    "PermissionDeniedError",
    "PromptConfig",
    "QuotaError",
    "RateLimitError",
    "Reply",
    "ServiceError",
    "Snapshot",
    "Status",
    "SubmissionUncertain",
    "UnknownBackendError",
    "UnsupportedError",
    "Usage",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from adaptkit.backends.lora import LoraConfig
    from adaptkit.backends.prompt import PromptConfig

_CONFIGS = {"LoraConfig": "adaptkit.backends.lora", "PromptConfig": "adaptkit.backends.prompt"}


def __getattr__(name: str) -> object:
    """Load a backend's configuration when it is first named, so that importing adaptkit loads no backend."""
    if name in _CONFIGS:
        import importlib  # noqa: PLC0415 - needed only here

        return getattr(importlib.import_module(_CONFIGS[name]), name)
    raise AttributeError(f"module 'adaptkit' has no attribute {name!r}")

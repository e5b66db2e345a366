"""One interface over every way to fit a language model to your own data.

The same data, the same job, the same model handle on every backend; the backend is one line of configuration.

Names are loaded when they are first used: importing adaptkit loads the errors and the values, and neither the data
layer, the journal nor any backend.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

from adaptkit.errors import (
    AdaptkitError,
    AdaptkitWarning,
    AnswerError,
    ArtifactError,
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    ConfigError,
    ConnectionFailedError,
    DataError,
    DeploymentError,
    DeploymentFailed,
    DeploymentTimeout,
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
    SpendError,
    SubmissionUncertain,
    UnknownBackendError,
    UnsupportedError,
)
from adaptkit.types import (
    DeploymentRef,
    Document,
    Event,
    Inventory,
    JobRef,
    Message,
    ModelRef,
    OwnedJob,
    Reply,
    Snapshot,
    Status,
    Usage,
)

if TYPE_CHECKING:
    from adaptkit.adapter import Adapter, BackendConfig, ChatOptions
    from adaptkit.aio import AsyncClient, AsyncDeployment, AsyncJob, AsyncModel
    from adaptkit.backends.lora import LoraConfig
    from adaptkit.backends.prompt import PromptConfig
    from adaptkit.client import Client
    from adaptkit.data import Dataset
    from adaptkit.deployment import Deployment
    from adaptkit.estimate import Estimate
    from adaptkit.evidence.results import Comparison
    from adaptkit.job import Job
    from adaptkit.model import Model

__all__ = [
    "Adapter",
    "AdaptkitError",
    "AdaptkitWarning",
    "AnswerError",
    "ArtifactError",
    "AsyncClient",
    "AsyncDeployment",
    "AsyncJob",
    "AsyncModel",
    "AuthenticationError",
    "BackendConfig",
    "BackendError",
    "BackendRetiredError",
    "ChatOptions",
    "Client",
    "Comparison",
    "ConfigError",
    "ConnectionFailedError",
    "DataError",
    "Dataset",
    "Deployment",
    "DeploymentError",
    "DeploymentFailed",
    "DeploymentRef",
    "DeploymentTimeout",
    "Document",
    "EgressError",
    "Estimate",
    "Event",
    "Inventory",
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
    "OwnedJob",
    "PermissionDeniedError",
    "PromptConfig",
    "QuotaError",
    "RateLimitError",
    "Reply",
    "ServiceError",
    "Snapshot",
    "SpendError",
    "Status",
    "SubmissionUncertain",
    "UnknownBackendError",
    "UnsupportedError",
    "Usage",
]

__version__ = "0.1.0"

_HOME = {
    "Adapter": "adaptkit.adapter",
    "AsyncClient": "adaptkit.aio",
    "AsyncDeployment": "adaptkit.aio",
    "AsyncJob": "adaptkit.aio",
    "AsyncModel": "adaptkit.aio",
    "BackendConfig": "adaptkit.adapter",
    "ChatOptions": "adaptkit.adapter",
    "Client": "adaptkit.client",
    "Comparison": "adaptkit.evidence.results",
    "Dataset": "adaptkit.data",
    "Deployment": "adaptkit.deployment",
    "Estimate": "adaptkit.estimate",
    "Job": "adaptkit.job",
    "LoraConfig": "adaptkit.backends.lora",
    "Model": "adaptkit.model",
    "PromptConfig": "adaptkit.backends.prompt",
}


def __getattr__(name: str) -> object:
    """Load a public name, or a module of the package, when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if not name.startswith("_") and importlib.util.find_spec(f"adaptkit.{name}") is not None:
        return importlib.import_module(f"adaptkit.{name}")
    raise AttributeError(f"module 'adaptkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

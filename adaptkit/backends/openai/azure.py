"""Deployments at Azure: its management API, which is another host with another token.

A deployment's name is chosen here and is the tag, and putting the same name again changes nothing, so a request whose
answer was lost may be sent again. Its name is also what it answers as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from adaptkit.backends.openai.config import AzureDeploy
from adaptkit.backends.rest import Rest, segment
from adaptkit.errors import NotFoundError, ServiceError
from adaptkit.http import service_words
from adaptkit.types import DeploymentSnapshot, DeploymentStatus

__all__ = ["Deployments"]

_STATUSES: Mapping[str, DeploymentStatus] = {
    "Accepted": "starting",
    "Creating": "starting",
    "Moving": "starting",
    "Succeeded": "ready",
    "Deleting": "stopping",
    "Failed": "failed",
    "Canceled": "failed",
    "Disabled": "failed",
}


class Deployments:
    """The deployments of one resource."""

    def __init__(self, http: httpx2.Client, where: AzureDeploy, backend: str) -> None:
        self._where = where
        self._rest = Rest(http, where.management_url, where.token_env, backend)
        self._query = {"api-version": where.api_version}
        self._path = (
            f"/subscriptions/{segment(where.subscription)}/resourceGroups/{segment(where.resource_group)}"
            f"/providers/Microsoft.CognitiveServices/accounts/{segment(where.account)}/deployments"
        )

    def start(self, model_id: str, name: str) -> DeploymentSnapshot:
        """Put a deployment."""
        body = {
            "sku": {"name": self._where.hardware, "capacity": self._where.capacity},
            "properties": {"model": {"format": "OpenAI", "name": model_id, "version": "1"}},
        }
        return self._snapshot(self._rest.send("PUT", self._one(name), body, self._query))

    def get(self, name: str) -> DeploymentSnapshot:
        """One deployment.

        Raises:
            NotFoundError: it is gone.
        """
        return self._snapshot(self._rest.send("GET", self._one(name), query=self._query))

    def find(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """The deployment of that name, if there is one."""
        try:
            return [self.get(tag)]
        except NotFoundError:
            return []

    def stop(self, name: str) -> None:
        """Delete a deployment; one that is gone is no error."""
        try:
            self._rest.send("DELETE", self._one(name), query=self._query)
        except NotFoundError:
            return

    def _one(self, name: str) -> str:
        return f"{self._path}/{segment(name)}"

    def _snapshot(self, told: Mapping[str, Any]) -> DeploymentSnapshot:
        name, properties = told.get("name"), told.get("properties")
        if not isinstance(name, str) or not isinstance(properties, Mapping):
            raise ServiceError("Azure's answer names no deployment; it may have been made", backend="openai")
        word = str(properties.get("provisioningState"))
        status = _STATUSES.get(word, "unknown")
        _, words = service_words({"error": properties.get("error") or {}}, ())
        return DeploymentSnapshot(
            id=name,
            model_id=str((properties.get("model") or {}).get("name")),
            status=status,
            raw_status=word,
            tag=name,
            answers_as=name if status == "ready" else None,
            message=words or None,
        )

"""What custom models answer through: capacity on demand, or provisioned throughput. The ARN says which."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adaptkit.backends.bedrock.aws import Aws
from adaptkit.backends.bedrock.config import BedrockConfig
from adaptkit.backends.bedrock.jobs import job_name, tag_of
from adaptkit.errors import NotFoundError
from adaptkit.types import DeploymentSnapshot, DeploymentStatus

__all__ = ["Deployments"]


@dataclass(frozen=True)
class _Kind:
    """One of the two APIs, which differ in words alone: operations, and the names of their fields."""

    create: str
    get: str
    delete: str
    identifier: str
    arn: str
    name: str
    ready: str


_KINDS = {
    "on-demand": _Kind(
        "create_custom_model_deployment",
        "get_custom_model_deployment",
        "delete_custom_model_deployment",
        "customModelDeploymentIdentifier",
        "customModelDeploymentArn",
        "modelDeploymentName",
        "Active",
    ),
    "provisioned": _Kind(
        "create_provisioned_model_throughput",
        "get_provisioned_model_throughput",
        "delete_provisioned_model_throughput",
        "provisionedModelId",
        "provisionedModelArn",
        "provisionedModelName",
        "InService",
    ),
}


class Deployments:
    """Deployments of a configuration's account.

    Args:
        aws: To ask with.
        config: Which of the two is started.
    """

    def __init__(self, aws: Aws, config: BedrockConfig) -> None:
        self._aws, self._config = aws, config

    def start(self, model_id: str, tag: str, tags: list[dict[str, str]]) -> DeploymentSnapshot:
        """Send the one request that starts one; its token and its name are the tag's."""
        wanted = self._config.deploy
        kind = _KINDS[wanted.hardware]
        request: dict[str, Any] = {kind.name: job_name(tag), "clientRequestToken": tag, "tags": tags}
        if wanted.hardware == "on-demand":
            request["modelArn"] = model_id
        else:
            request |= {"modelId": model_id, "modelUnits": wanted.units}
        answer = self._aws.ask("bedrock", kind.create, needs=(kind.arn,), **request)
        return DeploymentSnapshot(
            id=answer[kind.arn], model_id=model_id, status="starting", raw_status="Creating", tag=tag
        )

    def get(self, deployment_id: str) -> DeploymentSnapshot:
        """How one stands.

        Raises:
            NotFoundError: it is gone.
        """
        return self._told(_kind_of(deployment_id), deployment_id)

    def find(self, tag: str) -> list[DeploymentSnapshot]:
        """The one with that tag, by its name."""
        try:
            return [self._told(_KINDS[self._config.deploy.hardware], job_name(tag))]
        except NotFoundError:
            return []

    def stop(self, deployment_id: str) -> None:
        """Delete one; one that is gone is no error."""
        kind = _kind_of(deployment_id)
        with suppress(NotFoundError):
            self._aws.ask("bedrock", kind.delete, **{kind.identifier: deployment_id})

    def _told(self, kind: _Kind, identifier: str) -> DeploymentSnapshot:
        needs = (kind.arn, kind.name, "modelArn", "status")
        return _snapshot(kind, self._aws.ask("bedrock", kind.get, needs=needs, **{kind.identifier: identifier}))


def _kind_of(deployment_id: str) -> _Kind:
    return _KINDS["provisioned" if ":provisioned-model/" in deployment_id else "on-demand"]


def _snapshot(kind: _Kind, told: Mapping[str, Any]) -> DeploymentSnapshot:
    word = str(told["status"])
    statuses: dict[str, DeploymentStatus] = {"Creating": "starting", kind.ready: "ready", "Failed": "failed"}
    status = statuses.get(word, "unknown")
    return DeploymentSnapshot(
        id=told[kind.arn],
        model_id=told["modelArn"],
        status=status,
        raw_status=word,
        tag=tag_of(told[kind.name]),
        answers_as=told[kind.arn] if status == "ready" else None,
        message=told.get("failureMessage"),
    )

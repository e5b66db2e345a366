"""Deployments on Fireworks' wire.

A deployment of a LoRA model is made in one request: the host merges it into its base. Its id is the client's to choose,
so asking again with the same tag makes no second one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adaptkit.backends.fireworks.config import HARDWARE, FireworksDeploy
from adaptkit.backends.fireworks.names import tag_of, words_of
from adaptkit.errors import NotFoundError, ServiceError
from adaptkit.types import DeploymentSnapshot, DeploymentStatus

__all__ = ["body", "path_of", "snapshot"]

_STATES: Mapping[str, DeploymentStatus] = {
    "CREATING": "starting",
    "UPDATING": "starting",
    "READY": "ready",
    "DELETING": "stopping",
    "DELETED": "stopped",
    "FAILED": "failed",
}


def body(model: str, wanted: FireworksDeploy) -> dict[str, Any]:
    """The request for a deployment of a model."""
    return {
        "baseModel": model,
        "acceleratorType": HARDWARE[wanted.hardware],
        "acceleratorCount": wanted.count,
        "minReplicaCount": wanted.min_replicas,
        "maxReplicaCount": wanted.max_replicas,
        "autoscalingPolicy": {"scaleToZeroWindow": f"{wanted.idle_minutes * 60}s"},
        **({"placement": {"region": wanted.region}} if wanted.region else {}),
    }


def path_of(deployment_id: str) -> str:
    """The path of a deployment at the host.

    Raises:
        NotFoundError: this is no id of a deployment there.
    """
    if re.fullmatch(r"accounts/[a-z0-9-]+/deployments/[A-Za-z0-9-]+", deployment_id) is None:
        raise NotFoundError(
            f"{deployment_id!r} is not the name of a deployment at Fireworks, which looks like "
            "accounts/<account>/deployments/<id>",
            backend="fireworks",
            status_code=404,
        )
    return f"/v1/{deployment_id}"


def snapshot(answer: Mapping[str, Any]) -> DeploymentSnapshot:
    """What an answer says of a deployment.

    Raises:
        ServiceError: it does not say of which.
    """
    name, model, word = answer.get("name"), answer.get("baseModel"), str(answer.get("state") or "")
    if not isinstance(name, str) or not isinstance(model, str):
        raise ServiceError("Fireworks answered with a deployment that has no name or no model", backend="fireworks")
    status = _STATES.get(word, "unknown")
    return DeploymentSnapshot(
        id=name,
        model_id=model,
        status=status,
        raw_status=word,
        tag=tag_of(name),
        answers_as=f"{model}#{name}" if status == "ready" else None,
        message=words_of(answer.get("status")),
    )

"""LoRA models that Nebius serves beside a base: made from a checkpoint, named by the host, billed by token.

The host makes the name, so a request whose answer was lost is looked for by the tag, which is in the name that was
wished for and in the description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from adaptkit.backends.openai.answers import text_of
from adaptkit.backends.openai.config import NebiusDeploy
from adaptkit.backends.rest import Rest, segment
from adaptkit.errors import NotFoundError, ServiceError
from adaptkit.http import service_words
from adaptkit.types import DeploymentSnapshot, DeploymentStatus

__all__ = ["ServedModels"]

_STATUSES: Mapping[str, DeploymentStatus] = {
    "validating": "starting",
    "active": "ready",
    "error": "failed",
    "deleted": "stopped",
}
_TAG = re.compile(r"(?:^|:)([a-z][0-9a-z]{25})(?:-|$)")


class ServedModels:
    """The served models of an account.

    Args:
        rest: The host's management API.
        where: Which base they stand beside.
    """

    def __init__(self, rest: Rest, where: NebiusDeploy) -> None:
        self._rest, self._where = rest, where

    @classmethod
    def at(cls, http: httpx2.Client, url: str, api_key_env: str, backend: str, where: NebiusDeploy) -> ServedModels:
        """Those at the address of the wire, whose management API lies beside it."""
        return cls(Rest(http, url.removesuffix("/v1"), api_key_env, backend), where)

    def start(self, model_id: str, name: str) -> DeploymentSnapshot:
        """Serve a checkpoint, given as JOB:CHECKPOINT."""
        body = {"name": name, "base_model": self._where.base_model, "source": model_id, "description": name}
        return _snapshot(self._rest.send("POST", "/v0/models", body))

    def get(self, name: str) -> DeploymentSnapshot:
        """One served model.

        Raises:
            NotFoundError: it is gone.
        """
        return _snapshot(self._rest.send("GET", _path(name)))

    def find(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """Served models with the tag."""
        heard = map(_snapshot, self._rest.items("/v0/models"))
        return [one for one in heard if one.tag == tag]

    def stop(self, name: str) -> None:
        """Delete a served model; one that is gone is no error."""
        try:
            self._rest.send("DELETE", _path(name))
        except NotFoundError:
            return


def _path(name: str) -> str:
    return "/v0/models/" + "/".join(map(segment, name.split("/", 1)))


def _snapshot(told: Mapping[str, Any]) -> DeploymentSnapshot:
    name, word = text_of(told, "name"), text_of(told, "status")
    if name is None or word is None:
        raise ServiceError("Nebius's answer names no model; it may have been made", backend="openai")
    source = text_of(told, "source") or f"{told.get('job_id')}:{told.get('checkpoint_id')}"
    status = _STATUSES.get(word, "unknown")
    tag = _TAG.search(text_of(told, "description") or "") or _TAG.search(name)
    _, words = service_words({"message": told.get("status_reason") or ""}, ())
    return DeploymentSnapshot(
        id=name,
        model_id=source,
        status=status,
        raw_status=word,
        tag=tag[1] if tag else None,
        answers_as=name if status == "ready" else None,
        message=words or None,
    )

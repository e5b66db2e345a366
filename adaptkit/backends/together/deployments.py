"""Dedicated endpoints of Together's v2 API: an endpoint that carries the tag, and one deployment in it.

The endpoint costs nothing; the deployment in it is billed while it runs. Everything before the request for the
deployment is free, so a fault there is an error and no doubt. v1 endpoints end with 2026, and the host's own client
knows them no longer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.backends.rest import Rest, segment
from adaptkit.backends.together.config import TogetherDeploy
from adaptkit.backends.together.jobs import tag_in
from adaptkit.errors import BackendError, NotFoundError, ServiceError, UnsupportedError
from adaptkit.types import DeploymentSnapshot, DeploymentStatus

__all__ = ["Deployments"]

_BACKEND = "together"
_STATES: Mapping[str, DeploymentStatus] = {
    "DEPLOYMENT_STATE_PROVISIONING": "starting",
    "DEPLOYMENT_STATE_READY": "ready",
    "DEPLOYMENT_STATE_FAILED": "failed",
    "DEPLOYMENT_STATE_STOPPED": "stopped",
    "DEPLOYMENT_STATE_STOPPING": "stopping",
}
#: States in which it answers if a replica is there.
_BETWEEN = ("DEPLOYMENT_STATE_SCALING", "DEPLOYMENT_STATE_DEGRADED")
_ID = re.compile(r"projects/([^/]+)/endpoints/([^/]+)/deployments/([^/]+)")


class Deployments:
    """The deployments of an account.

    Args:
        rest: The service.
        wanted: What to deploy on.
    """

    def __init__(self, rest: Rest, wanted: TogetherDeploy) -> None:
        self._rest, self._wanted = rest, wanted

    def project(self) -> str:
        """Id of the project: the configured one, or that of the key.

        Raises:
            UnsupportedError: the key belongs to none.
        """
        if self._wanted.project is not None:
            return self._wanted.project
        known = (self._rest.send("GET", "/v3/whoami").get("project") or {}).get("id")
        if not known:
            raise UnsupportedError("this key belongs to no project of Together; set deploy.project to the id of one")
        return str(known)

    def start(self, model_id: str, object_id: str, tag: str) -> DeploymentSnapshot:
        """Deploy a model: the last of these requests is the one that costs money.

        Args:
            model_id: The model, as adaptkit calls it.
            object_id: Its id in the host's registry.
            tag: What the endpoint's name carries.

        Raises:
            UnsupportedError: the host has no configuration for it on that hardware, or several.
            ServiceError: the last request may have run.
            BackendError: the host refused, or could not be asked before anything was started.
        """
        try:
            project = self.project()
            config = self._wanted.config or self._config(project, object_id)
            price = self._hourly_usd()
            endpoint = self._endpoint(project, tag)
        except ServiceError as error:
            message = f"nothing was deployed, since Together could not be asked: {error.message}"
            raise BackendError(message, backend=_BACKEND, status_code=error.status_code) from error
        body = {
            "name": "model",
            "model": f"projects/{project}/models/{object_id}",
            "config": config if "/" in config else f"projects/{project}/configs/{config}",
            "autoscaling": {"minReplicas": self._wanted.min_replicas, "maxReplicas": self._wanted.max_replicas},
            "inactiveTimeout": self._wanted.inactive_timeout,
        }
        path = f"/v2/projects/{segment(project)}/endpoints/{segment(endpoint)}"
        try:
            made = self._rest.send("POST", f"{path}/deployments", body)
        except ServiceError:
            raise
        except BackendError:
            with contextlib.suppress(BackendError):  # empty, and free
                self._rest.send("DELETE", path)
            raise
        return _snapshot(project, endpoint, made, tag=tag, model_id=model_id, price=price)

    def _endpoint(self, project: str, tag: str) -> str:
        made = self._rest.send("POST", f"/v2/projects/{segment(project)}/endpoints", {"name": f"adaptkit-{tag}"})
        if not made.get("id"):
            raise ServiceError("Together made an endpoint without an id", backend=_BACKEND)
        return str(made["id"])

    def _config(self, project: str, object_id: str) -> str:
        """The one configuration in which the model runs on the hardware."""
        model = self._rest.send("GET", f"/v2/projects/{segment(project)}/models/{segment(object_id)}")
        query = {"referenceModelId": model.get("baseModelId") or object_id}
        pages = self._rest.pages(f"/v2/projects/{segment(project)}/configs", query, "next_cursor", "after")
        known = [config for page in pages for config in page.get("data") or ()]
        fitting = [config for config in known if _same_hardware(_hardware(config), self._wanted.hardware)]
        if len(fitting) == 1:
            return f"projects/{fitting[0].get('projectId') or project}/configs/{fitting[0]['id']}"
        if fitting:
            ids = ", ".join(str(config["id"]) for config in fitting)
            raise UnsupportedError(
                f"this model runs on {self._wanted.hardware} in several ways; set deploy.config: {ids}"
            )
        there = ", ".join(sorted({_hardware(config) for config in known})) or "none"
        raise UnsupportedError(f"this model does not run on {self._wanted.hardware}; set deploy.hardware: {there}")

    def _hourly_usd(self) -> float | None:
        """What an hour of the least replicas costs, as the host says today."""
        listed = self._rest.send("GET", "/v2/public/inference-instance-types").get("data") or ()
        for kind in listed:
            names = (str(kind.get("name") or ""), str(kind.get("id") or ""))
            cents = kind.get("priceCentsPerHour")
            if cents and any(_same_hardware(name, self._wanted.hardware) for name in names):
                return float(cents) / 100 * self._wanted.min_replicas
        return None

    def get(self, deployment_id: str) -> DeploymentSnapshot:
        """How a deployment stands.

        Raises:
            NotFoundError: it is gone, or this is no id of one.
        """
        project, endpoint, _ = _parts(deployment_id)
        return _snapshot(project, endpoint, self._rest.send("GET", _path(deployment_id)))

    def find(self, tag: str) -> Iterator[DeploymentSnapshot]:
        """Deployments in endpoints whose name carries a tag; the host's filter only spares pages."""
        project = self.project()
        path, query = f"/v2/projects/{segment(project)}/endpoints", {"filter": f'name:"{tag}"', "limit": 100}
        for page in self._rest.pages(path, query, "next_cursor", "after"):
            for endpoint in page.get("data") or ():
                if tag_in(endpoint.get("name")) == tag:
                    for made in endpoint.get("deployments") or ():
                        yield _snapshot(project, str(endpoint.get("id")), made, tag=tag)

    def stop(self, deployment_id: str) -> None:
        """Take away its replicas, so that it costs nothing; then the rest, which the host may allow only later."""
        project, endpoint, _ = _parts(deployment_id)
        nothing = {"autoscaling": {"minReplicas": 0, "maxReplicas": 0}}
        with contextlib.suppress(NotFoundError):
            self._rest.send("PATCH", _path(deployment_id), nothing, {"updateMask": "autoscaling"})
        with contextlib.suppress(BackendError):  # what is stopped is free
            self._rest.send("DELETE", _path(deployment_id))
            self._rest.send("DELETE", f"/v2/projects/{segment(project)}/endpoints/{segment(endpoint)}")


def _parts(deployment_id: str) -> tuple[str, str, str]:
    found = _ID.fullmatch(deployment_id)
    if found is None:
        message = f"{deployment_id!r} is no deployment; one is projects/…/endpoints/…/deployments/…"
        raise NotFoundError(message, backend=_BACKEND)
    return found[1], found[2], found[3]


def _path(deployment_id: str) -> str:
    project, endpoint, deployment = map(segment, _parts(deployment_id))
    return f"/v2/projects/{project}/endpoints/{endpoint}/deployments/{deployment}"


def _snapshot(
    project: str,
    endpoint: str,
    made: Mapping[str, Any],
    *,
    tag: str | None = None,
    model_id: str | None = None,
    price: float | None = None,
) -> DeploymentSnapshot:
    """A deployment, or the short form of it that stands in its endpoint."""
    if not made.get("id"):
        raise ServiceError("Together speaks of a deployment without an id", backend=_BACKEND)
    status: Mapping[str, Any] = made.get("status") or made
    word, name = str(status.get("state") or ""), str(made.get("name") or "")
    stands = _STATES.get(word, "unknown")
    if word in _BETWEEN:
        stands = "ready" if status.get("readyReplicas") else "starting"
    return DeploymentSnapshot(
        id=f"projects/{project}/endpoints/{endpoint}/deployments/{made['id']}",
        model_id=model_id or str(made.get("model") or ""),
        status=stands,
        raw_status=word or "no state",
        tag=tag or tag_in(name.rpartition("/")[0]),
        answers_as=name if stands == "ready" and name else None,
        hourly_usd=price,
        message=str(status.get("message") or "") or None,
    )


def _hardware(config: Mapping[str, Any]) -> str:
    """The instance type that a configuration runs on, as the host names it: ``1xnvidia-h100-80gb``."""
    chosen = {selector.get("key"): selector.get("value") for selector in config.get("selectors") or ()}
    return f"{chosen.get('accelerator_count', '?')}x{chosen.get('accelerator_type', '?')}"


def _same_hardware(one: str, other: str) -> bool:
    """The host writes ``1xh100-80gb`` too."""
    return one.lower().replace("nvidia-", "") == other.lower().replace("nvidia-", "")

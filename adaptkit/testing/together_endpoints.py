"""The part of the fake Together that keeps models running: its v2 API of endpoints and the deployments in them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route

__all__ = ["Endpoints"]

PROJECT = "proj_canary"
_ROOT = "/v2/projects/{project}"


def _refused(status: int, words: str) -> Answer:
    return Answer({"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}}, status)


@dataclass
class Endpoints:
    """Endpoints, deployments, configurations, hardware.

    Attributes:
        deployments: Deployments by id; their ``facts`` hold the endpoint's id and the name.
        endpoints: Names by id.
        hardware: Instance types that the model runs on, with the price of an hour in cents.
        hidden: How many lists a new endpoint is missing from.
    """

    deployments: Jobs = field(
        default_factory=lambda: Jobs(
            "DEPLOYMENT_STATE_PROVISIONING", "DEPLOYMENT_STATE_SCALING", "DEPLOYMENT_STATE_READY"
        )
    )
    endpoints: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, int] = field(default_factory=lambda: {"1xnvidia-h100-80gb": 399, "1xnvidia-b200-180gb": 995})

    def routes(self) -> list[Route]:
        """What goes here."""
        one = _ROOT + "/endpoints/{endpoint}"
        return [
            Route("GET", "/v3/whoami", "whoami", self._whoami),
            Route("GET", "/v2/public/inference-instance-types", "hardware", self._hardware),
            Route("GET", _ROOT + "/configs", "configs", self._configs),
            Route("POST", _ROOT + "/endpoints", "endpoint", self._make),
            Route("GET", _ROOT + "/endpoints", "find_deployments", self._list),
            Route("DELETE", one, "delete_endpoint", self._delete_endpoint),
            Route("POST", one + "/deployments", "deploy", self._deploy),
            Route("GET", one + "/deployments/{id}", "deployment", self._get),
            Route("PATCH", one + "/deployments/{id}", "undeploy", self._scale),
            Route("DELETE", one + "/deployments/{id}", "delete_deployment", self._delete),
        ]

    def answering(self) -> set[str]:
        """Names that can be chatted with."""
        return {made.facts["name"] for made in self.deployments.all.values() if made.word == "DEPLOYMENT_STATE_READY"}

    def _whoami(self, asked: Asked) -> Answer:
        del asked
        project = {"id": PROJECT, "name": "Canary", "slug": "canary"}
        return Answer({"type": "project_api_key", "api_key": {}, "organization": {"id": "org_1"}, "project": project})

    def _hardware(self, asked: Asked) -> Answer:
        del asked
        rows = [{"id": f"it_{name}", "name": name, "priceCentsPerHour": price} for name, price in self.hardware.items()]
        return Answer({"object": "list", "data": rows, "next_cursor": None})

    def _configs(self, asked: Asked) -> Answer:
        rows: list[dict[str, Any]] = []
        for name in self.hardware:
            count, _, kind = name.partition("x")
            chosen = [{"key": "accelerator_type", "value": kind}, {"key": "accelerator_count", "value": count}]
            rows.append({"id": f"cr_{name}", "projectId": "proj_public", "selectors": chosen})
        cut = [rows[:1], rows[1:]]  # two pages
        after = asked.first("after")
        return Answer({"object": "list", "data": cut[bool(after)], "next_cursor": None if after else "more"})

    def _make(self, asked: Asked) -> Answer:
        name = f"canary/{asked.json()['name']}"
        if name in self.endpoints.values():
            return _refused(409, "an endpoint of this name exists")
        identity = f"ep_{secrets.token_hex(6)}"
        self.endpoints[identity] = name
        return Answer({"id": identity, "name": name, "deployments": [], "trafficSplit": [], "etag": "1"})

    def _list(self, asked: Asked) -> Answer:
        del asked  # its filter is ignored, as filters are at times
        seen = self.deployments.listed()
        rows = [
            {
                "id": identity,
                "name": name,
                "deployments": [
                    {"id": made.id, "name": made.facts["name"], "state": made.word, "model": made.body["model"]}
                    for made in seen
                    if made.facts["endpoint"] == identity
                ],
            }
            for identity, name in self.endpoints.items()
        ]
        return Answer({"object": "list", "data": rows, "next_cursor": None})

    def _delete_endpoint(self, asked: Asked) -> Answer:
        identity = asked.matched["endpoint"]
        if any(made.facts["endpoint"] == identity for made in self.deployments.all.values()):
            return _refused(400, "delete its deployments first")
        return Answer({}) if self.endpoints.pop(identity, None) else _refused(404, "no such endpoint")

    def _deploy(self, asked: Asked) -> Answer:
        body, identity = asked.json(), asked.matched["endpoint"]
        if identity not in self.endpoints:
            return _refused(404, "no such endpoint")
        if not body.get("autoscaling") or not str(body.get("config", "")).startswith("projects/"):
            return _refused(400, "autoscaling and config are needed")
        tag = self.endpoints[identity].rpartition("-")[2]
        made = self.deployments.add(tag, body, f"dep_{secrets.token_hex(6)}")
        made.facts = {"endpoint": identity, "name": f"{self.endpoints[identity]}/{body['name']}"}
        return Answer(_shown(made))

    def _get(self, asked: Asked) -> Answer:
        made = self.deployments.poll(asked.matched["id"])
        return _refused(404, "no such deployment") if made is None else Answer(_shown(made))

    def _scale(self, asked: Asked) -> Answer:
        made = self.deployments.all.get(asked.matched["id"])
        if made is None:
            return _refused(404, "no such deployment")
        if asked.first("updateMask") != "autoscaling" or asked.json()["autoscaling"]["maxReplicas"] != 0:
            return _refused(400, "nothing is changed")
        if made.word != "DEPLOYMENT_STATE_STOPPED":
            self.deployments.tell(made.id, "DEPLOYMENT_STATE_STOPPING", "DEPLOYMENT_STATE_STOPPED")
            self.deployments.poll(made.id)
        return Answer(_shown(made))

    def _delete(self, asked: Asked) -> Answer:
        made = self.deployments.all.get(asked.matched["id"])
        if made is None:
            return _refused(404, "no such deployment")
        if made.word != "DEPLOYMENT_STATE_STOPPED":
            return _refused(400, "a deployment must be stopped before it is deleted")
        del self.deployments.all[made.id]
        return Answer({})


def _shown(made: RemoteJob) -> dict[str, Any]:
    ready = int(made.word == "DEPLOYMENT_STATE_READY")
    return {
        "id": made.id,
        "name": made.facts["name"],
        "endpointId": made.facts["endpoint"],
        "model": f"{made.body['model']}/revisions/rv_1",
        "autoscaling": made.body["autoscaling"],
        "inactiveTimeout": made.body.get("inactiveTimeout", 0),
        "status": {"state": made.word, "message": "", "readyReplicas": ready},
    }

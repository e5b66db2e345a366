"""A fake Fireworks on a real socket: its paths and words, datasets at signed addresses, jobs of ids chosen outside."""

from __future__ import annotations

import json
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route, Wire

__all__ = ["FakeDataset", "FakeFireworks"]

_KINDS = {
    "supervisedFineTuningJobs": "supervisedFineTuningJobId",
    "dpoJobs": "dpoJobId",
    "reinforcementFineTuningJobs": "reinforcementFineTuningJobId",
}
_OVER = {"JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED", "JOB_STATE_FAILED", "JOB_STATE_EXPIRED",
         "JOB_STATE_CANCELLED"}  # fmt: skip
_MADE = {"JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED"}
_PAGE = 50
_HEADER = json.dumps({"lora": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@dataclass
class FakeDataset:
    """A dataset as the service sees it: what it says of it, its file, and looks until it is ready."""

    facts: dict[str, Any]
    looks: int
    content: IO[bytes] | None = field(default=None, repr=False)
    validated: bool = False


class FakeFireworks:
    """The service.

    Args:
        key: Key that requests must carry, except those to signed addresses, which must carry none.
        account: Id of the account.

    Attributes:
        wire: The server. Operations are ``upload`` (the signed address), ``make`` and ``look`` (datasets), ``sign``,
            ``validate``, ``submit``, ``poll``, ``cancel``, ``list``, ``model``, ``estimate``, ``download``,
            ``weights`` (the signed address), ``delete``, ``chat``, ``deploy``, ``deployment`` and ``undeploy``.
        jobs: Jobs by id.
        datasets: Datasets by id.
        models: What the service says of models, by full name; a base model is there from the start.
        deployments: What the service says of deployments, by id.
        files: Files of every tuned model, by name.
        looks: How often a new dataset is looked at, after its upload, before it is ready.
        starts: How often a new deployment is looked at before it is ready.
        refusal: Words with which the service refuses data; ``None`` to take it.
        failure: Words of jobs that fail.
        changes: What the service answers otherwise than it was asked, by field.
        answers_undeployed: Whether models answer without a deployment, as where the account has one of its own.
        broken: What was asked in a way that the service would not take.
    """

    BASE = "accounts/fireworks/models/llama-v3p1-8b-instruct"

    def __init__(self, key: str | None = None, account: str = "acme") -> None:
        self.key, self.account = key, account
        self.jobs = Jobs("JOB_STATE_CREATING", "JOB_STATE_VALIDATING", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED")
        self.datasets: dict[str, FakeDataset] = {}
        self.models: dict[str, dict[str, Any]] = {self.BASE: _base(self.BASE)}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.files = {
            "adapter_config.json": b'{"peft_type": "LORA", "r": 16}',
            "adapter_model.safetensors": struct.pack("<Q", len(_HEADER)) + _HEADER + b"\0\0\0\0",
        }
        self.looks, self.starts, self.answers_undeployed = 0, 1, False
        self.refusal: str | None = None
        self.failure = "the training data ran out of room"
        self.changes: dict[str, Any] = {}
        self.broken: list[str] = []
        self._signatures: set[str] = set()
        self._starting: dict[str, int] = {}
        self.wire = Wire(list(self._routes()))

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    def _routes(self) -> Iterator[Route]:
        yield Route("PUT", "/storage/datasets/{dataset}/{file}", "upload", self._put)
        yield Route("GET", "/storage/models/{file*}", "weights", self._weights)
        yield self._route("POST", "/inference/v1/chat/completions", "chat", self._chat)
        own = "/v1/accounts/{account}"
        yield self._route("POST", f"{own}/datasets", "make", self._make)
        yield self._route("POST", f"{own}/datasets/{{dataset}}:getUploadEndpoint", "sign", self._sign)
        yield self._route("POST", f"{own}/datasets/{{dataset}}:validateUpload", "validate", self._validate)
        yield self._route("GET", f"{own}/datasets/{{dataset}}", "look", self._look)
        yield self._route("DELETE", f"{own}/datasets/{{dataset}}", "delete", self._delete_dataset)
        yield self._route("POST", f"{own}/supervisedFineTuningJobs:estimateCost", "estimate", self._estimate)
        yield self._route("POST", f"{own}/deployments", "deploy", self._deploy)
        yield self._route("GET", f"{own}/deployments/{{deployment}}", "deployment", self._deployment)
        yield self._route("DELETE", f"{own}/deployments/{{deployment}}", "undeploy", self._undeploy)
        yield self._route("GET", f"{own}/models/{{model}}:getDownloadEndpoint", "download", self._download)
        yield self._route("GET", f"{own}/models/{{model}}", "model", self._model)
        yield self._route("DELETE", f"{own}/models/{{model}}", "delete", self._delete_model)
        for kind in _KINDS:
            yield self._route("POST", f"{own}/{kind}", "submit", self._submit)
            yield self._route("GET", f"{own}/{kind}/{{job}}", "poll", self._poll)
            yield self._route("POST", f"{own}/{kind}/{{job}}:cancel", "cancel", self._cancel)
        yield self._route("GET", f"{own}/{{kind}}", "list", self._list)

    def _route(self, method: str, path: str, operation: str, answer: Callable[[Asked], Answer]) -> Route:
        """A route of the service itself, which wants the key and knows one account."""

        def guarded(asked: Asked) -> Answer:
            given = asked.headers.get("authorization", "").removeprefix("Bearer ")
            if self.key is not None and given != self.key:
                return _error(16, "the key is not valid")
            if asked.matched.get("account", self.account) not in (self.account, "fireworks"):
                return _error(7, "this is another account")
            return answer(asked)

        return Route(method, path, operation, guarded)

    def _name(self, kind: str, given: str) -> str:
        return f"accounts/{self.account}/{kind}/{given}"

    def _signed(self, path: str) -> str:
        signature = secrets.token_hex(8)
        self._signatures.add(signature)
        return f"{self.wire.url}/storage/{path}?X-Goog-Signature={signature}"

    def _is_signed(self, asked: Asked) -> bool:
        if "authorization" in asked.headers:
            self.broken.append("the key went to a signed address")
        return asked.first("X-Goog-Signature") in self._signatures and "authorization" not in asked.headers

    # -- datasets -----------------------------------------------------------------------------------------------

    def _make(self, asked: Asked) -> Answer:
        body = asked.json()
        chosen = body["datasetId"]
        if chosen in self.datasets:
            return _error(6, f"dataset {chosen} already exists")
        facts = {**body["dataset"], "name": self._name("datasets", chosen), "state": "UPLOADING", "createTime": _now()}
        self.datasets[chosen] = FakeDataset(facts, self.looks)
        return Answer(facts)

    def _sign(self, asked: Asked) -> Answer:
        chosen = asked.matched["dataset"]
        if chosen not in self.datasets:
            return _error(5, f"dataset {chosen} not found")
        self.datasets[chosen].content = None  # each call forgets the files of the one before
        names = asked.json()["filenameToSize"]
        return Answer({"filenameToSignedUrls": {name: self._signed(f"datasets/{chosen}/{name}") for name in names}})

    def _put(self, asked: Asked) -> Answer:
        size = asked.body.seek(0, 2)
        right = {"content-type": "application/octet-stream", "x-goog-content-length-range": f"{size},{size}"}
        if not self._is_signed(asked) or any(asked.headers.get(name) != value for name, value in right.items()):
            return Answer(b"<Error><Code>SignatureDoesNotMatch</Code></Error>", 403, {"Content-Type": "text/xml"})
        self.datasets[asked.matched["dataset"]].content = asked.body
        return Answer(b"")

    def _validate(self, asked: Asked) -> Answer:
        dataset = self.datasets.get(asked.matched["dataset"])
        if dataset is None or dataset.content is None:
            return _error(9, "no file was uploaded")
        dataset.validated = True
        return Answer({})

    def _look(self, asked: Asked) -> Answer:
        dataset = self.datasets.get(asked.matched["dataset"])
        if dataset is None:
            return _error(5, f"dataset {asked.matched['dataset']} not found")
        if dataset.validated:
            dataset.looks -= 1
        if dataset.validated and dataset.looks < 0:
            refused = {"status": {"code": "INVALID_ARGUMENT", "message": self.refusal}}
            dataset.facts |= refused if self.refusal else {"state": "READY", "status": {"code": "OK", "message": ""}}
        return Answer(dict(dataset.facts))

    def _delete_dataset(self, asked: Asked) -> Answer:
        gone = self.datasets.pop(asked.matched["dataset"], None)
        return Answer({}) if gone else _error(5, "not found")

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _submit(self, asked: Asked) -> Answer:
        kind = asked.path.rpartition("/")[2]
        body, chosen = asked.json(), asked.first(_KINDS[kind])
        if chosen in self.jobs.all:
            return _error(6, f"{kind} {chosen} already exists")
        dataset = self.datasets.get(str(body.get("dataset")).rpartition("/")[2])
        if dataset is None or dataset.facts["state"] != "READY":
            return _error(9, f"dataset {body.get('dataset')} is not ready")
        training = body if kind == "supervisedFineTuningJobs" else body.get("trainingConfig", {})
        if ("baseModel" in training) == ("warmStartFrom" in training):
            return _error(3, "Only one of 'base_model' or 'warm_start_from' should be specified.")
        if kind == "reinforcementFineTuningJobs" and "evaluator" not in body:
            return _error(3, "evaluator is required")
        job = self.jobs.add(chosen.removeprefix("adaptkit-"), body, chosen)
        job.facts["kind"] = kind
        return Answer(self._told(job))

    def _told(self, job: RemoteJob) -> dict[str, Any]:
        training = job.body.get("trainingConfig", job.body)
        output = self._name("models", training.get("outputModel", job.id))
        if job.word in _MADE:
            self.models.setdefault(output, self._tuned(output, training))
        failed = job.word in ("JOB_STATE_FAILED", "JOB_STATE_EXPIRED")
        settings = {**training, "outputModel": output, **self.changes}
        told = {
            **job.body,
            **(settings if training is job.body else {"trainingConfig": settings}),
            "name": self._name(job.facts["kind"], job.id),
            "createTime": datetime.fromtimestamp(job.created_at, UTC).isoformat(),
            "state": job.word,
            "status": {"code": "INTERNAL", "message": self.failure} if failed else {"code": "OK", "message": ""},
            "metricsFileSignedUrl": f"{self.wire.url}/storage/metrics?X-Goog-Signature=open-sesame",
        }
        if job.facts["kind"] != "dpoJobs":
            told["jobProgress"] = {"percent": 100 * job.shown // max(1, len(job.states) - 1), "epoch": 0}
        if job.facts["kind"] == "supervisedFineTuningJobs":
            told["estimatedCost"] = _COST
        return told

    def _found(self, asked: Asked) -> RemoteJob | None:
        job = self.jobs.all.get(asked.matched["job"])
        return job if job is not None and job.facts["kind"] == asked.path.split("/")[4] else None

    def _poll(self, asked: Asked) -> Answer:
        job = self._found(asked)
        if job is None:
            return _error(5, f"job {asked.matched['job']} not found")
        self.jobs.poll(job.id)
        return Answer(self._told(job))

    def _cancel(self, asked: Asked) -> Answer:
        job = self._found(asked)
        if job is None:
            return _error(5, f"job {asked.matched['job']} not found")
        if job.word in _OVER or job.word == "JOB_STATE_CANCELLING":
            return _error(9, f"job is in state {job.word}")
        self.jobs.tell(job.id, "JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")
        self.jobs.poll(job.id)
        return Answer({})

    def _estimate(self, asked: Asked) -> Answer:
        return Answer({"estimatedCost": _COST}) if "dataset" in asked.json() else _error(3, "dataset is required")

    # -- models -------------------------------------------------------------------------------------------------

    def _tuned(self, name: str, training: Mapping[str, Any]) -> dict[str, Any]:
        details = {"baseModel": training.get("baseModel", self.BASE), "r": training["loraRank"], "targetModules": []}
        kind = "HF_PEFT_ADDON" if training["loraRank"] else "HF_BASE_MODEL"
        return {"name": name, "kind": kind, "state": "READY", "peftDetails": details, "createTime": _now()}

    def _model(self, asked: Asked) -> Answer:
        told = self.models.get(f"accounts/{asked.matched['account']}/models/{asked.matched['model']}")
        return Answer(told) if told else _error(5, f"model {asked.matched['model']} not found")

    def _delete_model(self, asked: Asked) -> Answer:
        gone = self.models.pop(self._name("models", asked.matched["model"]), None)
        return Answer({}) if gone else _error(5, "not found")

    def _download(self, asked: Asked) -> Answer:
        if self._name("models", asked.matched["model"]) not in self.models:
            return _error(5, "not found")
        places = {name: self._signed(f"models/{number}") for number, name in enumerate(self.files)}
        return Answer({"filenameToSignedUrls": places})

    def _weights(self, asked: Asked) -> Answer:
        if not self._is_signed(asked):
            return Answer(b"<Error/>", 403, {"Content-Type": "text/xml"})
        content = list(self.files.values())[int(asked.matched["file"])]
        return Answer(content, headers={"Content-Type": "application/octet-stream"})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        model, _, through = str(body["model"]).partition("#")
        deployed = self.deployments.get(through.rpartition("/")[2], {})
        ready = deployed.get("state") == "READY" and deployed.get("baseModel") == model
        if model not in self.models or not (ready or (self.answers_undeployed and not through)):
            words = "Model not found, inaccessible, and/or not deployed"
            return Answer({"error": {"message": words, "code": "NOT_FOUND", "type": "error"}}, 404)
        words = f"You said: {body['messages'][-1]['content']}"
        if not body.get("stream"):
            choice = {"message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
            return Answer({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
        pieces: list[Any] = [{"choices": [{"delta": {"content": f"{word} "}}]} for word in words.split(" ")[:-1]]
        last = {"choices": [{"delta": {"content": words.split(" ")[-1]}, "finish_reason": "stop"}]}
        return Answer(iter([*pieces, last, "[DONE]"]))

    # -- deployments --------------------------------------------------------------------------------------------

    def _deploy(self, asked: Asked) -> Answer:
        chosen, body = asked.first("deploymentId"), asked.json()
        if chosen in self.deployments:
            return _error(6, f"deployment {chosen} already exists")
        if body["baseModel"] not in self.models:
            return _error(5, "model not found")
        self._starting[chosen] = self.starts
        self.deployments[chosen] = {**body, "name": self._name("deployments", chosen), "state": "CREATING"}
        return Answer(dict(self.deployments[chosen]))

    def _deployment(self, asked: Asked) -> Answer:
        chosen = asked.matched["deployment"]
        told = self.deployments.get(chosen)
        if told is None:
            return _error(5, f"deployment {chosen} not found")
        if told["state"] == "CREATING":
            self._starting[chosen] -= 1
            told["state"] = "READY" if self._starting[chosen] < 0 else "CREATING"
        elif told["state"] == "DELETING":
            told["state"] = "DELETED"
        return Answer(dict(told))

    def _undeploy(self, asked: Asked) -> Answer:
        told = self.deployments.get(asked.matched["deployment"])
        if told is None:
            return _error(5, "not found")
        if asked.first("ignoreChecks") != "true":
            return _error(9, "the deployment was used lately")
        told["state"] = "DELETING"
        return Answer({})

    # -- lists --------------------------------------------------------------------------------------------------

    def _list(self, asked: Asked) -> Answer:
        kind, start = asked.matched["kind"], int(asked.first("pageToken", "0"))
        items: list[dict[str, Any]]
        if kind in _KINDS:
            items = [self._told(job) for job in self.jobs.listed() if job.facts["kind"] == kind]
        elif kind == "datasets":
            items = [dataset.facts for dataset in self.datasets.values()]
        elif kind == "models":
            items = [told for name, told in self.models.items() if name.startswith(f"accounts/{self.account}/")]
        elif kind == "deployments":
            items = list(self.deployments.values())
        else:
            return _error(5, f"no such path: {asked.path}")
        size = min(int(asked.first("pageSize", str(_PAGE))), 200)
        following = str(start + size) if start + size < len(items) else ""
        return Answer({kind: items[start : start + size], "nextPageToken": following, "totalSize": len(items)})


_COST = {"currencyCode": "USD", "units": "3", "nanos": 250_000_000}
#: HTTP status by the code of an error, as the host's gateway maps them.
_STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 9: 400, 16: 401}


def _error(code: int, words: str) -> Answer:
    return Answer({"code": code, "message": words, "details": []}, _STATUS[code])


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")


def _base(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "HF_BASE_MODEL",
        "state": "READY",
        "contextLength": 131072,
        "trainingContextLength": 32768,
        "supportsLora": True,
        "tunable": True,
        "rlTunable": True,
        "supervisedLoraTunable": True,
        "supervisedFullParameterTunable": False,
        "rlLoraTunable": True,
        "rlFullParameterTunable": False,
    }

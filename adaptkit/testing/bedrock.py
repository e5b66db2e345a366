"""A fake of Amazon Bedrock and of the S3 bucket beside it, on one port: their paths, words and errors.

Signatures are not verified; the key id that they name is. Jobs go through words such as ``InProgress/training``: the
status, and the phase that is under way.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route, Wire

__all__ = ["FakeBedrock", "FakeDeployment"]

REGION, ACCOUNT = "us-east-1", "123456789012"
_OURS = f"arn:aws:bedrock:{REGION}:{ACCOUNT}"
_PHASES = ("validation", "dataProcessing", "training")
_ENDED = {"Completed", "Failed", "Stopped"}
#: The wire's codes in AWS's words: for Bedrock, and for S3.
_CODES: Mapping[str | None, tuple[int, str, str]] = {
    None: (500, "InternalServerException", "InternalError"),
    "conflict": (400, "ConflictException", "OperationAborted"),
    "rate_limit_exceeded": (429, "ThrottlingException", "SlowDown"),
    "insufficient_quota": (400, "ServiceQuotaExceededException", "ServiceQuotaExceededException"),
    "invalid_request": (400, "ValidationException", "InvalidRequest"),
    "invalid_api_key": (403, "UnrecognizedClientException", "InvalidAccessKeyId"),
    "forbidden": (403, "AccessDeniedException", "AccessDenied"),
    "not_found": (404, "ResourceNotFoundException", "NoSuchKey"),
    "gone": (410, "ResourceNotFoundException", "NoSuchBucket"),
}


@dataclass
class FakeDeployment:
    """A deployment as the service sees it; ``states`` are the words that looks say, the last for ever."""

    arn: str
    name: str
    model: str
    states: list[str]
    shown: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The word said last."""
        return self.states[self.shown]


class FakeBedrock:
    """The service. Pass `wire`'s address as all three ``endpoints``, and the bucket's name as ``bucket``.

    Args:
        key: Access key id that signatures must name; ``None`` for any.

    Attributes:
        wire: The server.
        jobs: The jobs; their ids are the last part of the ARN.
        objects: What lies in S3, by bucket and key joined with a slash.
        models: ARNs of the custom models that there are.
        deployments: By ARN, in the order of their making.
        deployment_states: Words that looks at new deployments say, where they are not to become ready.
        reply: What models answer; ``{text}`` stands for the question.
        retention: The account's data retention mode.
        end_of_life: When every base model's life ends, as an ISO time; ``None`` for never.
        hyperparameters: What the host says that it runs, where that is not what was asked.
    """

    def __init__(self, key: str | None = None) -> None:
        self.jobs = Jobs("InProgress/NotStarted", "InProgress/dataProcessing", "InProgress/training", "Completed")
        self.objects: dict[str, bytes] = {}
        self.models: dict[str, RemoteJob] = {}
        self.deployments: dict[str, FakeDeployment] = {}
        self.reply, self.retention = "You said: {text}", "default"
        self.end_of_life: str | None = None
        self.hyperparameters: dict[str, str] = {}
        self.deployment_states: list[str] | None = None
        self._parts: dict[str, dict[int, bytes]] = {}
        self.wire = Wire([*self._bedrock(), *self._runtime(), *self._s3()], key, key_of=_key_id, error=_error)

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    # jobs and models --------------------------------------------------------------------------------------------------

    def _bedrock(self) -> list[Route]:
        jobs, demand, capacity = (
            "/model-customization-jobs",
            "/model-customization/custom-model-deployments",
            "/provisioned-model-throughput",
        )
        return [
            Route("POST", jobs, "submit", self._create),
            Route("GET", jobs, "inventory", self._list),
            Route("POST", jobs + "/{id}/stop", "cancel", self._stop),
            Route("GET", jobs + "/arn{id}", "poll", self._poll),
            Route("GET", jobs + "/{name}", "find", self._find),
            Route("GET", "/custom-models", "inventory", self._list_models),
            Route("DELETE", "/custom-models/{id}", "delete_model", self._delete_model),
            Route("GET", "/foundation-models/{id}", "shutdown_date", self._foundation),
            Route("GET", "/data-retention", "preflight", lambda _: Answer({"mode": self.retention})),
            *self._deploying(demand, "custom-model-deployment", "modelDeploymentName", "customModelDeploymentArn",
                             ("Creating", "Active")),
            *self._deploying(capacity, "provisioned-model", "provisionedModelName", "provisionedModelArn",
                             ("Creating", "InService")),
        ]  # fmt: skip

    def _create(self, asked: Asked) -> Answer:
        body = asked.json()
        for job in self.jobs.all.values():
            if job.body["clientRequestToken"] == body["clientRequestToken"]:
                return Answer({"jobArn": job.facts["arn"]}, 201)
            if job.body["jobName"] == body["jobName"]:
                return _error(asked, 0, "conflict", f"a job named {body['jobName']} exists")
        data = [body["trainingDataConfig"], *body.get("validationDataConfig", {}).get("validators", [])]
        for file in data:
            if file["s3Uri"].removeprefix("s3://") not in self.objects:
                return _error(asked, 0, "invalid_request", f"there is no data at {file['s3Uri']}")
        job = self.jobs.add(body["clientRequestToken"], body, secrets.token_hex(6))
        job.facts["arn"] = f"{_OURS}:model-customization-job/{body['baseModelIdentifier']}/{job.id}"
        job.facts["model"] = f"{_OURS}:custom-model/{body['baseModelIdentifier']}/{secrets.token_hex(6)}"
        return Answer({"jobArn": job.facts["arn"]}, 201)

    def _by_identifier(self, identifier: str) -> RemoteJob | None:
        return next(
            (job for job in self.jobs.all.values() if identifier in (job.facts["arn"], job.body["jobName"])), None
        )

    def _poll(self, asked: Asked) -> Answer:
        job = self._by_identifier("arn" + asked.matched["id"])
        if job is None:
            return _error(asked, 404, "not_found", "no such job")
        self.jobs.poll(job.id)
        if job.word == "Completed" and not job.facts.setdefault("completed", False):
            self._complete(job)
        return Answer(self._told(job))

    def _find(self, asked: Asked) -> Answer:
        job = self._by_identifier(asked.matched["name"])
        if job is not None and job.hidden > 0:
            job.hidden, job = job.hidden - 1, None
        return _error(asked, 404, "not_found", "no such job") if job is None else Answer(self._told(job))

    def _complete(self, job: RemoteJob) -> None:
        job.facts["completed"] = True
        self.models[job.facts["model"]] = job
        folder = job.body["outputDataConfig"]["s3Uri"].removeprefix("s3://").rstrip("/")
        table = "step_number,epoch_number,training_loss,perplexity\n0,0,2.5,12.2\n1,0,1.25,3.5\n"
        key = f"{folder}/model-customization-job-{job.id}/training_artifacts/step_wise_training_metrics.csv"
        self.objects.setdefault(key, table.encode())

    def _told(self, job: RemoteJob) -> dict[str, Any]:
        """``GetModelCustomizationJobResponse``."""
        word, _, phase = job.word.partition("/")
        body, ended = job.body, word in _ENDED
        told = {
            **self._summary(job),
            "outputModelName": body["customModelName"],
            "roleArn": body["roleArn"],
            "clientRequestToken": body["clientRequestToken"],
            "hyperParameters": body.get("hyperParameters", {}) | self.hyperparameters,
            "customizationConfig": body.get("customizationConfig"),
            "trainingDataConfig": body["trainingDataConfig"],
            "validationDataConfig": body.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": body["outputDataConfig"],
            "statusDetails": _details(phase, ended=ended),
            "failureMessage": job.facts.get("message", "the data could not be read") if word == "Failed" else None,
            "trainingMetrics": {"trainingLoss": 1.25} if word == "Completed" else None,
            "outputModelArn": job.facts["model"] if word == "Completed" else None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _summary(self, job: RemoteJob) -> dict[str, Any]:
        word = job.word.partition("/")[0]
        return {
            "jobArn": job.facts["arn"],
            "jobName": job.body["jobName"],
            "baseModelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{job.body['baseModelIdentifier']}",
            "status": word,
            "creationTime": _iso(job.created_at),
            "lastModifiedTime": _iso(job.created_at + job.shown),
            "customizationType": job.body["customizationType"],
            **({"endTime": _iso(job.created_at + job.shown)} if word in _ENDED else {}),
        }

    def _list(self, _: Asked) -> Answer:
        return Answer({"modelCustomizationJobSummaries": [self._summary(job) for job in self.jobs.listed()]})

    def _stop(self, asked: Asked) -> Answer:
        job = self._by_identifier(asked.matched["id"])
        if job is None:
            return _error(asked, 404, "not_found", "no such job")
        if job.word in _ENDED:
            return _error(asked, 0, "conflict", f"the job is {job.word}")
        self.jobs.tell(job.id, "Stopping", "Stopped")
        return Answer({})

    def _list_models(self, _: Asked) -> Answer:
        return Answer(
            {
                "modelSummaries": [
                    {
                        "modelArn": arn,
                        "modelName": job.body["customModelName"],
                        "creationTime": _iso(job.created_at),
                        "baseModelArn": self._summary(job)["baseModelArn"],
                        "baseModelName": job.body["baseModelIdentifier"],
                    }
                    for arn, job in self.models.items()
                ]
            }
        )

    def _delete_model(self, asked: Asked) -> Answer:
        gone = self.models.pop(asked.matched["id"], None)
        return _error(asked, 404, "not_found", "no such model") if gone is None else Answer({})

    def _foundation(self, asked: Asked) -> Answer:
        life = {"status": "ACTIVE"} | ({"endOfLifeTime": self.end_of_life} if self.end_of_life else {})
        model = asked.matched["id"]
        arn = f"arn:aws:bedrock:{REGION}::foundation-model/{model}"
        return Answer({"modelDetails": {"modelArn": arn, "modelId": model, "modelLifecycle": life}})

    # deployments, of both kinds ---------------------------------------------------------------------------------------

    def _deploying(self, path: str, kind: str, name: str, arn: str, states: tuple[str, ...]) -> list[Route]:
        def known(asked: Asked) -> FakeDeployment | None:
            wanted = asked.matched["id"]
            return next((known for known in self.deployments.values() if wanted in (known.arn, known.name)), None)

        def create(asked: Asked) -> Answer:
            body = asked.json()
            for made in self.deployments.values():
                if made.body["clientRequestToken"] == body["clientRequestToken"]:
                    return Answer({arn: made.arn}, 202)
            model = body.get("modelArn") or body["modelId"]
            if model not in self.models:
                return _error(asked, 404, "not_found", f"there is no model {model}")
            new = FakeDeployment(f"{_OURS}:{kind}/{secrets.token_hex(6)}", body[name], model,
                              self.deployment_states or list(states), body=body)  # fmt: skip
            self.deployments[new.arn] = new
            return Answer({arn: new.arn}, 202)

        def get(asked: Asked) -> Answer:
            found = known(asked)
            if found is None:
                return _error(asked, 404, "not_found", "no such deployment")
            found.shown = min(found.shown + 1, len(found.states) - 1)
            told = {arn: found.arn, name: found.name, "modelArn": found.model, "status": found.word,
                    "createdAt": _iso(0), "creationTime": _iso(0), "lastModifiedTime": _iso(0), "modelUnits": 1,
                    "desiredModelUnits": 1, "desiredModelArn": found.model,
                    "foundationModelArn": found.model}  # fmt: skip
            if found.word == "Failed":
                told["failureMessage"] = "there is no capacity"
            return Answer(told)

        def delete(asked: Asked) -> Answer:
            found = known(asked)
            if found is None:
                return _error(asked, 404, "not_found", "no such deployment")
            del self.deployments[found.arn]
            return Answer({})

        return [
            Route("POST", path, "deploy", create),
            Route("GET", path + "/arn{id}", "deployment", lambda asked: get(_with_arn(asked))),
            Route("GET", path + "/{id}", "find_deployments", get),
            Route("DELETE", path + "/{id}", "undeploy", delete),
        ]

    # answers ----------------------------------------------------------------------------------------------------------

    def _runtime(self) -> list[Route]:
        return [
            Route("POST", "/model/{id}/converse", "chat", self._converse),
            Route("POST", "/model/{id}/converse-stream", "stream", self._converse_stream),
        ]

    def _says(self, asked: Asked) -> str | None:
        known = self.deployments.get(asked.matched["id"])
        if known is None or known.word not in ("Active", "InService"):
            return None
        turns = asked.json()["messages"]
        return self.reply.replace("{text}", turns[-1]["content"][0].get("text", "") if turns else "")

    def _converse(self, asked: Asked) -> Answer:
        text = self._says(asked)
        if text is None:
            return _error(asked, 404, "not_found", "the model cannot be invoked")
        message = {"role": "assistant", "content": [{"text": text}]}
        usage = {"inputTokens": 3, "outputTokens": len(text.split()), "totalTokens": 3 + len(text.split())}
        told = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
        return Answer(told)

    def _converse_stream(self, asked: Asked) -> Answer:
        text = self._says(asked)
        if text is None:
            return _error(asked, 404, "not_found", "the model cannot be invoked")
        pieces = re.findall(r"\S+\s*|\s+", text)
        frames = [_frame("messageStart", {"role": "assistant"})]
        frames += [_frame("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0}) for piece in pieces]
        frames.append(_frame("messageStop", {"stopReason": "end_turn"}))
        return Answer(b"".join(frames), 200, {"Content-Type": "application/vnd.amazon.eventstream"})

    # the bucket -------------------------------------------------------------------------------------------------------

    def _s3(self) -> list[Route]:
        return [
            Route("HEAD", "/{key*}", "has_upload", self._get),
            Route("GET", "/{bucket}", "inventory", self._list_objects),
            Route("GET", "/{key*}", "download", self._get),
            Route("PUT", "/{key*}", "upload", self._put),
            Route("POST", "/{key*}", "upload", self._multipart),
            Route("DELETE", "/{key*}", "delete_data", self._delete),
        ]

    def _get(self, asked: Asked) -> Answer:
        content = self.objects.get(asked.matched["key"])
        if content is None:
            return _error(asked, 404, "not_found", "The specified key does not exist.")
        return Answer(content, 200, {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))})

    def _put(self, asked: Asked) -> Answer:
        content = asked.content()
        told = asked.headers.get("x-amz-checksum-sha256", "")
        if told != binascii.b2a_base64(hashlib.sha256(content).digest(), newline=False).decode():
            return _error(asked, 0, "invalid_request", "The checksum does not match.")
        if "uploadId" in asked.query:
            self._parts[asked.first("uploadId")][int(asked.first("partNumber"))] = content
        else:
            self.objects[asked.matched["key"]] = content
        return Answer(b"", 200, {"ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'})

    def _multipart(self, asked: Asked) -> Answer:
        key = asked.matched["key"]
        if "uploads" in asked.query:
            begun = secrets.token_hex(8)
            self._parts[begun] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{begun}</UploadId></InitiateMultipartUploadResult>")
        parts = self._parts.pop(asked.first("uploadId"))
        self.objects[key] = b"".join(parts[number] for number in sorted(parts))
        return _xml("<CompleteMultipartUploadResult><ETag>&quot;whole&quot;</ETag></CompleteMultipartUploadResult>")

    def _delete(self, asked: Asked) -> Answer:
        if "uploadId" in asked.query:
            self._parts.pop(asked.first("uploadId"), None)
        else:
            self.objects.pop(asked.matched["key"], None)
        return Answer(b"", 204)

    def _list_objects(self, asked: Asked) -> Answer:
        start = f"{asked.matched['bucket']}/{asked.first('prefix')}"
        rows = "".join(
            f"<Contents><Key>{key.partition('/')[2]}</Key><Size>{len(content)}</Size>"
            f"<LastModified>{_iso(time.time())}</LastModified></Contents>"
            for key, content in self.objects.items()
            if key.startswith(start)
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")


def _key_id(asked: Asked) -> str:
    found = re.search(r"Credential=([^/]+)/", asked.headers.get("authorization", ""))
    return found[1] if found else ""


def _error(asked: Asked, status: int, code: str | None, words: str) -> Answer:
    """An error as the service of the request says it; S3's signatures name it."""
    own, bedrock, s3 = _CODES.get(code, (status, code or "", code or ""))
    if "/s3/aws4_request" in asked.headers.get("authorization", ""):
        return _xml(f"<Error><Code>{s3}</Code><Message>{words}</Message></Error>", own)
    return Answer({"message": words}, own, {"x-amzn-ErrorType": bedrock, "x-amzn-RequestId": "request-1"})


def _xml(body: str, status: int = 200) -> Answer:
    return Answer(f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode(), status, {"Content-Type": "application/xml"})


def _with_arn(asked: Asked) -> Asked:
    return Asked(asked.method, asked.path, asked.query, asked.headers, asked.body, {"id": "arn" + asked.matched["id"]})


def _details(phase: str, *, ended: bool) -> dict[str, Any]:
    """``statusDetails``: what comes before the phase is completed, what comes after it has not begun."""
    at = len(_PHASES) if ended else _PHASES.index(phase) if phase in _PHASES else -1
    words = ["Completed" if number < at else "InProgress" if number == at else "NotStarted" for number in range(3)]
    return {
        f"{name}Details": {"status": word, "creationTime": _iso(0)} for name, word in zip(_PHASES, words, strict=True)
    }


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _frame(kind: str, payload: Mapping[str, Any]) -> bytes:
    """One message of AWS's binary event stream: lengths, headers, payload, each followed by its checksum."""
    body = json.dumps(payload).encode()
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack(">I", binascii.crc32(message))

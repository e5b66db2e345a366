"""A fake Together on real sockets: its API, and a storage of its own at another origin."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import struct
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adaptkit.testing.together_endpoints import Endpoints
from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route, Wire

__all__ = ["FakeTogether"]

BASE = "Qwen/Qwen3-8B"
LIMITS: Mapping[str, Any] = {
    "model_name": BASE,
    "default_gradient_accumulation_steps": 1,
    "lora_training": {
        "default_rank": 64, "max_rank": 64, "min_batch_size": 8, "max_batch_size": 32, "max_batch_size_dpo": 16,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    },
    "full_training": {"min_batch_size": 8, "max_batch_size": 16, "max_batch_size_dpo": 8},
    "max_learning_rate": 0.01, "min_learning_rate": 1e-8, "max_num_checkpoints": 10, "max_num_epochs": 20,
    "max_num_evals": 100, "max_seq_length_sft": 32768, "max_seq_length_dpo": 16384, "min_max_seq_length": 1024,
    "merge_output_lora": True, "supports_full_training": True, "supports_vision": False, "supports_tools": True,
    "supports_reasoning": True,
}  # fmt: skip


@dataclass
class _File:
    """A file: its form, what came of it, and the words that looks at it say, the last for ever."""

    form: Mapping[str, str]
    words: list[str]
    content: bytes | None = None
    parts: dict[int, bytes] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)

    def look(self) -> str:
        return self.words.pop(0) if len(self.words) > 1 else self.words[0]


class FakeTogether:
    """Together, as it is heard from outside.

    Args:
        key: Key that requests must carry; ``None`` for any.

    Attributes:
        wire: Its API.
        storage: Where it keeps files; no key may come here.
        jobs: Its jobs.
        endpoints: Its deployments.
        files: Uploaded files by id.
        processing: Words that looks at a new file say, one after the other.
        refusal: Its words on a file that ``processing`` calls ``INVALID_FORMAT``.
        limits: Limits of every model but those whose name begins with ``unknown``.
        estimate: What it says of the price of any job.
        failure: Its words on a job that fails.
        changed: Settings that jobs run with, whatever was asked for.
        serverless: Whether tuned models answer without a deployment.
        weights: Archives by kind of checkpoint.
        moved: Whether downloads are redirected to the storage.
    """

    def __init__(self, key: str | None = None) -> None:
        self.jobs = Jobs("pending", "queued", "running", "uploading", "completed")
        self.endpoints = Endpoints()
        self.files: dict[str, _File] = {}
        self.processing = ["QUEUED", "COMPLETED"]
        self.refusal = "line 3 is neither messages nor text"
        self.limits: dict[str, Any] = dict(LIMITS)
        self.estimate: dict[str, Any] = {
            "estimation_available": True, "allowed_to_proceed": True, "estimated_total_price": 1.5, "user_limit": 100.0,
        }  # fmt: skip
        self.failure = "CUDA out of patience"
        self.changed: dict[str, Any] = {}
        self.serverless, self.moved = True, True
        self.weights = {kind: _archive(kind) for kind in ("adapter", "merged", "model_output_path")}
        self._signatures: dict[str, str] = {}
        self._deleted: set[str] = set()
        self.wire = Wire([*self._routes(), *self.endpoints.routes()], key)
        self.storage = Wire([
            Route("PUT", "/bucket/{id}", "store", self._store),
            Route("PUT", "/bucket/{id}/{part}", "store", self._store),
            Route("GET", "/weights/{kind}", "weights", self._weights),
        ])  # fmt: skip

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()
        self.storage.close()

    def _routes(self) -> list[Route]:
        jobs = "/v1/fine-tunes"
        return [
            Route("POST", "/v1/files", "upload", self._upload),
            Route("POST", "/v1/files/multipart/initiate", "upload", self._upload_parts),
            Route("POST", "/v1/files/multipart/complete", "upload_complete", self._complete),
            Route("POST", "/v1/files/multipart/abort", "upload_abort", self._abort),
            Route("POST", "/v1/files/{id}/preprocess", "preprocess", self._preprocess),
            Route("GET", "/v1/files/{id}", "file", self._file),
            Route("GET", "/v1/files", "files", self._list_files),
            Route("DELETE", "/v1/files/{id}", "delete_data", self._delete_file),
            Route("GET", f"{jobs}/models/limits", "limits", self._limits),
            Route("POST", f"{jobs}/estimate-price", "estimate", self._estimate),
            Route("POST", jobs, "submit", self._submit),
            Route("GET", jobs, "find", self._list),
            Route("GET", jobs + "/{id}", "poll", self._poll),
            Route("POST", jobs + "/{id}/cancel", "cancel", self._cancel),
            Route("GET", jobs + "/{id}/events", "events", self._events),
            Route("GET", jobs + "/{id}/metrics", "metrics", self._metrics),
            Route("GET", jobs + "/{id}/checkpoints", "checkpoints", self._checkpoints),
            Route("GET", "/v1/finetune/download", "download", self._download),
            Route("GET", "/v2/projects/{project}/models/{id}", "model", self._model),
            Route("DELETE", "/v2/projects/{project}/models/{id}", "delete_model", self._delete_model),
            Route("POST", "/v1/chat/completions", "chat", self._chat),
        ]

    # files ------------------------------------------------------------------------------------------------------------

    def _upload(self, asked: Asked) -> Answer:
        form = _form(asked)
        known = self._with_checksum(form["checksum"])
        if known:
            return Answer({"file_id": known, "message": "a file with this checksum exists"}, 409)
        identity = self._new_file(form)
        address = f"{self.storage.url}/bucket/{identity}?signature={self._sign(identity)}"
        return Answer(None, 302, {"Location": address, "X-Together-File-Id": identity})

    def _with_checksum(self, checksum: str) -> str | None:
        whole = (identity for identity, file in self.files.items() if file.content is not None)
        return next((identity for identity in whole if self.files[identity].form["checksum"] == checksum), None)

    def _new_file(self, form: Mapping[str, str]) -> str:
        identity = f"file-{secrets.token_hex(8)}"
        self.files[identity] = _File(form, list(self.processing))
        return identity

    def _sign(self, identity: str) -> str:
        self._signatures[identity] = secrets.token_hex(8)
        return self._signatures[identity]

    def _upload_parts(self, asked: Asked) -> Answer:
        body = asked.json()
        identity = self._new_file(body)
        signature = self._sign(identity)
        parts = [
            {"PartNumber": number, "URL": f"{self.storage.url}/bucket/{identity}/{number}?signature={signature}"}
            for number in range(1, body["num_parts"] + 1)
        ]
        return Answer({"upload_id": "up-1", "file_id": identity, "parts": parts})

    def _store(self, asked: Asked) -> Answer:
        identity = asked.matched["id"]
        if asked.first("signature") != self._signatures.get(identity):
            return _error(403, "the signature does not match")
        if "authorization" in asked.headers:
            return _error(400, "a signed address takes no key")
        content, part = asked.content(), asked.matched.get("part")
        if part is None:
            self.files[identity].content = content
        else:
            self.files[identity].parts[int(part)] = content
        return Answer(b"", 200, {"ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'})

    def _complete(self, asked: Asked) -> Answer:
        body = asked.json()
        file = self.files[body["file_id"]]
        if [part["part_number"] for part in body["parts"]] != sorted(file.parts):
            return _error(400, "parts are missing")
        file.content = b"".join(file.parts[number] for number in sorted(file.parts))
        return Answer({"file": self._shown_file(body["file_id"])})

    def _abort(self, asked: Asked) -> Answer:
        self.files.pop(asked.json()["file_id"], None)
        return Answer({})

    def _preprocess(self, asked: Asked) -> Answer:
        file = self.files.get(asked.matched["id"])
        if file is None or file.content is None:
            return _error(400, "nothing was put there")
        if hashlib.sha256(file.content).hexdigest() != file.form["checksum"]:
            return _error(400, "the checksum is another one")
        return Answer(self._shown_file(asked.matched["id"]))

    def _file(self, asked: Asked) -> Answer:
        known = asked.matched["id"] in self.files
        return Answer(self._shown_file(asked.matched["id"])) if known else _error(404, "no such file")

    def _list_files(self, asked: Asked) -> Answer:
        del asked
        return Answer({"data": [self._shown_file(identity) for identity in self.files]})

    def _delete_file(self, asked: Asked) -> Answer:
        known = self.files.pop(asked.matched["id"], None)
        return _error(404, "no such file") if known is None else Answer({"id": asked.matched["id"], "deleted": True})

    def _shown_file(self, identity: str) -> dict[str, Any]:
        file = self.files[identity]
        word = file.look()
        shown: dict[str, Any] = {
            "id": identity, "object": "file", "bytes": len(file.content or b""), "filename": file.form["file_name"],
            "created_at": int(file.created_at), "FileType": "jsonl", "purpose": file.form["purpose"],
            "processing_status": word,
        }  # fmt: skip
        if word == "INVALID_FORMAT":
            shown["validation_report"] = {"valid": False, "error_type": "INVALID_FORMAT", "error": self.refusal}
        return shown

    # jobs -------------------------------------------------------------------------------------------------------------

    def _limits(self, asked: Asked) -> Answer:
        if asked.first("model_name").startswith("unknown"):
            return _error(404, f"model {asked.first('model_name')} is not available for fine-tuning")
        return Answer(self.limits)

    def _estimate(self, asked: Asked) -> Answer:
        return Answer(self.estimate) if asked.json()["training_file"] in self.files else _error(404, "no such file")

    def _submit(self, asked: Asked) -> Answer:
        body = asked.json()
        for name in ("training_file", "validation_file"):
            file = self.files.get(body.get(name, body["training_file"]))
            if file is None or file.look() != "COMPLETED":
                return _error(400, f"{name} is not ready")
        if len(body.get("suffix", "")) > 40 or "training_type" not in body:
            return _error(400, "the suffix is too long, or training_type is missing")
        job = self.jobs.add(body.get("suffix", "")[-26:], body)
        return Answer(self._shown(job))

    def _list(self, asked: Asked) -> Answer:
        del asked
        return Answer({"data": [self._shown(job) for job in self.jobs.listed()]})

    def _poll(self, asked: Asked) -> Answer:
        job = self.jobs.poll(asked.matched["id"])
        if job is None:
            return _error(404, f"job {asked.matched['id']} was not found")
        registered = {
            "events": self._told(job),
            "model_object_id": f"ml_{job.id}",
            "model_object_name": f"canary/{_output(job)}",
            "adapter_object_id": f"ml_{job.id}-adapter",
        }
        return Answer({**self._shown(job), **(registered if job.word.lower() == "completed" else {}),
                       "events": self._told(job)})  # fmt: skip

    def _cancel(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return _error(404, "no such job")
        if job.word.lower() in ("completed", "error", "user_error", "cancelled", "cancel_requested"):
            return _error(400, f"a job that is {job.word} cannot be cancelled")
        self.jobs.tell(job.id, "cancel_requested", "cancelled")
        self.jobs.poll(job.id)
        return Answer(self._shown(job))

    def _events(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        return _error(404, "no such job") if job is None else Answer({"data": self._told(job)})

    def _told(self, job: RemoteJob) -> list[dict[str, Any]]:
        """One event a word, in both of the host's spellings."""
        told = []
        for number, word in enumerate(job.states[: job.shown + 1]):
            kind = {"completed": "job_complete", "error": "JOB_ERROR", "user_error": "job_user_error"}.get(
                word.lower(), "JOB_PENDING" if number == 0 else f"job_{word.lower()}"
            )
            failed = word.lower() in ("error", "user_error")
            told.append({
                "object": "fine-tune-event", "type": kind, "level": "Error" if failed else "info",
                "message": self.failure if failed else f"the job is {word}",
                "created_at": _date(job.created_at + number),
            })  # fmt: skip
        return told

    def _metrics(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None or "running" not in [word.lower() for word in job.states[: job.shown + 1]]:
            return _error(404, "no metrics were recorded")
        rows = [
            {"train/global_step": float(step), "train/loss": 2.0 / step, "timestamp": job.created_at + 2 + step / 10}
            for step in (1, 2, 3)
        ]
        return Answer(
            {"metrics": [*rows, {"train/global_step": 3.0, "eval/loss": 0.5, "timestamp": job.created_at + 3}]}
        )

    def _checkpoints(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return _error(404, "no such job")
        rows = [
            {
                "step": step, "checkpoint": kind, "checkpoint_type": f"{label} ({kind})", "path": f"s3://x/{step}",
                "created_at": _date(job.created_at), "object_id": f"ml_{job.id}-{step}-{kind}",
            }
            for step, label in ((6, "Final"), (3, "Intermediate"))
            for kind in ("adapter", "model")
        ]  # fmt: skip
        return Answer({"data": rows})

    def _shown(self, job: RemoteJob) -> dict[str, Any]:
        body = job.body
        told = {
            name: body[name]
            for name in (
                "model", "from_checkpoint", "suffix", "training_file", "validation_file", "n_epochs", "n_evals",
                "n_checkpoints", "learning_rate", "lr_scheduler", "training_type", "training_method", "warmup_ratio",
                "max_grad_norm", "weight_decay", "packing", "max_seq_length", "random_seed",
                "wandb_project_name",
            )
            if name in body
        }  # fmt: skip
        batch = body.get("batch_size", "max")
        return {
            "id": job.id, "status": job.word, "user_id": "user-1", "created_at": _date(job.created_at),
            "updated_at": _date(job.created_at), "batch_size": 32 if batch == "max" else batch,
            "model_output_name": _output(job), "learning_rate": 1e-5, **told, **self.changed,
        }  # fmt: skip

    # models -----------------------------------------------------------------------------------------------------------

    def _download(self, asked: Asked) -> Answer:
        job, kind = self.jobs.all.get(asked.first("ft_id")), asked.first("checkpoint")
        full = job is not None and job.body["training_type"]["type"] == "Full"
        if job is None or job.word.lower() != "completed" or full != (kind == "model_output_path"):
            return _error(400, "there is nothing to download")
        if self.moved:
            return Answer(None, 302, {"Location": f"{self.storage.url}/weights/{kind}?signature=1"})
        return Answer(self.weights[kind], 200, {"Content-Type": "application/x-tar"})

    def _weights(self, asked: Asked) -> Answer:
        if "authorization" in asked.headers:
            return _error(400, "a signed address takes no key")
        return Answer(self.weights[asked.matched["kind"]], 200, {"Content-Type": "application/octet-stream"})

    def _model(self, asked: Asked) -> Answer:
        if asked.matched["id"] in self._deleted:
            return _error(404, "no such model")
        return Answer({"id": asked.matched["id"], "name": "canary/model", "baseModelId": "ml_base"})

    def _delete_model(self, asked: Asked) -> Answer:
        if asked.matched["id"] in self._deleted:
            return _error(404, "no such model")
        self._deleted.add(asked.matched["id"])
        return Answer({})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        tuned = {_output(job) for job in self.jobs.all.values() if job.word.lower() == "completed"}
        if body["model"] in tuned and not self.serverless:
            words = f"Unable to access non-serverless model {body['model']}. Create a dedicated endpoint for it."
            return Answer({"error": {"message": words, "code": "model_not_available"}}, 400)
        if body["model"] not in tuned | self.endpoints.answering():
            return _error(404, f"there is no model {body['model']}")
        said = f"You said: {body['messages'][-1]['content']}".split(" ")
        kept = said[: body.get("max_tokens") or len(said)]
        if body.get("stream"):
            return Answer(_streamed(kept))
        choice = {"message": {"role": "assistant", "content": " ".join(kept)}, "finish_reason": "stop"}
        return Answer({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": len(kept)}})


def _error(status: int, words: str) -> Answer:
    return Answer({"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}}, status)


def _form(asked: Asked) -> dict[str, str]:
    """The fields of a multipart form."""
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    fields = {}
    for part in asked.content().split(b"--" + boundary)[1:-1]:
        head, _, value = part.strip(b"\r\n").partition(b"\r\n\r\n")
        fields[head.split(b'name="')[1].split(b'"')[0].decode()] = value.decode()
    return fields


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _output(job: RemoteJob) -> str:
    return f"canary/{str(job.body.get('model')).rpartition('/')[2]}-{job.body.get('suffix')}-{job.id[-8:]}"


def _archive(kind: str) -> bytes:
    """A tar archive as the host makes them, with one small tensor."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors = struct.pack("<Q", len(header)) + header + b"\0\0\0\0"
    name = "adapter_model.safetensors" if kind == "adapter" else "model.safetensors"
    config = "adapter_config.json" if kind == "adapter" else "config.json"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in ((name, tensors), (config, b'{"from": "together"}')):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _streamed(words: list[str]) -> Iterator[object]:
    for position, word in enumerate(words):
        yield {"choices": [{"delta": {"content": f"{' ' if position else ''}{word}"}}]}
    yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    yield "[DONE]"

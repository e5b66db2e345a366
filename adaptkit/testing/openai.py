"""A fake of OpenAI's fine-tuning wire: files, uploads in parts, jobs, models that answer; also as Azure and Nebius do.

```python
with closing(FakeOpenAI(key="sk-test")) as service:
    config = OpenAIConfig(profile="openai", base_url=service.url, model=service.base)
```
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from adaptkit.testing.openai_files import FakeFiles, error, missing, page, refused
from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route, Wire

__all__ = ["FakeOpenAI"]

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_ARM = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.CognitiveServices/accounts/{account}"


class FakeOpenAI:
    """The service. It listens from the start until `close`.

    Args:
        key: Key that requests must carry; ``None`` for any.
        profile: Whose ways it has: Azure names models otherwise and lets them answer only deployed, Nebius has no name
            for a model but files of its checkpoints.

    Attributes:
        wire: The server: faults, counts, what was asked.
        jobs: The jobs; `Jobs.script` says which states new ones go through.
        url: Address of the wire, with ``/v1``.
        base: Id of the base model that there is.
        store: The files.
        ignores_filter: Whether lists show every job, whatever metadata was asked for.
        keeps_metadata: Whether jobs show the metadata that they were made with.
        newest_page: Most jobs, events or checkpoints of a page, whatever was asked for.
        closed: Whether the organization may make no jobs: 403, ``training_not_available``.
        shutdown_dates: By id of a model.
        fault: What a failed job says.
        overrides: Fields that every job shows instead of its own.
        figures: Losses that a job tells when it runs.
        wraps_results: Whether result files are base64.
        reply: What models answer; ``{text}`` stands for the question.
        weights: Files of a checkpoint by name (Nebius).
        deployments: By name (Azure, Nebius).
    """

    def __init__(self, key: str | None = None, profile: Literal["openai", "azure", "nebius"] = "openai") -> None:
        self.profile = profile
        self.jobs = Jobs("validating_files", "queued", "running", "succeeded")
        self.base = {
            "openai": "gpt-4.1-mini-2025-04-14",
            "azure": "gpt-4.1-2025-04-14",
            "nebius": "meta-llama/Llama-3.1-8B-Instruct",
        }[profile]
        self.store = FakeFiles()
        self._deleted: set[str] = set()
        self.ignores_filter, self.keeps_metadata, self.closed = False, True, False
        self.wraps_results = False
        self.newest_page = 100
        self.shutdown_dates: dict[str, str] = {}
        self.fault = {"code": "invalid_training_file", "message": "line 7 has no answer", "param": "training_file"}
        self.overrides: dict[str, Any] = {}
        self.figures: Sequence[float] = (1.5, 0.75)
        self.reply = "You said: {text}"
        self.weights: dict[str, bytes] = {"adapter_config.json": b"{}"}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.wire = Wire(self._routes(), key)

    @property
    def url(self) -> str:
        """Address of the wire; follows `Wire.url`."""
        return f"{self.wire.url}/v1"

    @property
    def files(self) -> dict[str, bytes]:
        """Content of every file by id."""
        return self.store.content

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    def _routes(self) -> list[Route]:
        job = "/v1/fine_tuning/jobs/{id}"
        deployment = _ARM + "/deployments/{name}"
        return [
            *self.store.routes(),
            Route("POST", "/v1/fine_tuning/jobs", "submit", self._submit),
            Route("GET", "/v1/fine_tuning/jobs", "find", self._find),
            Route("GET", job, "poll", self._poll),
            Route("POST", f"{job}/cancel", "cancel", lambda asked: self._tell(asked, "cancelled")),
            Route("POST", f"{job}/pause", "pause", lambda asked: self._tell(asked, "pausing", "paused")),
            Route("POST", f"{job}/resume", "resume", lambda asked: self._tell(asked, "queued", "running", "succeeded")),
            Route("GET", f"{job}/events", "events", self._events),
            Route("GET", f"{job}/checkpoints", "checkpoints", self._checkpoints),
            Route("GET", "/v1/models", "list_models", self._list_models),
            Route("GET", "/v1/models/{id*}", "shutdown_date", self._model),
            Route("DELETE", "/v1/models/{id*}", "delete_model", self._delete_model),
            Route("POST", "/v1/chat/completions", "chat", self._chat),
            Route("POST", "/v0/models", "deploy", self._serve),
            Route("GET", "/v0/models", "find_deployments", lambda _: Answer(list(self.deployments.values()))),
            Route("GET", "/v0/models/{name*}", "deployment", self._served),
            Route("DELETE", "/v0/models/{name*}", "undeploy", self._unserve),
            Route("PUT", deployment, "deploy", self._deploy),
            Route("GET", deployment, "deployment", self._deployment),
            Route("DELETE", deployment, "undeploy", self._undeploy),
        ]

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _submit(self, asked: Asked) -> Answer:
        body = asked.json()
        if self.closed:
            words = "OpenAI is winding down the fine-tuning platform and your organization is no longer able to create"
            return error(403, f"{words} new fine-tuning training jobs.", "training_not_available")
        files = [body.get("training_file"), body.get("validation_file")]
        if not files[0] or any(file_id and file_id not in self.files for file_id in files):
            return refused("no such file")
        tag = (body.get("metadata") or {}).get("adaptkit_tag", "")
        if self.profile == "nebius":
            tag = str(body.get("suffix") or "")[-26:]
        return Answer(self._job(self.jobs.add(tag, body, f"ftjob-{secrets.token_hex(12)}")))

    def _job(self, job: RemoteJob) -> dict[str, Any]:
        method = job.body.get("method") or {"type": "supervised"}
        word = job.word
        failed = word == "failed"
        shown = {
            "id": job.id,
            "object": "fine_tuning.job",
            "created_at": int(job.created_at),
            "error": self.fault if failed else {} if word == "succeeded" else dict.fromkeys(self.fault),
            "fine_tuned_model": self._name(job) if word == "succeeded" else None,
            "hyperparameters": (method.get("supervised") or {}).get("hyperparameters"),  # null for the other methods
            "method": method,
            "model": job.body["model"],
            "metadata": job.body.get("metadata") if self.keeps_metadata else None,
            "organization_id": "org-fake",
            "result_files": self._results(job) if word == "succeeded" else [],
            "seed": job.body.get("seed", 42),
            "status": word,
            "trained_tokens": 4_321 if word == "succeeded" else None,
            "training_file": job.body["training_file"],
            "validation_file": job.body.get("validation_file"),
            "user_provided_suffix": job.body.get("suffix"),
            "integrations": job.body.get("integrations", []),
        }
        if self.profile == "nebius":
            steps = len(self.figures)
            shown |= {"suffix": job.body.get("suffix"), "trained_steps": steps, "total_steps": steps, "metadata": None}
        return {**shown, **self.overrides}

    def _name(self, job: RemoteJob) -> str | None:
        short = job.id.removeprefix("ftjob-")[:8]
        suffix = job.body.get("suffix") or ""
        if self.profile == "openai":
            return f"ft:{job.body['model']}:fake-org:{suffix}:{short}"
        return f"{job.body['model']}.ft-{short}{f'-{suffix}' if suffix else ''}" if self.profile == "azure" else None

    def _find(self, asked: Asked) -> Answer:
        wanted = {name[9:-1]: values[0] for name, values in asked.query.items() if name.startswith("metadata[")}
        rows = [self._job(job) for job in self.jobs.listed()]
        if wanted and not self.ignores_filter:
            rows = [row for row in rows if wanted.items() <= (row["metadata"] or {}).items()]
        return page(asked, rows, 20, self.newest_page)

    def _poll(self, asked: Asked) -> Answer:
        job = self.jobs.poll(asked.matched["id"])
        return Answer(self._job(job)) if job else missing("Could not find fine tune: no such job")

    def _tell(self, asked: Asked, *words: str) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return missing("Could not find fine tune: no such job")
        if job.word in _ENDED:
            return refused(f"Job has already completed: {job.word}")
        self.jobs.tell(job.id, *words)
        return Answer(self._job(job))

    def _events(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return missing("no such job")
        return page(asked, list(self._told(job))[::-1], 20, self.newest_page)

    def _told(self, job: RemoteJob) -> Iterator[dict[str, Any]]:
        """Events, oldest first; all within a second, as they may be."""
        number = 0

        def event(message: str, kind: str = "message", data: Mapping[str, Any] | None = None) -> dict[str, Any]:
            nonlocal number
            number += 1
            return {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job.id[6:]}-{number:04d}",
                "created_at": int(job.created_at),
                "level": "info",
                "message": message,
                "type": kind,
                "data": data or {},
            }

        for word in job.states[: job.shown + 1]:
            yield event(f"The job is {word}")
            if word == "running":
                for step, loss in enumerate(self.figures, 1):
                    data = {"step": step, "train_loss": loss, "total_steps": len(self.figures)}
                    yield event(f"Step {step}: training loss={loss}", "metrics", data)

    def _results(self, job: RemoteJob) -> list[str]:
        """A table of what was measured, under the names that result files have."""
        if "results" not in job.facts:
            rows = [f"{step},{loss},,{loss + 0.1}" for step, loss in enumerate(self.figures, 1)]
            table = "\n".join(["step,train_loss,train_accuracy,valid_loss", *rows]).encode()
            content = base64.b64encode(table) if self.wraps_results else table
            job.facts["results"] = self.store.keep(content, "step_metrics.csv", "fine-tune-results")["id"]
        return [job.facts["results"]]

    def _checkpoints(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return missing("no such job")
        if job.word != "succeeded":
            return page(asked, [], 10, self.newest_page)
        return page(
            asked, [self._checkpoint(job, step) for step in range(len(self.figures), 0, -1)], 10, self.newest_page
        )

    def _checkpoint(self, job: RemoteJob, step: int) -> dict[str, Any]:
        name = self._name(job)
        row = {
            "id": f"ftckpt_{job.id[6:14]}{step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(job.created_at) + step,
            "fine_tuned_model_checkpoint": f"{name or job.id}:ckpt-step-{step}",
            "fine_tuning_job_id": job.id,
            "metrics": {"step": float(step), "train_loss": self.figures[step - 1]},
            "step_number": step,
        }
        if self.profile == "nebius":
            kept = job.facts.setdefault(str(step), {})
            for file_name, content in self.weights.items():
                if file_name not in kept:
                    kept[file_name] = self.store.keep(content, file_name, "fine-tune-results")["id"]
            row["result_files"] = [kept[file_name] for file_name in self.weights]
        return row

    # -- models ---------------------------------------------------------------------------------------------------

    def _models(self) -> dict[str, dict[str, Any]]:
        made = [self._name(job) for job in self.jobs.all.values() if job.word == "succeeded"]
        made += [
            str(self._checkpoint(job, step)["fine_tuned_model_checkpoint"])
            for job in self.jobs.all.values()
            if job.word == "succeeded" and self.profile != "nebius"
            for step in range(1, len(self.figures) + 1)
        ]
        return {
            name: {
                "id": name,
                "object": "model",
                "created": 1_700_000_000,
                "owned_by": "fake-org",
                "shutdown_date": self.shutdown_dates.get(name),
            }
            for name in [self.base, *filter(None, made)]
            if name not in self._deleted
        }

    def _list_models(self, asked: Asked) -> Answer:
        del asked
        return Answer({"object": "list", "data": list(self._models().values())})

    def _model(self, asked: Asked) -> Answer:
        found = self._models().get(asked.matched["id"])
        return Answer(found) if found else missing("The model does not exist", "model_not_found")

    def _delete_model(self, asked: Asked) -> Answer:
        name = asked.matched["id"]
        if name not in self._models() or name == self.base:
            return missing("The model does not exist", "model_not_found")
        self._deleted.add(name)
        return Answer({"id": name, "object": "model", "deleted": True})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        if not self._answers(str(body["model"])):
            return missing(f"The model `{body['model']}` does not exist", "model_not_found")
        question = body["messages"][-1]["content"]
        words = self.reply.replace("{text}", question if isinstance(question, str) else "").split(" ")
        kept = words[: body.get("max_tokens") or len(words)]
        finish = "stop" if len(kept) == len(words) else "length"
        if body.get("stream"):
            return Answer(self._chunks(kept, finish))
        return Answer(
            {
                "id": "chatcmpl-fake",
                "object": "chat.completion",
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": " ".join(kept)},
                        "finish_reason": finish,
                    }
                ],
                "usage": {"prompt_tokens": 7, "completion_tokens": len(kept), "total_tokens": 7 + len(kept)},
            }
        )

    def _answers(self, model: str) -> bool:
        if self.profile == "azure":
            return model in self.deployments and self._state_of(self.deployments[model]) == "Succeeded"
        return model in self._models() or self.deployments.get(model, {}).get("status") == "active"

    def _chunks(self, words: Sequence[str], finish: str) -> Iterator[Any]:
        for number, word in enumerate(words):
            delta = {"content": f"{' ' if number else ''}{word}"}
            yield {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        yield "[DONE]"

    # -- deployments ------------------------------------------------------------------------------------------------

    def _serve(self, asked: Asked) -> Answer:
        given = asked.json()
        name = f"{given['base_model'].removesuffix('-fast')}-LoRa:{given['name']}-{secrets.token_hex(2)}"
        self.deployments[name] = {**given, "name": name, "created_at": int(time.time()), "status": "validating"}
        return Answer(dict(self.deployments[name]))

    def _served(self, asked: Asked) -> Answer:
        told = self.deployments.get(asked.matched["name"])
        if told is None:
            return missing("no such model")
        told["status"] = "active"
        return Answer(dict(told))

    def _unserve(self, asked: Asked) -> Answer:
        told = self.deployments.pop(asked.matched["name"], None)
        return missing("no such model") if told is None else Answer({**told, "status": "deleted"})

    def _deploy(self, asked: Asked) -> Answer:
        name, known = asked.matched["name"], asked.matched["name"] in self.deployments
        if not known:
            self.deployments[name] = {**asked.json(), "name": name, "states": ["Creating", "Succeeded"]}
        return Answer(self._deployment_shown(name), 200 if known else 201)

    def _deployment(self, asked: Asked) -> Answer:
        name = asked.matched["name"]
        if name not in self.deployments:
            return missing("the deployment was not found", "ResourceNotFound")
        states = self.deployments[name]["states"]
        if len(states) > 1:
            states.pop(0)
        if states == ["gone"]:
            del self.deployments[name]
            return missing("the deployment was not found", "ResourceNotFound")
        return Answer(self._deployment_shown(name))

    def _undeploy(self, asked: Asked) -> Answer:
        name = asked.matched["name"]
        if name not in self.deployments:
            return Answer(None, 204)
        self.deployments[name]["states"] = ["Deleting", "Deleting", "gone"]
        return Answer(None, 202)

    def _state_of(self, deployment: Mapping[str, Any]) -> str:
        return str(deployment["states"][0])

    def _deployment_shown(self, name: str) -> dict[str, Any]:
        told = self.deployments[name]
        properties = {**told["properties"], "provisioningState": self._state_of(told)}
        return {"name": name, "sku": told["sku"], "properties": properties}

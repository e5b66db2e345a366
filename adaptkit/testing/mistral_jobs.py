"""A private deployment with Mistral's former jobs API, on this machine: jobs, files, tuned models, and their chat.

Its paths, words and limits are those of the published protocol. A job that was made unstarted waits at ``VALIDATED``
until it is begun; `FakeMistralJobs.begun` counts how often each was.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from adaptkit.testing.mistral_chat import FakeMistral
from adaptkit.testing.openai_files import form
from adaptkit.testing.wire import Answer, Asked, Jobs, RemoteJob, Route

__all__ = ["FakeMistralJobs"]

_PATH = "/v1/fine_tuning/jobs"
_ENDED = ("SUCCESS", "FAILED", "FAILED_VALIDATION", "CANCELLED")
_STOPPING = "CANCELLATION_REQUESTED"
_LARGEST = 512_000_000


class FakeMistralJobs:
    """A deployment, as it is heard from outside.

    Args:
        key: Key that requests must carry; ``None`` for any.
        has_jobs: Whether it has the paths of jobs; those of Mistral itself answer 410.

    Attributes:
        wire: The server.
        chat: Who answers for the models.
        jobs: Its jobs.
        begun: How often each job was begun, by its id.
        files: Uploaded files by id: what is told of each, and its content.
        models: Cards of tuned models by id.
        cost: What it says that a job costs.
        failure: Its words on a job that fails.
        sizeless: Whether it leaves out how many bytes a file has, as the specification's own example does.
        dry: Whether it knows dry runs.
        filters: Whether its lists heed what is asked for.
        strict: Whether it makes no second job of the same model and files while one is not over.
        changed: Hyperparameters that jobs run with, whatever was asked for.
    """

    BASE = "ministral-3b-base"

    def __init__(self, key: str | None = None, *, has_jobs: bool = True) -> None:
        self.jobs = Jobs("QUEUED", "VALIDATED", "RUNNING", "SUCCESS")
        self.begun: Counter[str] = Counter()
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.cost: dict[str, Any] = {"cost": 4.0, "cost_currency": "USD", "expected_duration_seconds": 220}
        self.failure = "the model went out for a walk"
        self.sizeless, self.dry, self.filters, self.strict = False, True, True, False
        self.changed: dict[str, Any] = {}
        jobs = self._job_routes() if has_jobs else _gone()
        self.chat = FakeMistral(key, [*jobs, *self._file_routes(), *self._model_routes()])
        self.chat.answers = lambda name: name == self.BASE or not self.models.get(name, {"archived": True})["archived"]
        self.wire = self.chat.wire

    def close(self) -> None:
        """Stop listening."""
        self.chat.close()

    def own(self, name: str, *, archived: bool = False, until: date | None = None, job: str | None = None) -> str:
        """Let the account own a model; gives its id.

        Args:
            name: A part of its id.
            archived: Whether it was put away.
            until: The day from which it no longer answers.
            job: Id of the job that made it; an unknown one where none is named.
        """
        model_id = f"ft:{self.BASE}:{name}:20260101:{secrets.token_hex(4)}"
        self.models[model_id] = {
            "id": model_id, "object": "model", "type": "fine-tuned", "created": int(time.time()), "owned_by": "acme",
            "root": self.BASE, "job": job or str(uuid.uuid4()), "archived": archived, "name": name, "description": None,
            "capabilities": _CAN, "max_context_length": 32768, "aliases": [],
            "deprecation": None if until is None else datetime.combine(until, datetime.min.time(), UTC).isoformat(),
        }  # fmt: skip
        return model_id

    # files ------------------------------------------------------------------------------------------------------------

    def _file_routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/files", "upload", self._upload),
            Route("GET", "/v1/files", "files", lambda asked: _page(asked, [told for told, _ in self.files.values()])),
            Route("GET", "/v1/files/{id}", "has_upload", self._file),
            Route("DELETE", "/v1/files/{id}", "delete_data", self._delete_file),
        ]

    def _upload(self, asked: Asked) -> Answer:
        fields = form(asked)
        name, content = fields["file"]
        if len(content) > _LARGEST:
            return _error(413, "the file is too large")
        for told, kept in self.files.values():
            if (told["filename"], kept) == (name, content):
                return Answer(told)
        file_id = str(uuid.uuid4())
        told = {
            "id": file_id, "object": "file", "bytes": None if self.sizeless else len(content), "filename": name,
            "created_at": int(time.time()), "purpose": fields["purpose"][1].decode(), "sample_type": "instruct",
            "source": "upload", "num_lines": content.count(b"\n"),
        }  # fmt: skip
        self.files[file_id] = told, content
        return Answer(told)

    def _file(self, asked: Asked) -> Answer:
        known = self.files.get(asked.matched["id"])
        return _error(404, "no such file") if known is None else Answer(known[0])

    def _delete_file(self, asked: Asked) -> Answer:
        known = self.files.pop(asked.matched["id"], None)
        return _error(404, "no such file") if known is None else Answer({"id": asked.matched["id"], "deleted": True})

    # jobs -------------------------------------------------------------------------------------------------------------

    def _job_routes(self) -> list[Route]:
        return [
            Route("POST", _PATH, "submit", self._submit),
            Route("GET", _PATH, "find", self._list),
            Route("GET", _PATH + "/{id}", "poll", self._poll),
            Route("POST", _PATH + "/{id}/start", "start", self._start),
            Route("POST", _PATH + "/{id}/cancel", "cancel", self._cancel),
        ]

    def _submit(self, asked: Asked) -> Answer:
        body = asked.json()
        if wrong := self._wrong(body):
            return _error(422, wrong)
        if asked.first("dry_run") == "true" and self.dry:
            epochs = body["hyperparameters"].get("epochs")
            facts = {"object": "job.metadata", "deprecated": True, "details": "", "epochs": epochs}
            return Answer({**facts, **self.cost, "train_tokens": 1310720, "data_tokens": 305375})
        like = [job for job in self.jobs.all.values() if job.word not in (*_ENDED, _STOPPING) and _same(job.body, body)]
        if self.strict and like:
            return _error(409, "a similar job is already running, validated or queued")
        job = self.jobs.add(body.get("suffix") or "", body, str(uuid.uuid4()))
        return Answer(self._told(job))

    def _wrong(self, body: Mapping[str, Any]) -> str | None:
        named = [each["file_id"] for each in body["training_files"]] + list(body.get("validation_files") or ())
        if missing := [file_id for file_id in named if file_id not in self.files]:
            return f"no such file: {missing[0]}"
        if len(body.get("suffix") or "") > 18:
            return "suffix: String should have at most 18 characters"
        if not {"epochs", "training_steps"} & set(body["hyperparameters"]):
            return "hyperparameters: epochs or training_steps"
        return None

    def _list(self, asked: Asked) -> Answer:
        wanted = {name: asked.first(name) for name in ("suffix", "model", "status") if asked.first(name)}
        told = [self._told(job) for job in self.jobs.listed()]
        heeded = [job for job in told if all(job[name] == value for name, value in wanted.items())]
        return _page(asked, heeded if self.filters else told)

    def _poll(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return _error(404, "no such job")
        if job.word != "VALIDATED" or job.body.get("auto_start"):
            self._go_on(job)
        return Answer(self._told(job, whole=True))

    def _go_on(self, job: RemoteJob) -> None:
        self.jobs.poll(job.id)
        if job.word == "SUCCESS" and "model" not in job.facts:
            job.facts["model"] = self.own(job.tag or "model", job=job.id)

    def _start(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return _error(404, "no such job")
        if job.word != "VALIDATED":
            return _error(400, f"a job that is {job.word} cannot be started")
        self.begun[job.id] += 1
        self._go_on(job)
        return Answer(self._told(job, whole=True))

    def _cancel(self, asked: Asked) -> Answer:
        job = self.jobs.all.get(asked.matched["id"])
        if job is None:
            return _error(404, "no such job")
        if job.word in (*_ENDED, _STOPPING):
            return _error(400, f"a job that is {job.word} cannot be cancelled")
        self.jobs.tell(job.id, _STOPPING, "CANCELLED")
        self.jobs.poll(job.id)
        return Answer(self._told(job, whole=True))

    def _told(self, job: RemoteJob, *, whole: bool = False) -> dict[str, Any]:
        body, at = job.body, int(job.created_at)
        told = {
            "id": job.id, "object": "job", "job_type": "completion", "model": body["model"], "status": job.word,
            "auto_start": body.get("auto_start", False), "created_at": at, "modified_at": at + job.shown,
            "training_files": [each["file_id"] for each in body["training_files"]],
            "validation_files": body.get("validation_files"), "suffix": body.get("suffix"), "integrations": [],
            "hyperparameters": {"seq_len": 32768, **body["hyperparameters"], **self.changed}, "repositories": [],
            "fine_tuned_model": job.facts.get("model"), "metadata": self.cost,
            "trained_tokens": 1310720 if job.word == "SUCCESS" else None,
        }  # fmt: skip
        return {**told, "events": self._events(job), "checkpoints": _checkpoints(job)} if whole else told

    def _events(self, job: RemoteJob) -> list[dict[str, Any]]:
        """Newest first."""
        told = []
        for number, word in enumerate(job.states[: job.shown + 1]):
            why = {"error": self.failure} if word.startswith("FAILED") else {}
            at = int(job.created_at) + number
            told.append({"name": "status-updated", "data": {"status": word, **why}, "created_at": at})
        return told[::-1]

    # models -----------------------------------------------------------------------------------------------------------

    def _model_routes(self) -> list[Route]:
        tuned = "/v1/fine_tuning/models/{id}"
        return [
            Route("GET", "/v1/models", "models", self._list_models),
            Route("GET", "/v1/models/{id}", "model", lambda asked: self._model(asked, {})),
            Route("DELETE", "/v1/models/{id}", "delete_model", self._delete_model),
            Route("PATCH", tuned, "rename", lambda asked: self._model(asked, asked.json(), tuned=True)),
            Route("POST", tuned + "/archive", "archive", lambda asked: self._archive(asked, archived=True)),
            Route("DELETE", tuned + "/archive", "unarchive", lambda asked: self._archive(asked, archived=False)),
        ]

    def _list_models(self, asked: Asked) -> Answer:
        del asked
        base = {"id": self.BASE, "object": "model", "type": "base", "capabilities": _CAN}
        return Answer({"object": "list", "data": [base, *self.models.values()]})

    def _model(self, asked: Asked, changed: Mapping[str, Any], *, tuned: bool = False) -> Answer:
        card = self.models.get(asked.matched["id"])
        if card is None:
            return _error(404, "no such model")
        card |= changed
        more = {"model_type": "completion", "workspace_id": "w", "root_version": "1"} if tuned else {}
        return Answer({**card, **more})

    def _delete_model(self, asked: Asked) -> Answer:
        known = self.models.pop(asked.matched["id"], None)
        return _error(404, "no such model") if known is None else Answer({"id": known["id"], "deleted": True})

    def _archive(self, asked: Asked, *, archived: bool) -> Answer:
        card = self.models.get(asked.matched["id"])
        if card is None:
            return _error(404, "no such model")
        card["archived"] = archived
        return Answer({"id": card["id"], "object": "model", "archived": archived})


_CAN = {
    "completion_chat": True, "completion_fim": False, "function_calling": True, "fine_tuning": True,
    "classification": False,
}  # fmt: skip


def _gone() -> list[Route]:
    def answer(asked: Asked) -> Answer:
        del asked
        return _error(410, "fine-tuning has been retired")

    paths = (_PATH, _PATH + "/{rest*}")
    return [Route(method, path, "jobs", answer) for method in ("GET", "POST") for path in paths]


def _error(status: int, words: str) -> Answer:
    return Answer({"object": "error", "message": words, "type": "invalid_request_error", "code": None}, status)


def _page(asked: Asked, rows: Sequence[Mapping[str, Any]]) -> Answer:
    page, size = int(asked.first("page", "0")), int(asked.first("page_size", "100"))
    shown = list(rows[page * size : (page + 1) * size])
    return Answer({"object": "list", "data": shown, "total": len(rows)})


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["model"], one["training_files"]) == (other["model"], other["training_files"])


def _checkpoints(job: RemoteJob) -> list[dict[str, Any]]:
    if "RUNNING" not in job.states[: job.shown + 1]:
        return []
    at = int(job.created_at) + job.states.index("RUNNING")
    return [
        {
            "metrics": {"train_loss": 2.0 / step, "valid_loss": None, "valid_mean_token_accuracy": 0.25 * step},
            "step_number": step,
            "created_at": at + step,
        }
        for step in (3, 2, 1)
    ]

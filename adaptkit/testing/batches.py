"""Batch APIs of three vendors on this machine: they take requests, and answer them when they are told to end.

```python
with closing(FakeAnthropic()) as service:
    ...  # your code sends a batch to service.wire.url
    service.batches.end()
```
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from adaptkit.testing.wire import Answer, Asked, Route

__all__ = ["AnthropicBatches", "FakeBatches", "MistralBatches", "OpenAIBatches"]

_AT = "2026-11-25T07:00:00Z"


@dataclass
class Held:
    """One batch: what was asked, the vendor's word for how it stands, and what became of each request."""

    id: str
    requests: list[dict[str, Any]]
    word: str
    metadata: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def count(self, how: str) -> int:
        """How many ended so: ``succeeded``, ``errored``, ``expired`` or ``canceled``."""
        return sum(outcome == how for outcome, _ in self.outcomes.values())


class FakeBatches:
    """What the three have in common. ``words`` are the vendor's for the beginning, the end and a cancellation.

    Args:
        chat: Answers one request, as the vendor does outside of batches.

    Attributes:
        held: Batches by id, in order.
        files: Contents by id.
    """

    words: tuple[str, str, str]

    def __init__(self, chat: Callable[[Asked], Answer]) -> None:
        self._chat = chat
        self.held: dict[str, Held] = {}
        self.files: dict[str, bytes] = {}

    def end(self, *, errored: Collection[int] = (), expired: Collection[int] = (), word: str | None = None) -> None:
        """Answer what is under way, last question first, and end it.

        Args:
            errored: Numbers of requests that fail.
            expired: Numbers of requests whose time runs out.
            word: The vendor's word for the end, if not the usual.
        """
        for held in self.held.values():
            if held.outcomes:
                continue
            for request in reversed(held.requests):
                number = int(request["custom_id"].rpartition("-")[2])
                how = "errored" if number in errored else "expired" if number in expired else "succeeded"
                held.outcomes[request["custom_id"]] = (how, self._answer(request) if how == "succeeded" else None)
            held.word = word or self.words[1]

    def _answer(self, request: dict[str, Any]) -> Any:
        body = json.dumps(self._body(request)).encode()
        return self._chat(Asked("POST", "", {}, {"anthropic-version": "in a batch"}, io.BytesIO(body))).body

    def _body(self, request: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _hold(self, batch_id: str, requests: list[dict[str, Any]], metadata: dict[str, str]) -> Held:
        held = self.held[batch_id] = Held(batch_id, requests, self.words[0], metadata)
        return held

    def _stop(self, held: Held) -> None:
        if not held.outcomes:
            held.outcomes = {request["custom_id"]: ("canceled", None) for request in held.requests}
            held.word = self.words[2]

    def _take(self, asked: Asked) -> str:
        """Keep the file of a multipart form."""
        boundary = asked.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        part = next(part for part in asked.content().split(b"--" + boundary) if b"filename=" in part)
        file_id = f"file-{secrets.token_hex(6)}"
        self.files[file_id] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return file_id

    def _lines(self, file_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[file_id].splitlines()]

    def _results(self, held: Held) -> tuple[str, str]:
        """The files with what succeeded and what did not."""
        good, bad = f"{held.id}-output", f"{held.id}-errors"
        lines: dict[str, list[dict[str, Any]]] = {good: [], bad: []}
        for custom_id, (how, body) in held.outcomes.items():
            line: dict[str, Any] = {"id": "r", "custom_id": custom_id, "error": None, "response": None}
            if how == "succeeded":
                line["response"] = {"status_code": 200, "request_id": "q", "body": body}
            elif how == "errored":
                wrong = {"error": {"code": "invalid_prompt", "message": "your prompt: canary"}}
                line["response"] = {"status_code": 400, "request_id": "q", "body": wrong}
            elif how == "expired":
                line["error"] = {"code": "batch_expired", "message": "out of time"}
            else:
                continue
            lines[good if how == "succeeded" else bad].append(line)
        for name, found in lines.items():
            self.files[name] = "".join(json.dumps(line) + "\n" for line in found).encode()
        return good, bad

    def _content(self, asked: Asked) -> Answer:
        content = self.files.get(asked.matched["file"])
        return _missing() if content is None else Answer(content, 200, {"Content-Type": "application/octet-stream"})

    def _of(self, asked: Asked, then: Callable[[Held], Answer]) -> Answer:
        held = self.held.get(asked.matched["batch"])
        return _missing() if held is None else then(held)


class AnthropicBatches(FakeBatches):
    """Message Batches."""

    words = ("in_progress", "ended", "ended")

    def routes(self, url: Callable[[], str]) -> list[Route]:
        """The paths; ``url`` gives the server's address."""
        self._url = url
        there = "/v1/messages/batches"
        return [
            Route("POST", there, "create", self._create),
            Route("GET", there, "list", self._list),
            Route("GET", there + "/{batch}", "poll", lambda asked: self._of(asked, self._told)),
            Route("POST", there + "/{batch}/cancel", "cancel", self._cancel),
            Route("GET", there + "/{batch}/results", "results", lambda asked: self._of(asked, self._file)),
        ]

    def _body(self, request: dict[str, Any]) -> dict[str, Any]:
        params: dict[str, Any] = request["params"]
        return params

    def _create(self, asked: Asked) -> Answer:
        requests = asked.json()["requests"]
        ids = [request["custom_id"] for request in requests]
        if len(set(ids)) != len(ids) or not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", each) for each in ids):
            error = {"type": "invalid_request_error", "message": "requests: custom_id is not unique or not valid"}
            return Answer({"type": "error", "error": error}, 400)
        return self._told(self._hold(f"msgbatch_{secrets.token_hex(6)}", requests, {}))

    def _list(self, asked: Asked) -> Answer:
        del asked
        listed = [self._told(held).body for held in reversed(self.held.values())]
        return Answer({"data": listed, "has_more": False, "first_id": None, "last_id": None})

    def _cancel(self, asked: Asked) -> Answer:
        def stop(held: Held) -> Answer:
            self._stop(held)
            return self._told(held)

        return self._of(asked, stop)

    def _told(self, held: Held) -> Answer:
        ended = held.word == "ended"
        hows = ("succeeded", "errored", "expired", "canceled")
        counts = {how: held.count(how) for how in hows} | {"processing": 0 if ended else len(held.requests)}
        address = f"{self._url()}/v1/messages/batches/{held.id}/results"
        return Answer(
            {
                "id": held.id,
                "type": "message_batch",
                "processing_status": held.word,
                "request_counts": counts,
                "created_at": _AT,
                "expires_at": _AT,
                "ended_at": _AT if ended else None,
                "results_url": address if ended else None,
            }
        )

    def _file(self, held: Held) -> Answer:
        lines = []
        for custom_id, (how, body) in held.outcomes.items():
            result: dict[str, Any] = {"type": how}
            if how == "succeeded":
                result["message"] = body
            elif how == "errored":
                wrong = {"type": "invalid_request_error", "message": "your prompt: canary"}
                result["error"] = {"type": "error", "error": wrong}
            lines.append(json.dumps({"custom_id": custom_id, "result": result}))
        return Answer(("\n".join(lines) + "\n").encode())


class OpenAIBatches(FakeBatches):
    """The Batch API, with its files."""

    words = ("validating", "completed", "cancelled")

    @property
    def routes(self) -> list[Route]:
        """The paths."""
        return [
            Route("POST", "/v1/files", "upload", self._upload),
            Route("GET", "/v1/files/{file}", "file", self._file),
            Route("DELETE", "/v1/files/{file}", "delete", self._delete),
            Route("GET", "/v1/files/{file}/content", "results", self._content),
            Route("POST", "/v1/batches", "create", self._create),
            Route("GET", "/v1/batches", "list", self._list),
            Route("GET", "/v1/batches/{batch}", "poll", lambda asked: self._of(asked, self._told)),
            Route("POST", "/v1/batches/{batch}/cancel", "cancel", self._cancel),
        ]

    def _body(self, request: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = request["body"]
        return body

    def _upload(self, asked: Asked) -> Answer:
        return Answer(self._described(self._take(asked)))

    def _described(self, file_id: str) -> dict[str, Any]:
        size = len(self.files[file_id])
        more = {"object": "file", "created_at": 0, "filename": "f", "status": "processed", "size_bytes": size}
        kinds = {"sample_type": "batch_request", "source": "upload", "deleted": False}
        return {"id": file_id, "bytes": size, "purpose": "batch", **more, **kinds}

    def _file(self, asked: Asked) -> Answer:
        file_id = asked.matched["file"]
        return Answer(self._described(file_id)) if file_id in self.files else _missing()

    def _delete(self, asked: Asked) -> Answer:
        there = self.files.pop(asked.matched["file"], None) is not None
        return Answer({"id": asked.matched["file"], "object": "file", "deleted": True}) if there else _missing()

    def _create(self, asked: Asked) -> Answer:
        body = asked.json()
        if body["input_file_id"] not in self.files:
            return _missing()
        requests = self._lines(body["input_file_id"])
        return self._told(self._hold(f"batch_{secrets.token_hex(6)}", requests, body.get("metadata") or {}))

    def _list(self, asked: Asked) -> Answer:
        del asked
        listed = [self._told(held).body for held in reversed(self.held.values())]
        return Answer({"object": "list", "data": listed, "has_more": False})

    def _cancel(self, asked: Asked) -> Answer:
        def stop(held: Held) -> Answer:
            self._stop(held)
            return self._told(held)

        return self._of(asked, stop)

    def _told(self, held: Held) -> Answer:
        good, bad = self._results(held) if held.outcomes else (None, None)
        failed = held.count("errored")
        counts = {"total": len(held.requests), "completed": held.count("succeeded"), "failed": failed}
        return Answer(
            {
                "id": held.id,
                "object": "batch",
                "endpoint": "/v1/responses",
                "completion_window": "24h",
                "created_at": 0,
                "input_file_id": "f",
                "status": held.word,
                "metadata": held.metadata,
                "request_counts": counts,
                "output_file_id": good,
                "error_file_id": bad,
            }
        )


class MistralBatches(OpenAIBatches):
    """Batch jobs, with their files, which are OpenAI's but for the names."""

    words = ("QUEUED", "SUCCESS", "CANCELLED")

    @property
    def routes(self) -> list[Route]:
        """The paths."""
        there = "/v1/batch/jobs"
        return [
            *(route for route in super().routes if route.path.startswith("/v1/files")),
            Route("POST", there, "create", self._create),
            Route("GET", there, "list", self._list),
            Route("GET", there + "/{batch}", "poll", lambda asked: self._of(asked, self._told)),
            Route("POST", there + "/{batch}/cancel", "cancel", self._cancel),
        ]

    def _create(self, asked: Asked) -> Answer:
        body = asked.json()
        (file_id,) = body["input_files"]
        requests = [line | {"body": {**line["body"], "model": body["model"]}} for line in self._lines(file_id)]
        return self._told(self._hold(secrets.token_hex(8), requests, body.get("metadata") or {}))

    def _list(self, asked: Asked) -> Answer:
        del asked
        listed = [self._told(held).body for held in reversed(self.held.values())]
        return Answer({"object": "list", "data": listed, "total": len(listed)})

    def _told(self, held: Held) -> Answer:
        good, bad = self._results(held) if held.outcomes else (None, None)
        succeeded, failed = held.count("succeeded"), held.count("errored")
        return Answer(
            {
                "id": held.id,
                "object": "batch",
                "input_files": ["f"],
                "endpoint": "/v1/chat/completions",
                "errors": [],
                "status": held.word,
                "created_at": 0,
                "metadata": held.metadata,
                "total_requests": len(held.requests),
                "completed_requests": succeeded + failed,
                "succeeded_requests": succeeded,
                "failed_requests": failed,
                "output_file": good,
                "error_file": bad,
            }
        )


def _missing() -> Answer:
    return Answer({"error": {"message": "not found", "type": "not_found_error", "code": "not_found"}}, 404)

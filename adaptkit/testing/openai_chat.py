"""OpenAI's Responses API on this machine: answers as it is told to, and remembers prompts as the service does.

```python
with closing(FakeOpenAIChat()) as service:
    service.say("cards")
    ...  # your code, with base_url=service.url
```
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Iterator
from typing import Any

from adaptkit.testing.batches import OpenAIBatches
from adaptkit.testing.embeddings import FakeEmbeddings
from adaptkit.testing.wire import Answer, Asked, Route, Wire

__all__ = ["FakeOpenAIChat"]

#: Tokens of a beginning below which nothing is remembered.
CACHE_FROM = 1024


class FakeOpenAIChat:
    """The Responses API: answers, streams, counts, caches.

    Args:
        key: Key that every request must carry; ``None`` for any.

    Attributes:
        batches: Batches, which end when told to.
        wire: The server.
        url: Address to configure, ``/v1`` at its end.
        requests: Bodies of the answers asked for, in order.
        embeddings: What embeds.
        broken_after: Characters after which the next stream breaks off, or ``None``.
        silent: Whether it does so without an error event.
    """

    def __init__(self, key: str | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.broken_after: int | None = None
        self.silent = False
        self._next: deque[dict[str, Any]] = deque()
        self._cached: set[str] = set()
        self.embeddings = FakeEmbeddings()
        self.batches = OpenAIBatches(self._chat)
        self.wire = Wire(
            [
                Route("POST", "/v1/responses", "chat", self._chat),
                Route("POST", "/v1/responses/input_tokens", "count", self._count),
                self.embeddings.route,
                *self.batches.routes,
            ],
            key,
        )
        self.url = f"{self.wire.url}/v1"

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    def say(self, text: str = "", *, status: str = "completed", reason: str | None = None, **more: Any) -> None:
        """What the next answer is.

        Args:
            text: Its text.
            status: ``completed``, ``incomplete`` or ``failed``.
            reason: Why it is incomplete, such as ``max_output_tokens``.
            **more: ``tools``: calls as (name, input); ``refusal``: words of a refusal; ``error``: of a failure.
        """
        self._next.append({"text": text, "status": status, "reason": reason, **more})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        self.requests.append(body)
        if wrong := _wrong(body):
            return Answer({"error": {"message": wrong, "type": "invalid_request_error", "code": None}}, 400)
        usual = {"text": _last(body).upper(), "status": "completed", "reason": None}
        said = self._next.popleft() if self._next else usual
        response = {
            "id": f"resp_{secrets.token_hex(8)}",
            "object": "response",
            "created_at": 1_764_000_000,
            "model": body["model"],
            "status": said["status"],
            "error": said.get("error"),
            "incomplete_details": {"reason": said["reason"]} if said["reason"] else None,
            "output": _output(said),
            "usage": self._usage(body, said),
        }
        return Answer(self._events(response) if body.get("stream") else response)

    def _count(self, asked: Asked) -> Answer:
        return Answer({"object": "response.input_tokens", "input_tokens": _tokens(asked.json())})

    def _usage(self, body: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        whole, read, written = _tokens(body), 0, 0
        for beginning in _beginnings(body):
            size = len(beginning) // 4
            if size < CACHE_FROM:
                continue
            if beginning in self._cached:
                read, written = size, 0
            else:
                self._cached.add(beginning)
                written = size - read
        details = {"cached_tokens": read, "cache_write_tokens": written}
        out = max(1, len(said["text"]) // 4)
        return {
            "input_tokens": whole,
            "input_tokens_details": details,
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": whole + out,
        }

    def _events(self, response: dict[str, Any]) -> Iterator[str]:
        yield _event("response.created", response={**response, "status": "in_progress", "output": []})
        sent = 0
        for at, item in enumerate(response["output"]):
            for part in item.get("content", ()):
                kind = "output_text" if part["type"] == "output_text" else "refusal"
                text = part.get("text") or part.get("refusal", "")
                for start in range(0, len(text), 5):
                    if self.broken_after is not None and sent >= self.broken_after:
                        self.broken_after = None
                        if not self.silent:
                            yield _event("error", message="The server had an error", code="server_error", param=None)
                        return
                    place = {"output_index": at, "content_index": 0, "item_id": item["id"]}
                    yield _event(f"response.{kind}.delta", delta=text[start : start + 5], **place)
                    sent += 5
        ended = {"completed": "response.completed", "failed": "response.failed"}
        yield _event(ended.get(response["status"], "response.incomplete"), response=response)


def _event(kind: str, **fields: Any) -> str:
    # the wire writes ``data: …``; an event's name may stand after it
    return f"{json.dumps({'type': kind, 'sequence_number': 0, **fields})}\nevent: {kind}"


def _output(said: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    if said["text"]:
        content.append({"type": "output_text", "text": said["text"], "annotations": []})
    if said.get("refusal"):
        content.append({"type": "refusal", "refusal": said["refusal"]})
    if content:
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content})
    for number, (name, given) in enumerate(said.get("tools", ())):
        call = {"call_id": f"call_{number}", "name": name, "arguments": json.dumps(given)}
        items.append({"type": "function_call", "id": f"fc_{number}", "status": "completed", **call})
    return items


def _wrong(body: dict[str, Any]) -> str | None:
    """What the service refuses, in its words."""
    for name in ("seed", "stop", "messages", "max_tokens"):
        if name in body:
            return f"Unknown parameter: '{name}'."
    form = body.get("text", {}).get("format", {})
    if form.get("strict") and not _strict(form["schema"]):
        return "Invalid schema for response_format: 'additionalProperties' must be false and every field required."
    marks = json.dumps(body["input"]).count('"prompt_cache_breakpoint"')
    return "At most four breakpoints can be written." if marks > 4 else None


def _strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        wanted = sorted(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False or sorted(schema.get("required", ())) != wanted:
            return False
    return all(map(_strict, schema.values()))


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from body.get("tools", ())
    for item in body["input"]:
        content = item.get("content", item)
        yield from content if isinstance(content, list) else [{"text": content}]


def _beginnings(body: dict[str, Any]) -> Iterator[str]:
    so_far = body["model"]
    for part in _parts(body):
        so_far += json.dumps({name: value for name, value in part.items() if name != "prompt_cache_breakpoint"})
        if "prompt_cache_breakpoint" in part:
            yield so_far


def _tokens(body: dict[str, Any]) -> int:
    return sum(len(json.dumps(part)) for part in _parts(body)) // 4


def _last(body: dict[str, Any]) -> str:
    texts = [part["text"] for part in body["input"][-1].get("content", ()) if isinstance(part, dict) and "text" in part]
    return texts[-1] if texts else "…"

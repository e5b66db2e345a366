"""Anthropic's wire on this machine: answers as it is told to, and remembers prompts as the service does.

```python
with closing(FakeAnthropic()) as service:
    service.say("cards")
    ...  # your code, with base_url=service.wire.url
    assert service.requests[0]["model"] == "claude-haiku-5-5"
```
"""

from __future__ import annotations

import json
import re
import secrets
from collections import deque
from collections.abc import Iterator
from typing import Any

from adaptkit.testing.batches import AnthropicBatches
from adaptkit.testing.wire import Answer, Asked, Route, Wire

__all__ = ["FakeAnthropic"]

#: Tokens of a beginning below which nothing is remembered.
CACHE_FROM = 512
_TYPES = {400: "invalid_request_error", 413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}


class FakeAnthropic:
    """The Messages API: answers, streams, counts, caches. Close `wire` when done.

    Args:
        key: Key that every request must carry; ``None`` for any.

    Attributes:
        wire: The server.
        batches: Batches, which end when told to.
        requests: Bodies of the messages asked for, in order.
        overloaded: How many of the next requests are answered with 529.
        broken_after: Characters after which the next stream breaks off, or ``None``.
        silent: Whether it does so without an error event.
        reads: Tokens of a prompt that it says each of its models reads, ``None`` for saying nothing.
        writes: The same of an answer.
    """

    def __init__(self, key: str | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.overloaded = 0
        self.broken_after: int | None = None
        self.silent = False
        self.reads: int | None = 1_000_000
        self.writes: int | None = 128_000
        self._next: deque[dict[str, Any]] = deque()
        self._cached: set[str] = set()
        self.batches = AnthropicBatches(self._chat)
        self.wire = Wire(
            [
                Route("POST", "/v1/messages", "chat", self._chat),
                Route("POST", "/v1/messages/count_tokens", "count", self._count),
                Route("GET", "/v1/models/{model}", "model", self._model),
                *self.batches.routes(lambda: self.wire.url),
            ],
            key,
        )

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    def say(self, text: str = "", *, stop: str = "end_turn", **more: Any) -> None:
        """What the next answer is.

        Args:
            text: Its text.
            stop: Its stop reason, such as ``max_tokens`` or ``refusal``.
            **more: ``tools``: calls as (name, input); ``citations``: as the service writes them; ``details``: of the
                refusal.
        """
        self._next.append({"text": text, "stop": stop, **more})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        self.requests.append(body)
        if "anthropic-version" not in asked.headers:
            return _error(400, "anthropic-version: header is required")
        if self.overloaded:
            self.overloaded -= 1
            return _error(529, "Overloaded")
        if wrong := _wrong(body):
            return _error(400, wrong)
        said = self._next.popleft() if self._next else {"text": _last(body).upper(), "stop": "end_turn"}
        message = {
            "id": f"msg_{secrets.token_hex(8)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": _content(said),
            "stop_reason": said["stop"],
            "stop_sequence": None,
            **({"stop_details": said["details"]} if "details" in said else {}),
            "usage": self._usage(body, said),
        }
        return Answer(self._events(message) if body.get("stream") else message)

    def _count(self, asked: Asked) -> Answer:
        return Answer({"input_tokens": _tokens(asked.json())})

    def _model(self, asked: Asked) -> Answer:
        name, day = asked.matched["model"], "2026-10-01T00:00:00Z"
        about = {"type": "model", "id": name, "display_name": name, "created_at": day, "lifecycle": "active"}
        return Answer({**about, "max_input_tokens": self.reads, "max_tokens": self.writes})

    def _usage(self, body: dict[str, Any], said: dict[str, Any]) -> dict[str, int]:
        """What was read from the cache and written to it: the longest beginning with a mark that was there before."""
        read = written = 0
        for text in _beginnings(body):
            size = len(text) // 4
            if size < CACHE_FROM:
                continue
            if text in self._cached:
                read, written = size, 0
            else:
                self._cached.add(text)
                written = size - read
        whole = _tokens(body)
        return {
            "input_tokens": whole - read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": max(1, len(said["text"]) // 4),
        }

    def _events(self, message: dict[str, Any]) -> Iterator[str]:
        yield from _event("message_start", message={**message, "content": [], "stop_reason": None})
        yield from _event("ping")
        sent = 0
        for at, block in enumerate(message["content"]):
            if block["type"] == "text":
                yield from _event("content_block_start", index=at, content_block={**block, "text": ""})
                for start in range(0, len(block["text"]), 5):
                    if self.broken_after is not None and sent >= self.broken_after:
                        self.broken_after = None
                        if not self.silent:
                            yield from _event("error", error={"type": "overloaded_error", "message": "Overloaded"})
                        return
                    delta = {"type": "text_delta", "text": block["text"][start : start + 5]}
                    yield from _event("content_block_delta", index=at, delta=delta)
                    sent += 5
            else:
                yield from _event("content_block_start", index=at, content_block={**block, "input": {}})
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
                yield from _event("content_block_delta", index=at, delta=delta)
            yield from _event("content_block_stop", index=at)
        ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        yield from _event("message_delta", delta=ended, usage=message["usage"])
        yield from _event("message_stop")


def _event(kind: str, **fields: Any) -> Iterator[str]:
    # the wire writes ``data: …``; an event's name stands on a line of its own before it
    yield f"{json.dumps({'type': kind, **fields})}\nevent: {kind}"


def _content(said: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "text", "text": said["text"], "citations": said.get("citations")}
    blocks: list[dict[str, Any]] = [text] if said["text"] else []
    for number, (name, given) in enumerate(said.get("tools", ())):
        blocks.append({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given})
    return blocks


def _wrong(body: dict[str, Any]) -> str | None:
    """What the service refuses, in its words."""
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            return f"{name}: this model does not take sampling parameters"
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "tool_choice: forcing a tool is not supported by this model"
    roles = [turn["role"] for turn in body["messages"]]
    if not roles or roles[0] != "user" or roles[-1] != "user":
        return "messages: must begin and end with a turn of the user"
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    if any(block["type"] == "text" and not block["text"] for block in blocks):
        return "messages: text content blocks must be non-empty"
    if any(not all(block.get(name) for name in ("source", "title", "content")) for block in blocks if _found(block)):
        return "messages: a search result has a source, a title and content"
    told = [block for block in blocks if block["type"] == "document" or _found(block)]
    cited = {block.get("citations", {}).get("enabled", False) for block in told}
    if len(cited) > 1:
        return "messages: citations must be enabled on all or none of the documents and search results"
    if True in cited and "format" in body.get("output_config", {}):
        return "output_config.format: not supported together with citations"
    marks = len(re.findall('"cache_control"', json.dumps(body)))
    return "A maximum of 4 blocks with cache_control may be provided" if marks > 4 else None


def _found(block: dict[str, Any]) -> bool:
    return bool(block["type"] == "search_result")


def _blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from body.get("tools", ())
    system = body.get("system", [])
    yield from [{"type": "text", "text": system}] if isinstance(system, str) else system
    for turn in body["messages"]:
        content = turn["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _beginnings(body: dict[str, Any]) -> Iterator[str]:
    so_far = body["model"]
    for block in _blocks(body):
        so_far += json.dumps({name: value for name, value in block.items() if name != "cache_control"})
        if "cache_control" in block:
            yield so_far


def _tokens(body: dict[str, Any]) -> int:
    return sum(len(json.dumps(block)) for block in _blocks(body)) // 4


def _last(body: dict[str, Any]) -> str:
    texts = [block["text"] for block in body["messages"][-1]["content"] if block["type"] == "text"]
    return texts[-1] if texts else "…"


def _error(status: int, message: str) -> Answer:
    error = {"type": _TYPES.get(status, "api_error"), "message": message}
    return Answer({"type": "error", "error": error}, status, {"request-id": "req_fake"})

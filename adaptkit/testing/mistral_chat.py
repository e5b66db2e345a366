"""Mistral's chat wire on this machine: answers as it is told to, and remembers prompts as the service does.

```python
with closing(FakeMistral()) as service:
    service.say("cards")
    ...  # your code, with base_url=service.wire.url
```
"""

from __future__ import annotations

import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from adaptkit.testing.batches import MistralBatches
from adaptkit.testing.embeddings import FakeEmbeddings
from adaptkit.testing.wire import Answer, Asked, Route, Wire

__all__ = ["FakeMistral"]

#: Characters of a common beginning that are remembered at a time.
_BLOCK = 256


class FakeMistral:
    """Chat completions: answers, streams, caches.

    Args:
        key: Key that every request must carry; ``None`` for any.
        more: Further paths, which are looked at first.

    Attributes:
        wire: The server.
        answers: Whether a model of that name answers.
        batches: Batches, which end when told to.
        requests: Bodies of the answers asked for, in order.
        embeddings: What embeds.
        broken_after: Characters after which the next stream breaks off, or ``None``.
        reads: Tokens of a prompt that it says each of its models reads, ``None`` for saying nothing.
    """

    def __init__(self, key: str | None = None, more: Sequence[Route] = ()) -> None:
        self.answers: Callable[[str], bool] = lambda name: True  # noqa: ARG005 - every one
        self.requests: list[dict[str, Any]] = []
        self.broken_after: int | None = None
        self.reads: int | None = 262_144
        self._next: deque[dict[str, Any]] = deque()
        self._seen: dict[str, list[str]] = {}
        self.batches = MistralBatches(self._chat)
        self.embeddings = FakeEmbeddings()
        self.wire = Wire(
            [
                *more,
                Route("POST", "/v1/chat/completions", "chat", self._chat),
                Route("GET", "/v1/models/{model}", "model", self._model),
                self.embeddings.route,
                *self.batches.routes,
            ],
            key,
        )

    def close(self) -> None:
        """Stop listening."""
        self.wire.close()

    def say(self, text: str = "", *, stop: str = "stop", **more: Any) -> None:
        """What the next answer is.

        Args:
            text: Its text.
            stop: Its finish reason, such as ``length``.
            **more: ``tools``: calls as (name, input).
        """
        self._next.append({"text": text, "stop": stop, **more})

    def _chat(self, asked: Asked) -> Answer:
        body = asked.json()
        self.requests.append(body)
        if not self.answers(body["model"]):
            said = {"message": f"Invalid model: {body['model']}", "type": "invalid_model", "code": "1500"}
            return Answer({"object": "error", **said}, 400)
        if wrong := _wrong(body):
            return Answer({"object": "error", "message": wrong, "type": "invalid_request_error", "code": "1"}, 400)
        said = self._next.popleft() if self._next else {"text": _last(body).upper(), "stop": "stop"}
        message = {"role": "assistant", "content": said["text"], "tool_calls": _calls(said)}
        answer = {
            "id": secrets.token_hex(8),
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": said["stop"]}],
            "usage": self._usage(body, said),
        }
        return Answer(self._events(answer) if body.get("stream") else answer)

    def _model(self, asked: Asked) -> Answer:
        told = {} if self.reads is None else {"max_context_length": self.reads}
        can = {"completion_chat": True}
        return Answer({"id": asked.matched["model"], "object": "model", "type": "base", "capabilities": can, **told})

    def _usage(self, body: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        text, key = json.dumps(body["messages"]), body.get("prompt_cache_key")
        seen = self._seen.setdefault(key, []) if key else []
        common = max((len(os.path.commonprefix([text, other])) for other in seen), default=0)  # noqa: RUF071 - of texts
        common = common // _BLOCK * _BLOCK
        seen.append(text)
        del seen[:-8]
        prompt, out = len(text) // 4, max(1, len(said["text"]) // 4)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": out,
            "total_tokens": prompt + out,
            "prompt_tokens_details": {"cached_tokens": common // 4},
        }

    def _events(self, answer: dict[str, Any]) -> Iterator[object]:
        (choice,) = answer.pop("choices")
        text, sent = choice["message"]["content"], 0
        head = {**answer, "object": "chat.completion.chunk"}
        usage = head.pop("usage")
        for start in range(0, len(text), 5):
            if self.broken_after is not None and sent >= self.broken_after:
                self.broken_after = None
                return
            delta = {"role": "assistant", "content": text[start : start + 5]}
            yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            sent += 5
        last = {"index": 0, "delta": {"content": ""}, "finish_reason": choice["finish_reason"]}
        yield {**head, "choices": [last], "usage": usage}
        yield "[DONE]"


def _calls(said: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [
        {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for number, (name, given) in enumerate(said.get("tools", ()))
    ] or None


def _wrong(body: dict[str, Any]) -> str | None:
    """What the service refuses, in its words."""
    roles = [message["role"] for message in body["messages"]]
    if set(roles) - {"system", "user", "assistant", "tool"}:
        return "Unexpected role"
    if not roles or roles[-1] not in ("user", "tool"):
        return "Expected last role User or Tool (or Assistant with prefix True) for serving"
    return "Unexpected key: seed" if "seed" in body else None


def _last(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

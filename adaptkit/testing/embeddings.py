"""Embeddings on OpenAI's wire: a text's vector counts its words, and words that are said to mean the same count as one.

Vectors come back in another order than the texts went in, with their index, which the wire allows.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

from adaptkit.testing.wire import Answer, Asked, Route

__all__ = ["FakeEmbeddings"]

_NUMBERS = 256
_MOST_TEXTS = 2_048


class FakeEmbeddings:
    """A route for a fake service.

    Attributes:
        requests: Bodies asked for, in order.
        same: Words that mean what another one means.
        route: For the table of a `Wire`.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.same: dict[str, str] = {}
        self.route = Route("POST", "/v1/embeddings", "embed", self._embed)

    @property
    def texts(self) -> list[str]:
        """Everything that was embedded, in order."""
        return [text for body in self.requests for text in body["input"]]

    def _embed(self, asked: Asked) -> Answer:
        body = asked.json()
        self.requests.append(body)
        texts = body["input"]
        if not isinstance(texts, list) or not 1 <= len(texts) <= _MOST_TEXTS or not all(texts):
            message = "'$.input' is invalid."
            return Answer({"error": {"message": message, "type": "invalid_request_error", "code": None}}, 400)
        found = [{"object": "embedding", "index": at, "embedding": self._vector(text)} for at, text in enumerate(texts)]
        tokens = sum(map(len, texts)) // 4
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return Answer({"id": "e1", "object": "list", "model": body["model"], "data": found[::-1], "usage": usage})

    def _vector(self, text: str) -> list[float]:
        vector = [0.001] * _NUMBERS
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(self.same.get(word, word).encode()) % _NUMBERS] += 1.0
        return vector

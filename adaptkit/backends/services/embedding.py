"""Texts to vectors by a service: OpenAI's and Mistral's through their SDKs, any other that speaks OpenAI's wire.

One call of what is opened here may be several requests, each within what a service takes at a time; nothing is sent
twice. Whoever embeds much calls it in a `patient` way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import msgspec

from adaptkit.backends.services.sdk import decoded
from adaptkit.backends.services.vendors import Vendor, open_vendor
from adaptkit.decodable import decodable
from adaptkit.errors import ServiceError, UnsupportedError
from adaptkit.http import key_from, raise_for, translating
from adaptkit.http_clients import Clients
from adaptkit.retry import UPLOAD, attempt
from adaptkit.steps import SystemClock, run

__all__ = [
    "Embed",
    "Embedded",
    "EmbeddingAnswer",
    "Embeds",
    "Vectors",
    "embedding_request",
    "open_embedding",
    "patient",
]

Vectors = list[list[float]]
Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]

#: Bytes of a text that are embedded: models read about 8,000 tokens, and no token is less than a byte.
_MOST_OF_A_TEXT = 8_000
#: Texts of a request, and bytes of all of them. OpenAI takes 2,048 and 300,000 tokens; others say less, or nothing.
_MOST_TEXTS, _MOST_BYTES = 64, 32_000


class Embedded(msgspec.Struct):
    """One vector of an answer, and of which text it is."""

    embedding: list[float]
    index: int


@decodable
class EmbeddingAnswer(msgspec.Struct):
    """What services answer."""

    data: list[Embedded]

    def vectors(self, count: int, backend: str) -> Vectors:
        """In the order of the texts.

        Raises:
            ServiceError: there is not one for each of so many texts.
        """
        if sorted(each.index for each in self.data) != list(range(count)):
            message = f"the service gave {len(self.data)} vectors for {count} texts, or said wrongly which is whose"
            raise ServiceError(message, backend=backend, status_code=200)
        return [each.embedding for each in sorted(self.data, key=lambda each: each.index)]


@runtime_checkable
class Embeds(Protocol):
    """A service that can."""

    def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Vectors of some texts, in order: one request.

        Raises:
            BackendError: by the table of `adaptkit.http`; no text is in the message.
            ConfigError: the key is not in the environment.
        """
        ...


def open_embedding(
    vendor: Vendor | None, model: str, http: Clients, base_url: str, *, key_env: str | None, backend: str
) -> Embed:
    """A function from texts to vectors; loads the vendor's SDK.

    Args:
        vendor: Whose, ``None`` for a service at an address that speaks OpenAI's wire.
        model: The service's name of the model.
        http: The clients to send with.
        base_url: Where to send to.
        key_env: Name of the environment variable with the key; read at each request.
        backend: Name of the backend, for errors.

    Raises:
        MissingDependencyError: the SDK is not installed.
        UnsupportedError: the vendor has no such models.
    """
    service: object = _Wire(http, base_url, key_env, backend)
    if vendor is not None:
        service = open_vendor(vendor, http, base_url, key_env or vendor.key_env, backend)
    if not isinstance(service, Embeds):
        raise UnsupportedError(f"{vendor.name if vendor else base_url} has no models that embed")
    one_request = partial(service.embed, model)
    return lambda texts: [vector for some in _batches(texts) for vector in one_request(some)]


def patient(embed: Embed) -> Embed:
    """The same, asked batch by batch and again after what passes, as an upload is."""

    def embedding(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        clock = SystemClock()
        return [vector for some in _batches(texts) for vector in run(attempt(partial(embed, some), UPLOAD), clock)]

    return embedding


class _Wire:
    """`Embeds` at an address that speaks OpenAI's wire."""

    def __init__(self, http: Clients, base_url: str, key_env: str | None, backend: str) -> None:
        self._http, self._url, self._key_env, self._backend = http, f"{base_url}/embeddings", key_env, backend

    def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """See `Embeds.embed`."""
        headers = {}
        if self._key_env is not None:
            headers["Authorization"] = f"Bearer {key_from(self._key_env, f'the {self._backend} backend')}"
        with translating(self._backend):
            response = self._http.calling.post(self._url, json=embedding_request(model, texts), headers=headers)
        raise_for(response, self._backend, [headers.get("Authorization", ""), *texts])
        return decoded(response, EmbeddingAnswer, self._backend).vectors(len(texts), self._backend)


def embedding_request(model: str, texts: Sequence[str]) -> dict[str, object]:
    """The body on OpenAI's wire: numbers as JSON, since not every service knows base64."""
    return {"model": model, "input": list(texts), "encoding_format": "float"}


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        content = text.encode(errors="replace")[:_MOST_OF_A_TEXT]
        if batch and (len(batch) == _MOST_TEXTS or size + len(content) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(content.decode(errors="ignore"))
        size += len(content)
    if batch:
        yield batch

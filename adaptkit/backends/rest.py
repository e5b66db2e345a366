"""JSON over HTTP for hosts without an SDK worth its weight: one request a call, nothing sent twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from adaptkit.errors import ServiceError
from adaptkit.http import key_from, raise_for, translating

__all__ = ["Rest", "account_of", "segment"]

T = TypeVar("T")

_PIECE = 1 << 20
_MOST_PAGES = 1000  # a list that says for ever that there is more


class Rest:
    """A service at an address, asked with a key.

    Args:
        http: The client to send with, from `adaptkit.http.client`.
        base_url: Address that paths are joined to, without a slash at its end.
        api_key_env: Name of the environment variable with the key; read at each request.
        backend: Name of the backend, for errors.
    """

    def __init__(self, http: httpx2.Client, base_url: str, api_key_env: str, backend: str) -> None:
        self._http, self._url, self._key_env, self._backend = http, base_url, api_key_env, backend

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        private: Iterable[str] = (),
    ) -> dict[str, Any]:
        """One request.

        Args:
            method: ``GET``, ``POST``, ``PATCH`` or ``DELETE``.
            path: Path from its first slash; build it with `segment`, so that no id leads elsewhere.
            body: Sent as JSON.
            query: Parameters; those that are ``None`` are left out.
            private: Texts of the body that must not come back in an error, such as another service's key.

        Returns:
            The JSON object of the answer; empty where the answer is.

        Raises:
            BackendError: by the table of `adaptkit.http`; an answer that is no JSON object is a `ServiceError`, since
                the request may have been carried out.
            ConfigError: the key is not in the environment.
        """
        response = self._send(method, path, body, query, private)
        return self._decoded(response, dict[str, Any], "object") if response.content.strip() else {}

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """A list that comes as an array with nothing around it; otherwise as `send`."""
        return self._decoded(self._send("GET", path, None, query, ()), list[dict[str, Any]], "array of objects")

    def _decoded(self, response: httpx2.Response, kind: type[T], said: str) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            given = response.headers.get("content-type", "no content type").partition(";")[0][:80]
            asked = f"{response.request.method} {response.request.url.copy_with(query=None)}"
            message = f"{asked} answered with {given} that is no JSON {said}"
            raise ServiceError(message, backend=self._backend, status_code=response.status_code) from None

    def put_file(self, url: str, file: Path, headers: Mapping[str, str], part: range | None = None) -> httpx2.Response:
        """Send a file to an address that the service gave, without the key: it may lie at another host.

        Args:
            url: The address.
            file: The file.
            headers: What the service wants to be sent with it.
            part: Positions of the bytes to send; ``None`` for all.

        Raises:
            BackendError, EgressError: by the table of `adaptkit.http`, and by the policy.
        """
        part = range(file.stat().st_size) if part is None else part
        with translating(self._backend), file.open("rb") as content:
            size = {"Content-Length": str(len(part))}
            response = self._http.put(url, content=_pieces(content, part), headers={**size, **headers})
        raise_for(response, self._backend)
        return response

    def read_file(self, url: str) -> Iterator[bytes]:
        """The content of an address that the service gave, as it comes, asked for without the key.

        Raises:
            BackendError, EgressError: as for `put_file`; one that breaks off is a `ServiceError`.
        """
        with translating(self._backend), self._http.stream("GET", url) as response:
            if not response.is_success:
                response.read()
                raise_for(response, self._backend)
            yield from response.iter_bytes()

    def post(
        self, path: str, *, form: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        """Post a form or JSON; the answer is given as it is, a redirect or a refusal too, for the caller to judge.

        Raises:
            BackendError: no answer came, by the table of `adaptkit.http`.
            ConfigError: the key is not in the environment.
        """
        parts = None if form is None else {name: (None, value.encode()) for name, value in form.items()}
        with translating(self._backend):
            return self._http.post(f"{self._url}{path}", files=parts, json=body, headers=self._headers())

    def post_file(self, path: str, name: str, content: IO[bytes], fields: Mapping[str, str]) -> dict[str, Any]:
        """Post a form with a file in the part ``file``, read as it is sent.

        Args:
            path: As for `send`.
            name: Of the file.
            content: What is in it.
            fields: Other parts.

        Returns:
            The JSON object of the answer.

        Raises:
            BackendError, ConfigError: as for `send`.
        """
        file = {"file": (name, content, "application/jsonl")}
        with translating(self._backend):
            response = self._http.post(f"{self._url}{path}", data=dict(fields), files=file, headers=self._headers())
        raise_for(response, self._backend)
        return self._decoded(response, dict[str, Any], "object")

    def content(self, path: str, query: Mapping[str, Any], elsewhere: Callable[[str], str]) -> Iterator[bytes]:
        """The content of a path as it comes, from where the service keeps it.

        Args:
            path: As for `send`.
            query: Parameters.
            elsewhere: Told the address that the service points to; gives it back, or refuses it. The key does not go
                there.

        Raises:
            BackendError, EgressError: as for `read_file`.
        """
        with (
            translating(self._backend),
            self._http.stream("GET", f"{self._url}{path}", params=dict(query), headers=self._headers()) as response,
        ):
            if response.is_success:
                yield from response.iter_bytes()
                return
            response.read()
            location = response.headers.get("location") if 300 <= response.status_code < 400 else None
            if location is None:
                raise_for(response, self._backend)
        yield from self.read_file(elsewhere(location or ""))

    def pages(self, path: str, query: Mapping[str, Any], token: str, parameter: str) -> Iterator[dict[str, Any]]:
        """The answers of a list, page by page, while they name a next one.

        Args:
            path: As for `send`.
            query: Parameters of every page.
            token: Field of an answer that names the next page.
            parameter: Parameter that asks for it.
        """
        following: str | None = None
        for _ in range(_MOST_PAGES):
            page = self.send("GET", path, query={**query, parameter: following})
            yield page
            following = page.get(token) or None
            if following is None:
                return
        raise ServiceError(f"the list {self._url}{path} has no end", backend=self._backend)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {key_from(self._key_env, f'the {self._backend} backend')}"}

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        private: Iterable[str],
    ) -> httpx2.Response:
        headers = self._headers()
        given = {name: value for name, value in (query or {}).items() if value is not None}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        with translating(self._backend):
            response = self._http.request(
                method, f"{self._url}{path}", content=content, params=given or None, headers=headers
            )
        raise_for(response, self._backend, private)
        return response


def _pieces(content: IO[bytes], part: range) -> Iterator[bytes]:
    content.seek(part.start)
    left = len(part)
    while left and (piece := content.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def segment(value: str) -> str:
    """An id as one segment of a path, whatever it contains."""
    return quote(value, safe="")


def account_of(base_url: str, key: str) -> str:
    """What tells accounts apart without telling the key: the address, and a fingerprint of the key."""
    return f"{base_url}#{hashlib.sha256(key.encode()).hexdigest()[:12]}"

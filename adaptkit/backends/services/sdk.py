"""What the official SDKs have in common: they raise errors of their own, log what they send, and hold a key.

All three send with httpx2, so the table of `adaptkit.http` is theirs too: `translated` takes the SDK's error away and
raises what the response, or the fault of the network behind it, means there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import httpx2
import msgspec

from adaptkit.errors import AdaptkitError, BackendError, ServiceError
from adaptkit.http import key_from, raise_for, service_words, translating
from adaptkit.http_clients import PerLoop
from adaptkit.steps import Request
from adaptkit.types import Message

__all__ = ["PATIENCE", "Keyed", "Written", "decoded", "quietly", "translated"]

#: Seconds for a question that can go without an answer.
PATIENCE = 10.0

A = TypeVar("A")
C = TypeVar("C")
T = TypeVar("T")

_PACKAGES = ("anthropic", "json", "mistralai", "openai", "pydantic", "pydantic_core")
_sending: ContextVar[bool] = ContextVar("adaptkit_sending", default=False)


class Keyed(Generic[C, A]):
    """An SDK's clients, made when they are first needed and anew when the key changes.

    Args:
        make: From a key to a client for calls that block.
        amake: From a key to a client for the running event loop.
        key_env: Name of the environment variable with the key; read at each request.
        who: Who needs it, for the message.
    """

    def __init__(self, make: Callable[[str], C], amake: Callable[[str], A], key_env: str, who: str) -> None:
        self._key_env, self._who = key_env, who
        self._calling, self._here = _Made(make), PerLoop(lambda: _Made(amake))

    def client(self) -> C:
        """The client for the key of now.

        Raises:
            ConfigError: the key is not in the environment.
        """
        return self._calling.of(key_from(self._key_env, self._who))

    def request(self, ask: Callable[[C], Any], aask: Callable[[A], Any]) -> Request:
        """A request in either colour, with the client for the key of then; raises as `client` does."""
        return Request(lambda: ask(self.client()), lambda: aask(self._here().of(key_from(self._key_env, self._who))))


class _Made(Generic[T]):
    def __init__(self, make: Callable[[str], T]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: tuple[str, T] | None = None

    def of(self, key: str) -> T:
        with self._lock:
            if self._made is None or self._made[0] != key:
                self._made = key, self._make(key)
            return self._made[1]


class Written(Generic[T]):
    """What stands in every prompt of a model, written once in a service's words and not again for each question."""

    def __init__(self, write: Callable[[tuple[Message, ...]], T]) -> None:
        self._write = write
        self._last: tuple[tuple[Message, ...], T] | None = None

    def __call__(self, turns: tuple[Message, ...]) -> T:
        """The turns in the service's words; not to be changed."""
        last = self._last
        if last is None or last[0] is not turns:
            last = self._last = (turns, self._write(turns))
        return last[1]


@contextmanager
def translated(backend: str, private: Sequence[str]) -> Iterator[None]:
    """Turn what an SDK raises inside the block into `adaptkit.errors`; its own error, with the key in it, is gone.

    Args:
        backend: Name of the backend.
        private: Texts that were sent and must not come back in a message.

    Raises:
        BackendError: by the table of `adaptkit.http`.
    """
    failure: Exception | None = None
    try:
        yield
    except AdaptkitError:
        raise
    except Exception as error:
        failure = _plain(error, backend, private)
        if failure is error and not isinstance(error, httpx2.RequestError):
            raise
    if failure is not None:
        with translating(backend):
            raise failure


def quietly(*loggers: str) -> _Quiet:
    """Within the block, and this thread, the SDK's loggers keep the content of requests to themselves."""
    return _Quiet(loggers)


def decoded(response: httpx2.Response, kind: type[T], backend: str) -> T:
    """The body of an answer as a value.

    Raises:
        ServiceError: it is something else, although the status says that all is well.
        BackendError: it is a page.
    """
    url, found = response.request.url.copy_with(query=None), response.headers.get("content-type", "no content type")
    if "html" in found:
        message = f"{url} answered with {found.partition(';')[0][:80]}, not JSON: is base_url right?"
        raise BackendError(message, backend=backend, status_code=response.status_code)
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        message = f"{url} answered with something that is none of its answers: {error}"
        raise ServiceError(message, backend=backend, status_code=response.status_code) from None


class _Quiet:
    def __init__(self, loggers: Sequence[str]) -> None:
        for name in loggers:
            logger = logging.getLogger(name)
            if _discreet not in logger.filters:
                logger.addFilter(_discreet)

    def __enter__(self) -> None:
        self._before = _sending.set(True)

    def __exit__(self, *_: object) -> None:
        _sending.reset(self._before)


def _discreet(record: logging.LogRecord) -> bool:
    """Not while something is sent for us: at the level of debugging an SDK writes down whole requests."""
    return not (_sending.get() and record.levelno <= logging.DEBUG)


def _whole(response: httpx2.Response, error: Exception) -> httpx2.Response:
    """A response with its body, which some SDK read from the stream and kept in its error."""
    try:
        response.content  # noqa: B018 - looked at
    except httpx2.ResponseNotRead:
        kept = {name: each for name, each in response.headers.items() if not name.startswith(("content-", "transfer-"))}
        text = str(getattr(error, "body", None) or "")
        return httpx2.Response(response.status_code, headers=kept, text=text, request=response.request)
    return response


def _plain(error: Exception, backend: str, private: Sequence[str]) -> Exception:
    if isinstance(error.__cause__, AdaptkitError | httpx2.RequestError):  # wrapped on its way through the SDK
        return error.__cause__
    response = getattr(error, "response", None) or getattr(error, "raw_response", None)
    if isinstance(response, httpx2.Response) and not response.is_success:
        try:
            raise_for(_whole(response, error), backend, private)
        except BackendError as meant:
            return meant.with_traceback(None)
    body = getattr(error, "body", None)
    if body is not None and isinstance(body, dict):  # told in the middle of a stream
        _, words = service_words(body if "error" in body else {"error": body}, private)
        return ServiceError(f"the service failed in the middle of its answer: {words}", backend=backend)
    if type(error).__module__.partition(".")[0] in _PACKAGES or isinstance(error, ValueError):
        return ServiceError(f"the service's answer cannot be read ({type(error).__name__})", backend=backend)
    return error

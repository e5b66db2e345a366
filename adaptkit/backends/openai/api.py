"""The vendor's SDK behind one seam: sent once, errors of ours, answers as JSON objects.

The SDK knows paths, forms and authorization. Its retries are off, it is given the one HTTP client, and what it would
pick up from the environment (an organization, further headers) it is not given: a key and what goes with it belong to
one host. Answers are taken as they came, before the SDK makes objects of them: those would turn a page of HTML into
text, and a body without fields into a job full of ``None``.

What it raises becomes, beside the table of `adaptkit.http`:

| what it raises | error |
|---|---|
| `APIStatusError` | by the status of its answer |
| 403 with code ``training_not_available`` | `BackendRetiredError` |
| `APIConnectionError` | by the fault of the network under it |
| any other `OpenAIError` | `ServiceError`: it may have run |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import msgspec

from adaptkit.backends.openai.profiles import CLOSED, Profile
from adaptkit.errors import (
    AdaptkitError,
    BackendRetiredError,
    MissingDependencyError,
    NotFoundError,
    ServiceError,
)
from adaptkit.http import key_from, raise_for, translating

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Api"]

T = TypeVar("T")

_BACKEND = "openai"
_MOST_PAGES = 1000  # a list that says for ever that there is more
_INSTEAD = 'backend = "together", "fireworks" or "lora" (adaptkit translate TARGET BACKEND writes its table)'


class Api:
    """A host on the wire.

    Args:
        http: The client to send with.
        url: Address of the host.
        api_key_env: Variable with its key; read at each request.
        host: What is known of it.
    """

    def __init__(self, http: httpx2.Client, url: str, api_key_env: str, host: Profile) -> None:
        self._http, self._url, self._key_env, self._host = http, url, api_key_env, host
        self._opening = threading.Lock()
        self._sdk: OpenAI | None = None

    def ask(self, call: Callable[[OpenAI], Any], private: Sequence[str] = ()) -> dict[str, Any]:
        """One request.

        Args:
            call: Makes it, through ``with_raw_response``.
            private: What was sent and must not come back in a message.

        Returns:
            The JSON object of the answer.

        Raises:
            BackendError: by the table above; an answer that is no JSON object is a `ServiceError`, since the request
                may have been carried out.
            ConfigError: the key is not in the environment.
            MissingDependencyError: the SDK is not installed.
        """
        sdk = self._opened()
        response: httpx2.Response = self._heard(lambda: call(sdk).http_response, private)
        try:
            return msgspec.json.decode(response.content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            kind = response.headers.get("content-type", "no content type").partition(";")[0][:80]
            message = f"{response.request.url.path} of {response.request.url.host} answered with {kind}, no JSON object"
            raise ServiceError(message, backend=_BACKEND, status_code=response.status_code) from None

    def pages(self, call: Callable[[OpenAI, dict[str, Any]], Any], most: int = _MOST_PAGES) -> Iterator[dict[str, Any]]:
        """The objects of a list, page by page.

        Args:
            call: Asks for one page, given the arguments that say which.
            most: Pages after which a list is left.
        """
        after: dict[str, Any] = {}
        for _ in range(most):
            page = self.ask(lambda sdk, after=after: call(sdk, after))  # type: ignore[misc]
            rows = [row for row in page.get("data") or () if isinstance(row, dict)]
            yield from rows
            if not page.get("has_more") or not rows:
                return
            after = {"after": rows[-1].get("id")}

    def content(self, file_id: str, take: Callable[[Iterator[bytes]], None]) -> None:
        """Hand over the content of a file as it streams by."""
        sdk = self._opened()

        def receive() -> None:
            with sdk.files.with_streaming_response.content(file_id) as response:
                take(response.iter_bytes())

        self._heard(receive)

    def _opened(self) -> OpenAI:
        with self._opening:
            if self._sdk is None:
                try:
                    import openai  # noqa: PLC0415 - an extra
                except ImportError:
                    raise MissingDependencyError("the openai backend", "openai", "openai") from None
                sdk = openai.OpenAI(
                    api_key=lambda: key_from(self._key_env, f"the {_BACKEND} backend"),
                    admin_api_key="",
                    base_url=self._url,
                    http_client=self._http,
                    max_retries=0,
                )
                sdk.organization = sdk.project = None
                sdk._custom_headers = {}  # noqa: SLF001 - from OPENAI_CUSTOM_HEADERS, whichever host this is
                self._sdk = sdk
            return self._sdk

    def _heard(self, act: Callable[[], T], private: Sequence[str] = ()) -> T:
        from openai import APIConnectionError, APIStatusError, OpenAIError  # noqa: PLC0415 - an extra

        try:
            with translating(_BACKEND):
                return act()
        except AdaptkitError:
            raise
        except ValueError as error:  # before anything was sent
            message = f"{self._host.says} has no such thing, for its id is none: {error}"
            raise NotFoundError(message, backend=_BACKEND) from None
        except OpenAIError as error:
            caught: OpenAIError = error
        # raised out here, so that the SDK's error, which holds the request and its key, is no context of ours
        if isinstance(caught, APIStatusError):
            self._raise_if_retired(caught.response, caught.code)
            raise_for(caught.response, _BACKEND, private)
        if isinstance(caught, APIConnectionError) and isinstance(caught.__cause__, httpx2.RequestError):
            with translating(_BACKEND):
                raise caught.__cause__
        raise ServiceError(f"the answer of {self._host.says} was lost: {type(caught).__name__}", backend=_BACKEND)

    def _raise_if_retired(self, response: httpx2.Response, code: str | None) -> None:
        if response.status_code == 403 and code == "training_not_available":
            raise BackendRetiredError(
                f"{self._host.says} takes no new fine-tuning jobs from this organization (training_not_available): "
                "since 2026-05-07 from those that never fine-tuned, since 2026-07-02 from those that do not use what "
                f"they tuned, from {CLOSED} on from all. Tuned models answer until their base is switched off.",
                since=date(2026, 5, 7).isoformat(),
                replacement=_INSTEAD,
                backend=_BACKEND,
                status_code=403,
            )

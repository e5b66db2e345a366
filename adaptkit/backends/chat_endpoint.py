"""OpenAI's chat wire over HTTP: one request an answer, nothing sent twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import httpx2
import msgspec

from adaptkit import steps
from adaptkit.adapter import ChatOptions
from adaptkit.data.formats.messages import write_message
from adaptkit.decodable import decodable
from adaptkit.errors import BackendError, ServiceError
from adaptkit.http import key_from, raise_for, service_words, translating
from adaptkit.steps import Request, Steps, SystemClock
from adaptkit.types import Message, Reply, ToolCall, Usage

__all__ = ["Endpoint", "tool_call"]

T = TypeVar("T", bound="_Answer")


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = "{}"


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Part(msgspec.Struct):
    text: str = ""


class _Said(msgspec.Struct):
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content) if isinstance(self.content, list) else self.content or ""


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    error: Any = None


@decodable
class _Completion(_Answer):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    delta: _Said = msgspec.field(default_factory=_Said)
    finish_reason: str | None = None


@decodable
class _Chunk(_Answer):
    choices: list[_Delta] = []


class Endpoint:
    """A service that speaks the wire.

    Args:
        http: The client to send with.
        base_url: Address without ``/chat/completions``.
        api_key_env: Name of the environment variable with the key, or ``None``; read at each request.
        backend: Name of the backend, for errors.
        here: Gives the client of the running event loop, where answers are awaited.
    """

    def __init__(
        self,
        http: httpx2.Client,
        base_url: str,
        api_key_env: str | None,
        backend: str,
        here: Callable[[], httpx2.AsyncClient] | None = None,
    ) -> None:
        self._http, self._url = http, f"{base_url}/chat/completions"
        self._key_env, self._backend, self._here = api_key_env, backend, here

    def chat(self, model: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation; raises as `answer` does."""
        return steps.run(self.answer(model, messages, options), SystemClock())

    def answer(self, model: str, messages: Sequence[Message], options: ChatOptions) -> Steps[Reply]:
        """Answer one conversation, as steps.

        Raises:
            BackendError: by the table of `adaptkit.http`; what was sent is not in the message.
            ConfigError: the key is not in the environment.
        """
        headers = self._headers()
        private = _private(headers, messages)
        with translating(self._backend):
            response = yield self._post(_body(model, messages, options), headers)
        raise_for(response, self._backend, private)
        kind = response.headers.get("content-type", "no content type").partition(";")[0][:80]
        if "html" in kind:
            message = f"{self._url} answered with {kind}, not JSON: is base_url right? It often ends in /v1"
            raise BackendError(message, backend=self._backend, status_code=response.status_code)
        heard = self._decode(response.content, _Completion, private)
        if not heard.choices:
            raise ServiceError(f"{self._url} answered without a choice", backend=self._backend, status_code=200)
        choice, usage = heard.choices[0], heard.usage or _Usage()
        details = usage.prompt_tokens_details or _Details()
        return Reply(
            text=choice.message.text,
            usage=Usage(
                input_tokens=usage.prompt_tokens or 0,
                output_tokens=usage.completion_tokens or 0,
                cache_read_tokens=details.cached_tokens or 0,
            ),
            finish_reason=choice.finish_reason or "unknown",
            tool_calls=tuple(
                tool_call(call.function.name, call.function.arguments, call.id, self._backend)
                for call in choice.message.tool_calls or ()
            ),
            raw=msgspec.json.decode(response.content),
        )

    def stream(self, model: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Pieces of the answer as they come; closing the iterator ends the request.

        Raises:
            BackendError: as for `chat`; `ServiceError` also where the stream breaks off before the answer's end.
        """
        body, headers = _body(model, messages, options, stream=True), self._headers()
        private = _private(headers, messages)
        ended = False
        with (
            translating(self._backend),
            self._http.sse(self._url, method="POST", content=body, headers=headers) as events,
        ):
            if not events.response.is_success:
                events.response.read()
                raise_for(events.response, self._backend, private)
            for event in events:
                if event.data == "[DONE]":
                    return
                for choice in self._decode(event.data, _Chunk, private).choices[:1]:
                    ended = ended or choice.finish_reason is not None
                    if choice.delta.text:
                        yield choice.delta.text
        if not ended:
            raise ServiceError(f"the stream of {self._url} broke off before the answer's end", backend=self._backend)

    def _post(self, content: bytes, headers: Mapping[str, str]) -> Request:
        here = self._here
        return Request(
            partial(self._http.post, self._url, content=content, headers=headers),
            None if here is None else lambda: here().post(self._url, content=content, headers=headers),
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._key_env is not None:
            headers["Authorization"] = f"Bearer {key_from(self._key_env, f'the {self._backend} backend')}"
        return headers

    def _decode(self, content: bytes | str, kind: type[T], private: Sequence[str]) -> T:
        """An answer, or a piece of one; some services report an error with status 200."""
        try:
            heard = msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            message = f"{self._url} answered with something that is no chat completion: {error}"
            raise ServiceError(message, backend=self._backend, status_code=200) from None
        if heard.error is not None:
            _, words = service_words(msgspec.json.decode(content), private)
            raise ServiceError(f"{self._url} failed with status 200: {words}", backend=self._backend, status_code=200)
        return heard


def tool_call(name: str, arguments: str | dict[str, Any], call_id: str | None, backend: str) -> ToolCall:
    """A call as a model wrote it.

    Raises:
        ServiceError: the arguments are no JSON object.
    """
    try:
        made = msgspec.json.decode(arguments or "{}", type=dict[str, Any]) if isinstance(arguments, str) else arguments
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        message = f"the model called {name[:80]} with arguments that are no JSON object"
        raise ServiceError(message, backend=backend) from None
    return ToolCall(name=name, arguments=made, id=call_id)


def _body(model: str, messages: Sequence[Message], options: ChatOptions, *, stream: bool = False) -> bytes:
    fields: Mapping[str, Any] = {
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "seed": options.seed,
        "stop": list(options.stop) or None,
        "tools": list(options.tools) or None,
        "response_format": None
        if options.schema is None
        else {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": options.schema, "strict": True},
        },
        "stream": stream or None,
    }
    wire = {
        "model": model,
        "messages": [write_message(msgspec.structs.replace(turn, weight=None)) for turn in messages],
    }
    return msgspec.json.encode({**wire, **{name: value for name, value in fields.items() if value is not None}})


def _private(headers: Mapping[str, str], messages: Sequence[Message]) -> list[str]:
    """What must not come back in an error."""
    return [headers.get("Authorization", ""), *(turn.text for turn in messages)]

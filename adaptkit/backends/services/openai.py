"""OpenAI's models, through OpenAI's SDK and its Responses API.

Responses and not chat completions, because it is where prompt caching can be told how long (30 minutes or 12 hours),
where there is a counter of tokens, and what OpenAI develops. Its price: no ``stop`` and no ``seed``. Nothing is stored
at OpenAI (``store`` is false).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx2
import msgspec

from adaptkit.backends.chat_endpoint import tool_call
from adaptkit.backends.services.ask import Ask, private_texts
from adaptkit.backends.services.embedding import EmbeddingAnswer, Vectors, embedding_request
from adaptkit.backends.services.pdfs import before_question, pdf_name, pdf_url
from adaptkit.backends.services.sdk import Keyed, Written, decoded, quietly, translated
from adaptkit.backends.services.vendors import Vendor, refuse_options
from adaptkit.decodable import decodable
from adaptkit.documents import with_documents
from adaptkit.errors import MissingDependencyError, ServiceError, UnsupportedError
from adaptkit.http import service_words
from adaptkit.http_clients import Clients
from adaptkit.prices import Prices
from adaptkit.steps import Request, Steps
from adaptkit.types import Document, ImagePart, Message, Reply, TextPart, ToolCall, Usage

try:
    import openai
    from openai.types.responses import Response, ResponseStreamEvent
except ImportError as error:
    raise MissingDependencyError("asking OpenAI's models", "openai", "openai") from error

__all__ = ["Gpt", "open_service"]

_LOGGER = "openai._base_client"
#: Sent by the SDK's `post` and not by its `create`, which fits every part of a prompt to its types before it sends the
#: same: 0.4 ms of this process for one question, 35 ms with 64 examples in front of it (openai 3.57).
_RESPONSES = "/responses"
_OPTIONS: openai.RequestOptions = {"security": {"bearer_auth": True}}
_ENDS = ("response.completed", "response.incomplete")
_FINISH = {"max_output_tokens": "length"}

Item = dict[str, Any]


class _Content(msgspec.Struct):
    type: str
    text: str = ""
    refusal: str = ""


class _Item(msgspec.Struct):
    type: str
    content: list[_Content] | None = None
    call_id: str | None = None
    name: str = ""
    arguments: str = "{}"


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _InputDetails | None = None


class _Counted(msgspec.Struct):
    input_tokens: int


class _Why(msgspec.Struct):
    reason: str | None = None


@decodable
class _Response(msgspec.Struct):
    output: list[_Item]
    status: str | None = None
    error: Any = None
    incomplete_details: _Why | None = None
    usage: _Usage | None = None


def open_service(vendor: Vendor, http: Clients, base_url: str, key_env: str, backend: str) -> Gpt:
    """See `vendors.open_vendor`."""

    def make(key: str) -> openai.OpenAI:
        return openai.OpenAI(api_key=key, base_url=base_url, http_client=http.calling, max_retries=0)

    def amake(key: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=key, base_url=base_url, http_client=http.here(), max_retries=0)

    return Gpt(vendor, Keyed(make, amake, key_env, f"the {backend} backend"), backend)


class Gpt:
    """See `ask.Service`."""

    def __init__(self, vendor: Vendor, keyed: Keyed[openai.OpenAI, openai.AsyncOpenAI], backend: str) -> None:
        self._vendor, self.keyed, self.backend = vendor, keyed, backend
        self._examples = Written(_examples)

    def answer(self, ask: Ask) -> Steps[Reply]:
        """See `Service.answer`."""
        request, private = self.request(ask), private_texts(ask)
        with translated(self.backend, private), quietly(_LOGGER):
            answered = yield self._post(_RESPONSES, request)
        response = decoded(answered, _Response, self.backend)
        if response.status == "failed" or response.error is not None:
            raise self._failed(response.error, private)
        return self._reply(response, msgspec.json.decode(answered.content))

    def stream(self, ask: Ask) -> Iterator[str]:
        """See `Service.stream`."""
        client, request = self.keyed.client(), self.request(ask)
        private = private_texts(ask)
        ended = False
        with translated(self.backend, private):
            with quietly(_LOGGER):
                events = client.post(
                    _RESPONSES,
                    body={**request, "stream": True},
                    cast_to=Response,
                    options=_OPTIONS,
                    stream=True,
                    stream_cls=openai.Stream[ResponseStreamEvent],
                )
            with events:
                for event in events:
                    if event.type in ("response.output_text.delta", "response.refusal.delta"):
                        yield event.delta
                    elif event.type == "response.failed":
                        error = event.response.error
                        raise self._failed(None if error is None else error.to_dict(), private)
                    elif event.type == "error":
                        raise self._failed({"message": event.message, "code": event.code}, private)
                    ended = ended or event.type in _ENDS
        if not ended:
            raise ServiceError("OpenAI's stream broke off before the answer's end", backend=self.backend)

    def count(self, ask: Ask) -> Steps[int | None]:
        """See `Service.count`."""
        counted = ("model", "input", "tools", "text")
        request = {name: value for name, value in self.request(ask).items() if name in counted}
        with translated(self.backend, private_texts(ask)), quietly(_LOGGER):
            answered = yield self._post(f"{_RESPONSES}/input_tokens", request)
        return decoded(answered, _Counted, self.backend).input_tokens

    def read(self, raw: Mapping[str, Any]) -> Reply:
        """The reply that a response is."""
        try:
            response = msgspec.convert(raw, _Response)
        except msgspec.ValidationError as error:
            raise ServiceError(f"OpenAI's response cannot be read: {error}", backend=self.backend) from None
        if response.status == "failed" or response.error is not None:
            raise ServiceError("OpenAI failed in the middle of its answer", backend=self.backend)
        return self._reply(response, raw)

    def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """See `embedding.Embeds`."""
        with translated(self.backend, texts), quietly(_LOGGER):
            answered = self._post("/embeddings", embedding_request(model, texts)).ask()
        return decoded(answered, EmbeddingAnswer, self.backend).vectors(len(texts), self.backend)

    def _post(self, path: str, body: Mapping[str, Any]) -> Request:
        def post(client: openai.OpenAI | openai.AsyncOpenAI) -> object:
            return client.post(path, body=body, cast_to=httpx2.Response, options=_OPTIONS)

        return self.keyed.request(post, post)

    def _failed(self, error: object, private: list[str]) -> ServiceError:
        _, words = service_words({"error": error}, private)
        return ServiceError(f"OpenAI failed in the middle of its answer: {words}", backend=self.backend)

    def request(self, ask: Ask) -> dict[str, Any]:
        """A question in OpenAI's words, whoever carries it: a call or a batch."""
        refuse_options(self._vendor, msgspec.structs.asdict(ask.options))
        options = ask.options
        request: dict[str, Any] = {
            "model": ask.model,
            "input": _input(ask, self._examples(ask.examples)),
            "store": False,
        }
        if options.max_tokens is not None:
            request["max_output_tokens"] = options.max_tokens
        if options.temperature is not None:
            request["temperature"] = options.temperature
        if options.tools:
            request["tools"] = [_tool(tool) for tool in options.tools]
        if options.schema is not None:
            request["text"] = {"format": _format(options.schema)}
        if ask.cache is not None:
            request["prompt_cache_key"] = ask.cache.key
            if ask.cache.ttl is not None and _breaks(ask.model):
                request["prompt_cache_options"] = {"ttl": ask.cache.ttl}
        return request

    def _reply(self, response: _Response, raw: Mapping[str, Any]) -> Reply:
        contents = [content for item in response.output if item.type == "message" for content in item.content or ()]
        calls = tuple(
            tool_call(item.name, item.arguments, item.call_id, self.backend)
            for item in response.output
            if item.type == "function_call"
        )
        used = response.usage or _Usage()
        details = used.input_tokens_details or _InputDetails()
        return Reply(
            text="".join(content.text or content.refusal for content in contents),
            usage=Usage(
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cache_read_tokens=details.cached_tokens or 0,
                cache_write_tokens=details.cache_write_tokens or 0,
            ),
            finish_reason=_finish(response, contents, calls),
            tool_calls=calls,
            raw=raw,
        )


# from our words to theirs ---------------------------------------------------------------------------------------------


def _input(ask: Ask, examples: Sequence[Item]) -> list[Item]:
    """What stands in front, a mark where it ends, the conversation."""
    stable = [{"role": "developer", "content": [{"type": "input_text", "text": text}]} for text in ask.system]
    stable += examples
    if ask.corpus:
        stable += [item for turn in with_documents((), ask.corpus) for item in _items(turn)]
    if ask.cache is not None and _breaks(ask.model):
        _mark(stable)
    conversation = with_documents(ask.messages, ask.texts)
    volatile = [item for turn in (*ask.found, *conversation) for item in _items(turn)]
    return stable + before_question(volatile, [_file(each) for each in ask.pdfs])


def _examples(turns: Sequence[Message]) -> list[Item]:
    return [item for turn in turns for item in _items(turn)]


def _mark(items: list[Item]) -> None:
    """Mark the end of what stands in front: an answer cannot be marked, so it may be the question before it."""
    for at, item in reversed(list(enumerate(items))):
        if item.get("role") in ("developer", "user") and item["content"]:
            last = {**item["content"][-1], "prompt_cache_breakpoint": {"mode": "explicit"}}
            items[at] = {**item, "content": [*item["content"][:-1], last]}
            return


def _breaks(model: str) -> bool:
    """Whether a model's cache takes marks: those that are billed for writing to it do."""
    card = Prices().chat("openai", model)
    return card is not None and bool(card.cache_write)


def _items(turn: Message) -> list[Item]:
    if turn.role == "tool":
        return [{"type": "function_call_output", "call_id": turn.tool_call_id or "", "output": turn.text}]
    if turn.role == "assistant":
        said: list[Item] = [{"role": "assistant", "content": turn.text}] if turn.text else []
        calls = [
            {
                "type": "function_call",
                "call_id": call.id or f"call_{at}",
                "name": call.name,
                "arguments": msgspec.json.encode(call.arguments).decode(),
            }
            for at, call in enumerate(turn.tool_calls)
        ]
        return said + calls
    parts = turn.content if isinstance(turn.content, tuple) else (TextPart(text=turn.content or ""),)
    role = "user" if turn.role == "user" else "developer"
    return [{"role": role, "content": [_part(part) for part in parts]}]


def _part(part: object) -> Item:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, ImagePart):
        return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
    raise UnsupportedError("OpenAI's Responses API takes text and images, not audio")


def _file(document: Document) -> Item:
    return {"type": "input_file", "filename": pdf_name(document), "file_data": pdf_url(document)}


def _tool(tool: Mapping[str, Any]) -> Item:
    function = tool.get("function", tool)
    described = {"description": function["description"]} if function.get("description") else {}
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    strict = bool(function.get("strict", False))
    return {"type": "function", "name": function["name"], **described, "parameters": parameters, "strict": strict}


def _format(schema: Mapping[str, Any]) -> Item:
    strict, made = True, dict(schema)
    try:
        made = _closed(schema)
    except _OpenError:
        strict = False
    return {"type": "json_schema", "name": "answer", "schema": made, "strict": strict}


class _OpenError(ValueError):
    """A schema allows fields that it does not name."""


def _closed(schema: Any) -> Any:
    """A schema as strict mode wants it: every field required, no other allowed.

    Raises:
        _OpenError: it wants others.
    """
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("type") == "object" and schema.get("additionalProperties") not in (None, False):
        raise _OpenError
    out: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions"):
            out[name] = {field: _closed(each) for field, each in value.items()}
        elif name != "default":
            out[name] = value if name in ("enum", "const", "required", "additionalProperties") else _closed(value)
    if schema.get("type") == "object":
        fields = out.setdefault("properties", {})
        out |= {"additionalProperties": False, "required": list(fields)}
    return out


# and back -------------------------------------------------------------------------------------------------------------


def _finish(response: _Response, contents: list[_Content], calls: tuple[ToolCall, ...]) -> str:
    if response.incomplete_details is not None and response.incomplete_details.reason is not None:
        return _FINISH.get(response.incomplete_details.reason, response.incomplete_details.reason)
    if any(content.type == "refusal" for content in contents):
        return "refusal"
    if calls:
        return "tool_calls"
    return "stop" if response.status in (None, "completed") else response.status

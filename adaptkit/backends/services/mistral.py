"""Mistral's models, through Mistral's SDK: its chat wire, which is OpenAI's with small differences."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import msgspec

from adaptkit.backends.chat_endpoint import tool_call
from adaptkit.backends.services.ask import Ask, in_words, private_texts
from adaptkit.backends.services.embedding import Embedded, EmbeddingAnswer, Vectors
from adaptkit.backends.services.pdfs import before_question, pdf_name, pdf_url
from adaptkit.backends.services.sdk import PATIENCE, Keyed, translated
from adaptkit.backends.services.vendors import Vendor, refuse_options
from adaptkit.backends.services.window import Window
from adaptkit.data.formats.messages import write_message
from adaptkit.decodable import decodable
from adaptkit.errors import MissingDependencyError, ServiceError, UnsupportedError
from adaptkit.http_clients import Clients
from adaptkit.steps import Request, Steps
from adaptkit.types import AudioPart, Document, Message, Reply, Usage

try:
    from mistralai.client import Mistral
except ImportError as error:
    raise MissingDependencyError("asking Mistral's models", "mistralai", "mistral") from error

__all__ = ["Ministry", "open_service"]

_FINISH = {"model_length": "length"}


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = "{}"


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Chunk(msgspec.Struct):
    type: str = "text"
    text: str = ""


class _Said(msgspec.Struct):
    content: str | list[_Chunk] | None = None
    tool_calls: list[_Call] | None = None

    @property
    def text(self) -> str:
        """The text; what the model thought is left out."""
        if isinstance(self.content, list):
            return "".join(chunk.text for chunk in self.content if chunk.type == "text")
        return self.content or ""


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    num_cached_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


@decodable
class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Discreet:
    """What the SDK tells its logger: with MISTRAL_DEBUG set it would be every request with its key and its content."""

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Say nothing."""


def open_service(vendor: Vendor, http: Clients, base_url: str, key_env: str, backend: str) -> Ministry:
    """See `vendors.open_vendor`."""

    def make(key: str, here: httpx2.AsyncClient | None = None) -> Mistral:
        # the SDK has a time-out of its own, one for every phase
        wait = None if http.timeout.read is None else int(http.timeout.read * 1000)
        client = Mistral(
            api_key=key,
            server_url=base_url,
            client=http.calling,
            async_client=here,
            retry_config=None,
            timeout_ms=wait,
            debug_logger=_Discreet(),
        )
        # traces would carry prompts to wherever the environment says
        client.sdk_configuration.__dict__["telemetry"] = False
        return client

    keyed = Keyed(make, lambda key: make(key, http.here()), key_env, f"the {backend} backend")
    return Ministry(vendor, keyed, backend)


class Ministry:
    """See `ask.Service`."""

    def __init__(self, vendor: Vendor, keyed: Keyed[Mistral, Mistral], backend: str) -> None:
        self._vendor, self.keyed, self.backend = vendor, keyed, backend

    def answer(self, ask: Ask) -> Steps[Reply]:
        """See `Service.answer`."""
        request = self.request(ask)
        with translated(self.backend, private_texts(ask)):
            asked = self.keyed.request(
                lambda client: client.chat.complete(**request), lambda client: client.chat.complete_async(**request)
            )
            answered = yield asked if _on_asyncio() else Request(asked.ask)
            raw = answered.model_dump(mode="json", by_alias=True)
        return self.read(raw)

    def read(self, raw: Mapping[str, Any]) -> Reply:
        """The reply that a completion is."""
        try:
            completion = msgspec.convert(raw, _Completion)
        except msgspec.ValidationError as error:
            message = f"Mistral answered with something that is none of its answers: {error}"
            raise ServiceError(message, backend=self.backend, status_code=200) from None
        if not completion.choices:
            raise ServiceError("Mistral answered without a choice", backend=self.backend, status_code=200)
        return self._reply(completion, raw)

    def stream(self, ask: Ask) -> Iterator[str]:
        """See `Service.stream`."""
        client, request = self.keyed.client(), self.request(ask)
        ended = False
        with translated(self.backend, private_texts(ask)), client.chat.stream(**request) as events:
            for event in events:
                for choice in event.data.choices[:1]:
                    ended = ended or bool(choice.finish_reason)
                    content = choice.delta.content
                    if isinstance(content, str):
                        if content:
                            yield content
                    elif content:
                        yield from (chunk.text for chunk in content if chunk.type == "text" and chunk.text)
        if not ended:
            raise ServiceError("Mistral's stream broke off before the answer's end", backend=self.backend)

    def count(self, ask: Ask) -> Steps[int | None]:
        """Mistral has no counter."""
        del ask
        yield from ()
        return None

    def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """See `embedding.Embeds`."""
        with translated(self.backend, texts):
            answered = self.keyed.client().embeddings.create(model=model, inputs=list(texts))
            found = [Embedded(each.embedding or [], -1 if each.index is None else each.index) for each in answered.data]
        return EmbeddingAnswer(found).vectors(len(texts), self.backend)

    def window(self, model: str) -> Steps[Window]:
        """See `ask.TellsWindow`; what an answer has at most is not told."""
        asked: dict[str, Any] = {"model_id": model, "timeout_ms": int(PATIENCE * 1000)}
        with translated(self.backend, ()):
            request = self.keyed.request(
                lambda client: client.models.retrieve(**asked), lambda client: client.models.retrieve_async(**asked)
            )
            told = yield request if _on_asyncio() else Request(request.ask)
        # the SDK fills in 32,768 where the service says nothing
        said = "max_context_length" in told.model_fields_set
        return Window(reads=told.max_context_length or None if said else None)

    def request(self, ask: Ask) -> dict[str, Any]:
        """A question in Mistral's words, whoever carries it: a call or a batch."""
        refuse_options(self._vendor, msgspec.structs.asdict(ask.options))
        options = ask.options
        fields: dict[str, Any] = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "random_seed": options.seed,
            "stop": list(options.stop) or None,
            "tools": [dict(tool) for tool in options.tools] or None,
            "response_format": None if options.schema is None else _format(options.schema),
            "prompt_cache_key": None if ask.cache is None else ask.cache.key,
        }
        words = replace(ask, passages=(), options=msgspec.structs.replace(options, documents=ask.texts))
        messages = before_question([_message(turn) for turn in in_words(words)], [_file(each) for each in ask.pdfs])
        asked = {name: value for name, value in fields.items() if value is not None}
        return {"model": ask.model, "messages": messages, **asked}

    def _reply(self, completion: _Completion, raw: Mapping[str, Any]) -> Reply:
        choice, used = completion.choices[0], completion.usage
        finish = choice.finish_reason or "unknown"
        details, calls = used.prompt_tokens_details or _Details(), choice.message.tool_calls or ()
        return Reply(
            text=choice.message.text,
            usage=Usage(
                input_tokens=used.prompt_tokens or 0,
                output_tokens=used.completion_tokens or 0,
                cache_read_tokens=details.cached_tokens or used.num_cached_tokens or 0,
            ),
            finish_reason=_FINISH.get(finish, finish),
            tool_calls=tuple(
                tool_call(call.function.name, call.function.arguments, call.id, self.backend) for call in calls
            ),
            raw=raw,
        )


def _on_asyncio() -> bool:
    """Whether the SDK can be awaited here: it knows no other event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _message(turn: Message) -> dict[str, Any]:
    if isinstance(turn.content, tuple) and any(isinstance(part, AudioPart) for part in turn.content):
        raise UnsupportedError("Mistral's chat takes text and images here, not audio")
    role = "system" if turn.role == "developer" else turn.role
    return write_message(msgspec.structs.replace(turn, role=role, weight=None))


def _file(document: Document) -> dict[str, Any]:
    return {"type": "document_url", "document_url": pdf_url(document), "document_name": pdf_name(document)}


def _format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema_definition": dict(schema), "strict": True}}

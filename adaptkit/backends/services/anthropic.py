"""Claude, through Anthropic's SDK: blocks, breakpoints, citations.

What is particular: there are no sampling parameters; ``max_tokens`` must be given, and what the model thinks counts in
it; system messages stand in front; neighbouring turns of one role are one; an answer to a schema is constrained by
``output_config``, never by a forced tool, which current models refuse.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adaptkit.backends.services.ask import Ask, private_texts
from adaptkit.backends.services.sdk import PATIENCE, Keyed, Written, decoded, quietly, translated
from adaptkit.backends.services.vendors import Vendor, refuse_options
from adaptkit.backends.services.window import Window
from adaptkit.decodable import decodable
from adaptkit.errors import MissingDependencyError, ServiceError, UnsupportedError
from adaptkit.http_clients import Clients
from adaptkit.steps import Steps
from adaptkit.types import Citation, Document, ImagePart, Message, Reply, TextPart, ToolCall, Usage

try:
    import anthropic
except ImportError as error:
    raise MissingDependencyError("asking Claude", "anthropic", "anthropic") from error

__all__ = ["Claude", "open_service"]

#: New tokens where nobody names a number: room to think; what is not used costs nothing.
MAX_TOKENS = 16_000
#: Above this the service wants to stream, since a connection that is silent for long does not last.
_UNSTREAMED = 21_333
_LOGGER = "anthropic._base_client"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_DATA_URL = re.compile(r"data:(image/[a-z+.-]+);base64,", re.IGNORECASE)

#: Paragraphs, each with the blank lines behind it.
_PARAGRAPHS = re.compile(r"\s*\S.*?(?:\n\s*\n|\s*\Z)", re.DOTALL)

Block = dict[str, Any]


class _Cited(msgspec.Struct):
    cited_text: str = ""
    document_index: int | None = None
    document_title: str | None = None
    title: str | None = None
    source: str | None = None
    start_page_number: int | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    citations: list[_Cited] | None = None
    id: str | None = None
    name: str = ""
    input: dict[str, Any] = {}


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


@decodable
class _Message(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


@decodable
class _Counted(msgspec.Struct):
    input_tokens: int


@decodable
class _Told(msgspec.Struct):
    max_input_tokens: int | None = None
    max_tokens: int | None = None


def open_service(vendor: Vendor, http: Clients, base_url: str, key_env: str, backend: str) -> Claude:
    """See `vendors.open_vendor`."""
    # the address is always given: one from the environment would lead around the egress policy's check of a plan
    fixed: dict[str, Any] = {"base_url": base_url, "max_retries": 0, "open_telemetry": False}

    def make(key: str) -> anthropic.Anthropic:
        return anthropic.Anthropic(api_key=key, http_client=http.calling, **fixed)

    def amake(key: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key=key, http_client=http.here(), **fixed)

    return Claude(vendor, Keyed(make, amake, key_env, f"the {backend} backend"), backend)


class Claude:
    """See `ask.Service`."""

    def __init__(
        self, vendor: Vendor, keyed: Keyed[anthropic.Anthropic, anthropic.AsyncAnthropic], backend: str
    ) -> None:
        self._vendor, self.keyed, self.backend = vendor, keyed, backend
        self._examples = Written(_examples)

    def answer(self, ask: Ask) -> Steps[Reply]:
        """See `Service.answer`."""
        request, private = self.request(ask), private_texts(ask)
        if request["max_tokens"] > _UNSTREAMED:
            return (yield from self._assembled(request, private))

        def create(client: anthropic.Anthropic | anthropic.AsyncAnthropic) -> object:
            return client.messages.with_raw_response.create(**request)

        with translated(self.backend, private), quietly(_LOGGER):
            response = (yield self.keyed.request(create, create)).http_response
        message = decoded(response, _Message, self.backend)
        return _reply(message, msgspec.json.decode(response.content), _sources(request))

    def stream(self, ask: Ask) -> Iterator[str]:
        """See `Service.stream`."""
        client, request = self.keyed.client(), self.request(ask)
        ended = False
        with translated(self.backend, private_texts(ask)):
            with quietly(_LOGGER):
                events = client.messages.create(**request, stream=True)
            with events:
                for event in events:
                    if event.type == "content_block_delta" and event.delta.type == "text_delta":
                        yield event.delta.text
                    ended = ended or event.type == "message_stop"
        if not ended:
            raise self._broken_off()

    def count(self, ask: Ask) -> Steps[int | None]:
        """See `Service.count`."""
        counted = ("model", "messages", "system", "tools", "output_config")
        request = {name: value for name, value in self.request(ask).items() if name in counted}

        def count(client: anthropic.Anthropic | anthropic.AsyncAnthropic) -> object:
            return client.messages.with_raw_response.count_tokens(**request)

        with translated(self.backend, private_texts(ask)), quietly(_LOGGER):
            response = (yield self.keyed.request(count, count)).http_response
        return decoded(response, _Counted, self.backend).input_tokens

    def window(self, model: str) -> Steps[Window]:
        """See `ask.TellsWindow`."""

        def retrieve(client: anthropic.Anthropic | anthropic.AsyncAnthropic) -> object:
            return client.models.with_raw_response.retrieve(model, timeout=PATIENCE)

        with translated(self.backend, ()), quietly(_LOGGER):
            response = (yield self.keyed.request(retrieve, retrieve)).http_response
        told = decoded(response, _Told, self.backend)
        return Window(reads=told.max_input_tokens or None, writes=told.max_tokens or None)

    def read(self, raw: Mapping[str, Any]) -> Reply:
        """The reply that a message is."""
        try:
            return _reply(msgspec.convert(raw, _Message), raw)
        except msgspec.ValidationError as error:
            raise ServiceError(f"Claude's message cannot be read: {error}", backend=self.backend) from None

    def _assembled(self, request: Mapping[str, Any], private: Sequence[str]) -> Steps[Reply]:
        """A long answer, streamed on its way and whole in the end."""

        def assemble(client: anthropic.Anthropic) -> anthropic.types.ParsedMessage[None]:
            with client.messages.stream(**request) as stream:
                return stream.get_final_message()

        async def aassemble(client: anthropic.AsyncAnthropic) -> anthropic.types.ParsedMessage[None]:
            async with client.messages.stream(**request) as stream:
                return await stream.get_final_message()

        with translated(self.backend, private), quietly(_LOGGER):
            whole = (yield self.keyed.request(assemble, aassemble)).to_dict(mode="json")
        message = msgspec.convert(whole, _Message)
        if message.stop_reason is None:
            raise self._broken_off()
        return _reply(message, whole, _sources(request))

    def _broken_off(self) -> ServiceError:
        return ServiceError("Claude's stream broke off before the answer's end", backend=self.backend)

    def request(self, ask: Ask) -> dict[str, Any]:
        """A question in Claude's words, whoever carries it: a call or a batch."""
        refuse_options(self._vendor, msgspec.structs.asdict(ask.options))
        options = ask.options
        request: dict[str, Any] = {
            "model": ask.model,
            "max_tokens": options.max_tokens or min(MAX_TOKENS, ask.window.writes or MAX_TOKENS),
            "messages": _turns(ask, self._examples(ask.examples)),
        }
        if ask.system:
            request["system"] = _marked([{"type": "text", "text": text} for text in ask.system], ask)
        if options.tools:
            request["tools"] = [_tool(tool) for tool in options.tools]
        if options.stop:
            request["stop_sequences"] = list(options.stop)
        if options.schema is not None:
            if options.citations:
                raise UnsupportedError("Claude gives citations or keeps a schema, not both at once: ask for one")
            request["output_config"] = {"format": {"type": "json_schema", "schema": _schema(options.schema)}}
        return request


# from our words to theirs ---------------------------------------------------------------------------------------------


Turn = dict[str, Any]


def _turns(ask: Ask, examples: Sequence[Turn]) -> list[Turn]:
    """Turns with neighbours of one role made one; the cache's marks stand where the stable part ends."""
    turns = list(examples)
    if turns:
        turns[-1] = {**turns[-1], "content": _marked(turns[-1]["content"], ask)}
    last = max((at for at, turn in enumerate(ask.messages) if turn.role == "user"), default=None)
    following: list[Turn] = []
    if ask.corpus:
        following.append({"role": "user", "content": _marked([_document(each, ask) for each in ask.corpus], ask)})
    following += map(_turn, ask.found)
    for at, turn in enumerate(ask.messages):
        if at == last and ask.documents:
            found = [_passage(each, ask) for each in ask.passages]
            following.append(
                {"role": "user", "content": found + [_document(each, ask) for each in ask.options.documents]}
            )
        following.append(_turn(turn))
    _join(turns, following)
    if not turns or turns[-1]["role"] == "assistant":
        raise UnsupportedError("Claude does not continue an answer: the last message must be the user's or a tool's")
    return turns


def _examples(turns: Sequence[Message]) -> list[Turn]:
    joined: list[Turn] = []
    _join(joined, [_turn(turn) for turn in turns])
    return joined


def _join(turns: list[Turn], following: Sequence[Turn]) -> None:
    for turn in following:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1] = {**turns[-1], "content": [*turns[-1]["content"], *turn["content"]]}
        else:
            turns.append(turn)


def _turn(turn: Message) -> Turn:
    if turn.role in ("system", "developer"):
        raise UnsupportedError("Claude's system message stands in front: put it before the first question")
    if turn.role == "tool":
        result = {"type": "tool_result", "tool_use_id": turn.tool_call_id or "", "content": turn.text}
        return {"role": "user", "content": [result]}
    parts = turn.content if isinstance(turn.content, tuple) else (TextPart(text=turn.content or ""),)
    blocks = [
        _part(part) for part in parts if not (isinstance(part, TextPart) and not part.text)
    ]  # empty ones are refused
    calls = [
        {"type": "tool_use", "id": call.id or f"call_{at}", "name": call.name, "input": dict(call.arguments)}
        for at, call in enumerate(turn.tool_calls)
    ]
    return {"role": turn.role, "content": [*blocks, *calls]}


def _part(part: object) -> Block:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        inline = _DATA_URL.match(part.url)
        if inline is None:
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        data = part.url[inline.end() :]
        return {"type": "image", "source": {"type": "base64", "media_type": inline[1].lower(), "data": data}}
    raise UnsupportedError("Claude takes text and images, not audio")


def _document(document: Document, ask: Ask) -> Block:
    source = {"type": "text", "media_type": "text/plain", "data": document.text}
    if document.pdf is not None:
        data = b64encode(document.pdf).decode()
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
    block: Block = {"type": "document", "source": source}
    if document.title:
        block["title"] = document.title
    if document.source:
        block["context"] = document.source
    return _cited(block, ask)


def _passage(passage: Document, ask: Ask) -> Block:
    """What was found, by paragraphs: a paragraph is the least that can be cited of it."""
    title, source = passage.title or passage.source or "", passage.source or passage.title
    content = [{"type": "text", "text": text} for text in _PARAGRAPHS.findall(passage.text)]
    return _cited({"type": "search_result", "source": source, "title": title, "content": content}, ask)


def _cited(block: Block, ask: Ask) -> Block:
    # of one request everything is cited, or nothing
    return {**block, "citations": {"enabled": True}} if ask.options.citations else block


def _tool(tool: Mapping[str, Any]) -> Block:
    function = tool.get("function", tool)
    described = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **described, "input_schema": function.get("parameters") or {"type": "object"}}


def _marked(blocks: list[Block], ask: Ask) -> list[Block]:
    if ask.cache is None or not blocks:
        return blocks
    mark = {"type": "ephemeral", **({"ttl": ask.cache.ttl} if ask.cache.ttl else {})}
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}]


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return anthropic.transform_schema(dict(schema))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnsupportedError(f"Claude cannot keep this schema: {error}") from None


# and back -------------------------------------------------------------------------------------------------------------


def _sources(request: Mapping[str, Any]) -> list[str | None]:
    """Where the documents of a request come from, in their order, by which a citation names them."""
    blocks = (block for turn in request["messages"] for block in turn["content"])
    return [block.get("context") for block in blocks if block["type"] == "document"]


def _reply(message: _Message, raw: Mapping[str, Any], sources: Sequence[str | None] = ()) -> Reply:
    text, citations, calls = "", list[Citation](), list[ToolCall]()
    for block in message.content:
        if block.type == "text":
            end = len(text) + len(block.text)
            citations += [_citation(cited, len(text), end, sources) for cited in block.citations or ()]
            text += block.text
        elif block.type == "tool_use":
            calls.append(ToolCall(name=block.name, arguments=block.input, id=block.id))
    used = message.usage
    read, written = used.cache_read_input_tokens or 0, used.cache_creation_input_tokens or 0
    finish = message.stop_reason or "unknown"
    return Reply(
        text=text,
        usage=Usage(
            input_tokens=used.input_tokens + read + written,
            output_tokens=used.output_tokens,
            cache_read_tokens=read,
            cache_write_tokens=written,
        ),
        finish_reason=_FINISH.get(finish, finish),
        tool_calls=tuple(calls),
        citations=tuple(citations),
        raw=raw,
    )


def _citation(cited: _Cited, start: int, end: int, sources: Sequence[str | None]) -> Citation:
    document, source = cited.document_index, cited.source
    if document is not None and 0 <= document < len(sources):
        source = sources[document]
    title = cited.title if document is None else cited.document_title
    quote, page = cited.cited_text, cited.start_page_number
    return Citation(start=start, end=end, quote=quote, title=title, source=source, document=document, page=page)

"""Answers by Bedrock's Converse: conversations in its words, and its words back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adaptkit.adapter import ChatOptions
from adaptkit.backends.bedrock.aws import BACKEND, Aws
from adaptkit.errors import ServiceError, UnsupportedError
from adaptkit.types import ImagePart, Message, Reply, TextPart, ToolCall, Usage

__all__ = ["Converse"]

_FINISHED = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_DEPLOY = "a custom model answers only through a deployment: model.deploy(confirm_spend=True)"


class Converse:
    """Chat with what a deployment's ARN, or a base model's id, names.

    Args:
        aws: To ask with.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation.

        Raises:
            UnsupportedError: the model is not deployed, or a turn or an option has no form here.
        """
        answer = self._aws.ask(
            "bedrock-runtime",
            "converse",
            needs=("output", "stopReason", "usage"),
            private=_texts(messages),
            **_request(model_id, messages, options),
        )
        blocks = answer["output"].get("message", {}).get("content", [])
        usage = answer["usage"]
        return Reply(
            text="".join(block.get("text", "") for block in blocks),
            usage=Usage(input_tokens=usage["inputTokens"], output_tokens=usage["outputTokens"]),
            finish_reason=_FINISHED.get(answer["stopReason"], answer["stopReason"]),
            tool_calls=tuple(
                ToolCall(name=call["name"], arguments=call["input"], id=call["toolUseId"])
                for block in blocks
                if (call := block.get("toolUse")) is not None
            ),
            raw={name: value for name, value in answer.items() if name != "ResponseMetadata"},
        )

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Pieces of the answer as they come.

        Raises:
            UnsupportedError: as for `chat`.
            ServiceError: the stream broke off before the answer's end.
        """
        private = _texts(messages)
        request = _request(model_id, messages, options)
        stream = self._aws.ask("bedrock-runtime", "converse_stream", private=private, **request)["stream"]
        try:
            events, ended = iter(stream), False
            while True:
                event = self._aws.carefully(lambda: next(events, None), private)
                if event is None:
                    break
                ended = ended or "messageStop" in event
                text = event.get("contentBlockDelta", {}).get("delta", {}).get("text")
                if text:
                    yield text
        finally:
            stream.close()
        if not ended:
            raise ServiceError("the stream broke off before the answer's end", backend=BACKEND)


def _texts(messages: Sequence[Message]) -> list[str]:
    return [turn.text for turn in messages]


def _request(model_id: str, messages: Sequence[Message], options: ChatOptions) -> dict[str, Any]:
    if ":custom-model/" in model_id:
        raise UnsupportedError(f"{model_id}: {_DEPLOY}")
    if options.seed is not None:
        raise UnsupportedError("Bedrock's Converse takes no seed; temperature = 0 is the nearest")
    system = 0
    while system < len(messages) and messages[system].role == "system":
        system += 1
    settings = {
        "maxTokens": options.max_tokens,
        "temperature": options.temperature,
        "stopSequences": list(options.stop) or None,
    }
    return {
        "modelId": model_id,
        "system": [{"text": turn.text} for turn in messages[:system]] or None,
        "messages": _turns(messages[system:]),
        "inferenceConfig": {name: value for name, value in settings.items() if value is not None} or None,
    }


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """User and assistant turns; what tools gave is a user's there, and one turn for all calls of a turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role not in ("user", "assistant", "tool"):
            raise UnsupportedError(f"Bedrock's Converse has no {message.role} turn after the first ones; move it")
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [_tool_result(message)] if message.role == "tool" else _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    parts = message.content if isinstance(message.content, tuple) else (TextPart(text=message.content or ""),)
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, TextPart):
            blocks += [{"text": part.text}] if part.text else []
        elif isinstance(part, ImagePart):
            blocks.append({"image": _image(part.url)})
        else:
            raise UnsupportedError("audio is not sent to Bedrock; write down what is said")
    calls = ({"toolUseId": call.id, "name": call.name, "input": call.arguments} for call in message.tool_calls)
    return blocks + [{"toolUse": call} for call in calls]


def _tool_result(message: Message) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": message.tool_call_id, "content": [{"text": message.text}]}}


def _image(url: str) -> Mapping[str, Any]:
    kind, _, content = url.partition(";base64,")
    if kind.startswith("data:image/") and content:
        try:
            return {
                "format": kind.removeprefix("data:image/"),
                "source": {"bytes": base64.b64decode(content, validate=True)},
            }
        except binascii.Error:
            pass
    raise UnsupportedError("Bedrock takes images as data:image/…;base64,… and fetches none from the network")

"""Messages as OpenAI writes them, which Mistral and TRL share with small differences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from adaptkit.data.formats.row import Node
from adaptkit.data.parsing import RowFault, parse_object, shorten
from adaptkit.data.records import single_text
from adaptkit.errors import DataError
from adaptkit.types import AudioPart, ImagePart, Message, Part, Role, TextPart, ToolCall

__all__ = ["message_from", "read_messages", "read_tools", "write_message"]

_ROLES = frozenset(get_args(Role))
_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "weight", "function_call"})
_NEAREST = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}
_AUDIO = ("wav", "mp3")
_IMAGE_URL = re.compile(r"(?:https?://|data:image/)", re.IGNORECASE)


def message_from(turn: Mapping[str, Any]) -> Message:
    """One message in OpenAI's shape as a value.

    Raises:
        DataError: it is not a message; names every reason.
    """
    from adaptkit.data.problems import Problem  # noqa: PLC0415 - beside its only use

    node = Node(turn, [])
    message = _message(node)
    if message is None or node.findings:
        raise DataError("this is not a message:", [Problem.at(finding, None, None) for finding in node.findings])
    return message


def read_messages(node: Node) -> tuple[Message, ...]:
    """An array of messages; what cannot be read is left out and noted."""
    messages = tuple(message for item in node.items() if (message := _message(item)) is not None)
    if isinstance(node.value, list | tuple) and not node.value:
        node.problem("no-messages", "there are no messages.", "Remove the row, or add the conversation.")
    return messages


def read_tools(node: Node, key: str = "tools") -> tuple[Mapping[str, Any], ...]:
    """The tool definitions of a row, as they stand; a bare function is wrapped as OpenAI wants it."""
    if not node.has(key):
        return ()
    tools: list[Mapping[str, Any]] = []
    for item in node.at(key).items():
        match item.value:
            case {"function": {"name": str()}}:
                tools.append(item.value)
                continue
        if not item.is_object():
            continue
        function = item.at("function") if item.has("function") else item
        if not isinstance(function.value, dict) or not isinstance(function.value.get("name"), str):
            function.problem("tool-definition", "a tool needs a function with a name.")
            continue
        tools.append(item.value if function is not item else {"type": "function", "function": item.value})
    return tuple(tools)


def write_message(message: Message, *, arguments_as_text: bool = True) -> dict[str, Any]:
    """A message in OpenAI's shape; absent fields are left out."""
    out: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        content = message.content
        out["content"] = content if isinstance(content, str) else [_write_part(part) for part in content]
    elif not message.tool_calls:
        out["content"] = None
    if message.name is not None:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = [_write_call(call, as_text=arguments_as_text) for call in message.tool_calls]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    if message.weight is not None:
        out["weight"] = int(message.weight)
    return out


def _message(node: Node) -> Message | None:
    if not node.is_object():
        return None
    match node.value:  # most turns by far, in a tenth of the time
        case {"role": "system" | "user" | "assistant" as role, "content": str(content), **others} if not others:
            return Message(role=role, content=content)
    return _any_message(node)


def _any_message(node: Node) -> Message | None:
    before = len(node.findings)
    role = _role(node)
    if node.has("function_call"):
        node.at("function_call").problem(
            "deprecated-functions",
            "function_call is the retired form of tool_calls.",
            'Write {"tool_calls": [{"id": …, "type": "function", "function": …}]}.',
        )
    node.refuse_others(_KEYS, "Remove it: hosts refuse messages with keys they do not know.")
    content = _content(node, role)
    calls = tuple(_calls(node.at("tool_calls"))) if node.has("tool_calls") else ()
    if calls and role not in ("assistant", None):
        node.at("tool_calls").problem("tool-calls", "only an assistant turn can call tools.")
    name, call_id = node.text("name", required=False), node.text("tool_call_id", required=False)
    if call_id is not None and role not in ("tool", None):
        node.at("tool_call_id").problem("tool-calls", "only a tool turn answers a call.")
    weight = _weight(node, role)
    if content is None and not calls and role is not None and len(node.findings) == before:
        node.at("content").problem(
            "missing-key", "'content' is missing.", "Only an assistant turn that calls tools may have none."
        )
    if len(node.findings) > before or role is None:
        return None
    return Message(role=role, content=content, name=name, tool_calls=calls, tool_call_id=call_id, weight=weight)


def _role(node: Node) -> Role | None:
    role = node.text("role")
    if role in _ROLES:
        return role  # type: ignore[return-value]
    if role == "function":
        node.at("role").problem(
            "deprecated-functions",
            "the role 'function' is the retired form of 'tool'.",
            "Use the role 'tool' with a tool_call_id.",
        )
    elif role is not None:
        near = _NEAREST.get(role.lower(), role.lower() if role.lower() in _ROLES else None)
        node.at("role").problem(
            "unknown-role",
            f"{shorten(role)} is not a role.",
            f"Did you mean {near!r}?" if near else f"Roles are {', '.join(sorted(_ROLES))}.",
        )
    return None


def _content(node: Node, role: Role | None) -> str | tuple[Part, ...] | None:
    value = node.value.get("content")
    if value is None or isinstance(value, str):
        return value
    content = node.at("content")
    if not isinstance(value, list | tuple):
        content.problem("wrong-type", "content is neither a string nor an array of parts.")
        return None
    if not value:
        content.problem("empty-content", "content has no parts.", "Write a string, or at least one part.")
    parts = tuple(part for item in content.items() if (part := _part(item)) is not None)
    if role not in ("user", None) and any(not isinstance(part, TextPart) for part in parts):
        content.problem("media-role", "only a user turn can hold images or audio.")
    return single_text(parts) or ""


def _part(node: Node) -> Part | None:
    if not node.is_object():
        return None
    kind = node.text("type")
    if kind == "text":
        node.refuse_others({"type", "text"})
        text = node.text("text")
        return None if text is None else TextPart(text=text)
    if kind == "image_url":
        return _image(node)
    if kind == "input_audio":
        node.refuse_others({"type", "input_audio"})
        audio = node.at("input_audio")
        if not audio.is_object():
            return None
        audio.refuse_others({"data", "format"})
        data, encoding = audio.text("data"), audio.text("format")
        if encoding is not None and encoding not in _AUDIO:
            audio.at("format").problem("audio-format", f"{shorten(encoding)} is neither wav nor mp3.")
        return AudioPart(data=data, format=encoding) if data is not None and encoding is not None else None
    if kind is not None:
        node.at("type").problem(
            "unknown-part", f"{shorten(kind)} is not a kind of part.", "Parts are text, image_url and input_audio."
        )
    return None


def _image(node: Node) -> ImagePart | None:
    node.refuse_others({"type", "image_url"})
    if isinstance(node.value.get("image_url"), str):  # Mistral's short form
        image = node.instead("image_url", {"url": node.value["image_url"]})
    else:
        image = node.at("image_url")
        if not image.is_object():
            return None
    image.refuse_others({"url", "detail"})
    url, detail = image.text("url"), image.text("detail", required=False)
    if url is not None and not _IMAGE_URL.match(url):
        image.at("url").problem("image-url", "an image is an http(s) address or a data:image/… URL.")
    if detail is not None and detail not in ("low", "high", "auto"):
        image.at("detail").problem("image-detail", f"{shorten(detail)} is not low, high or auto.")
    return None if url is None else ImagePart(url=url, detail=detail)


def _weight(node: Node, role: Role | None) -> float | None:
    if not node.has("weight"):
        return None
    value, place = node.value["weight"], node.at("weight")
    if role not in ("assistant", None):
        place.problem("weight", "only assistant turns carry a weight.", "Remove it.")
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (0, 1):
        place.problem("weight", "a weight is 0 or 1.", "0 keeps the turn out of training, 1 trains on it.")
        return None
    return float(value)


def _calls(node: Node) -> Iterable[ToolCall]:
    for item in node.items():
        if not item.is_object():
            continue
        item.refuse_others({"id", "type", "function", "index"})
        kind = item.text("type", required=False)
        if kind not in (None, "function"):
            item.at("type").problem("tool-calls", f"{shorten(kind)} is not a kind of call.", "Use 'function'.")
        function = item.at("function")
        if not function.is_object():
            continue
        function.refuse_others({"name", "arguments"})
        name, arguments = function.text("name"), _arguments(function)
        if name is not None and arguments is not None:
            yield ToolCall(name=name, arguments=arguments, id=item.text("id", required=False))


def _arguments(function: Node) -> Mapping[str, Any] | None:
    value, place = function.value.get("arguments"), function.at("arguments")
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        try:
            return parse_object(value.encode())
        except RowFault as fault:
            place.problem(
                "tool-arguments",
                f"the arguments are a string, but not of a JSON object: {fault}",
                'Write an object, or its JSON as a string; "{}" for none.',
            )
        except UnicodeEncodeError:
            place.problem("lone-surrogate", "the arguments hold one half of a surrogate pair.")
        return None
    place.problem(
        "tool-arguments", "the arguments are neither an object nor a string of JSON.", "Write {} where there are none."
    )
    return None


def _write_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        image = {"url": part.url} if part.detail is None else {"url": part.url, "detail": part.detail}
        return {"type": "image_url", "image_url": image}
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}


def _write_call(call: ToolCall, *, as_text: bool) -> dict[str, Any]:
    arguments = msgspec.json.encode(call.arguments).decode() if as_text else call.arguments
    out: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return out if call.id is None else {"id": call.id, **out}

"""Answers in a form: asked for with a JSON Schema or a type of Python's, checked, put right once.

A service that can hold an answer to a schema while writing it does; anybody else is told the schema in words. Either
way the answer is checked here: services leave out what they cannot express, such as the least number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from adaptkit.errors import AnswerError, ConfigError, MissingDependencyError
from adaptkit.types import Message, Reply

__all__ = ["Form", "form_of", "parsed"]

#: Complaints that are told at once.
_COMPLAINTS = 5


@dataclass(frozen=True)
class Form:
    """What an answer should look like.

    Attributes:
        schema: As JSON Schema.
        read: From an answer's text to the value.
    """

    schema: Mapping[str, Any]
    read: Callable[[str], Any]

    def instructing(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The conversation with the schema told in its system message."""
        words = (
            "Answer with JSON alone, without any words around it, that keeps this JSON Schema:\n"
            f"{json.dumps(self.schema, ensure_ascii=False, separators=(',', ':'))}"
        )
        if messages and messages[0].role in ("system", "developer") and isinstance(messages[0].content, str):
            first = msgspec.structs.replace(messages[0], content=f"{messages[0].content}\n\n{words}")
            return (first, *messages[1:])
        return (Message(role="system", content=words), *messages)


class Misfit(ValueError):
    """A text does not keep a form; says where and which rule, not what stands there."""


def form_of(schema: Any) -> Form:
    """The form that a schema means.

    Args:
        schema: A JSON Schema as a mapping, or a type that pydantic reads: a model, a dataclass, ``list[int]``.

    Raises:
        ConfigError: it is neither, or the schema is not valid.
        MissingDependencyError: checking a JSON Schema needs the extra ``schema``.
    """
    if isinstance(schema, Mapping):
        return _of_schema(msgspec.json.encode(schema))
    try:
        return _of_type(schema)
    except TypeError:  # cannot be remembered by
        return _of_type.__wrapped__(schema)


def parsed(reply: Reply, form: Form) -> Reply:
    """The reply with its value.

    Raises:
        AnswerError: it was cut off, refused or answered with calls of tools instead.
        Misfit: the text does not keep the form.
    """
    if reply.finish_reason == "length":
        raise AnswerError("the answer was cut off before its end: raise max_tokens", reply=reply)
    if reply.finish_reason == "refusal":
        raise AnswerError("the model refused to answer; .reply.raw says more", reply=reply)
    if reply.tool_calls:
        raise AnswerError("the model calls tools instead of answering: see .reply.tool_calls", reply=reply)
    return msgspec.structs.replace(reply, parsed=form.read(_bare(reply.text)))


def complaint(misfit: Misfit) -> Message:
    """What a model is told that did not keep the form."""
    return Message(role="user", content=f"That does not keep the schema: {misfit}. Answer again, with JSON alone.")


def _bare(text: str) -> str:
    """Without the fence that models like to put around JSON."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```") and "\n" in bare:
        bare = bare[bare.index("\n") + 1 : -3]
    return bare


@lru_cache(maxsize=256)
def _of_type(kind: Any) -> Form:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        schema = adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        name = getattr(kind, "__name__", type(kind).__name__)
        raise ConfigError(f"schema is a JSON Schema or a type that pydantic can read; {name} is neither") from error

    def read(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False, include_context=False)
            raise Misfit(_list(f"{_path(each['loc'])}: {_rule(each)}" for each in found)) from None

    return Form(schema, read)


@lru_cache(maxsize=256)
def _of_schema(encoded: bytes) -> Form:
    try:
        from jsonschema import SchemaError  # noqa: PLC0415 - an extra
        from jsonschema.validators import validator_for  # noqa: PLC0415
        from referencing import Registry  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("checking answers against a JSON Schema", "jsonschema", "schema") from error
    schema: dict[str, Any] = msgspec.json.decode(encoded)
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"schema is not a valid JSON Schema: {error.json_path}: {error.message}") from None
    registry: Registry[Any] = Registry()  # an empty one: what a reference names is never fetched
    validator = kind(schema, registry=registry)

    def read(text: str) -> Any:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise Misfit("it is not JSON") from None
        found = [
            f"{error.json_path}: {error.validator} {json.dumps(error.validator_value, ensure_ascii=False)[:100]}"
            for error in sorted(validator.iter_errors(value), key=lambda error: error.json_path)
        ]
        if found:
            raise Misfit(_list(found))
        return value

    return Form(schema, read)


def _rule(found: Mapping[str, Any]) -> str:
    if found["type"] == "json_invalid":
        return "it is not JSON"
    return str(found["type"]).replace("_", " ")


def _path(loc: Sequence[Any]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)


def _list(found: Any) -> str:
    complaints = list(found)
    more = len(complaints) - _COMPLAINTS
    return "; ".join(complaints[:_COMPLAINTS]) + (f"; and {more} more" if more > 0 else "")

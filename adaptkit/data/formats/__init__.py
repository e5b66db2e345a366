"""The formats that adaptkit reads and writes, as one table.

A *shape* is what a row looks like, told by its keys; a *format* is a name that people use, with the shapes it covers
and how each kind of record is written in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adaptkit.data.formats import chat, cloud, plain
from adaptkit.data.formats.row import Node
from adaptkit.data.problems import Finding
from adaptkit.data.records import Record
from adaptkit.errors import ConfigError

__all__ = ["FORMATS", "SHAPES", "Format", "Shape", "format_named", "shape_of", "unwritable"]


@dataclass(frozen=True)
class Shape:
    """What a row looks like: the keys that tell it, the kind of record it holds, how it is read."""

    name: str
    kind: str
    format: str
    keys: frozenset[str]
    read: Callable[[Node], Record]


@dataclass(frozen=True)
class Format:
    """A format by the name people use.

    ``kinds`` are the records that can be written in it; ``cannot`` says what of a record has no place in it; ``own``
    are the keys that other data of a row may not take. Plain turns of ``plain_roles`` in any order can always be
    written, which spares looking at each.
    """

    name: str
    shapes: tuple[str, ...]
    kinds: frozenset[str]
    write: Callable[[Record], dict[str, Any]]
    cannot: Callable[[Record], Iterator[Finding]] | None = None
    own: frozenset[str] = frozenset()
    plain_roles: frozenset[str] = frozenset()


_THREE = frozenset({"system", "user", "assistant"})
_FOUR = _THREE | {"developer"}


def _shape(name: str, kind: str, form: str, keys: str, read: Callable[[Node], Record]) -> Shape:
    return Shape(name, kind, form, frozenset(keys.split()), read)


#: In the order in which they are tried.
SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        _shape("bedrock", "chat", "bedrock", "schemaVersion messages", cloud.read_bedrock),
        _shape("openai", "chat", "openai", "messages", chat.read_openai_chat),
        # never told by its keys, which are an OpenAI row's too: only read where the format is named
        _shape("anthropic", "chat", "anthropic", "messages", cloud.read_anthropic),
        _shape(
            "openai-preference",
            "preference",
            "openai",
            "input preferred_output non_preferred_output",
            chat.read_openai_preference,
        ),
        _shape("trl-preference", "preference", "trl", "prompt chosen rejected", chat.read_trl_preference),
        _shape("trl-completion", "chat", "trl", "prompt completion", chat.read_trl_completion),
        _shape("prompt-completion", "completion", "prompt-completion", "prompt completion", plain.read_completion),
        _shape("sharegpt", "chat", "sharegpt", "conversations", plain.read_sharegpt),
        _shape("alpaca", "chat", "alpaca", "instruction output", plain.read_alpaca),
        _shape("vertex", "chat", "vertex", "contents", cloud.read_vertex),
        _shape("text", "text", "text", "text", plain.read_text),
        _shape("bedrock-text", "text", "bedrock", "input", cloud.read_bedrock_text),
    )
}

FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format(
            "openai",
            ("openai", "openai-preference", "prompt-completion", "text"),
            frozenset({"chat", "preference", "completion", "text"}),
            chat.write_openai,
            own=frozenset(
                {
                    "messages",
                    "tools",
                    "parallel_tool_calls",
                    "functions",
                    "input",
                    "preferred_output",
                    "non_preferred_output",
                    "prompt",
                    "completion",
                    "text",
                    "schemaVersion",
                }
            ),
            plain_roles=_FOUR,
        ),
        Format(
            "mistral",
            ("openai", "text"),
            frozenset({"chat", "text"}),
            chat.write_mistral,
            chat.cannot_mistral,
            plain_roles=_THREE,
        ),
        Format(
            "trl",
            ("openai", "trl-preference", "trl-completion", "prompt-completion", "text"),
            frozenset({"chat", "preference", "completion", "text"}),
            chat.write_trl,
            chat.cannot_trl,
            own=frozenset(
                {
                    "messages",
                    "tools",
                    "functions",
                    "parallel_tool_calls",
                    "prompt",
                    "completion",
                    "chosen",
                    "rejected",
                    "text",
                    "schemaVersion",
                }
            ),
            plain_roles=_FOUR,
        ),
        Format(
            "sharegpt",
            ("sharegpt",),
            frozenset({"chat"}),
            plain.write_sharegpt,
            plain.cannot_sharegpt,
            own=frozenset({"conversations", "system", "messages"}),
            plain_roles=_THREE,
        ),
        Format(
            "alpaca",
            ("alpaca",),
            frozenset({"chat"}),
            plain.write_alpaca,
            plain.cannot_alpaca,
            own=frozenset({"instruction", "input", "output", "system", "history", "messages", "conversations"}),
        ),
        Format(
            "prompt-completion",
            ("prompt-completion",),
            frozenset({"completion"}),
            plain.write_completion,
            own=frozenset({"prompt", "completion", "messages", "chosen", "rejected"}),
        ),
        Format(
            "text",
            ("text",),
            frozenset({"text"}),
            plain.write_text,
            own=frozenset({"text", "messages", "conversations", "contents", "prompt", "instruction"}),
        ),
        Format(
            "bedrock",
            ("bedrock", "bedrock-text", "prompt-completion"),
            frozenset({"chat", "completion", "text"}),
            cloud.write_bedrock,
            cloud.cannot_bedrock,
        ),
        Format("anthropic", ("anthropic",), frozenset({"chat"}), cloud.write_anthropic, cloud.cannot_anthropic),
        Format("vertex", ("vertex",), frozenset({"chat"}), cloud.write_vertex, cloud.cannot_vertex),
    )
}


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    from adaptkit.registry import nearest  # noqa: PLC0415 - the registry imports the data layer

    try:
        return FORMATS[name]
    except KeyError:
        raise ConfigError(
            f"there is no data format {name!r}.{nearest(name, FORMATS)} Formats are {', '.join(FORMATS)}."
        ) from None


def shape_of(row: Mapping[str, Any], among: tuple[str, ...] | None = None) -> Shape | None:
    """What a row looks like, by its keys; ``None`` if it is none of the known shapes."""
    for name in among if among is not None else SHAPES:
        shape = SHAPES[name]
        if (
            shape.keys <= row.keys()
            and all(row[key] is not None for key in shape.keys)
            and (name != "trl-completion" or isinstance(row["completion"], list | tuple))
        ):
            return shape
    return None


def unwritable(record: Record, form: Format) -> Iterator[Finding]:
    """Everything of a record that a format has no place for; nothing where it can be written without loss."""
    if record.kind not in form.kinds:
        others = ", ".join(other.name for other in FORMATS.values() if record.kind in other.kinds)
        yield Finding(
            "cannot-express",
            "$",
            f"{form.name} has no form for {record.kind} rows.",
            f"Formats that have one: {others}.",
        )
        return
    if form.cannot is not None:
        yield from form.cannot(record)
    for key in sorted(form.own.intersection(record.extra)) if record.extra else ():
        yield Finding(
            "cannot-express", "$", f"the further key {key!r} has a meaning of its own in {form.name}.", "Rename it."
        )

"""Rendering chat templates: programs that came with a model, so they run in a sandbox and under a bound.

A template is Jinja. It cannot reach the interpreter (the sandbox), and it cannot run for ever: every turn of a loop and
every call of a macro takes one unit of fuel, and products and joins of texts are limited, so that rendering ends
whatever the template says. The environment is the one that chat templates are written for: trimmed blocks, ``tojson``,
``raise_exception``, ``strftime_now``, loop controls, and ``{% generation %}`` blocks that mark what the model says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from adaptkit.errors import ArtifactError, DataError
from adaptkit.types import Message, TextPart

__all__ = ["ChatTemplate", "Rendered"]

#: Turns of loops and macro calls of one rendering, about a second's worth; a thousand messages take a few thousand.
FUEL = 250_000
#: Characters of one rendering, and of any one value that a template makes by joining or repeating.
MAX_CHARS = 64_000_000
#: Noncharacters (U+FDD0..U+FDEF are never assigned): where a generation block starts and ends.
START, END = "\ufdd0", "\ufdd1"


class _OutOfFuel(Exception):
    """The template did not end within the bound."""


class _Fuel:
    """Counts down; one for each environment, filled up before each rendering."""

    def __init__(self) -> None:
        self.left = FUEL

    def __call__(self) -> bool:
        self.left -= 1
        if self.left < 0:
            raise _OutOfFuel
        return True


@dataclass(frozen=True)
class Rendered:
    """A conversation as text. ``spans`` are the generation blocks: (start, end) in characters, in order."""

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatTemplate:
    """A compiled template.

    Args:
        source: Jinja text.
        special_tokens: What the template may name, such as ``bos_token``.

    Raises:
        ArtifactError: the text is no template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        import jinja2  # noqa: PLC0415 - an extra

        self.source, self._tokens = source, dict(special_tokens)
        self.has_generation_blocks = re.search(r"\{%-?\+?\s*generation\s*[-+]?%\}", source) is not None
        self._fuel = _Fuel()
        try:
            self._template = _compile(source, self._fuel)
        except jinja2.TemplateError as error:
            raise ArtifactError(f"the model's chat template cannot be compiled: {error}") from error

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), *, ask: bool = False
    ) -> Rendered:
        """Write a conversation as the model reads it.

        Args:
            messages: The conversation.
            tools: Tool definitions in OpenAI's shape.
            ask: End with the start of an assistant turn, for the model to go on.

        Raises:
            ArtifactError: the template did not end, or made too long a text.
            DataError: the template refuses this conversation, for example two user turns in a row.
        """
        import jinja2  # noqa: PLC0415

        self._fuel.left = FUEL
        plain = [_plain(message) for message in messages]
        try:
            pieces: list[str] = []
            size = 0
            for piece in self._template.generate(
                messages=plain, tools=list(tools) or None, add_generation_prompt=ask, **self._tokens
            ):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_CHARS:
                    raise _OutOfFuel
        except (_OutOfFuel, RecursionError, MemoryError):
            raise ArtifactError(
                f"the model's chat template did not end within {FUEL:,} loop turns and {MAX_CHARS:,} characters; it "
                "loops, or is not meant for chat. Use a model with a working chat_template.jinja."
            ) from None
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            # the words are the template's own (raise_exception) or Jinja's; a value of the data is never in them
            words = str(error) if isinstance(error, jinja2.TemplateError) else type(error).__name__
            raise DataError(f"the model's chat template refuses this conversation: {words}") from None
        return _unmark("".join(pieces))


def _unmark(text: str) -> Rendered:
    spans: list[tuple[int, int]] = []
    clean: list[str] = []
    at, start = 0, None
    for piece in re.split(f"([{START}{END}])", text):
        if piece == START:
            start = at
        elif piece == END:
            if start is not None:
                spans.append((start, at))
            start = None
        else:
            clean.append(piece)
            at += len(piece)
    return Rendered("".join(clean), tuple(spans))


def _plain(message: Message) -> dict[str, Any]:
    """A message in the shape that templates expect; the marks of generation blocks cannot be forged by data."""
    if isinstance(message.content, tuple):
        other = [part for part in message.content if not isinstance(part, TextPart)]
        if other:
            raise DataError(f"a text model cannot read the {type(other[0]).__name__} of a {message.role} message")
    made: dict[str, Any] = {"role": message.role, "content": _clean(message.text)}
    if message.name is not None:
        made["name"] = _clean(message.name)
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "type": "function",
                **({"id": call.id} if call.id is not None else {}),
                "function": {"name": call.name, "arguments": json.loads(_clean(json.dumps(call.arguments)))},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def _clean(text: str) -> str:
    return text.replace(START, "").replace(END, "") if START in text or END in text else text


def _compile(source: str, fuel: _Fuel) -> Any:
    """The template with fuel taken at each turn of a loop and each call of a macro."""
    import jinja2.ext  # noqa: PLC0415
    from jinja2 import nodes  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(jinja2.ext.Extension):
        """Puts a mark before and after what stands in a generation block."""

        tags = {"generation"}  # noqa: RUF012 - the name and form that Jinja asks for

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            marks = [nodes.Output([nodes.TemplateData(mark)]) for mark in (START, END)]
            return nodes.Scope([marks[0], *body, marks[1]]).set_lineno(line)

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset("+*") | {"**"}

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
            numbers = all(isinstance(size, int | float) for size in sizes)
            if numbers and (
                (operator == "**" and sizes[1] > 64) or (operator == "*" and sizes[0] * sizes[1] > MAX_CHARS)
            ):
                raise _OutOfFuel
            if numbers and operator == "+" and sizes[0] + sizes[1] > MAX_CHARS and not isinstance(left, int | float):
                raise _OutOfFuel
            return super().call_binop(context, operator, left, right)

    environment = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def refuse(words: str) -> None:
        raise jinja2.TemplateError(words)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how)

    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=refuse, strftime_now=lambda form: datetime.now().astimezone().strftime(form), _fuel=fuel
    )
    tree = environment.parse(source)
    take = nodes.Call(nodes.Name("_fuel", "load"), [], [], None, None)
    for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        node.body.insert(0, nodes.ExprStmt(take))  # type: ignore[attr-defined]
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(take, node.test)
    nodes.Node.set_environment(tree, environment)
    return environment.from_string(tree)


def read_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The text of a model's chat template: a file of its own, or a field of the tokenizer's configuration."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = tokenizer_config.get("chat_template")
    if isinstance(found, list):
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found

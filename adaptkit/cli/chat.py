"""Talking to a model, piece by piece where it streams."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.text import Text

from adaptkit.adapter import ChatOptions
from adaptkit.cli.session import Session, clean
from adaptkit.errors import BackendError, UnsupportedError
from adaptkit.model import Model
from adaptkit.types import Message

__all__ = ["one_answer", "talk"]


def one_answer(session: Session, model: Model, message: str, system: str | None, options: ChatOptions) -> None:
    """Answer one message: the text as it comes, or one document with the whole reply."""
    turns = [*_instructions(system), Message(role="user", content=message)]
    if session.as_json:
        reply = model.chat(turns, options)
        session.document(
            {
                "text": reply.text,
                "finish_reason": reply.finish_reason,
                "usage": reply.usage,
                "tool_calls": reply.tool_calls,
                "model": str(model.ref),
            }
        )
    else:
        _speak(model, turns, options)


def talk(session: Session, model: Model, system: str | None, options: ChatOptions) -> None:
    """Converse until the end of input; what was said is remembered, and an error ends one answer only."""
    turns = _instructions(system)
    session.note(f"{model.id}: an empty line or Ctrl-D leaves, Ctrl-C stops an answer")
    while True:
        try:
            question = session.screen.input(Text("> ", style="bold cyan")).strip()
        except (EOFError, KeyboardInterrupt):
            session.say("")
            return
        if not question:
            return
        turns.append(Message(role="user", content=question))
        try:
            turns.append(Message(role="assistant", content=_speak(model, turns, options)))
        except (BackendError, KeyboardInterrupt) as stop:
            turns.pop()
            session.note("\nstopped" if isinstance(stop, KeyboardInterrupt) else f"error: {stop}")


def _instructions(system: str | None) -> list[Message]:
    return [Message(role="system", content=system)] if system else []


def _speak(model: Model, turns: Sequence[Message], options: ChatOptions) -> str:
    said = []
    try:
        pieces = iter(model.stream(turns, options))
    except UnsupportedError:
        pieces = iter([model.chat(turns, options).text])
    for piece in pieces:
        said.append(piece)
        sys.stdout.write(clean(piece))
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return "".join(said)

"""Documents written into a conversation, for whoever takes nothing but messages."""

from __future__ import annotations

import html
from collections.abc import Sequence

import msgspec

from adaptkit.errors import UnsupportedError
from adaptkit.types import Document, Message, TextPart

__all__ = ["with_documents"]


def with_documents(turns: Sequence[Message], documents: Sequence[Document], *, first: bool = False) -> list[Message]:
    """Turns with documents in front of the text of the user's last one, or of the first.

    The last is where documents for one question belong: what was said before stays as it was, and so does a cache of
    it. The first is where documents belong that every question shares.

    Raises:
        UnsupportedError: one is a PDF, which is not a text.
    """
    if not documents:
        return list(turns)
    if any(document.pdf is not None for document in documents):
        raise UnsupportedError("a PDF cannot be written into a conversation; nothing was sent: give its text")
    of_user = [at for at, turn in enumerate(turns) if turn.role == "user"]
    text = _written(documents)
    if not of_user:
        return [*turns, Message(role="user", content=text)]
    at = of_user[0 if first else -1]
    return [*turns[:at], _behind(text, turns[at]), *turns[at + 1 :]]


def _behind(text: str, turn: Message) -> Message:
    if isinstance(turn.content, tuple):
        return msgspec.structs.replace(turn, content=(TextPart(text=f"{text}\n\n"), *turn.content))
    return msgspec.structs.replace(turn, content=f"{text}\n\n{turn.text}")


def _written(documents: Sequence[Document]) -> str:
    pieces = []
    for number, document in enumerate(documents, 1):
        source = f' source="{html.escape(document.source)}"' if document.source else ""
        head = f'<document number="{number}" title="{html.escape(document.title)}"{source}>'
        pieces.append(f"{head}\n{document.text}\n</document>")
    return "\n".join(pieces)

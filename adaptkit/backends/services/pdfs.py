"""PDFs in the words of services that take them as parts of a message."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from adaptkit.types import Document

__all__ = ["before_question", "pdf_name", "pdf_url"]


def pdf_url(document: Document) -> str:
    """A PDF as a ``data:`` URL."""
    return f"data:application/pdf;base64,{b64encode(document.pdf or b'').decode()}"


def pdf_name(document: Document) -> str:
    """What a PDF is called: a service may show it to the model."""
    name = document.title or document.source or "document"
    return name if name.lower().endswith(".pdf") else f"{name}.pdf"


def before_question(turns: Sequence[dict[str, Any]], parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns, as a service writes them, with parts in front of what the user said last; in a turn alone if nothing."""
    if not parts:
        return list(turns)
    at = max((at for at, turn in enumerate(turns) if turn.get("role") == "user"), default=None)
    if at is None:
        return [*turns, {"role": "user", "content": list(parts)}]
    said = turns[at]["content"]
    if isinstance(said, str):
        said = [{"type": "text", "text": said}]
    return [*turns[:at], {**turns[at], "content": [*parts, *said]}, *turns[at + 1 :]]

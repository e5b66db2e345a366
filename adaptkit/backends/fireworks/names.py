"""Names at Fireworks, ``accounts/<account>/<kind>/<id>``, and other small words of its wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from adaptkit.http import service_words

__all__ = ["MARK", "given_id", "marked", "model_name", "seconds", "tag_of", "words_of"]

#: Ids that the client chooses begin so: the host wants a letter first.
MARK = "adaptkit-"


def marked(rest: str) -> str:
    """The id that the client chooses for something with a tag, or a hash."""
    return MARK + rest


def given_id(name: str) -> str:
    """The last part of a name."""
    return name.rpartition("/")[2]


def tag_of(name: str) -> str | None:
    """The tag in the id of something that adaptkit started, else ``None``."""
    chosen = given_id(name)
    return chosen.removeprefix(MARK) if chosen.startswith(MARK) else None


def model_name(account: str, model: str) -> str:
    """The full name of a model that the host gives by full name or by id."""
    return model if model.startswith("accounts/") else f"accounts/{account}/models/{model}"


def words_of(status: object) -> str | None:
    """What a resource's ``status`` says, on one line, unless it says that all is well."""
    if not isinstance(status, Mapping) or status.get("code") in (None, "OK"):
        return None
    _, words = service_words({"message": status.get("message") or ""}, ())
    return f"{words} ({status['code']})" if words else str(status["code"])


def seconds(time: Any) -> float | None:
    """Unix time of a moment in RFC 3339; ``None`` where there is none that can be read."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        return None

"""Tuned models that an account owns, through Mistral's SDK, which is loaded when the first of them is asked for.

The paths that it goes to are alive at Mistral, although those of the jobs that made the models are gone. A patch
release of the SDK once took methods away, so each is looked for before it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from adaptkit.backends.services.sdk import translated
from adaptkit.backends.services.vendors import VENDORS
from adaptkit.errors import NotFoundError, UnsupportedError
from adaptkit.http_clients import Clients
from adaptkit.types import OwnedModel

if TYPE_CHECKING:
    from adaptkit.backends.services.mistral import Ministry

__all__ = ["OwnedModels", "day_of", "job_of", "model_of"]

_VENDOR = VENDORS["mistral"]
#: What a card calls a tuned model.
_KIND = "fine-tuned"


class OwnedModels:
    """The tuned models of an account, and all models as who answers.

    Args:
        http: The clients to send with.
        base_url: Where they are.
        key_env: Name of the environment variable with the key.
        backend: Name of the backend, for errors.
    """

    def __init__(self, http: Clients, base_url: str, key_env: str, backend: str) -> None:
        self._http, self._base_url, self._key_env, self._backend = http, base_url, key_env, backend

    @cached_property
    def service(self) -> Ministry:
        """Who answers, through the SDK.

        Raises:
            MissingDependencyError: it is not installed.
        """
        from adaptkit.backends.services.mistral import open_service  # noqa: PLC0415 - an extra

        return open_service(_VENDOR, self._http, self._base_url, self._key_env, self._backend)

    def cards(self) -> Iterator[dict[str, Any]]:
        """What the host says of each tuned model: one request."""
        for listed in self._call("list").data or ():
            card = _plain(listed)
            if card.get("id") and (card.get("type") == _KIND or str(card["id"]).startswith("ft:")):
                yield card

    def made_by(self, job_id: str) -> dict[str, Any] | None:
        """The card of the model that a job made, ``None`` if the account has none; one request."""
        return next((card for card in self.cards() if job_id in (card.get("job"), card.get("id"))), None)

    def rename(self, model_id: str, name: str, description: str | None) -> None:
        """Give a model another name, and description unless it is ``None``."""
        described = {} if description is None else {"description": description}
        self._call("update", model_id=model_id, name=name, **described)

    def archive(self, model_id: str) -> None:
        """Put a model away."""
        self._call("archive", model_id=model_id)

    def unarchive(self, model_id: str) -> None:
        """Take a model out again."""
        self._call("unarchive", model_id=model_id)

    def delete(self, model_id: str) -> None:
        """Delete a model; one that is not there is no error."""
        try:
            self._call("delete", model_id=model_id)
        except NotFoundError:
            return

    def _call(self, name: str, /, **arguments: Any) -> Any:
        """Call a method of the SDK.

        Raises:
            UnsupportedError: this release of the SDK does not have it.
            BackendError: by the table of `adaptkit.http`.
        """
        with translated(self._backend, ()):
            models = getattr(self.service.keyed.client(), "models", None)
            method: Callable[..., Any] | None = getattr(models, name, None)
            if method is None:
                raise UnsupportedError(
                    f"mistralai {_release()} has no models.{name}: install another release, such as 3.7.0, which has it"
                )
            return method(**arguments)


def model_of(card: Mapping[str, Any]) -> OwnedModel:
    """A model by its card."""
    return OwnedModel(
        id=str(card.get("id")),
        base=card.get("root") or None,
        shutdown_date=day_of(card.get("deprecation")),
        created_at=card.get("created") or None,
        archived=bool(card.get("archived")),
    )


def job_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """The job that made a model, in the protocol's words, by the model's card alone: it has succeeded.

    Where the card names no job, the model's id stands for it.
    """
    return {
        "id": card.get("job") or card.get("id"),
        "status": "SUCCESS",
        "model": card.get("root") or "",
        "fine_tuned_model": card.get("id"),
        "created_at": card.get("created"),
    }


def day_of(told: Any) -> date | None:
    """The day of a date in a card; ``None`` for anything else."""
    if not isinstance(told, str):
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        return None
    return (at.astimezone(UTC) if at.tzinfo else at).date()


def _plain(told: Any) -> dict[str, Any]:
    """A card as JSON, of a kind that the SDK does not know too."""
    if getattr(told, "is_unknown", False):
        return told.raw if isinstance(told.raw, dict) else {}
    card: dict[str, Any] = told.model_dump(mode="json", by_alias=True)
    return card


def _release() -> str:
    try:
        return version("mistralai")
    except PackageNotFoundError:
        return "(of an unknown release)"

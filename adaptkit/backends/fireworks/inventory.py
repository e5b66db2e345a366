"""What an account has at Fireworks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from adaptkit.backends.fireworks import jobs
from adaptkit.backends.fireworks.names import given_id, seconds
from adaptkit.backends.rest import Rest
from adaptkit.types import Inventory, OwnedFile, OwnedJob, OwnedModel

__all__ = ["inventory"]

OwnedT = TypeVar("OwnedT", OwnedJob, OwnedFile, OwnedModel)
_PAGE = 200  # the most that the host gives


def inventory(rest: Rest, account: str) -> Inventory:
    """Jobs of the three kinds, datasets and models.

    Args:
        rest: The service.
        account: Path of the account.
    """
    kinds = [kind.collection for kind in jobs.KINDS.values()]
    return Inventory(
        jobs=_newest_first([jobs.owned(job) for kind in kinds for job in _list(rest, account, kind)]),
        files=_newest_first([_file(dataset) for dataset in _list(rest, account, "datasets")]),
        models=_newest_first([_model(model) for model in _list(rest, account, "models")]),
    )


def _list(rest: Rest, account: str, kind: str) -> Iterator[dict[str, Any]]:
    for page in rest.pages(f"{account}/{kind}", {"pageSize": _PAGE}, "nextPageToken", "pageToken"):
        yield from page.get(kind) or ()


def _file(dataset: dict[str, Any]) -> OwnedFile:
    name = str(dataset.get("name"))
    shown = str(dataset.get("displayName") or given_id(name))
    return OwnedFile(id=name, name=shown, purpose="dataset", created_at=seconds(dataset.get("createTime")))


def _model(model: dict[str, Any]) -> OwnedModel:
    base = (model.get("peftDetails") or {}).get("baseModel") or None
    return OwnedModel(id=str(model.get("name")), base=base, created_at=seconds(model.get("createTime")))


def _newest_first(owned: list[OwnedT]) -> tuple[OwnedT, ...]:
    return tuple(sorted(owned, key=lambda one: one.created_at or 0.0, reverse=True))

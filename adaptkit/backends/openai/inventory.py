"""What an account has at a host on the wire, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.backends.openai.answers import day_of, snapshot_of, text_of
from adaptkit.backends.openai.api import Api
from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.backends.openai.profiles import shutdown_of
from adaptkit.backends.openai.recipes import recipe
from adaptkit.types import Inventory, OwnedFile, OwnedJob, OwnedModel

__all__ = ["inventory_of", "jobs_of"]


def jobs_of(api: Api, most: int = 1000, **query: Any) -> Iterator[dict[str, Any]]:
    """Jobs as the host shows them, newest first.

    Args:
        api: The host.
        most: Pages of 100 after which the list is left.
        **query: What to ask for.
    """
    return api.pages(lambda sdk, page: sdk.fine_tuning.jobs.with_raw_response.list(limit=100, **query, **page), most)


def inventory_of(api: Api, config: OpenAIConfig) -> Inventory:
    """Jobs, training files and tuned models, newest first."""
    jobs = [_job(job, config) for job in jobs_of(api)]
    bases = {job.model_id: str(job.recipe.get("model")) for job in jobs if job.model_id}
    files = api.pages(lambda sdk, page: sdk.files.with_raw_response.list(purpose="fine-tune", **page))
    models = api.pages(lambda sdk, page: sdk.models.with_raw_response.list(extra_query=page))
    return Inventory(
        jobs=_newest_first(jobs),
        files=_newest_first([_file(row) for row in files]),
        models=_newest_first([_model(row, bases, config) for row in models if _is_tuned(str(row.get("id")), bases)]),
    )


def _job(job: Mapping[str, Any], config: OpenAIConfig) -> OwnedJob:
    files = {"train": text_of(job, "training_file"), "validation": text_of(job, "validation_file")}
    return OwnedJob(
        snapshot=snapshot_of(job),
        recipe=recipe(config, job),
        files={purpose: file_id for purpose, file_id in files.items() if file_id},
        model_id=text_of(job, "fine_tuned_model"),
        created_at=job.get("created_at"),
    )


def _file(row: Mapping[str, Any]) -> OwnedFile:
    return OwnedFile(
        id=str(row.get("id")),
        name=str(row.get("filename")),
        purpose=str(row.get("purpose")),
        bytes=row.get("bytes"),
        created_at=row.get("created_at"),
    )


def _is_tuned(name: str, bases: Mapping[str, str]) -> bool:
    return name in bases or name.startswith("ft:") or ".ft-" in name


def _model(row: Mapping[str, Any], bases: Mapping[str, str], config: OpenAIConfig) -> OwnedModel:
    name = str(row.get("id"))
    base = bases.get(name) or (name.split(":")[1] if name.startswith("ft:") else None)
    known = shutdown_of(name) if config.profile == "openai" else None
    return OwnedModel(id=name, base=base, shutdown_date=day_of(row) or known, created_at=row.get("created"))


def _newest_first(owned: list[Any]) -> tuple[Any, ...]:
    return tuple(sorted(owned, key=lambda one: one.created_at or 0.0, reverse=True))

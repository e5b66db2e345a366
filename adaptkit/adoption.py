"""Jobs that an account has at a host already, brought into the journal: as if they had been submitted from here.

Nothing at the host is touched. A job that the journal knows is found again, by its id or, where its submission's answer
was lost, by its tag.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import ValidationError

from adaptkit.adapter import Adapter, BackendConfig, SupportsInventory
from adaptkit.errors import AdaptkitWarning, UnsupportedError
from adaptkit.journal import Journal, Run, Stage
from adaptkit.translate import toml_table
from adaptkit.types import OwnedJob

__all__ = ["adopt", "listing_adapter", "recipes"]


def listing_adapter(adapter: Adapter[Any]) -> SupportsInventory:
    """The adapter as one that lists what an account has.

    Raises:
        UnsupportedError: it does not.
    """
    if not isinstance(adapter, SupportsInventory):
        raise UnsupportedError(f"the {adapter.backend} backend does not list what an account has")
    return adapter


def adopt(owned: OwnedJob, target: str, adapter: Adapter[Any], journal: Journal, now: float) -> tuple[Run, bool]:
    """Bring a job and its files into the journal; again changes nothing.

    Args:
        owned: The job.
        target: Name under which it is reached.
        adapter: Whose host it is.
        journal: Where it goes.
        now: Unix time.

    Returns:
        Its run, and whether the journal knew the job before.
    """
    run = _known(owned, adapter.backend, journal, now)
    was_known = run is not None
    if run is None:
        who = [adapter.backend, adapter.account, owned.snapshot.job_id]
        run = journal.adopt(
            identity=hashlib.sha256(msgspec.json.encode(["adopted", *who])).hexdigest(),
            target=target,
            backend=adapter.backend,
            account=adapter.account,
            config=_config(owned, adapter).model_dump_json(),
            heard=owned.snapshot,
            created_at=now if owned.created_at is None else owned.created_at,
            now=now,
        )
    for purpose, file_id in owned.files.items():
        journal.adopt_upload(run.id, f"{adapter.backend}:{adapter.account}", purpose, file_id, now=now)
    return run, was_known


def _known(owned: OwnedJob, backend: str, journal: Journal, now: float) -> Run | None:
    heard = owned.snapshot
    run = journal.by_job(backend, heard.job_id)
    if run is not None or heard.tag is None:
        return run
    lost = [run for run in journal.runs() if run.tag == heard.tag and run.stage is not Stage.ACCEPTED]
    if not lost:
        return None
    return journal.accept(lost[0].id, job_id=heard.job_id, status=heard.status, raw_status=heard.raw_status, now=now)


def _config(owned: OwnedJob, adapter: Adapter[Any]) -> BackendConfig:
    """How to reach the job and start it again: the target's configuration with what the host tells of it."""
    given = adapter.config.model_dump(exclude_unset=True) | dict(owned.recipe)
    try:
        return adapter.config_type.model_validate(given)
    except ValidationError:
        warnings.warn(
            f"job {owned.snapshot.job_id}: the {adapter.backend} backend cannot express its recipe, so the journal "
            "keeps the target's own",
            AdaptkitWarning,
            stacklevel=2,
        )
        config: BackendConfig = adapter.config
        return config


def recipes(jobs: Sequence[OwnedJob], backend: str) -> str:
    """Targets that would start the same, as TOML: one for every recipe, named after its newest job.

    Args:
        jobs: Jobs of one account.
        backend: Its backend.
    """
    tables: dict[str, str] = {}
    for job in jobs:
        table = {"backend": backend, **job.recipe}
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", job.snapshot.job_id)
        tables.setdefault(toml_table("", table), toml_table(name, table))
    return "\n".join(tables.values())

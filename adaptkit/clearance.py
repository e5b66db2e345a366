"""Between the upload and the request that costs money: files the host has looked at, a plan it says it takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from adaptkit.adapter import Adapter, Plan, SupportsPreflight, SupportsReadiness
from adaptkit.errors import ServiceError
from adaptkit.retry import READ, attempt
from adaptkit.steps import Clock, Pause, Steps
from adaptkit.waiting import pace

__all__ = ["cleared"]

#: Seconds that a host may take to look at one file.
LONGEST = 6 * 3600.0


def cleared(adapter: Adapter[Any], plan: Plan[Any], uploads: Mapping[str, str], clock: Clock) -> Steps[None]:
    """Wait until every file may be used, then ask whether the plan may be run.

    Args:
        adapter: Whose host it is.
        plan: What will be asked for.
        uploads: File id by purpose.
        clock: Time.

    Raises:
        DataError, UnsupportedError: the host would refuse; nothing is paid.
        BackendError: asking failed.
    """
    if isinstance(adapter, SupportsReadiness):
        for file_id in uploads.values():
            yield from _ready(adapter, file_id, adapter.backend, clock)
    if isinstance(adapter, SupportsPreflight):
        yield from attempt(partial(adapter.preflight, plan, uploads), READ)


def _ready(host: SupportsReadiness, file_id: str, backend: str, clock: Clock) -> Steps[None]:
    asked, deadline = 0, clock.monotonic() + LONGEST
    while not (yield from attempt(partial(host.data_ready, file_id), READ)):
        if clock.monotonic() >= deadline:
            raise ServiceError(
                f"file {file_id} is not ready after {LONGEST / 3600:g} hours; nothing was paid, and the same submit "
                "goes on waiting",
                backend=backend,
            )
        yield Pause(pace(asked))
        asked += 1

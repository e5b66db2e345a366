"""The same names with ``await``: a thin façade over the same brain.

Calls that block go to worker threads; waiting happens on the event loop and holds no thread. Works under asyncio and
trio.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import to_thread

from adaptkit import lifecycle, steps
from adaptkit.adapter import BackendConfig, ChatOptions, Plan
from adaptkit.client import Client, Targets
from adaptkit.data import Dataset
from adaptkit.job import Job
from adaptkit.journal import Run
from adaptkit.model import Conversation, Model
from adaptkit.steps import Clock
from adaptkit.types import Event, JobRef, ModelRef, Reply, Snapshot, Status

__all__ = ["AsyncClient", "AsyncJob", "AsyncModel"]

T = TypeVar("T")

_END = object()


async def _call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await to_thread.run_sync(partial(function, *args, **kwargs))


class AsyncClient:
    """`Client` with ``await``; arguments are the same."""

    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        *,
        targets: Targets | None = None,
        egress: str | list[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        home: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        stall_after: float | None = 3600.0,
    ) -> None:
        self._client = Client(
            config,
            targets=targets,
            egress=egress,
            journal=journal,
            home=home,
            clock=clock,
            stall_after=stall_after,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def targets(self) -> Mapping[str, BackendConfig]:
        """As `Client.targets`."""
        return self._client.targets

    @property
    def home(self) -> Path:
        """As `Client.home`."""
        return self._client.home

    async def plan(self, target: str, data: Dataset) -> Plan[Any]:
        """As `Client.plan`."""
        return await _call(self._client.plan, target, data)

    async def submit(self, target: str, data: Dataset, *, fresh: bool = False) -> AsyncJob:
        """As `Client.submit`."""
        state = await steps.arun(self._client._submit(target, data, fresh=fresh), self._client._clock)
        return AsyncJob(Job(state))

    async def attach(self, ref: str | JobRef) -> AsyncJob:
        """As `Client.attach`."""
        return AsyncJob(await _call(self._client.attach, ref))

    async def model(self, ref: str | ModelRef) -> AsyncModel:
        """As `Client.model`."""
        return AsyncModel(await _call(self._client.model, ref))

    async def jobs(self) -> list[AsyncJob]:
        """As `Client.jobs`."""
        return [AsyncJob(job) for job in await _call(self._client.jobs)]

    async def pending(self) -> list[Run]:
        """As `Client.pending`."""
        return await _call(self._client.pending)

    async def close(self) -> None:
        """As `Client.close`."""
        await _call(self._client.close)


class AsyncJob:
    """`Job` with ``await``."""

    def __init__(self, job: Job) -> None:
        self._job, self._state = job, job._state

    def __repr__(self) -> str:
        return f"<Async{repr(self._job)[1:]}"

    @property
    def id(self) -> str:
        """As `Job.id`."""
        return self._job.id

    @property
    def ref(self) -> JobRef:
        """As `Job.ref`."""
        return self._job.ref

    @property
    def status(self) -> Status:
        """As `Job.status`."""
        return self._job.status

    @property
    def raw_status(self) -> str:
        """As `Job.raw_status`."""
        return self._job.raw_status

    @property
    def snapshot(self) -> Snapshot:
        """As `Job.snapshot`."""
        return self._job.snapshot

    @property
    def submitted_at(self) -> datetime | None:
        """As `Job.submitted_at`."""
        return self._job.submitted_at

    @property
    def reused(self) -> bool:
        """As `Job.reused`."""
        return self._job.reused

    async def refresh(self) -> Status:
        """As `Job.refresh`."""
        return await _call(self._job.refresh)

    async def done(self) -> bool:
        """As `Job.done`."""
        return await _call(self._job.done)

    async def wait(self, timeout: float | None = None) -> Status:
        """As `Job.wait`; the waiting holds no thread."""
        return await steps.arun(lifecycle.wait(self._state, timeout), self._state.clock)

    async def result(self, timeout: float | None = None) -> AsyncModel:
        """As `Job.result`."""
        await self.wait(timeout)
        return AsyncModel(await _call(self._job.result))

    def events(self) -> AsyncIterator[Event]:
        """As `Job.events`, for ``async for``."""
        return steps.aiterate(lifecycle.events(self._state), self._state.clock)

    async def cancel(self) -> None:
        """As `Job.cancel`."""
        await _call(self._job.cancel)

    async def restart(self) -> Status:
        """As `Job.restart`."""
        return await _call(self._job.restart)


class AsyncModel:
    """`Model` with ``await``."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __repr__(self) -> str:
        return f"<Async{repr(self._model)[1:]}"

    @property
    def id(self) -> str:
        """As `Model.id`."""
        return self._model.id

    @property
    def ref(self) -> ModelRef:
        """As `Model.ref`."""
        return self._model.ref

    async def chat(self, messages: Conversation, options: ChatOptions | None = None, **settings: Any) -> Reply:
        """As `Model.chat`."""
        return await _call(self._model.chat, messages, options, **settings)

    async def stream(
        self, messages: Conversation, options: ChatOptions | None = None, **settings: Any
    ) -> AsyncIterator[str]:
        """As `Model.stream`, for ``async for``."""
        pieces = await _call(self._model.stream, messages, options, **settings)
        while (piece := await _call(next, pieces, _END)) is not _END:
            yield str(piece)

    async def generate(
        self, conversations: Sequence[Conversation], options: ChatOptions | None = None, **settings: Any
    ) -> list[Reply]:
        """As `Model.generate`."""
        return await _call(self._model.generate, conversations, options, **settings)

    async def export(self, format: str, path: str | os.PathLike[str]) -> Path:  # noqa: A002
        """As `Model.export`."""
        return await _call(self._model.export, format, path)

    async def download(self, path: str | os.PathLike[str]) -> Path:
        """As `Model.download`."""
        return await _call(self._model.download, path)

    async def delete(self) -> None:
        """As `Model.delete`."""
        await _call(self._model.delete)

"""The same names with ``await``: a thin façade over the same brain.

Calls that block go to worker threads; waiting happens on the event loop and holds no thread. Works under asyncio and
trio.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio import CancelScope, to_thread

from adaptkit import batches, hosting, lifecycle, steps
from adaptkit.adapter import Abilities, BackendConfig, ChatOptions, Plan
from adaptkit.batch_cost import BatchCost
from adaptkit.client import Client, Targets
from adaptkit.cost import Cost
from adaptkit.data import Dataset, Record
from adaptkit.deployment import Deployment
from adaptkit.estimate import Estimate
from adaptkit.job import Job
from adaptkit.journal import Run, Upload
from adaptkit.mapping import Answer
from adaptkit.metrics import Metric
from adaptkit.model import Conversation, Model
from adaptkit.steps import Clock, Request
from adaptkit.types import (
    DeploymentRef,
    DeploymentSnapshot,
    Event,
    Inventory,
    JobRef,
    Likelihood,
    ModelRef,
    OwnedJob,
    Reply,
    Snapshot,
    Status,
)

if TYPE_CHECKING:
    from adaptkit.evidence.entrants import Models
    from adaptkit.evidence.facts import Constraints
    from adaptkit.evidence.learning_curve import LearningCurve
    from adaptkit.evidence.recommendation import Recommendation
    from adaptkit.evidence.results import Comparison

__all__ = ["AsyncClient", "AsyncDeployment", "AsyncJob", "AsyncModel"]

T = TypeVar("T")

_END = object()


async def _call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await to_thread.run_sync(partial(function, *args, **kwargs))


def _plain(models: Any) -> Any:
    """Models to compare, with the blocking handle of each that has an awaiting one."""
    if isinstance(models, Mapping):
        return {name: _plain_one(each) for name, each in models.items()}
    return [_plain_one(each) for each in models] if isinstance(models, list | tuple) else models


def _plain_one(model: Any) -> Any:
    return model._model if isinstance(model, AsyncModel) else model


async def _ask(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    answer: T = await steps.answered(Request(partial(function, *args, **kwargs)))
    return answer


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
        prices: str | os.PathLike[str] | None = None,
        stall_after: float | None = 3600.0,
    ) -> None:
        self._client = Client(
            config,
            targets=targets,
            egress=egress,
            journal=journal,
            home=home,
            clock=clock,
            prices=prices,
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

    async def estimate(self, target: str, data: Dataset, *, measure: bool = False) -> Estimate:
        """As `Client.estimate`."""
        return await _call(self._client.estimate, target, data, measure=measure)

    async def submit(self, target: str, data: Dataset, *, fresh: bool = False, budget: float | None = None) -> AsyncJob:
        """As `Client.submit`."""
        state = await steps.arun(self._client._submit(target, data, fresh=fresh, budget=budget), self._client._clock)
        return AsyncJob(Job(state))

    async def attach(self, ref: str | JobRef) -> AsyncJob:
        """As `Client.attach`."""
        return AsyncJob(await _call(self._client.attach, ref))

    async def model(self, ref: str | ModelRef) -> AsyncModel:
        """As `Client.model`."""
        return AsyncModel(await _call(self._client.model, ref))

    async def map(
        self,
        model: str | ModelRef | AsyncModel,
        questions: Iterable[Record | Conversation],
        *,
        options: ChatOptions | None = None,
        concurrency: int = 8,
        fresh: bool = False,
        **settings: Any,
    ) -> AsyncIterator[Answer]:
        """As `Client.map`, for ``async for``; the questions under way have threads of their own."""
        asked = model._model if isinstance(model, AsyncModel) else model
        answers = self._client.map(asked, questions, options=options, concurrency=concurrency, fresh=fresh, **settings)
        try:
            while (answer := await _call(next, answers, None)) is not None:
                yield answer
        finally:
            answers.close()

    async def compare(
        self,
        models: Models | Sequence[AsyncModel] | Mapping[str, AsyncModel],
        held_out: Dataset,
        *,
        metric: str | Metric = "exact_match",
        general: Dataset | None = None,
        general_metric: str | Metric | None = None,
        training: Dataset | Sequence[Dataset] = (),
        group: str | None = None,
        repeats: int = 1,
        options: ChatOptions | None = None,
        timed: int | None = None,
        concurrency: int = 8,
        progress: Callable[[Event], None] | None = None,
        seed: int = 0,
    ) -> Comparison:
        """As `Client.compare`, in a thread of its own, where ``progress`` is called too."""
        return await _call(
            self._client.compare,
            _plain(models),
            held_out,
            metric=metric,
            general=general,
            general_metric=general_metric,
            training=training,
            group=group,
            repeats=repeats,
            options=options,
            timed=timed,
            concurrency=concurrency,
            progress=progress,
            seed=seed,
        )

    async def learning_curve(
        self,
        target: str,
        data: Dataset,
        held_out: Dataset,
        *,
        shares: Sequence[float] = (0.1, 0.3, 1.0),
        metric: str | Metric = "exact_match",
        group: str | None = None,
        budget: float | None = None,
        concurrency: int = 8,
        progress: Callable[[Event], None] | None = None,
        seed: int = 0,
    ) -> LearningCurve:
        """As `Client.learning_curve`, in a thread of its own, where ``progress`` is called too."""
        return await _call(
            self._client.learning_curve,
            target,
            data,
            held_out,
            shares=shares,
            metric=metric,
            group=group,
            budget=budget,
            concurrency=concurrency,
            progress=progress,
            seed=seed,
        )

    async def recommend(
        self,
        data: Dataset,
        *,
        goal: float | None = None,
        budget: float | None = None,
        constraints: Constraints | Mapping[str, Any] | None = None,
        candidates: Sequence[str] | None = None,
        comparison: Comparison | None = None,
        curve: LearningCurve | None = None,
    ) -> Recommendation:
        """As `Client.recommend`."""
        return await _call(
            self._client.recommend,
            data,
            goal=goal,
            budget=budget,
            constraints=constraints,
            candidates=candidates,
            comparison=comparison,
            curve=curve,
        )

    async def deployment(self, ref: str | DeploymentRef) -> AsyncDeployment:
        """As `Client.deployment`."""
        return AsyncDeployment(await _call(self._client.deployment, ref))

    async def inventory(self, target: str) -> Inventory:
        """As `Client.inventory`."""
        return await _call(self._client.inventory, target)

    async def adopt(self, target: str, owned: OwnedJob) -> AsyncJob:
        """As `Client.adopt`."""
        return AsyncJob(await _call(self._client.adopt, target, owned))

    async def deployments(self) -> list[AsyncDeployment]:
        """As `Client.deployments`."""
        return [AsyncDeployment(known) for known in await _call(self._client.deployments)]

    async def uploads(self) -> list[Upload]:
        """As `Client.uploads`."""
        return await _call(self._client.uploads)

    async def delete_upload(self, upload: Upload) -> None:
        """As `Client.delete_upload`."""
        await _call(self._client.delete_upload, upload)

    async def jobs(self) -> list[AsyncJob]:
        """As `Client.jobs`."""
        return [AsyncJob(job) for job in await _call(self._client.jobs)]

    async def pending(self) -> list[Run]:
        """As `Client.pending`."""
        return await _call(self._client.pending)

    async def close(self) -> None:
        """As `Client.close`."""
        with CancelScope(shield=True):  # connections of this event loop cannot be closed after it
            await self._client._aclose()
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

    async def register(self, path_or_endpoint: str | os.PathLike[str]) -> Status:
        """As `Job.register`."""
        return await _call(self._job.register, path_or_endpoint)

    async def pause(self) -> None:
        """As `Job.pause`."""
        await _call(self._job.pause)

    async def resume(self) -> None:
        """As `Job.resume`."""
        await _call(self._job.resume)

    async def checkpoints(self) -> list[tuple[AsyncModel, int, Mapping[str, float]]]:
        """As `Job.checkpoints`."""
        kept = await _call(self._job.checkpoints)
        return [(AsyncModel(model), step, metrics) for model, step, metrics in kept]

    async def figures(self) -> list[Mapping[str, float]]:
        """As `Job.figures`."""
        return await _call(self._job.figures)

    async def cost(self) -> Cost:
        """As `Job.cost`."""
        return await _call(self._job.cost)

    async def answers(self, timeout: float | None = None) -> AsyncIterator[Answer]:
        """As `Job.answers`, for ``async for``."""
        await _call(batches.answering, self._state)
        await self.wait(timeout)
        found = batches.answers(self._state)
        while (answer := await _call(next, found, None)) is not None:
            yield answer

    async def delete_data(self) -> list[str]:
        """As `Job.delete_data`."""
        return await _call(self._job.delete_data)


class AsyncModel:
    """`Model` with ``await``."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._looked = False

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

    @property
    def account(self) -> str:
        """As `Model.account`."""
        return self._model.account

    @property
    def together(self) -> int:
        """As `Model.together`."""
        return self._model.together

    async def version(self) -> str:
        """As `Model.version`."""
        return await _call(self._model.version)

    async def abilities(self) -> Abilities:
        """As `Model.abilities`."""
        return await _call(self._model.abilities)

    async def chat(
        self, messages: Conversation, options: ChatOptions | None = None, *, schema: Any = None, **settings: Any
    ) -> Reply:
        """As `Model.chat`. Where the backend can it is awaited, and cancelling the task ends the request."""
        if not self._looked:  # in a file, perhaps: from then on it is memory
            await self.abilities()
            self._looked = True
        return await steps.arun(self._model._chat(messages, options, schema, settings), self._model._clock)

    async def stream(
        self, messages: Conversation, options: ChatOptions | None = None, *, schema: Any = None, **settings: Any
    ) -> AsyncIterator[str]:
        """As `Model.stream`, for ``async for``."""
        pieces = await _ask(self._model.stream, messages, options, schema=schema, **settings)
        while (piece := await _ask(next, pieces, _END)) is not _END:
            yield str(piece)

    async def generate(
        self,
        conversations: Sequence[Conversation],
        options: ChatOptions | None = None,
        *,
        schema: Any = None,
        **settings: Any,
    ) -> list[Reply]:
        """As `Model.generate`."""
        return await _ask(self._model.generate, conversations, options, schema=schema, **settings)

    async def batch(
        self,
        questions: Iterable[Record | Conversation],
        options: ChatOptions | None = None,
        *,
        fresh: bool = False,
        budget: float | None = None,
        **settings: Any,
    ) -> AsyncJob:
        """As `Model.batch`."""
        chosen = options or ChatOptions(**settings)
        made = self._model._batch(questions, chosen, fresh=fresh, budget=budget)
        return AsyncJob(Job(await steps.arun(made, self._model._clock)))

    async def batch_cost(
        self,
        questions: Iterable[Record | Conversation],
        options: ChatOptions | None = None,
        *,
        fresh: bool = False,
        **settings: Any,
    ) -> BatchCost:
        """As `Model.batch_cost`."""
        return await _call(partial(self._model.batch_cost, questions, options, fresh=fresh, **settings))

    async def likelihood(self, conversations: Sequence[Conversation]) -> list[Likelihood]:
        """As `Model.likelihood`."""
        return await _ask(self._model.likelihood, conversations)

    async def export(self, format: str, path: str | os.PathLike[str]) -> Path:  # noqa: A002
        """As `Model.export`."""
        return await _call(self._model.export, format, path)

    async def download(self, path: str | os.PathLike[str]) -> Path:
        """As `Model.download`."""
        return await _call(self._model.download, path)

    async def rename(self, name: str, description: str | None = None) -> None:
        """As `Model.rename`."""
        await _call(self._model.rename, name, description)

    async def archive(self) -> None:
        """As `Model.archive`."""
        await _call(self._model.archive)

    async def unarchive(self) -> None:
        """As `Model.unarchive`."""
        await _call(self._model.unarchive)

    async def delete(self) -> None:
        """As `Model.delete`."""
        await _call(self._model.delete)

    async def deploy(self, *, confirm_spend: bool = False, timeout: float | None = None) -> AsyncDeployment:
        """As `Model.deploy`, for ``async with await model.deploy(confirm_spend=True)``."""
        state = await steps.arun(self._model._deploy(confirm_spend=confirm_spend), self._model._clock)
        return AsyncDeployment(Deployment(state, timeout))

    async def card(self, comparison: Comparison | None = None) -> str:
        """As `Model.card`."""
        return await _call(self._model.card, comparison)

    async def shutdown_date(self) -> date | None:
        """As `Model.shutdown_date`."""
        return await _call(self._model.shutdown_date)


class AsyncDeployment:
    """`Deployment` with ``await``. It is stopped at the end of ``async with``, also where the task is cancelled."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._state = deployment, deployment._state

    def __repr__(self) -> str:
        return f"<Async{repr(self._deployment)[1:]}"

    async def __aenter__(self) -> Self:
        try:
            await self.wait(self._deployment._timeout)
        except BaseException:
            await self._stop_at_all_events()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_at_all_events()

    @property
    def id(self) -> str:
        """As `Deployment.id`."""
        return self._deployment.id

    @property
    def ref(self) -> DeploymentRef:
        """As `Deployment.ref`."""
        return self._deployment.ref

    @property
    def status(self) -> str:
        """As `Deployment.status`."""
        return self._deployment.status

    @property
    def raw_status(self) -> str:
        """As `Deployment.raw_status`."""
        return self._deployment.raw_status

    @property
    def snapshot(self) -> DeploymentSnapshot:
        """As `Deployment.snapshot`."""
        return self._deployment.snapshot

    @property
    def hourly_usd(self) -> float | None:
        """As `Deployment.hourly_usd`."""
        return self._deployment.hourly_usd

    @property
    def since(self) -> datetime | None:
        """As `Deployment.since`."""
        return self._deployment.since

    @property
    def reused(self) -> bool:
        """As `Deployment.reused`."""
        return self._deployment.reused

    @property
    def model(self) -> AsyncModel:
        """As `Deployment.model`."""
        return AsyncModel(self._deployment.model)

    async def refresh(self) -> str:
        """As `Deployment.refresh`."""
        return await _call(self._deployment.refresh)

    async def wait(self, timeout: float | None = None) -> Self:
        """As `Deployment.wait`; the waiting holds no thread."""
        await steps.arun(hosting.wait(self._state, timeout), self._state.clock)
        return self

    async def chat(self, messages: Conversation, options: ChatOptions | None = None, **settings: Any) -> Reply:
        """As `Deployment.chat`."""
        return await _ask(self._deployment.chat, messages, options, **settings)

    async def stream(
        self, messages: Conversation, options: ChatOptions | None = None, **settings: Any
    ) -> AsyncIterator[str]:
        """As `Deployment.stream`, for ``async for``."""
        model = AsyncModel(await _call(self._deployment._answering))
        async for piece in model.stream(messages, options, **settings):
            yield piece

    async def generate(
        self, conversations: Sequence[Conversation], options: ChatOptions | None = None, **settings: Any
    ) -> list[Reply]:
        """As `Deployment.generate`."""
        return await _call(self._deployment.generate, conversations, options, **settings)

    async def stop(self) -> None:
        """As `Deployment.stop`."""
        await steps.arun(hosting.stop(self._state), self._state.clock)

    async def _stop_at_all_events(self) -> None:
        with CancelScope(shield=True):
            await self.stop()

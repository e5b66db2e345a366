"""Mistral's former jobs API at a deployment of your own, and tuned models that you own, there or at Mistral.

At Mistral itself nothing is trained: whatever asks for a job there is refused before a byte is sent.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import cached_property
from typing import Any, ClassVar

import httpx2
import msgspec

from adaptkit.adapter import Abilities, ChatOptions, DataFile, Plan
from adaptkit.backends.mistral.adapter import MistralAdapter
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.hosted import jobs
from adaptkit.backends.mistral.hosted.files import Files, rows
from adaptkit.backends.mistral.hosted.owned import OwnedModels, day_of, job_of, model_of
from adaptkit.backends.mistral.hosted.retired import API, is_public, retired
from adaptkit.backends.mistral.hosted.rows import file_problems, rules
from adaptkit.backends.rest import Rest, account_of, segment
from adaptkit.backends.services.ask import Ask
from adaptkit.backends.services.vendors import VENDORS
from adaptkit.backends.terms import refuse, retiring
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import (
    AdaptkitWarning,
    BackendError,
    BackendRetiredError,
    MissingDependencyError,
    NotFoundError,
    ServiceError,
)
from adaptkit.http import loopback
from adaptkit.http_clients import Clients
from adaptkit.steps import Steps, SystemClock, arun, run
from adaptkit.types import Event, Inventory, Message, Reply, Snapshot, Status

__all__ = ["HostedAdapter"]

_JOBS = "/v1/fine_tuning/jobs"


class HostedAdapter(MistralAdapter):
    """Jobs at a private deployment, and ``ft:`` models.

    A job is made unstarted, which costs nothing, and begun when the journal knows it. So a request for one whose answer
    was lost may be sent again: what is made twice waits for ever, and is never begun.
    """

    where: ClassVar[str] = "hosted"
    settle_seconds: ClassVar[float] = 120.0

    # before a job -----------------------------------------------------------------------------------------------------

    @classmethod
    def data_rules(cls, config: MistralConfig | None = None) -> DataRules:
        """Conversations, by the rules of the published pages."""
        del config
        return rules()

    @property
    def account(self) -> str:
        """The address, and a fingerprint of the key."""
        return account_of(self._address, os.environ.get(self.config.key_env, ""))

    @property
    def destinations(self) -> tuple[str, ...]:
        """The deployment, or Mistral."""
        host = httpx2.URL(self._address).raw_host.decode("ascii")
        return () if loopback(host) else (host,)

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """The body of the request for a job, without file ids and the tag in the suffix."""
        del files
        return jobs.body(self.config)

    def prepare(self, data: Dataset) -> Plan[MistralConfig]:
        """Check and convert.

        Raises:
            BackendRetiredError: the address is Mistral's own.
            DataError, UnsupportedError, EgressError: as for every backend.
        """
        self._require_deployment()
        self.context.egress.require(self.destinations, self.backend)
        refuse(self.backend, list(jobs.problems(self.config)))
        plan = super().prepare(data)
        refuse(self.backend, list(file_problems(plan.files)))
        return plan

    def upload(self, file: DataFile) -> str:
        """Send a file."""
        self._require_deployment()
        return self._files.upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether a file is still there."""
        return self._files.has(file_id)

    def estimate(self, plan: Plan[Any], uploads: Mapping[str, str]) -> float | None:
        """What the deployment says that a job costs, if it says so in US dollars."""
        told = self._create(_with_files(plan.request, uploads), query={"dry_run": "true"})
        if told.get("id") and told.get("status"):  # it knows no dry runs, and has made a job, which is not begun
            self._rest.send("POST", f"{self._path(str(told['id']))}/cancel")
            told = told.get("metadata") or {}
        cost, currency = told.get("cost"), told.get("cost_currency")
        if cost is not None and jobs.usd(told) is None:
            warnings.warn(
                f"the deployment says that the job costs {cost} {currency or 'of an unnamed currency'}; only US "
                "dollars are compared with a budget",
                AdaptkitWarning,
                stacklevel=2,
            )
        return jobs.usd(told)

    # jobs -------------------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan[MistralConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Make a job, not begun; what fits of the tag is its suffix."""
        asked = {**_with_files(plan.request, uploads), "suffix": jobs.suffix(plan.config.name, tag)}
        try:
            made = self._create(asked)
        except ServiceError as conflict:
            if conflict.status_code != 409:
                raise
            return self._like(asked, tag, conflict)
        if not isinstance(made.get("id"), str):
            raise ServiceError("the answer to the request for a job names no job", backend=self.backend)
        return jobs.snapshot(made, plan.config, tag)

    def _create(self, body: Mapping[str, Any], query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._require_deployment()
        with retiring("the deployment", self.backend):
            return self._rest.send("POST", _JOBS, body, query)

    def _like(self, asked: Mapping[str, Any], tag: str, conflict: ServiceError) -> Snapshot:
        """What stands behind a conflict: this very job, another like it, or nothing that is known.

        Raises:
            BackendError: another job of this model and data runs or waits; this one was not made.
            ServiceError: there is none, so nobody knows.
        """
        ours = self.find(tag)
        if ours:
            return ours[0]
        same = [
            job
            for job in self._listed(model=asked["model"])
            if set(_ids(job)) == {each["file_id"] for each in asked["training_files"]}
            and not jobs.snapshot(job).status.is_terminal
        ]
        if not same:
            raise conflict
        names = ", ".join(f"{job.get('id')} ({job.get('status')})" for job in same)
        raise BackendError(
            f"the deployment makes no second job of the same model and data while one runs or waits: {names}. Nothing "
            "was made; adaptkit import --adopt brings that one into the journal, or cancel it",
            backend=self.backend,
            status_code=409,
        ) from conflict

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Jobs whose suffix holds what fits of a tag."""
        carried = jobs.suffix(self.config.name, tag)
        listed = self._listed(suffix=carried)
        return [jobs.snapshot(job, self.config, tag) for job in listed if job.get("suffix") == carried]

    def start(self, job_id: str) -> Snapshot | None:
        """Begin a job once the deployment has validated it: this is what is paid for."""
        job = self._job(job_id)
        stands = jobs.standing(job)
        if stands == "waiting":
            return None
        if stands == "begun":
            return jobs.snapshot(job)
        try:
            job = {**job, **self._rest.send("POST", f"{self._path(job_id)}/start")}
        except NotFoundError:
            raise
        except BackendError as refused:
            job = self._job(job_id)
            if refused.transient or jobs.standing(job) != "begun":
                raise
        heard = jobs.snapshot(job)
        # the answer may still say what was so before
        return msgspec.structs.replace(heard, status=Status.QUEUED) if heard.status is Status.PAUSED else heard

    def poll(self, job_id: str) -> Snapshot:
        """Ask how a job stands."""
        return jobs.snapshot(self._told(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop."""
        if is_public(self._address):
            self._told(job_id)  # which has ended
            return
        try:
            self._rest.send("POST", f"{self._path(job_id)}/cancel")
        except NotFoundError:
            raise
        except BackendError as refused:
            word = self._job(job_id).get("status") if not refused.transient else None
            if word != "CANCELLATION_REQUESTED" and not jobs.STATUSES.get(str(word), Status.UNKNOWN).is_terminal:
                raise

    def retrieve(self, job_id: str) -> str:
        """The id of the model that a job made."""
        job = self._told(job_id)
        if jobs.snapshot(job).status is not Status.SUCCEEDED or not job.get("fine_tuned_model"):
            raise NotFoundError(f"job {job_id} has no model: it is {job.get('status')}", backend=self.backend)
        return str(job["fine_tuned_model"])

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """Changes of state, and what was measured at each checkpoint."""
        return jobs.events(self._told(job_id), after)

    def figures(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """What was measured at each checkpoint."""
        return jobs.figures(self._told(job_id))

    def trained_tokens(self, job_id: str) -> int | None:
        """What a job trained on, as far as the deployment says."""
        told = self._told(job_id).get("trained_tokens")
        return told if isinstance(told, int) else None

    def inventory(self) -> Inventory:
        """Jobs, files and tuned models; a model whose job is told of no more stands for that job too."""
        told = [] if is_public(self._address) else list(self._listed())
        cards = list(self._models.cards())
        known = {job.get(name) for job in told for name in ("id", "fine_tuned_model")}
        untold = [job_of(card) for card in cards if not known & {card.get("job") or card["id"], card["id"]}]
        return Inventory(
            jobs=_newest_first([jobs.owned(job, self.config.base_url) for job in (*told, *untold)]),
            files=tuple(self._files.listed()),
            models=_newest_first([model_of(card) for card in cards]),
        )

    def delete_data(self, file_id: str) -> None:
        """Delete a file."""
        self._files.delete(file_id)

    # models -----------------------------------------------------------------------------------------------------------

    def abilities(self, model_id: str) -> Abilities:
        """What Mistral's chat takes."""
        del model_id
        return VENDORS["mistral"].abilities

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation."""
        return run(self._answering(model_id, messages, options), SystemClock())

    async def achat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """The same, awaited."""
        return await arun(self._answering(model_id, messages, options), SystemClock())

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Pieces of the answer."""
        return self._models.service.stream(Ask(model_id, tuple(messages), options=options))

    def _answering(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Steps[Reply]:
        return (yield from self._models.service.answer(Ask(model_id, tuple(messages), options=options)))

    def rename(self, model_id: str, name: str, description: str | None) -> None:
        """Give a model another name."""
        self._models.rename(model_id, name, description)

    def archive(self, model_id: str) -> None:
        """Put a model away."""
        self._models.archive(model_id)

    def unarchive(self, model_id: str) -> None:
        """Take a model out again."""
        self._models.unarchive(model_id)

    def delete_model(self, model_id: str) -> None:
        """Delete a model."""
        self._models.delete(model_id)

    def shutdown_date(self, model_id: str) -> date | None:
        """The day from which a model no longer answers, by its card."""
        # without the SDK, which training needs for nothing else and this is asked in each submission
        return day_of(self._rest.send("GET", f"/v1/models/{segment(model_id)}").get("deprecation"))

    def known_shutdown_date(self, model_id: str) -> date | None:
        """Nothing is known without asking."""
        del model_id
        return None

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        await self._http.aclose()

    def close(self) -> None:
        """Let go of connections."""
        if "_http" in self.__dict__:
            self._http.close()
            for name in ("_http", "_rest", "_files", "_models"):
                self.__dict__.pop(name, None)

    # asking -----------------------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return (self.config.base_url or API).removesuffix("/v1")

    def _require_deployment(self) -> None:
        if is_public(self._address):
            raise retired(self.backend)

    @cached_property
    def _http(self) -> Clients:
        return Clients(self.context.egress)

    @cached_property
    def _rest(self) -> Rest:
        return Rest(self._http.calling, self._address, self.config.key_env, self.backend)

    @cached_property
    def _files(self) -> Files:
        return Files(self._rest, self.backend)

    @cached_property
    def _models(self) -> OwnedModels:
        return OwnedModels(self._http, self._address, self.config.key_env, self.backend)

    def _path(self, job_id: str) -> str:
        """The path of a job.

        Raises:
            BackendRetiredError: the address is Mistral's own.
        """
        self._require_deployment()
        return f"{_JOBS}/{segment(job_id)}"

    def _job(self, job_id: str) -> dict[str, Any]:
        return {"id": job_id, **self._rest.send("GET", self._path(job_id))}

    def _listed(self, **query: Any) -> Iterator[dict[str, Any]]:
        self._require_deployment()
        return rows(self._rest, _JOBS, query)

    def _told(self, job_id: str) -> dict[str, Any]:
        """What is told of a job; of one that is told of no more, what the model tells that it made.

        Raises:
            BackendRetiredError: there is no such model, and the address is Mistral's own.
            NotFoundError: there is none, and no such job.
        """
        try:
            return self._job(job_id)
        except (NotFoundError, BackendRetiredError):
            with suppress(MissingDependencyError):
                card = self._models.made_by(job_id)
                if card is not None:
                    return job_of(card)
            raise


def _with_files(request: Mapping[str, Any], uploads: Mapping[str, str]) -> dict[str, Any]:
    held_out = {"validation_files": [uploads["validation"]]} if "validation" in uploads else {}
    return {**request, "training_files": [{"file_id": uploads["train"], "weight": 1}], **held_out}


def _ids(job: Mapping[str, Any]) -> list[str]:
    return [str(file_id) for file_id in job.get("training_files") or ()]


def _newest_first(owned: list[Any]) -> tuple[Any, ...]:
    return tuple(sorted(owned, key=lambda one: one.created_at or 0.0, reverse=True))

"""`Client`: targets in, jobs and models out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from adaptkit import adoption, shutdown, steps
from adaptkit import config as configuration
from adaptkit.adapter import (
    Adapter,
    BackendConfig,
    ChatOptions,
    Context,
    Plan,
    SupportsAsyncChat,
    SupportsDeleteData,
)
from adaptkit.answers import Answers
from adaptkit.config import Settings
from adaptkit.data import Dataset, Record
from adaptkit.deployment import Deployment
from adaptkit.errors import AdaptkitError, ConfigError, JournalError, UnsupportedError
from adaptkit.estimate import Estimate, estimate
from adaptkit.hosting import DeploymentState
from adaptkit.http import Egress
from adaptkit.job import Job
from adaptkit.journal import DeploymentRecord, Journal, Run, Stage, Upload, open_journal
from adaptkit.mapping import Answer, ask_all
from adaptkit.metrics import Metric
from adaptkit.model import Conversation, Model
from adaptkit.prices import Prices
from adaptkit.registry import adapter_type, names, nearest
from adaptkit.retry import READ, attempt
from adaptkit.state import JobState, Pulse
from adaptkit.steps import Clock, SystemClock
from adaptkit.submission import Submission
from adaptkit.types import (
    DeploymentRef,
    DeploymentSnapshot,
    Event,
    Inventory,
    JobRef,
    ModelRef,
    OwnedJob,
    Snapshot,
    Status,
)

if TYPE_CHECKING:
    from adaptkit.evidence.entrants import Bench, Models
    from adaptkit.evidence.facts import Constraints
    from adaptkit.evidence.learning_curve import LearningCurve
    from adaptkit.evidence.recommendation import Recommendation
    from adaptkit.evidence.results import Comparison

__all__ = ["Client"]

Targets = Mapping[str, BackendConfig | Mapping[str, Any]]


class Client:
    """The way in. One client serves any number of threads and jobs.

    Args:
        config: Path of a configuration file. Without it, and without ``targets``, the nearest ``adaptkit.toml`` in
            this folder or above is read; where there is none the client has no targets and still attaches to jobs.
        targets: Configurations by name, instead of a file.
        egress: Where data may go: ``"none"``, a list of host names, or ``None`` for what the file says. A file's
            policy can be narrowed here and not widened.
        journal: Path of an SQLite file or a ``postgresql://`` URL; by default the file's, else the one in ``home``.
        home: Folder of the journal, local jobs and models; by default ``$ADAPTKIT_HOME``, else ``~/.adaptkit``.
        clock: Time; tests pass ``adaptkit.testing.FakeClock()``.
        prices: Path of a table of prices of your own, looked at before adaptkit's; by default the file's.
        stall_after: Seconds without a new step or event after which a running job is reported, once, as stalled while
            it is waited for or followed; ``None`` for never.

    Raises:
        ConfigError: the configuration has mistakes; all of them are named.
    """

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
        self._stall_after = stall_after
        self._settings = _settings(config, targets)
        home_folder = Path(home).expanduser().absolute() if home else configuration.default_home()
        own_prices = Path(prices).expanduser().absolute() if prices else self._settings.prices
        self._context = Context(home_folder, _narrowed(self._settings.egress, Egress.parse(egress)), own_prices)
        self._journal_url = str(journal or self._settings.journal or home_folder / "journal.db")
        self._clock = clock or SystemClock()
        self._journal: Journal | None = None
        self._answers: Answers | None = None
        self._adapters: dict[tuple[str, str], Adapter[Any]] = {}
        self._opening = threading.RLock()  # a second adapter, or journal, would be one that nobody closes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def targets(self) -> Mapping[str, BackendConfig]:
        """Configuration by target name."""
        return self._settings.targets

    @property
    def home(self) -> Path:
        """Folder of the journal, local jobs and models."""
        return self._context.home

    def plan(self, target: str, data: Dataset) -> Plan[Any]:
        """What `submit` would send, without sending or recording anything.

        Raises:
            ConfigError: no such target.
            DataError: the data does not fit; carries every problem.
            UnsupportedError: the backend cannot express the configuration.
            EgressError: the policy does not allow the backend's hosts.
        """
        return self._target(target).prepare(data)

    def estimate(self, target: str, data: Dataset, *, measure: bool = False) -> Estimate:
        """What `submit` would cost, by the table of prices; sends and records nothing.

        Tokens are counted with the model's own tokenizer where it is on this machine. What is not known is ``None``;
        keeping the model running is told apart. How long a run on this machine takes is known from earlier ones with
        the same settings.

        Args:
            target: Name of a target.
            data: Training examples.
            measure: Where there was no earlier run on this machine, train on a few rows to learn how fast one goes.

        Raises:
            ConfigError: as for `plan`, or the table of prices has mistakes.
            DataError, UnsupportedError, EgressError: as for `plan`.
        """
        plan, adapter = self.plan(target, data), self._target(target)
        return estimate(plan, data, Prices(self._context.prices), adapter, measure=measure)

    def submit(self, target: str, data: Dataset, *, fresh: bool = False, budget: float | None = None) -> Job:
        """Get or create the job of this target and data; returns once the backend has accepted it.

        Args:
            target: Name of a target.
            data: Training examples.
            fresh: Start a new attempt even where a job of the same configuration and data runs or has succeeded.
            budget: US dollars that a new job may cost: by the table of prices, else by the host, which is asked once
                it has the data. A job that is there already is given back whatever it cost.

        Returns:
            The job; ``job.reused`` says whether it was there already.

        Raises:
            SubmissionUncertain: a paid request's answer was lost and no job was found; nothing is sent twice.
            BackendError: the backend refused.
            SpendError: it costs more than the budget, or nobody knows what it costs; nothing was paid.
            ConfigError, DataError, UnsupportedError, EgressError: as for `plan`; nothing was sent.
        """
        return Job(steps.run(self._submit(target, data, fresh=fresh, budget=budget), self._clock))

    def attach(self, ref: str | JobRef) -> Job:
        """The handle of a job from its reference; makes no request, and warns if its model is known to be switched off.

        Raises:
            ConfigError: the text is no job reference, or nothing says how to reach its backend.
        """
        wanted = JobRef.parse(ref)
        run = self._open_journal().by_job(wanted.backend, wanted.id)
        if run is not None:
            with suppress(AdaptkitError):  # a backend that is gone says so when the job is asked
                adapter = self._adapter_of_run(run)
                shutdown.remind(adapter, getattr(adapter.config, "model", None), self._clock)
            return Job(self._state(run))
        adapter = self._reach(wanted)
        unheard = Snapshot(job_id=wanted.id, status=Status.UNKNOWN, raw_status="")
        pulse = Pulse(self._stall_after)
        return Job(JobState(wanted, lambda: adapter, self._open_journal(), self._clock, pulse, None, unheard))

    def model(self, ref: str | ModelRef) -> Model:
        """The handle of a model from its reference; makes no request, and warns if it is known to be switched off.

        Raises:
            ConfigError: the text is no model reference, or nothing says how to reach its backend.
        """
        wanted = ModelRef.parse(ref)
        adapter = self._reach(wanted)
        shutdown.remind(adapter, wanted.id, self._clock)
        return Model(wanted, adapter, self._open_journal, self._clock)

    def map(
        self,
        model: str | ModelRef | Model,
        questions: Iterable[Record | Conversation],
        *,
        options: ChatOptions | None = None,
        concurrency: int = 8,
        fresh: bool = False,
        **settings: Any,
    ) -> Generator[Answer, None, None]:
        """Ask a model many questions: some at a time, answered in order, none asked again that was answered before.

        Answers are kept in ``answers.db`` in the home folder, by a hash of model, question and options.

        Args:
            model: A model or its reference.
            questions: A `Dataset` (what stands before the last answer of each row is asked) or conversations.
            options: How to answer.
            concurrency: Questions under way at a time; a local model answers as many together as fill a batch.
            fresh: Ask again what was answered before.
            **settings: Fields of `ChatOptions`, instead of ``options``.

        Returns:
            For each question its answer, or the error that it ended with; the others go on.

        Raises:
            BackendError, ConfigError, UnsupportedError: with this no further question has a chance; what was answered
                is kept, and the same call goes on from there.
        """
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}; at least 1 question must be under way")
        asked = model if isinstance(model, Model) else self.model(model)
        chosen = options or ChatOptions(**settings)
        answers = self._open_answers()
        return ask_all(asked, questions, answers, self._clock, options=chosen, concurrency=concurrency, fresh=fresh)

    def compare(
        self,
        models: Models,
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
        """Ask models the same held-out questions, and tell which is better, by how much, and what that costs.

        What could be refused is refused before anybody is asked: a held-out question that a model learned from, most
        of all. Answers are kept as for `map`, so the same call after a crash asks only for what is missing.

        Args:
            models: Names of targets (each stands for the model of its latest job that succeeded), references of models
                or jobs, models, or open models as they are (``builtin:tiny``, a folder); or a mapping of names of your
                own to any of these.
            held_out: Chats, or prompts with completions, that no model has learned from.
            metric: What scores an answer: the name of one of `adaptkit.metrics`, an `adaptkit.evidence.judge.Judge`,
                or a function of the expected and the given answer; one with a true attribute ``waits`` is called from
                several threads.
            general: Questions that have nothing to do with the task, to see what was forgotten.
            general_metric: What scores answers to those; ``None`` for ``metric``.
            training: What the models learned from, one or several data sets: leaks are looked for in it. Copies that
                local jobs keep, and the examples of prompts, are looked at in any case.
            group: Name of a field of the rows, or of their ``metadata``: those with the same value count together.
            repeats: How often each question is asked, where answers differ from time to time.
            options: How to answer; by default greedily, where the model can.
            timed: How many questions are asked once more, alone and streamed, to learn how long a user waits; by
                default 8 of a model on this machine, which answers many together, and none of any other.
            concurrency: Questions under way at a time.
            progress: Told what will be asked, and each answer, as an `Event`.
            seed: For what statistics draw at random.

        Returns:
            The comparison; ``print`` shows it, ``save`` keeps it.

        Raises:
            DataError: held-out questions are in the training data, or rows have no answer to compare with; every one is
                listed, and nobody was asked.
            ConfigError: a name stands for no model, or there is no such metric; nobody was asked.
            MissingDependencyError: the extra ``eval`` is not installed.
            BackendError, UnsupportedError: one of the models answers nothing at all; what was answered is kept.
        """
        from adaptkit.evidence.comparing import compare  # noqa: PLC0415 - for those who compare

        return compare(
            self._bench(),
            models,
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

    def learning_curve(
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
        """Train a target on parts of the data, each within the next, and tell whether more of it is the better buy.

        The jobs are ordinary ones: those that are there already are used, so the same call after a crash goes on.

        Args:
            target: Name of a target.
            data: Training examples.
            held_out: Examples that are in none of them.
            shares: Parts of the data, at least two.
            metric: As for `compare`.
            group: As for `compare`.
            budget: US dollars that the new jobs may cost together; each may cost its part, by its rows.
            concurrency: As for `compare`.
            progress: Told what happens in the jobs, and each answer.
            seed: Which rows are in a part.

        Raises:
            JobFailed, JobCancelled: one of the jobs has no model.
            SpendError, SubmissionUncertain: as for `submit`.
            DataError, ConfigError, UnsupportedError, EgressError: as for `submit` and `compare`; nothing was sent.
        """
        from adaptkit.evidence.learning_curve import learning_curve  # noqa: PLC0415 - for those who draw one

        return learning_curve(
            self,
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

    def recommend(
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
        """Which rung is next (prompting, fine-tuning, full training, measuring first), why, and what would change it.

        Asks no model and no host: it reads the data, counts it with the candidates' tokenizers where they are on this
        machine, looks into the table of prices and at what was measured, and holds all of that against
        `adaptkit.evidence.rules`.

        Args:
            data: Training examples.
            goal: The score that is good enough, 0 to 1, in the comparison's metric.
            budget: US dollars that a training may cost.
            constraints: What else is given: ``calls_per_month``, ``seconds``, ``prompt_tokens``, ``answer_tokens``; see
                `adaptkit.evidence.facts.Constraints`. Where data may go is the client's ``egress``.
            candidates: Targets, and models that no target names; by default every target.
            comparison: What `compare` found.
            curve: What `learning_curve` found.

        Returns:
            The recommendation; ``print`` shows it. The same facts always give the same.

        Raises:
            ConfigError: the goal is no score, the budget is negative, or there is no such constraint.
            DataError: the data cannot be read.
        """
        from adaptkit.evidence.recommend import recommend  # noqa: PLC0415 - for those who ask

        return recommend(
            data,
            goal=goal,
            budget=budget,
            constraints=constraints,
            candidates=candidates,
            targets=self.targets,
            open_target=self._target,
            comparison=comparison,
            curve=curve,
            egress=self._context.egress,
            prices=Prices(self._context.prices),
            now=self._clock.time(),
        )

    def deployment(self, ref: str | DeploymentRef) -> Deployment:
        """The handle of a deployment from its reference; makes no request.

        Raises:
            ConfigError: the text is no deployment reference, or nothing says how to reach its backend.
        """
        wanted = DeploymentRef.parse(ref)
        record = self._open_journal().deployments.find(wanted.backend, wanted.id)
        if record is not None:
            return self._deployment(record)
        adapter = self._reach(wanted)
        unheard = DeploymentSnapshot(id=wanted.id, model_id="", status="unknown", raw_status="")
        state = DeploymentState(wanted, lambda: adapter, self._open_journal(), self._clock, None, unheard)
        return Deployment(state)

    def jobs(self) -> list[Job]:
        """Every job that the journal knows, newest first; makes no request."""
        return [Job(self._state(run)) for run in self._open_journal().runs() if run.stage is Stage.ACCEPTED]

    def pending(self) -> list[Run]:
        """Submissions that a backend has not accepted: under way, interrupted, refused or uncertain."""
        return [run for run in self._open_journal().runs() if run.stage is not Stage.ACCEPTED]

    def inventory(self, target: str) -> Inventory:
        """Jobs, files and tuned models that an account has at a host, whoever made them.

        Args:
            target: Name of a target, or of a backend: then the account of its targets, or of the key in the usual
                environment variable.

        Raises:
            UnsupportedError: the backend does not list what an account has.
            ConfigError: no such target or backend, or nothing says how to reach it.
            BackendError: the host failed.
        """
        adapter = self._host(target)
        inventory = adoption.listing_adapter(adapter).inventory
        return steps.run(attempt(inventory, READ), self._clock)

    def adopt(self, target: str, owned: OwnedJob) -> Job:
        """Bring a job of `inventory` into the journal, so that `jobs`, `attach` and `uploads` know it and its files.

        Touches nothing at the host. A job that the journal knows is given back; ``job.reused`` says so.

        Args:
            target: As for `inventory`.
            owned: The job.
        """
        adapter, journal = self._host(target), self._open_journal()
        run, was_known = adoption.adopt(owned, target, adapter, journal, self._clock.time())
        state = self._state(run)
        state.hear(owned.snapshot)
        state.reused = was_known
        return Job(state)

    def deployments(self) -> list[Deployment]:
        """Every deployment that the journal does not know to be stopped, newest first; makes no request.

        Each may cost money, whoever started it; those whose request was never answered are among them.
        """
        return [self._deployment(record) for record in self._open_journal().deployments.live()]

    def uploads(self) -> list[Upload]:
        """Uploaded files that no job uses any more: all that they were uploaded for have ended. Makes no request."""
        return self._open_journal().unused_uploads()

    def delete_upload(self, upload: Upload) -> None:
        """Delete one of `uploads` at its host.

        Raises:
            UnsupportedError: the backend cannot delete files.
            BackendError: the host failed.
        """
        journal = self._open_journal()
        run = journal.get(upload.run_id)
        if run is None:
            raise JournalError(f"the journal does not know the run that {upload.file_id} was uploaded for")
        adapter = self._adapter_of_run(run)
        if not isinstance(adapter, SupportsDeleteData):
            raise UnsupportedError(f"files at the {run.backend} backend cannot be deleted")
        steps.run(attempt(partial(adapter.delete_data, upload.file_id), READ), self._clock)
        journal.forget_upload(upload.sha256, upload.account, upload.purpose)

    def close(self) -> None:
        """Let go of connections and loaded models. Jobs run on."""
        for adapter in set(self._adapters.values()):
            adapter.close()
        self._adapters.clear()
        if self._answers is not None:
            self._answers.close()
            self._answers = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # what `AsyncClient` shares ------------------------------------------------------------------------------------

    async def _aclose(self) -> None:
        for adapter in set(self._adapters.values()):
            if isinstance(adapter, SupportsAsyncChat):
                await adapter.aclose()

    def _submit(self, target: str, data: Dataset, *, fresh: bool, budget: float | None = None) -> steps.Steps[JobState]:
        submission = Submission(target, self._target(target), self._open_journal(), self._clock, self._state, budget)
        return submission.steps(data, fresh=fresh)

    def _open_journal(self) -> Journal:
        with self._opening:
            if self._journal is None:
                self._journal = open_journal(self._journal_url)
            return self._journal

    def _open_answers(self) -> Answers:
        with self._opening:
            if self._answers is None:
                self._answers = Answers(self.home / "answers.db")
            return self._answers

    def _bench(self) -> Bench:
        from adaptkit.evidence.entrants import Bench  # noqa: PLC0415 - for those who compare

        prices, journal = self._context.prices, self._open_journal()
        return Bench(tuple(self.targets), journal, self._open_answers(), self._clock, prices, self.model, self._state)

    def _target(self, name: str) -> Adapter[Any]:
        targets = self._settings.targets
        if name not in targets:
            where = self._settings.source or "this client's targets"
            known = ", ".join(targets) or "none"
            raise ConfigError(f"{where}: there is no target {name!r}.{nearest(name, targets)} Targets: {known}")
        return self._adapter(targets[name])

    def _host(self, name: str) -> Adapter[Any]:
        """An adapter for the account of a target, or of a backend."""
        targets = self._settings.targets
        if name in targets or name not in names():
            return self._target(name)
        same = [self._adapter(config) for config in targets.values() if config.backend == name]
        accounts = {adapter.account for adapter in same}
        if len(accounts) > 1:
            raise ConfigError(f"targets of the {name} backend belong to {len(accounts)} accounts: name one of them")
        return same[0] if same else self._by_defaults(name, "unknown", f"the {name} backend")

    def _adapter(self, config: BackendConfig) -> Adapter[Any]:
        key = (config.backend, config.model_dump_json())
        with self._opening:
            if key not in self._adapters:
                adapter = adapter_type(config.backend)(config, self._context)
                self._context.egress.require(adapter.destinations, f"the {config.backend} backend")
                self._adapters[key] = adapter
            return self._adapters[key]

    def _state(self, run: Run) -> JobState:
        pulse = Pulse(self._stall_after)
        return JobState.of(run, partial(self._adapter_of_run, run), self._open_journal(), self._clock, pulse)

    def _deployment(self, record: DeploymentRecord) -> Deployment:
        open_adapter = partial(self._adapter_of_run, record)
        return Deployment(DeploymentState.of(record, open_adapter, self._open_journal(), self._clock))

    def _adapter_of_run(self, run: Run | DeploymentRecord) -> Adapter[Any]:
        key = (run.backend, run.config)
        with self._opening:
            if key not in self._adapters:  # at every poll: plugins are not looked for again
                config = adapter_type(run.backend).config_type.model_validate_json(run.config)
                self._adapters[key] = self._adapter(config)
            return self._adapters[key]

    def _reach(self, ref: JobRef | ModelRef | DeploymentRef) -> Adapter[Any]:
        """An adapter for a reference: its target, else any target of its backend, else the backend's defaults."""
        targets = self._settings.targets
        named = targets.get(ref.target or "")
        if named is not None and named.backend == ref.backend:
            return self._adapter(named)
        same = [name for name, config in targets.items() if config.backend == ref.backend]
        if len({targets[name].model_dump_json() for name in same}) == 1:
            return self._adapter(targets[same[0]])
        if same:
            raise ConfigError(
                f"{ref} names no target, and {', '.join(same)} all use backend {ref.backend}: "
                'add "target":"NAME" to the reference'
            )
        return self._by_defaults(ref.backend, ref.id if isinstance(ref, ModelRef) else "unknown", str(ref))

    def _by_defaults(self, backend: str, model: str, what: str) -> Adapter[Any]:
        """An adapter without a target, for what is there already: a model that must be named trains nothing then."""
        try:
            named = adapter_type(backend).config_type.model_fields.get("model")
            table = {"backend": backend} | ({"model": model} if named is not None and named.is_required() else {})
            return self._adapter(configuration.target(backend, table))
        except AdaptkitError as error:
            how = f"add a target with backend = {backend!r} ({error})" if backend in names() else str(error)
            raise ConfigError(f"nothing says how to reach {what}: {how}") from None


def _settings(config: str | os.PathLike[str] | None, targets: Targets | None) -> Settings:
    if config is not None and targets is not None:
        raise ConfigError("give a configuration file or targets, not both")
    if targets is not None:
        named = {
            name: table if isinstance(table, BackendConfig) else configuration.target(name, table)
            for name, table in targets.items()
        }
        return Settings(targets=named)
    found = Path(config) if config is not None else configuration.find()
    return configuration.load(found) if found is not None else Settings()


def _narrowed(of_file: Egress, of_code: Egress) -> Egress:
    if of_file.hosts is None or of_code.hosts is None:
        return of_file if of_code.hosts is None else of_code
    return Egress(of_file.hosts & of_code.hosts)

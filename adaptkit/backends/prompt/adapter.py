"""The backend: jobs are born finished, models are files."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import msgspec

from adaptkit.adapter import Abilities, Adapter, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.backends.base_model import HUB, find_base, hub_id, local_folder
from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.backends.local_jobs.data import copy_of, keep
from adaptkit.backends.local_model import BATCH
from adaptkit.backends.prompt import division
from adaptkit.backends.prompt.adapted import (
    AdaptedModel,
    Answers,
    Corpus,
    Examples,
    Found,
    Instructions,
    Provenance,
    Question,
    RetrievedExamples,
    RetrievedPassages,
    Search,
    Settings,
    Tools,
    estimated,
)
from adaptkit.backends.prompt.beside import Beside
from adaptkit.backends.prompt.choose import Chosen, choose, conversation_of
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.cost import call_of, embedding_of
from adaptkit.backends.prompt.embed import Embedding
from adaptkit.backends.prompt.finding import Finding, Shared
from adaptkit.backends.prompt.searched import Searched
from adaptkit.backends.prompt.serving import Serving, served
from adaptkit.backends.services.ask import Ask, Service
from adaptkit.backends.services.plain import ThisMachine
from adaptkit.backends.services.vendors import split_model
from adaptkit.backends.terms import refuse
from adaptkit.data import DataRules, Dataset, Record
from adaptkit.errors import ArtifactError, DataError, MissingDependencyError, NotFoundError, UnsupportedError
from adaptkit.http import TIMEOUT, loopback
from adaptkit.http_clients import Clients
from adaptkit.prices import Prices
from adaptkit.retrieval import Chunking, CorpusSize
from adaptkit.retrieval.fts5 import MOST_VECTORS
from adaptkit.steps import Request, Steps, SystemClock, arun, run
from adaptkit.types import Event, Message, Reply, Snapshot, Status

__all__ = ["PromptAdapter"]

#: Rows at most among which examples are looked for; they stand in the model's file.
MOST_TO_CHOOSE_FROM = 10_000
_UNPRICED = (
    "embed: about {tokens:,} tokens are embedded once, and every question; the table of prices does not know what "
    "{model} costs"
)


class PromptAdapter(Adapter[PromptConfig]):
    """Instructions and examples in front of the question, for a model on this machine or a service.

    A job's id is its tag, so that sending a submission again is safe; a model's id is the path of its file. Models lie
    under ``<home>/prompt/models``; a copy of one answers from anywhere.
    """

    backend: ClassVar[str] = "prompt"
    config_type = PromptConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"

    def __init__(self, config: PromptConfig, context: Context) -> None:
        super().__init__(config, context)
        self._home = context.home.absolute() / "prompt"
        self._models = self._home / "models"
        self._settled = config.settled
        self._serving = Serving(config, context, self.backend)
        self._http = Clients(context.egress, httpx2.Timeout(config.timeout, connect=TIMEOUT.connect))
        embedding = Embedding(config.embedding, self._http, self.backend)
        shared = None if config.store is None else Shared(config.store, context.egress)
        self._finding = Finding(self._home, config.documents, embedding, shared)

    @classmethod
    def data_rules(cls, config: PromptConfig | None = None) -> DataRules:
        """Conversations, or prompts with their completions."""
        del config
        return DataRules(kinds=frozenset({"chat", "completion"}))

    @property
    def destinations(self) -> tuple[str, ...]:
        """Hosts of the services, or the hub for a hub id that is not in the local cache."""
        asked = [self.config] if self.config.optimize is None else [self.config, self.config.reflecting]
        embed = self.config.embedding
        embedding = [] if embed is None or loopback(embed.host) else [embed.host]
        store = () if self.config.store is None else self.config.store.hosts
        return tuple(dict.fromkeys([*(host for config in asked for host in self._hosts(config)), *embedding, *store]))

    def _hosts(self, config: PromptConfig) -> tuple[str, ...]:
        if config.host is not None:
            return () if loopback(config.host) else (config.host,)
        if hub_id(config.model) is None or self.context.egress.offline:
            return ()
        return () if local_folder(config.model) is not None else (HUB,)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[PromptConfig]:
        """Check model and data, and choose the examples; the plan shows the shape of a request, not its texts."""
        if self.config.optimize is not None and find_spec("gepa") is None:
            raise MissingDependencyError("optimize", "gepa", "optimize")
        refuse(self.backend, [*self._problems(), *division.problems(self.config, data)])
        reads = self._reads()
        plan = super().prepare(data)
        beside = Beside.read(self.config)
        plan = replace(plan, contents=beside.fingerprints)
        chosen = self._choose(plan)
        adapted = self._adapt(plan, chosen, beside)
        call = call_of(self.config, adapted.tokens, adapted.tokens_found, data, Prices())
        size = beside.searched.size.tokens if beside.searched else 0
        refuse(self.backend, self._too_much_to_embed(size))
        embedding = embedding_of(self.config, adapted, size, Prices(self.context.prices))
        shape = adapted.shape() | ({} if call is None else {"call": call.shown()})
        shape |= {} if embedding is None else {"embedding": embedding}
        notes = [
            *self._notes(adapted, chosen, reads),
            *self._advice(beside, reads),
            *(call.notes(self.config) if call else ()),
            *([_UNPRICED.format(**embedding)] if embedding and embedding["usd"] is None else []),
        ]
        return replace(plan, request=shape, warnings=tuple(notes))

    def adapted(self, plan: Plan[PromptConfig], apart: Iterable[Record] = ()) -> AdaptedModel:
        """The model that a plan makes; no example asks what a row that is kept apart asks."""
        return self._adapt(plan, self._choose(plan, apart), Beside.read(self.config))

    def upload(self, file: DataFile) -> str:
        """Nothing to bring where the examples go into the model's file; what asks keeps a copy of the data."""
        return keep(self._home, file) if self.config.asks else file.sha256

    def has_upload(self, file_id: str) -> bool:
        """Whether the copy is still there, where there is one."""
        return not self.config.asks or copy_of(self._home, file_id).is_file()

    def submit(self, plan: Plan[PromptConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Write the model's file, or start the worker that asks; the same tag does the same again."""
        adapted = self.adapted(plan)
        self._finding.prepare_documents(adapted)
        if not plan.config.asks:
            self._finding.prepare_examples(adapted, adapted.key)
            self.keep(adapted, tag)
        else:
            self._searching(plan, uploads, tag).start()
        return self.poll(tag)

    def keep(self, adapted: AdaptedModel, job_id: str) -> Path:
        """Write a job's model, with what its service says now that it reads and writes; gives the path."""
        path = self.path_of(job_id)
        msgspec.structs.replace(adapted, window=self._serving.told(adapted)).save(path)
        return path

    def estimate(self, plan: Plan[PromptConfig], uploads: Mapping[str, str]) -> float | None:
        """What measuring and searching may cost at most, where its budget says so in money; nothing without one."""
        del uploads
        embedding = plan.request.get("embedding", {"usd": 0.0})["usd"]
        asking = plan.config.budget.usd if plan.config.asks else 0.0
        return None if asking is None or embedding is None else asking + embedding

    def _searching(self, plan: Plan[PromptConfig], uploads: Mapping[str, str], tag: str) -> Job:
        hosts = self.context.egress.hosts
        spec = Spec(
            id=tag,
            backend=self.backend,
            program="adaptkit.backends.prompt.searching",
            queue="" if self.config.host else "cpu",
            config=plan.config.anchored().model_dump(mode="json"),  # the worker has a folder of its own
            files={purpose: str(copy_of(self._home, name)) for purpose, name in uploads.items()},
            fingerprint=plan.fingerprint,
            offline=not self.destinations,
            created=time.time(),
            hosts=None if hosts is None else tuple(sorted(hosts)),
        )
        return Job.create(self._home, spec)

    def poll(self, job_id: str) -> Snapshot:
        """A job without a search has succeeded once its model is there; another stands as its worker says."""
        job = Job(self._home, job_id)
        if job.exists:
            return job.snapshot()
        if not self.path_of(job_id).is_file():
            raise NotFoundError(f"there is no prompt job {job_id!r} under {self._models}", backend=self.backend)
        return Snapshot(job_id=job_id, status=Status.SUCCEEDED, raw_status="ready", tag=job_id)

    def cancel(self, job_id: str) -> None:
        """Ask a search to stop; a job without one ends as it begins."""
        if not self.poll(job_id).status.is_terminal:
            Job(self._home, job_id).cancel()

    def restart(self, job_id: str) -> Snapshot:
        """Start a worker for a search that lost its own; what was answered is not asked again."""
        job = Job(self._home, job_id)
        if job.exists:
            job.start()
        return self.poll(job_id)

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """What happened in a search since the event of that id; of a job without one, that its model is ready."""
        job = Job(self._home, job_id)
        if job.exists:
            return job.events(after)
        heard, at = self.poll(job_id), self.path_of(job_id).stat().st_mtime
        ready = Event(id="ready", at=at, kind="status", message=heard.raw_status, data={"status": heard.status.value})
        return [] if after == ready.id else [ready]

    def retrieve(self, job_id: str) -> str:
        """The path of the model's file."""
        heard = self.poll(job_id)
        if heard.status is not Status.SUCCEEDED or not self.path_of(job_id).is_file():
            raise NotFoundError(f"job {job_id} has no model: it is {heard.raw_status}", backend=self.backend)
        return str(self.path_of(job_id))

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        try:
            return [self.poll(tag)]
        except NotFoundError:
            return []

    def path_of(self, job_id: str) -> Path:
        """Where the model of a job is, or will be.

        Raises:
            NotFoundError: this is no id of a prompt job.
        """
        if not (job_id.isascii() and job_id.isalnum() and len(job_id) <= 64):  # it becomes a file's name
            raise NotFoundError(f"{job_id!r} is not the id of a prompt job", backend=self.backend)
        return self._models / f"{job_id}.json"

    def _problems(self) -> list[str]:
        """What the vendor cannot express, one sentence each."""
        vendor, cache = self.config.vendor, self.config.cache
        if vendor is None:
            where = "a service at an address of yours" if self.config.base_url else "a model on this machine"
            return [f'cache: {where} is not told how long to remember; leave it out, or say "off"'] * (
                cache not in (None, "off")
            )
        problems = vendor.problems({"temperature": self.config.temperature})
        if cache not in (None, "off", *vendor.ttls):
            known = " or ".join(f'"{ttl}"' for ttl in vendor.ttls) or "leave it out"
            problems.append(f'cache: {vendor.name} cannot be told "{cache}"; {known}')
        return problems

    def _too_much_to_embed(self, tokens: int) -> list[str]:
        """Documents of whose passages a file would not take the vectors, in one sentence."""
        passages = tokens // Chunking().tokens
        if self.config.embed is None or self.config.store is not None or passages <= MOST_VECTORS:
            return []
        about = f"the documents have about {passages:,} passages"
        return [f"embed: {about}, and an index in a file compares {MOST_VECTORS:,}: name a store, or leave it out"]

    def _reads(self) -> int | None:
        """Tokens that the model reads at most, where that is known without asking anybody.

        Raises:
            ConfigError, ArtifactError: there is no such model on this machine, or it is not safe to load.
            MissingDependencyError: what a local model needs is not installed.
        """
        if self.config.vendor is not None:
            card = Prices().chat(self.config.vendor.name, split_model(self.config.model)[1])
            return None if card is None else card.context
        if self.config.base_url is not None:
            return None
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingDependencyError("prompting a model on this machine", package, "local")
        folder = local_folder(self.config.model)
        return None if folder is None else find_base(self.config.model, folder).size("max_position_embeddings") or None

    def _choose(self, plan: Plan[PromptConfig], apart: Iterable[Record] = ()) -> Chosen:
        config, data = self._settled, {file.purpose: file.data for file in plan.files}
        wanted = _number(config)
        likest = wanted > 0 and config.examples_by == "similarity"  # rows to choose from, then
        count, rich = (MOST_TO_CHOOSE_FROM, False) if likest else (wanted, config.vendor is not None)
        held_out = chain(data.get("validation", ()), apart)
        return choose(data["train"], count, config.seed, held_out, rich=rich)

    def _adapt(self, plan: Plan[PromptConfig], chosen: Chosen, beside: Beside) -> AdaptedModel:
        config = self._settled
        if plan.contents != beside.fingerprints:
            raise DataError("a file that the configuration names has changed since the plan was made: plan again")
        instructions = config.instructions or _shared_system(plan, chosen, rich=config.vendor is not None)
        rows = [[turn for turn in turns if turn.role not in ("system", "developer")] for turns in chosen.conversations]
        fixed = config.examples_by == "fixed"
        searched = beside.searched
        return AdaptedModel.of(
            model=config.model,
            base_url=config.base_url,
            wire=config.wire,
            embed=config.embedding.by if config.embedding and (searched or (rows and not fixed)) else None,
            name=config.name,
            settings=Settings(max_tokens=config.max_tokens, temperature=config.temperature),
            data=Provenance(fingerprint=plan.fingerprint, rows=plan.files[0].rows),
            segments=(
                *([Tools(chosen.tools)] if chosen.tools else []),
                *([Instructions(instructions)] if instructions else []),
                *([Answers(beside.schema)] if beside.schema is not None else []),
                *([Examples.of(rows)] if rows and fixed else []),
                *([Corpus(beside.documents)] if beside.documents else []),
                *([_passages(searched, config)] if searched else []),
                *([RetrievedExamples.of(_number(config), rows)] if rows and not fixed else []),
                Question(),
            ),
        )

    def _advice(self, beside: Beside, reads: int | None) -> Iterator[str]:
        """Whether documents had better stand in the prompt whole, or be searched."""
        if beside.searched is not None:
            size = replace(beside.searched.size, reads=reads)
            if size.fits_whole:
                yield f"documents: {size}. That is corpus instead of documents"
        if beside.documents:
            size = CorpusSize(len(beside.documents), sum(estimated(each.text) for each in beside.documents), reads)
            if not size.fits_whole:
                yield f"corpus: {size}. That is documents instead of corpus"

    def _notes(self, adapted: AdaptedModel, chosen: Chosen, reads: int | None) -> Iterator[str]:
        wanted, found = _number(self._settled), len(chosen.conversations)
        if found < wanted:
            yield f"examples = {wanted}, but the data has {found} different rows that can be one"
        if chosen.unfit:
            yield f"{chosen.unfit} rows hold tools or parts that are not text; they are not used as examples"
        if self.config.instructions and any(turns[0].role in ("system", "developer") for turns in chosen.conversations):
            yield "instructions take the place of the system messages in the training rows"
        if reads is not None and adapted.tokens > reads:
            yield (
                f"what stands in front of the question is about {adapted.tokens} tokens, and {self.config.model} reads "
                f"{reads}: lower examples, or shorten instructions or corpus"
            )
        vendor = self.config.vendor
        if vendor is not None and find_spec(vendor.package) is None:
            yield f"asking it needs {vendor.package}, which is not installed: pip install 'adaptkit[{vendor.name}]'"

    # -- models -------------------------------------------------------------------------------------------------

    def version(self, model_id: str) -> str:
        """A hash of all in the file that makes a difference to answers: its owner may edit it."""
        adapted = self._serving.model(model_id).adapted
        said: tuple[object, ...] = (adapted.model, adapted.base_url, adapted.wire, adapted.settings, adapted.segments)
        said += () if adapted.embed is None else (adapted.embed,)
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()

    def abilities(self, model_id: str) -> Abilities:
        """What a model takes beyond messages: a vendor's models what the vendor says."""
        return self._serving.abilities(self._serving.model(model_id).adapted)

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation: one request, or this machine's work."""
        return run(self._answering(model_id, messages, options), SystemClock())

    async def achat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """The same, awaited; what this machine works on itself it does in a thread."""
        return await arun(self._answering(model_id, messages, options), SystemClock())

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Answer piece by piece."""
        service, ask = run(self._asked(model_id, messages, options), SystemClock())
        return service.stream(ask)

    def generate(self, model_id: str, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answer many conversations: together on this machine, one by one from a service."""
        clock = SystemClock()
        asked = [run(self._asked(model_id, messages, options), clock) for messages in conversations]
        if asked and isinstance(asked[0][0], ThisMachine):
            return asked[0][0].answer_all([ask for _, ask in asked])
        return [run(service.answer(ask), clock) for service, ask in asked]

    def together(self, model_id: str) -> int:
        """As many as fill a batch on this machine, one from a service."""
        adapted = self._serving.model(model_id).adapted
        return BATCH if served(adapted)[0] is None and adapted.base_url is None else 1

    def count(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> int | None:
        """Tokens of a conversation with everything that stands in front of it, by the service's own counter."""
        clock = SystemClock()
        service, ask = run(self._asked(model_id, messages, options), clock)
        return run(service.count(ask), clock)

    def batch(self, model_id: str, asked: str, options: ChatOptions, numbers: Sequence[int]) -> Adapter[Any]:
        """The backend of a batch at the vendor whose model this is."""
        from adaptkit.backends.prompt.batch import BatchAdapter, BatchConfig  # noqa: PLC0415 - which builds on this

        if self.config.vendor is None:
            raise UnsupportedError(
                f"{self.config.model} has no batch API that adaptkit speaks; client.map(model, questions) asks many "
                "questions at a time, and none again that was answered"
            )
        config = BatchConfig(model=model_id, prompt=self.config.anchored(), asked=asked, answered=not numbers)
        return BatchAdapter(config, self.context, options, self, numbers)

    def vendor_service(self) -> Service:
        """The vendor of the configuration, whatever model is asked."""
        return self._serving.vendor_service()

    def asked(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> tuple[Service, Ask]:
        """Who answers a question, and the question with everything that stands around it."""
        return run(self._asked(model_id, messages, options), SystemClock())

    def _answering(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Steps[Reply]:
        service, ask = yield from self._asked(model_id, messages, options)
        return (yield from service.answer(ask))

    def _asked(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Steps[tuple[Service, Ask]]:
        # a stranger's file is refused here, before anything is looked up for it
        ready, service = self._serving.opened(model_id) or (yield partial(self._serving.open, model_id))
        adapted, found = ready.adapted, Found()
        if adapted.search is not None or adapted.likeness is not None:
            find = partial(self._finding.found, adapted, ready.key, messages)
            found = yield find if adapted.embed is None else Request(find)
        ask = adapted.ask(ready.front, messages, options, found)
        yield from self._serving.refuse_overflow(service, ask)
        return service, ask

    def download(self, model_id: str, path: Path) -> Path:
        """Copy the model's file into a folder."""
        source = Path(model_id)
        AdaptedModel.load(source)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ArtifactError(f"{path} is not an empty folder; nothing was written")
        path.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path / source.name)  # with its mode: readable for the owner alone
        return path

    def delete_model(self, model_id: str) -> None:
        """Delete a model's file, and the index of its documents with the last model that has it.

        A file that was moved elsewhere is left to its owner.
        """
        path = Path(model_id)
        if path.parent != self._models or path.suffix != ".json":
            raise UnsupportedError(f"{model_id} was not made by a job under {self._models}; delete it yourself")
        try:
            adapted = AdaptedModel.load(path)
        except (NotFoundError, ArtifactError):  # nobody can say what it searched
            adapted = None
        path.unlink(missing_ok=True)
        if adapted is not None:
            candidates = self._home.glob("jobs/*/candidates/*.json")  # a job under way needs its own
            self._finding.forget(adapted, chain(self._models.glob("*.json"), candidates))

    async def aclose(self) -> None:
        """Let go of the running event loop's connections."""
        await self._serving.aclose()

    def close(self) -> None:
        """Let go of connections and loaded models."""
        self._serving.close()
        self._finding.close()
        self._http.close()


def _number(settled: PromptConfig) -> int:
    assert isinstance(settled.examples, int)  # noqa: S101 - that is what settled means
    return settled.examples


def _passages(searched: Searched, config: PromptConfig) -> RetrievedPassages:
    store = None if config.store is None else config.store.at
    fingerprint = searched.fingerprint
    return RetrievedPassages(Search(documents=searched.names, k=config.passages, fingerprint=fingerprint, store=store))


def _shared_system(plan: Plan[PromptConfig], chosen: Chosen, *, rich: bool) -> str | None:
    """The system message that the training rows share.

    Raises:
        DataError: they have several, and nobody said which holds.
    """
    rows = chosen.conversations or _first(plan, rich=rich)
    texts = {"\n\n".join(turn.text for turn in turns if turn.role in ("system", "developer")) for turns in rows}
    if len(texts) > 1:
        raise DataError(
            "the rows chosen as examples have different system messages; set instructions, which then holds"
        )
    return next(iter(texts), "") or None


def _first(plan: Plan[PromptConfig], *, rich: bool) -> tuple[tuple[Message, ...], ...]:
    """The first row that can be an example: what it is told is told without examples too."""
    found = (turns for row in plan.files[0].data if (turns := conversation_of(row, rich=rich)))
    turns = next(found, None)
    return () if turns is None else (turns,)

"""The interface that a backend implements: the page that a plugin author reads.

An adapter has five abstract methods: `upload`, `submit`, `poll`, `cancel` and `retrieve`. Each is one logical step:
no sleeping, no retrying, no caching, no journal; the client does all of that, once, for every backend. What a backend
can do beyond that it says by implementing one of the small protocols at the end of this page.

Adapters deal in the backend's own ids (plain text); the client turns them into `JobRef` and `ModelRef`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from adaptkit.batch_cost import BatchCost
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import BackendError, ConfigError
from adaptkit.http import Egress
from adaptkit.types import (
    Checkpoint,
    DeploymentSnapshot,
    Document,
    Event,
    Inventory,
    Likelihood,
    Message,
    Reply,
    Snapshot,
    Speed,
    Usage,
)

__all__ = [
    "Abilities",
    "Adapter",
    "BackendConfig",
    "ChatOptions",
    "Context",
    "DataFile",
    "Guarantee",
    "LocalPath",
    "ModelName",
    "Plan",
    "SupportsAbilities",
    "SupportsAnswers",
    "SupportsArchive",
    "SupportsAsyncChat",
    "SupportsBatch",
    "SupportsChat",
    "SupportsCheckpoints",
    "SupportsDeleteData",
    "SupportsDeleteModel",
    "SupportsDeploy",
    "SupportsDownload",
    "SupportsEstimate",
    "SupportsEvents",
    "SupportsExport",
    "SupportsFigures",
    "SupportsFind",
    "SupportsGenerate",
    "SupportsInventory",
    "SupportsLikelihood",
    "SupportsPause",
    "SupportsPreflight",
    "SupportsReadiness",
    "SupportsRegister",
    "SupportsRename",
    "SupportsRestart",
    "SupportsShutdownDate",
    "SupportsSpeed",
    "SupportsStart",
    "SupportsStream",
    "SupportsTrainedTokens",
    "SupportsVersion",
]

Guarantee = Literal["exactly_once", "reconcilable", "at_most_once_manual"]


class BackendConfig(BaseModel):
    """Parent of every backend's configuration: frozen, and an unknown field is an error.

    A subclass adds ``backend: Literal["its-name"] = "its-name"`` and its fields. Fields that mean the same everywhere
    are spelled the same: ``model``, ``method``, ``epochs``, ``batch_size``, ``learning_rate``,
    ``learning_rate_multiplier``, ``rank``, ``seed``, ``name``, ``validation``. A key never stands in a field; the name
    of an environment variable does.

    Attributes:
        instead: What to say, in a sentence, of a field that other backends have and this one cannot.
        made_by: What makes such a configuration, where no target can: for the message.
    """

    instead: ClassVar[Mapping[str, str]] = {}
    made_by: ClassVar[str | None] = None

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    backend: str


def _anchored(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    return str(Path(base, Path(value).expanduser())) if base else value


def _anchored_if_folder(value: str, info: ValidationInfo) -> str:
    return _anchored(value, info) if value.startswith(("./", "../", "~", "/")) else value


#: A path in a configuration: relative to the configuration file, where it came from one.
LocalPath = Annotated[str, AfterValidator(_anchored)]
#: A model's name, or a folder spelled as one: ``./base``, ``../base``, ``~/base``, ``/base``.
ModelName = Annotated[str, AfterValidator(_anchored_if_folder)]

ConfigT = TypeVar("ConfigT", bound=BackendConfig)


@dataclass(frozen=True)
class Context:
    """What the client lends an adapter.

    Attributes:
        home: Folder under which local backends keep jobs and models; made on first use.
        egress: The policy that says where data may go.
        prices: The user's own table of prices, if there is one.
    """

    home: Path
    egress: Egress = field(default_factory=Egress)
    prices: Path | None = None


@dataclass(frozen=True)
class DataFile:
    """One file of a plan: data in the format the backend takes, not yet written anywhere.

    Attributes:
        purpose: ``train`` or ``validation``.
        data: The examples; ``data.write(file, format)`` gives exactly the bytes whose hash is `sha256`.
        format: Name of the format.
        sha256: Hash of the converted bytes, hexadecimal.
        size: Bytes.
        rows: Examples.
    """

    purpose: str
    data: Dataset = field(repr=False)
    format: str
    sha256: str
    size: int
    rows: int

    @classmethod
    def of(cls, purpose: str, data: Dataset, format: str) -> DataFile:  # noqa: A002 - the field's standard term
        """Convert once without keeping anything, to learn the hash and the size.

        Raises:
            DataError: a row cannot be expressed in that format.
        """
        with Path("/dev/null").open("wb") as nowhere:
            written = data.write(nowhere, format)
        return cls(purpose, data, format, written.sha256, written.bytes, written.rows)


@dataclass(frozen=True)
class Plan(Generic[ConfigT]):
    """What would be sent, exactly. Making one reads the data and does nothing else.

    Attributes:
        config: The resolved configuration, every default filled in.
        files: The data in the backend's format.
        request: The request as it would go out; file ids and the tag are filled in at submission.
        destinations: Hosts that data or requests go to; empty when nothing leaves the machine.
        warnings: What works and should be known.
        tokens: Estimated training tokens of one epoch, or ``None``.
        fingerprint: Fingerprint of the training data.
        contents: Fingerprints of the other files that the configuration names, by the field that names them.
        cost: What answers to questions cost; ``None`` for a plan that trains, see `adaptkit.estimate`.
    """

    config: ConfigT
    files: tuple[DataFile, ...]
    request: Mapping[str, Any]
    destinations: tuple[str, ...]
    fingerprint: str
    warnings: tuple[str, ...] = ()
    tokens: int | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    cost: BatchCost | None = None


class ChatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer.

    The last four are given to an adapter only where it says that it takes them (`SupportsAbilities`).

    Attributes:
        max_tokens: Most new tokens.
        temperature: 0 for the likeliest answer, ``None`` for the default.
        seed: For the same answer again, where the service can.
        stop: Words that end an answer.
        schema: JSON Schema that the answer keeps.
        tools: Tools that may be called, as OpenAI writes them.
        documents: What the question is to be answered from.
        citations: Whether the answer says which words of the documents it rests on.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Document, ...] = ()
    citations: bool = False

    def __post_init__(self) -> None:
        if self.schema is not None and not isinstance(self.schema, Mapping):
            raise ConfigError("schema in options is a JSON Schema; a type of Python's goes to chat(schema=…)")


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes beyond messages.

    Attributes:
        schema: Answers are held to a JSON Schema while they are written.
        tools: Tools can be called.
        documents: Documents are taken as such, or put where they belong.
        pdf: Documents may be PDFs.
        citations: Answers can say what they rest on.
        thinks: Answers may be thought over, which counts in ``max_tokens`` and is not done at a temperature of 0.
        answers: JSON Schema of every answer that no call asks otherwise of, ``None`` for text.
    """

    schema: bool = False
    tools: bool = False
    documents: bool = False
    pdf: bool = False
    citations: bool = False
    thinks: bool = False
    answers: Mapping[str, Any] | None = None


class Adapter(ABC, Generic[ConfigT]):
    """A backend.

    Attributes:
        backend: Its name, as in ``backend = "…"``.
        config_type: Its configuration.
        guarantee: What holds when the answer to `submit` is lost. ``exactly_once``: sending again with the same tag
            is safe, because the tag is the job's id or an idempotency token, or because a job costs nothing until
            `SupportsStart.start`. ``reconcilable``: `SupportsFind` finds a job by its tag. ``at_most_once_manual``:
            neither.
        settle_seconds: How long after a lost answer a job may still be missing from what `find` lists.
    """

    backend: ClassVar[str]
    config_type: ClassVar[type[BackendConfig]]
    guarantee: ClassVar[Guarantee] = "at_most_once_manual"
    settle_seconds: ClassVar[float] = 0.0

    def __init__(self, config: ConfigT, context: Context) -> None:
        """Keep what is needed; no I/O and no vendor import here."""
        self.config, self.context = config, context

    @classmethod
    def data_rules(cls, config: ConfigT | None = None) -> DataRules:
        """Rules that training data must keep; without a config, those that hold for every config."""
        del config
        return DataRules()

    @property
    def account(self) -> str:
        """Which account uploads belong to: stable, and never a key (a fingerprint of one at most)."""
        return "local"

    @property
    def destinations(self) -> tuple[str, ...]:
        """Hosts that this backend talks to, for the egress policy; empty when nothing leaves the machine."""
        raise NotImplementedError(f"{type(self).__name__} must say which hosts it talks to (an empty tuple for none)")

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """The request that `submit` will send, without file ids and tag; shown by a dry run."""
        del files
        return self.config.model_dump(mode="json", exclude_none=True)

    def warnings(self, files: Sequence[DataFile]) -> Sequence[str]:
        """What works and should be known before submitting."""
        del files
        return ()

    def prepare(self, data: Dataset) -> Plan[ConfigT]:
        """Check and convert: everything that can be refused is refused here, all of it at once.

        Raises:
            DataError: rows break a rule or cannot be expressed; carries every problem.
            UnsupportedError: the backend cannot express the configuration.
            EgressError: the policy does not allow the backend's hosts.
        """
        self.context.egress.require(self.destinations, self.backend)
        rules = self.data_rules(self.config)
        report = data.check(rules=rules)
        report.raise_if_bad()
        files = [DataFile.of("train", data, rules.format)]
        validation = getattr(self.config, "validation", None)
        if validation is not None:
            held_out = Dataset.open(validation)
            # the minimum is a rule for training data alone
            held_out.check(rules=msgspec.structs.replace(rules, min_rows=1)).raise_if_bad()
            files.append(DataFile.of("validation", held_out, rules.format))
        return Plan(
            config=self.config,
            files=tuple(files),
            request=self.request(files),
            destinations=self.destinations,
            fingerprint=data.fingerprint,
            warnings=tuple(self.warnings(files)),
            tokens=report.stats.tokens,
        )

    @abstractmethod
    def upload(self, file: DataFile) -> str:
        """Bring one file to the backend, and give its id there. May loop over parts; free, so it may be repeated."""

    def has_upload(self, file_id: str) -> bool:
        """Whether a file uploaded earlier is still there: one request, where the backend can lose files."""
        del file_id
        return True

    @abstractmethod
    def submit(self, plan: Plan[ConfigT], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Send the one request that costs money.

        Args:
            plan: What `prepare` gave.
            uploads: File id by purpose.
            tag: Random text of 26 letters and digits that the job must carry, so that it can be found.

        Raises:
            ConnectionFailedError, RateLimitError: it provably did not run.
            ServiceError: it may have run.
            BackendError: the backend refused.
        """

    @abstractmethod
    def poll(self, job_id: str) -> Snapshot:
        """Ask how a job stands: one request.

        Raises:
            NotFoundError: there is no such job.
            BackendError: asking failed; says nothing about the job.
        """

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Ask a job to stop and return at once. A job that has ended, or is being stopped, is no error.

        Raises:
            NotFoundError: there is no such job.
        """

    @abstractmethod
    def retrieve(self, job_id: str) -> str:
        """The id of the model that a succeeded job made.

        Raises:
            NotFoundError: there is no such job, or its model is gone.
        """

    def close(self) -> None:
        """Let go of connections and loaded models; the adapter is not used after this."""


@runtime_checkable
class SupportsEvents(Protocol):
    """Jobs tell what happens inside them."""

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """Events after the one with that id (all when ``None``), oldest first: one request."""
        ...


@runtime_checkable
class SupportsFind(Protocol):
    """Jobs can be found by the tag they were submitted with."""

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Jobs that may carry the tag; the client compares ``Snapshot.tag`` again."""
        ...


@runtime_checkable
class SupportsReadiness(Protocol):
    """The host looks at an uploaded file before a job may use it."""

    def data_ready(self, file_id: str) -> bool:
        """Whether a job may use a file by now: one request; asked before `Adapter.submit` until it says yes.

        Raises:
            DataError: the host refuses what is in the file; carries its words.
        """
        ...


@runtime_checkable
class SupportsPreflight(Protocol):
    """The host says beforehand what it takes: limits of a model, the state of the account."""

    def preflight(self, plan: Plan[Any], uploads: Mapping[str, str]) -> None:
        """Compare a plan with what the host takes today; asked before `Adapter.submit`, costs nothing.

        Raises:
            UnsupportedError: the job would be refused, or run otherwise than asked; names everything that is wrong.
            BackendError: asking failed, or the account may not run it.
        """
        ...


@runtime_checkable
class SupportsStart(Protocol):
    """Jobs are made first and begun afterwards: making one costs nothing, and beginning it is what is paid for.

    A job that waits to be begun is ``paused``. `submit` begins it once the journal knows it, also where an earlier
    `submit` of the same run made it and died.
    """

    def start(self, job_id: str) -> Snapshot | None:
        """Begin a job: asks how it stands, and leaves one that was begun before, or has ended, alone.

        Returns:
            How it stands; ``None`` as long as the host does not let it be begun, and then this is asked again.

        Raises:
            NotFoundError: there is no such job.
            ServiceError: it may have been begun; asking again is safe.
            BackendError: the host refused, and the job waits on.
        """
        ...


@runtime_checkable
class SupportsEstimate(Protocol):
    """The host says what a job will cost, once it has the data."""

    def estimate(self, plan: Plan[Any], uploads: Mapping[str, str]) -> float | None:
        """US dollars for the training alone, ``None`` where the host does not know: one request, costs nothing."""
        ...


@runtime_checkable
class SupportsSpeed(Protocol):
    """How fast a run goes is known, because it trains on this machine."""

    def speed(self, plan: Plan[Any]) -> Speed | None:
        """How fast earlier runs like this one went here, ``None`` where there were none: reads files."""
        ...

    def measure(self, plan: Plan[Any], data: Dataset) -> Speed:
        """Train on a few rows to learn it, and keep nothing but the speed."""
        ...


@runtime_checkable
class SupportsTrainedTokens(Protocol):
    """The host says how many tokens a job trained on, which is what it bills."""

    def trained_tokens(self, job_id: str) -> int | None:
        """Over all epochs; ``None`` as long as the host does not say: one request."""
        ...


@runtime_checkable
class SupportsInventory(Protocol):
    """The host lists what the account of the key has, whoever made it."""

    def inventory(self) -> Inventory:
        """Jobs, files and tuned models: the pages of three lists at most."""
        ...


@runtime_checkable
class SupportsRestart(Protocol):
    """An interrupted job can be continued from its last checkpoint without cost; `submit` of the same run does so."""

    def restart(self, job_id: str) -> Snapshot:
        """Continue a job whose worker died; a job that runs or has ended is left alone."""
        ...


@runtime_checkable
class SupportsRegister(Protocol):
    """A job that others carry out ends when what came back is registered as its model."""

    def register(self, job_id: str, result: str) -> Snapshot:
        """End a job with a model from elsewhere; nothing is sent, and the same again changes nothing.

        Args:
            job_id: The job.
            result: A folder or an address, as the backend takes it.

        Raises:
            ConfigError, ArtifactError: that is no model, or none that is safe to load.
            EgressError: the policy does not allow the address.
            UnsupportedError: the job has ended otherwise, or with another model.
            NotFoundError: there is no such job.
        """
        ...


@runtime_checkable
class SupportsChat(Protocol):
    """Models answer."""

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation: one request."""
        ...


@runtime_checkable
class SupportsAsyncChat(Protocol):
    """Models answer on an event loop too; without this a thread waits for each answer."""

    async def achat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """As `SupportsChat.chat`; what it does is not done any more when the task is cancelled."""
        ...

    async def aclose(self) -> None:
        """Let go of the running event loop's connections; called before `Adapter.close`."""
        ...


@runtime_checkable
class SupportsStream(Protocol):
    """Models answer piece by piece."""

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Pieces of the answer; joined, they are the text that `chat` would give."""
        ...


@runtime_checkable
class SupportsAbilities(Protocol):
    """Models take more than messages; without this they do not, and what can be had by words is asked for in words."""

    def abilities(self, model_id: str) -> Abilities:
        """What a model takes, without asking anybody."""
        ...


@runtime_checkable
class SupportsGenerate(Protocol):
    """Models answer many conversations in one go."""

    def generate(self, model_id: str, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answers in the order of the conversations."""
        ...

    def together(self, model_id: str) -> int:
        """How many conversations it answers quickest in one go; 1 where each is a request of its own."""
        ...


@runtime_checkable
class SupportsBatch(Protocol):
    """Models answer many questions later and cheaper, as a job."""

    def batch(self, model_id: str, asked: str, options: ChatOptions, numbers: Sequence[int]) -> Adapter[Any]:
        """The backend of one batch: what it is given as data are questions.

        Args:
            model_id: Who is asked.
            asked: SHA-256 of everything that is asked, which makes the batch what it is.
            options: How to answer; they are not part of the configuration, for they may hold documents.
            numbers: The number of each question that is sent, under which its answer comes; none where everything was
                answered before, and such a batch has ended when it begins.

        Raises:
            UnsupportedError: this model takes no batches.
        """
        ...


@runtime_checkable
class SupportsAnswers(Protocol):
    """Jobs answer questions instead of making a model."""

    def answers(self, job_id: str) -> Iterator[tuple[int, Reply | BackendError]]:
        """What became of each question, by its number, in any order; a question without a result is left out.

        Raises:
            BackendError: the results cannot be had.
        """
        ...

    def usd(self, usage: Usage) -> float | None:
        """What an answer has cost in US dollars, ``None`` if unknown."""
        ...

    def ledger(self) -> str:
        """SHA-256 of what is asked, as `SupportsBatch.batch` was given it."""
        ...


@runtime_checkable
class SupportsVersion(Protocol):
    """What answers behind a model's id can change, such as a file that its owner edits."""

    def version(self, model_id: str) -> str:
        """Another text whenever it has changed, so that no answer of before counts as one of now: no request.

        Raises:
            NotFoundError: there is no such model.
        """
        ...


@runtime_checkable
class SupportsLikelihood(Protocol):
    """Models tell how likely they hold a given answer."""

    def likelihood(self, model_id: str, conversations: Sequence[Sequence[Message]]) -> list[Likelihood]:
        """For each conversation, how likely its last turn is after those before it."""
        ...


@runtime_checkable
class SupportsExport(Protocol):
    """Models can be written in formats that other programs serve."""

    def export(self, model_id: str, format: str, path: Path) -> Path:  # noqa: A002 - the field's standard term
        """Write the model under ``path``, which must not exist or be empty, and give the path written.

        Raises:
            UnsupportedError: no such format.
        """
        ...


@runtime_checkable
class SupportsDownload(Protocol):
    """The weights can be had as files."""

    def download(self, model_id: str, path: Path) -> Path:
        """Copy the model's files into ``path``, which must not exist or be empty."""
        ...


@runtime_checkable
class SupportsRename(Protocol):
    """Models have a name for people, which can be changed; the id stays as it is."""

    def rename(self, model_id: str, name: str, description: str | None) -> None:
        """Give a model another name, and another description unless it is ``None``: one request."""
        ...


@runtime_checkable
class SupportsArchive(Protocol):
    """Models can be put away, so that they no longer answer, and taken out again."""

    def archive(self, model_id: str) -> None:
        """Put a model away: one request."""
        ...

    def unarchive(self, model_id: str) -> None:
        """Take a model out again: one request."""
        ...


@runtime_checkable
class SupportsDeleteModel(Protocol):
    """Models can be deleted."""

    def delete_model(self, model_id: str) -> None:
        """Delete a model for good; one that is not there is no error."""
        ...


@runtime_checkable
class SupportsDeleteData(Protocol):
    """Uploaded files can be deleted."""

    def delete_data(self, file_id: str) -> None:
        """Delete an uploaded file for good; one that is not there is no error."""
        ...


@runtime_checkable
class SupportsPause(Protocol):
    """A running job can be halted, and continued, which may cost money."""

    def pause(self, job_id: str) -> None:
        """Ask a job to halt and return at once."""
        ...

    def resume(self, job_id: str) -> None:
        """Ask a halted job to go on and return at once."""
        ...


@runtime_checkable
class SupportsCheckpoints(Protocol):
    """Jobs keep models of earlier steps."""

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """What is kept, earliest first: one request."""
        ...


@runtime_checkable
class SupportsFigures(Protocol):
    """Jobs keep what they measured in full, where events tell a part of it."""

    def figures(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """A row a step, each with ``step``; none as long as there is nothing: the job and its files."""
        ...


@runtime_checkable
class SupportsShutdownDate(Protocol):
    """The host says when it switches a model off."""

    def shutdown_date(self, model_id: str) -> date | None:
        """The day from which a base or tuned model no longer answers, ``None`` if none is set: one request."""
        ...

    def known_shutdown_date(self, model_id: str) -> date | None:
        """The same as far as it is known without asking: told when somebody comes back to a job or a model."""
        ...


@runtime_checkable
class SupportsDeploy(Protocol):
    """Models answer only, or better, through hardware that the host keeps running, and bills, until it is stopped.

    What to run it on is in the configuration of the target. The client writes every deployment to the journal before
    it is asked for.
    """

    #: What holds when the answer to `deploy` is lost: as `Adapter.guarantee`, by `find_deployments`.
    deploy_guarantee: ClassVar[Guarantee]

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Send the one request that starts a deployment; it carries the tag wherever the host keeps it."""
        ...

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """How a deployment stands: one request.

        Raises:
            NotFoundError: it is gone.
        """
        ...

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """Deployments that may carry the tag; the client compares again."""
        ...

    def undeploy(self, deployment_id: str) -> None:
        """Ask a deployment to stop for good, so that it costs nothing; one that is gone is no error."""
        ...

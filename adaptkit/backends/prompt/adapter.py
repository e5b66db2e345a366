"""The backend: jobs are born finished, models are files."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import httpx2

from adaptkit.adapter import Adapter, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.backends.base_model import find_base, hub_id, local_folder
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.local_model import BATCH
from adaptkit.backends.prompt.adapted import AdaptedModel, Examples, Instructions, Provenance, Question, Settings
from adaptkit.backends.prompt.choose import Chosen, choose, conversation_of
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    MissingDependencyError,
    NotFoundError,
    UnsupportedError,
)
from adaptkit.http import TIMEOUT, client, loopback
from adaptkit.types import Message, Reply, Snapshot, Status

if TYPE_CHECKING:
    from adaptkit.backends.local_model import LocalModel

__all__ = ["PromptAdapter"]

_HUB = "huggingface.co"


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
        self._models = context.home.absolute() / "prompt" / "models"
        self._http: httpx2.Client | None = None
        self._loaded: dict[str, LocalModel] = {}
        self._opening = threading.Lock()

    @classmethod
    def data_rules(cls, config: PromptConfig | None = None) -> DataRules:
        """Conversations, or prompts with their completions."""
        del config
        return DataRules(kinds=frozenset({"chat", "completion"}))

    @property
    def destinations(self) -> tuple[str, ...]:
        """The host of ``base_url``, or the hub for a hub id that is not in the local cache; else none."""
        host = self.config.host
        if host is not None:
            return () if loopback(host) else (host,)
        if hub_id(self.config.model) is None or self.context.egress.offline:
            return ()
        return () if local_folder(self.config.model) is not None else (_HUB,)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[PromptConfig]:
        """Check model and data, and choose the examples; the plan shows the shape of a request, not its texts."""
        reads = self._reads()
        plan = super().prepare(data)
        chosen = self._choose(plan)
        adapted = self._adapt(plan, chosen)
        return replace(plan, request=adapted.shape(), warnings=tuple(self._notes(adapted, chosen, reads)))

    def upload(self, file: DataFile) -> str:
        """Nothing to bring: the examples go into the model's file."""
        return file.sha256

    def submit(self, plan: Plan[PromptConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Write the model's file; the same tag writes the same file."""
        del uploads
        self._adapt(plan, self._choose(plan)).save(self._path(tag))
        return self.poll(tag)

    def poll(self, job_id: str) -> Snapshot:
        """A job is there once its model is, and has succeeded then."""
        if not self._path(job_id).is_file():
            raise NotFoundError(f"there is no prompt job {job_id!r} under {self._models}", backend=self.backend)
        return Snapshot(job_id=job_id, status=Status.SUCCEEDED, raw_status="ready", tag=job_id)

    def cancel(self, job_id: str) -> None:
        """Nothing to stop: a job ends as it begins."""
        self.poll(job_id)

    def retrieve(self, job_id: str) -> str:
        """The path of the model's file."""
        self.poll(job_id)
        return str(self._path(job_id))

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        try:
            return [self.poll(tag)]
        except NotFoundError:
            return []

    def _path(self, job_id: str) -> Path:
        if not (job_id.isascii() and job_id.isalnum() and len(job_id) <= 64):  # it becomes a file's name
            raise NotFoundError(f"{job_id!r} is not the id of a prompt job", backend=self.backend)
        return self._models / f"{job_id}.json"

    def _reads(self) -> int | None:
        """Tokens that the model reads at most, where that is known without asking anybody.

        Raises:
            ConfigError, ArtifactError: there is no such model on this machine, or it is not safe to load.
            MissingDependencyError: what a local model needs is not installed.
        """
        if self.config.base_url is not None:
            return None
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingDependencyError("prompting a model on this machine", package, "local")
        folder = local_folder(self.config.model)
        return None if folder is None else find_base(self.config.model, folder).size("max_position_embeddings") or None

    def _choose(self, plan: Plan[PromptConfig]) -> Chosen:
        data = {file.purpose: file.data for file in plan.files}
        return choose(data["train"], self.config.examples, self.config.seed, data.get("validation", ()))

    def _adapt(self, plan: Plan[PromptConfig], chosen: Chosen) -> AdaptedModel:
        config = self.config
        instructions = config.instructions or _shared_system(plan, chosen)
        conversations = [
            [turn for turn in turns if turn.role not in ("system", "developer")] for turns in chosen.conversations
        ]
        return AdaptedModel(
            model=config.model,
            base_url=config.base_url,
            name=config.name,
            settings=Settings(max_tokens=config.max_tokens, temperature=config.temperature),
            data=Provenance(fingerprint=plan.fingerprint, rows=plan.files[0].rows),
            segments=(
                *([Instructions(instructions)] if instructions else []),
                *([Examples.of(conversations)] if conversations else []),
                Question(),
            ),
        )

    def _notes(self, adapted: AdaptedModel, chosen: Chosen, reads: int | None) -> Iterator[str]:
        wanted, found = self.config.examples, len(chosen.conversations)
        if found < wanted:
            yield f"examples = {wanted}, but the data has {found} different rows that can be one"
        if chosen.unfit:
            yield f"{chosen.unfit} rows hold tools or parts that are not text; they are not used as examples"
        if self.config.instructions and any(turns[0].role in ("system", "developer") for turns in chosen.conversations):
            yield "instructions take the place of the system messages in the training rows"
        if reads is not None and adapted.tokens > reads:
            yield (
                f"instructions and examples are about {adapted.tokens} tokens, and {self.config.model} reads {reads}: "
                "lower examples, or shorten instructions"
            )

    # -- models -------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation: one request, or this machine's work."""
        adapted = AdaptedModel.load(Path(model_id))
        asked, how = adapted.conversation(messages), adapted.options(options)
        if adapted.base_url is None:
            return self._local(adapted.model).chat(asked, how)
        return self._endpoint(adapted).chat(adapted.model, asked, how)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Answer piece by piece."""
        adapted = AdaptedModel.load(Path(model_id))
        asked, how = adapted.conversation(messages), adapted.options(options)
        if adapted.base_url is None:
            return self._local(adapted.model).stream(asked, how)
        return self._endpoint(adapted).stream(adapted.model, asked, how)

    def generate(self, model_id: str, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answer many conversations: together on this machine, one by one from a service."""
        adapted = AdaptedModel.load(Path(model_id))
        asked, how = [adapted.conversation(messages) for messages in conversations], adapted.options(options)
        if adapted.base_url is None:
            return self._local(adapted.model).generate(asked, how)
        endpoint = self._endpoint(adapted)
        return [endpoint.chat(adapted.model, messages, how) for messages in asked]

    def together(self, model_id: str) -> int:
        """As many as fill a batch on this machine, one from a service."""
        return BATCH if AdaptedModel.load(Path(model_id)).base_url is None else 1

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
        """Delete a model's file; one that was moved elsewhere is left to its owner."""
        path = Path(model_id)
        if path.parent != self._models or path.suffix != ".json":
            raise UnsupportedError(f"{model_id} was not made by a job under {self._models}; delete it yourself")
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of connections and loaded models."""
        with self._opening:
            self._loaded.clear()
            if self._http is not None:
                self._http.close()
                self._http = None

    def _local(self, model: str) -> LocalModel:
        with self._opening:
            if model not in self._loaded:
                from adaptkit.backends.local_model import LocalModel  # noqa: PLC0415 - torch only where it is used

                # a model's file may name another base than the configuration
                offline = not self.context.egress.allows(_HUB)
                self._loaded[model] = LocalModel.load(model, offline=offline)
            return self._loaded[model]

    def _endpoint(self, adapted: AdaptedModel) -> Endpoint:
        # a file from elsewhere must not send this target's key and questions to where it likes
        if adapted.base_url is None or adapted.base_url != self.config.base_url:
            raise ConfigError(
                f"this model was made for {adapted.base_url}, and the target says {self.config.base_url or 'nothing'}: "
                "use a target with that base_url"
            )
        with self._opening:
            if self._http is None:
                self._http = client(self.context.egress, httpx2.Timeout(self.config.timeout, connect=TIMEOUT.connect))
            return Endpoint(self._http, adapted.base_url, self.config.api_key_env, self.backend)


def _shared_system(plan: Plan[PromptConfig], chosen: Chosen) -> str | None:
    """The system message that the training rows share.

    Raises:
        DataError: they have several, and nobody said which holds.
    """
    rows = chosen.conversations or _first(plan)
    texts = {"\n\n".join(turn.text for turn in turns if turn.role in ("system", "developer")) for turns in rows}
    if len(texts) > 1:
        raise DataError(
            "the rows chosen as examples have different system messages; set instructions, which then holds"
        )
    return next(iter(texts), "") or None


def _first(plan: Plan[PromptConfig]) -> tuple[tuple[Message, ...], ...]:
    """The first row that is a conversation of text: what it is told is told without examples too."""
    turns = next(filter(None, map(conversation_of, plan.files[0].data)), None)
    return () if turns is None else (turns,)

"""``where = "cluster"``: training on your own machines, through the engine of ``run``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from adaptkit.adapter import ChatOptions, Context, DataFile, Plan
from adaptkit.backends.base_model import HUB, Base, find_base, hub_id, local_folder
from adaptkit.backends.causal_model import refuse_quantized
from adaptkit.backends.engines.jobs import EngineJobs
from adaptkit.backends.local_model import BATCH
from adaptkit.backends.local_models import LocalModels
from adaptkit.backends.mistral.adapter import MistralAdapter
from adaptkit.backends.mistral.cluster.figures import Figures, figures, refuse_if_short
from adaptkit.backends.mistral.cluster.pace import measured
from adaptkit.backends.mistral.cluster.settings import on_machine, resolve
from adaptkit.backends.mistral.cluster.sizes import Size, size_of
from adaptkit.backends.mistral.cluster.words import new_tokens
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.stages import CheckedFile, checked_files, contents_of
from adaptkit.backends.mistral_checks import record_rules
from adaptkit.data import Dataset
from adaptkit.errors import MissingDependencyError
from adaptkit.machine import this_machine
from adaptkit.types import Event, Likelihood, Message, Reply, Snapshot

__all__ = ["ClusterAdapter"]

_NEEDED = ("torch", "transformers", "peft", "numpy", "mistral_common")


class ClusterAdapter(MistralAdapter):
    """Jobs are those of `EngineJobs`, models those of `LocalModels`."""

    where: ClassVar[str] = "cluster"

    def __init__(self, config: MistralConfig, context: Context) -> None:
        super().__init__(config, context)
        self._jobs = EngineJobs(self.backend, "adaptkit.backends.mistral.cluster.running", config.run, context)
        self._models = LocalModels(self._jobs.home, self.backend, config.model, offline=self._offline)

    @property
    def _offline(self) -> bool:
        """Whether nothing may be fetched."""
        return not self.context.egress.allows(HUB)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The hub, for a hub id that is not in the local cache, and where jobs are sent to."""
        missing = hub_id(self.config.model) is not None and local_folder(self.config.model) is None
        return (*((HUB,) if missing else ()), *self.config.run.hosts)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[MistralConfig]:
        """Check data, model and machine; the plan's configuration has every default filled in."""
        _require_packages(self.config)
        self.context.egress.require(self.destinations, self.backend)
        folder = local_folder(self.config.model)
        base = find_base(self.config.model, folder) if folder is not None else None
        size = size_of(self.config.model, base)
        config = resolve(self.config, base, size)
        files = checked_files(config, data, () if base is None else record_rules(base.folder))
        if base is not None:
            refuse_quantized(base)
        request = config.model_dump(mode="json", exclude_none=True)
        if size is not None:
            request["figures"] = self._figures(config, files, base, size)
        return Plan(
            config=config,
            files=(
                *(DataFile.of(file.purpose, file.data, file.format) for file in files),
                *new_tokens(config, None if base is None else base.folder),
            ),
            request=request,
            destinations=self.destinations,
            fingerprint=data.fingerprint,
            tokens=next(file.report.stats.tokens for file in files if file.purpose == "train"),
            contents=contents_of(config),
        )

    def _figures(self, config: MistralConfig, files: Sequence[CheckedFile], base: Base | None, size: Size) -> Figures:
        machine = this_machine() if config.run.engine == "local" else None
        here = on_machine(config, base, size, machine)
        tokens = {file.purpose: file.report.stats.tokens for file in files}
        of_stages = [
            tokens["train" if stage.data is None else f"stage-{number}"] for number, stage in enumerate(here.stages, 1)
        ]
        speed = config.run.tokens_per_second or measured(self._jobs.home, config)
        found = figures(here, size, of_stages, speed)
        if machine is not None:
            refuse_if_short(here, found, machine, self._jobs.home)
        return found

    def upload(self, file: DataFile) -> str:
        """Keep a copy of the data: the job must not change with the user's file."""
        return self._jobs.upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether the copy is still there."""
        return self._jobs.has_upload(file_id)

    def submit(self, plan: Plan[MistralConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Make the job and start its processes; a job of that tag is found, and continued if it was interrupted."""
        offline = self._offline or HUB not in self.destinations
        return self._jobs.submit(plan, uploads, tag, device=plan.config.device, offline=offline)

    def estimate(self, plan: Plan[MistralConfig], uploads: Mapping[str, str]) -> float | None:
        """What the hours of the GPUs cost by the price and the speed of ``run``; nothing where no price is given."""
        del uploads
        if plan.config.run.usd_per_gpu_hour is None:
            return 0.0
        found = plan.request.get("figures")
        return None if found is None else found.usd

    def poll(self, job_id: str) -> Snapshot:
        """How the job stands; ``paused`` with ``interrupted`` when its processes are gone before its end."""
        return self._jobs.poll(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask the job to stop at its next step; a waiting or interrupted job is cancelled at once."""
        self._jobs.cancel(job_id)

    def retrieve(self, job_id: str) -> str:
        """The model's folder."""
        return self._jobs.retrieve(job_id)

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """What happened since the event of that id."""
        return self._jobs.events(job_id, after)

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        return self._jobs.find(tag)

    def restart(self, job_id: str) -> Snapshot:
        """Start processes for a job that lost its own; it goes on from the last whole checkpoint."""
        return self._jobs.restart(job_id)

    # -- models -------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer in this process; the first call loads the model."""
        return self._models.get(model_id).chat(messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Answer piece by piece."""
        return self._models.get(model_id).stream(messages, options)

    def generate(self, model_id: str, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answer many conversations together."""
        return self._models.get(model_id).generate(conversations, options)

    def likelihood(self, model_id: str, conversations: Sequence[Sequence[Message]]) -> list[Likelihood]:
        """How likely the model holds the last turn of each conversation."""
        return self._models.get(model_id).likelihood(conversations)

    def together(self, model_id: str) -> int:
        """As many as fill a batch."""
        del model_id
        return BATCH

    def export(self, model_id: str, format: str, path: Path) -> Path:  # noqa: A002 - the field's standard term
        """Write the model as ``merged``, ``gguf`` or ``ollama``."""
        return self._models.export(model_id, format, path)

    def download(self, model_id: str, path: Path) -> Path:
        """Copy the model's folder."""
        return self._models.download(model_id, path)

    def delete_model(self, model_id: str) -> None:
        """Delete a model that a job here made; bases and folders elsewhere are not touched."""
        self._models.delete(model_id)

    def close(self) -> None:
        """Let go of loaded models; jobs run on."""
        self._models.close()


def _require_packages(config: MistralConfig) -> None:
    for package in _NEEDED if config.run.engine == "local" else ():
        if find_spec(package) is None:
            raise MissingDependencyError("the mistral backend", package, "train")

"""The `lora` backend: training open weights on your own machines, from one process of this one to a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from adaptkit.adapter import Adapter, ChatOptions, DataFile, Guarantee, Plan
from adaptkit.backends.base_model import HUB, find_base, hub_id, local_folder
from adaptkit.backends.causal_model import refuse_quantized
from adaptkit.backends.engines.jobs import EngineJobs
from adaptkit.backends.local_model import BATCH
from adaptkit.backends.local_models import LocalModels
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import refuse_if_short, trained_parameters
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import MissingDependencyError
from adaptkit.machine import this_machine
from adaptkit.types import Event, Likelihood, Message, Reply, Snapshot, Speed

__all__ = ["LoraAdapter", "LoraConfig"]

_NEEDED = ("torch", "transformers", "peft", "numpy")


class LoraAdapter(Adapter[LoraConfig]):
    """Jobs are those of `EngineJobs`, models those of `LocalModels`; a base answers too, by its name."""

    backend: ClassVar[str] = "lora"
    config_type = LoraConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"

    def __init__(self, config: LoraConfig, context: Any) -> None:
        super().__init__(config, context)
        self._jobs = EngineJobs(self.backend, "adaptkit.backends.lora.running", config.run, context)
        self._models = LocalModels(self._jobs.home, self.backend, config.model, offline=self._offline)

    @classmethod
    def data_rules(cls, config: LoraConfig | None = None) -> DataRules:
        """Any text data; preferences for DPO and nothing else. For a Mistral base, what mistral-common takes."""
        if config is None:
            return DataRules()
        from adaptkit.backends.mistral_checks import record_rules  # noqa: PLC0415 - where it is used

        folder = local_folder(config.model)
        return DataRules(
            kinds=frozenset({"preference"} if config.method == "dpo" else {"chat", "text", "completion"}),
            record_rules=() if folder is None else record_rules(folder),
        )

    @property
    def destinations(self) -> tuple[str, ...]:
        """The hub, for a hub id that is not in the local cache, and where jobs are sent to."""
        missing = hub_id(self.config.model) is not None and local_folder(self.config.model) is None
        return (*((HUB,) if missing else ()), *self.config.run.hosts)

    @property
    def _offline(self) -> bool:
        """Whether nothing may be fetched."""
        return not self.context.egress.allows(HUB)

    @property
    def _shut(self) -> bool:
        """Whether a job gets no way out: it may fetch nothing, or has nothing to fetch."""
        return self._offline or HUB not in self.destinations

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[LoraConfig]:
        """Check data, model and machine; the plan's configuration has every default filled in."""
        _require_packages(self.config)
        self.context.egress.require(self.destinations, self.backend)
        folder = local_folder(self.config.model)
        base = find_base(self.config.model, folder) if folder is not None else None
        if base is not None:
            refuse_quantized(base)
        machine = this_machine() if self.config.run.engine == "local" else None
        config = resolve(self.config, base, machine)
        request = config.model_dump(mode="json", exclude_none=True)
        if base is not None:
            if machine is not None:
                refuse_if_short(config, base, machine, self._jobs.home)
            request |= {"base_parameters": base.parameters, "trained_parameters": trained_parameters(config, base)}
        return replace(super().prepare(data), config=config, request=request)

    def upload(self, file: DataFile) -> str:
        """Keep a copy of the data: the job must not change with the user's file."""
        return self._jobs.upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether the copy is still there."""
        return self._jobs.has_upload(file_id)

    def submit(self, plan: Plan[LoraConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Make the job and start its processes; a job of that tag is found, and continued if it was interrupted."""
        return self._jobs.submit(plan, uploads, tag, device=plan.config.device, offline=self._shut)

    def estimate(self, plan: Plan[LoraConfig], uploads: Mapping[str, str]) -> float | None:
        """What the hours of the GPUs cost by the price and the speed of ``run``; nothing where no price is given."""
        del uploads
        run = self.config.run
        if run.usd_per_gpu_hour is None:
            return 0.0
        epochs = plan.config.epochs
        if run.tokens_per_second is None or plan.tokens is None or epochs is None:
            return None
        return run.usd(plan.tokens * epochs / run.tokens_per_second)

    def speed(self, plan: Plan[LoraConfig]) -> Speed | None:
        """How fast earlier runs with these settings went on this machine."""
        from adaptkit.backends.lora.speed import earlier  # noqa: PLC0415 - where it is used

        return earlier(self._jobs.home, plan.config)

    def measure(self, plan: Plan[LoraConfig], data: Dataset) -> Speed:
        """A short run in a process of its own, as a job would run; only its speed is kept."""
        from adaptkit.backends.lora.speed import short_run  # noqa: PLC0415 - where it is used

        return short_run(self._jobs.home, plan.config, data, offline=self._shut)

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


def _require_packages(config: LoraConfig) -> None:
    if config.run.engine != "local":
        return
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingDependencyError("the lora backend", package, "local")
    if config.quantization == "4bit" and find_spec("bitsandbytes") is None:
        raise MissingDependencyError('quantization = "4bit"', "bitsandbytes", "qlora")

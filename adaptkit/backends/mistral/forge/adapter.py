"""``where = "forge"``: a bundle for a Forge engagement, and the model that came back.

Forge has no public interface, so nothing here calls it, and nothing tells how far it is, how long it takes or what it
costs. A job is a bundle that was written and waits for what comes back, which its user registers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from adaptkit.adapter import ChatOptions, Context, DataFile, Plan
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.local_model import BATCH
from adaptkit.backends.local_models import LocalModels
from adaptkit.backends.mistral.adapter import MistralAdapter
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.forge import bundle
from adaptkit.backends.mistral.forge.address import Address
from adaptkit.backends.mistral.forge.handoff import End, Handoff
from adaptkit.backends.mistral.forge.packing import base_of, notes, pack, recipe, vocabulary_entry
from adaptkit.backends.mistral.stages import contents_of
from adaptkit.backends.model_folder import open_folder
from adaptkit.data import Dataset
from adaptkit.errors import NotFoundError, UnsupportedError
from adaptkit.http_clients import Clients
from adaptkit.types import Event, Likelihood, Message, ModelRef, Reply, Snapshot

__all__ = ["ForgeAdapter"]


class ForgeAdapter(MistralAdapter):
    """Bundles that are handed over, and models that came back.

    Hand-offs are remembered under ``<home>/mistral/handoffs``. A job's id is its tag, and the name of its bundle's
    folder, so that writing a bundle again is safe. A model's id is the absolute path of its folder, or the address of
    a deployment with the model's name there.
    """

    where: ClassVar[str] = "forge"

    def __init__(self, config: MistralConfig, context: Context) -> None:
        super().__init__(config, context)
        self._home = context.home / "mistral"
        self._models = LocalModels(self._home, self.backend, config.model, offline=True)
        self._http = Clients(context.egress)

    @property
    def account(self) -> str:
        """Files of bundles are shared with nothing else of this backend."""
        return "forge"

    @property
    def destinations(self) -> tuple[str, ...]:
        """Nothing is sent: a bundle is handed over by hand."""
        return ()

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[MistralConfig]:
        """What the bundle will hold.

        Raises:
            DataError: files cannot be read, rows do not fit, or what is held out for evaluation stands in the training
                data; carries every problem.
            ConfigError: the file of new tokens cannot be read.
        """
        packed = pack(self.config, data)
        counted = any(each.tokens is not None for each in packed)
        request = {
            "where": "forge",
            "recipe": recipe(self.config),
            "license": self.config.license,
            "provenance": self.config.provenance,
            "tokenizer": base_of(self.config.model)["model"] if counted else None,
            "files": [*(each.entry() for each in packed), *vocabulary_entry(self.config)],
        }
        return Plan(
            config=self.config,
            files=tuple(each.file for each in packed),
            request=request,
            destinations=self.destinations,
            fingerprint=data.fingerprint,
            warnings=tuple(notes(self.config, packed)),
            tokens=sum(each.about_tokens for each in packed if each.checked.stage is not None),
            contents=contents_of(self.config),
        )

    def upload(self, file: DataFile) -> str:
        """Nothing yet: `submit` writes the bundle whole. The id is the hash of the file."""
        return file.sha256

    def submit(self, plan: Plan[MistralConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Write the bundle of that tag, unless it is there, and remember it."""
        del uploads
        named, now = plan.config.bundle, time.time()
        place = self._home / "bundles" if named is None else Path(named).expanduser().absolute()
        folder = bundle.write(place, tag, plan, now)
        return Handoff.create(self._handoffs, tag, folder, now).snapshot()

    def poll(self, job_id: str) -> Snapshot:
        """``handed off``, until a model was registered or the job was cancelled."""
        return self._handoff(job_id).snapshot()

    def cancel(self, job_id: str) -> None:
        """Wait for nothing any more. The bundle stays where it is."""
        self._handoff(job_id).finish(End("cancelled", None, time.time()))

    def register(self, job_id: str, result: str) -> Snapshot:
        """End a job with a folder of weights, or the address of a deployment (``https://host/v1#model-name``)."""
        handoff = self._handoff(job_id)
        _ = handoff.bundle  # there is such a job
        model = self._checked(result)
        end = handoff.finish(End("registered", model, time.time()))
        if end.how == "cancelled":
            raise UnsupportedError(
                f"job {job_id} was cancelled, so nothing can be registered for it; submitting the same data again "
                "writes another bundle"
            )
        if end.model != model:
            ref = ModelRef(backend=self.backend, id=model)
            raise UnsupportedError(
                f"job {job_id} has ended with {end.model}, and a job keeps its model. Another that came back is opened "
                f"without a job: client.model('{ref}')"
            )
        return handoff.snapshot()

    def retrieve(self, job_id: str) -> str:
        """The folder or address that was registered."""
        handoff = self._handoff(job_id)
        snapshot, end = handoff.snapshot(), handoff.end
        if end is None or end.model is None:
            raise NotFoundError(f"job {job_id} has no model: it is {snapshot.raw_status}", backend=self.backend)
        if Address.parse(end.model) is None and not Path(end.model).is_dir():
            raise NotFoundError(f"the model of job {job_id} is gone: {end.model} is no folder", backend=self.backend)
        return end.model

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """That it was written, and how it ended."""
        return [event for event in self._handoff(job_id).events() if after is None or event.id > after]

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        try:
            return [self.poll(tag)]
        except NotFoundError:
            return []

    def delete_data(self, file_id: str) -> None:
        """Delete a file from the bundles of jobs that have ended; their manifests go on saying what it was."""
        for handoff in Handoff.all(self._handoffs):
            if handoff.end is not None:
                bundle.drop(handoff.bundle, file_id)

    @property
    def _handoffs(self) -> Path:
        return self._home / "handoffs"

    def _handoff(self, job_id: str) -> Handoff:
        return Handoff(self._handoffs, job_id)

    def _checked(self, result: str) -> str:
        """The id of what is to be registered."""
        address = Address.parse(result)
        if address is not None:
            self.context.egress.require([address.host], self.backend)
            return str(address)
        return str(open_folder(Path(result).expanduser().resolve()).folder)

    # -- models -------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation, in this process or at the deployment."""
        address = Address.parse(model_id)
        if address is None:
            return self._models.get(model_id).chat(messages, options)
        return self._endpoint(address).chat(address.model, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """The same, piece by piece."""
        address = Address.parse(model_id)
        if address is None:
            return self._models.get(model_id).stream(messages, options)
        return self._endpoint(address).stream(address.model, messages, options)

    def generate(self, model_id: str, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answer many conversations: together in this process, one by one at a deployment."""
        if Address.parse(model_id) is None:
            return self._models.get(model_id).generate(conversations, options)
        return [self.chat(model_id, conversation, options) for conversation in conversations]

    def together(self, model_id: str) -> int:
        """As many as fill a batch; a deployment is asked one by one."""
        return BATCH if Address.parse(model_id) is None else 1

    def likelihood(self, model_id: str, conversations: Sequence[Sequence[Message]]) -> list[Likelihood]:
        """How likely the model holds the last turn of each conversation, where its weights are here."""
        return self._weights(model_id, "tell how likely an answer is").get(model_id).likelihood(conversations)

    def export(self, model_id: str, format: str, path: Path) -> Path:  # noqa: A002 - the field's standard term
        """Write the model as ``merged``, ``gguf`` or ``ollama``, where its weights are here."""
        return self._weights(model_id, "be exported").export(model_id, format, path)

    def download(self, model_id: str, path: Path) -> Path:
        """Copy the model's folder, where its weights are here."""
        return self._weights(model_id, "be downloaded").download(model_id, path)

    def close(self) -> None:
        """Let go of loaded models and connections."""
        self._models.close()
        self._http.close()

    def _weights(self, model_id: str, what: str) -> LocalModels:
        """The models of this machine, for what only they can."""
        if Address.parse(model_id) is not None:
            raise UnsupportedError(f"the model at {model_id} cannot {what}: its weights are not here")
        return self._models

    def _endpoint(self, address: Address) -> Endpoint:
        return Endpoint(self._http.calling, address.base_url, self.config.api_key_env, self.backend)

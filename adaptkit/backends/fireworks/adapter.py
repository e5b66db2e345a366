"""The backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx2

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.backends.chat_endpoint import Endpoint
from adaptkit.backends.fireworks import deployments, jobs, models
from adaptkit.backends.fireworks.config import FireworksConfig, problems
from adaptkit.backends.fireworks.datasets import Datasets
from adaptkit.backends.fireworks.inventory import inventory
from adaptkit.backends.fireworks.names import marked
from adaptkit.backends.fireworks.storage import Storage
from adaptkit.backends.rest import Rest
from adaptkit.backends.terms import refuse, retiring
from adaptkit.backends.weights import arriving
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import BackendError, NotFoundError
from adaptkit.http import client, key_from, loopback
from adaptkit.types import DeploymentSnapshot, Inventory, Message, Reply, Snapshot, Status

__all__ = ["FireworksAdapter"]

_KINDS_OF_DATA = {"sft": "chat", "dpo": "preference", "rft": "chat"}


class FireworksAdapter(Adapter[FireworksConfig]):
    """Fine-tuning at Fireworks over plain REST.

    The id of a job, and of a deployment, is the client's to choose and holds the tag: asking again makes no second one,
    and asking for it finds it. A job's id here is the host's full name, which says of which of its three kinds it is.
    """

    backend: ClassVar[str] = "fireworks"
    config_type: ClassVar[type[BackendConfig]] = FireworksConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"
    deploy_guarantee: ClassVar[Guarantee] = "exactly_once"
    settle_seconds: ClassVar[float] = 20.0

    def __init__(self, config: FireworksConfig, context: Context) -> None:
        super().__init__(config, context)
        self._account = f"/v1/accounts/{config.account}"
        self._http: httpx2.Client | None = None
        self._opening = threading.Lock()

    @classmethod
    def data_rules(cls, config: FireworksConfig | None = None) -> DataRules:
        """Conversations, for reinforcement learning without an answer; preferences for ``dpo``."""
        kinds = set(_KINDS_OF_DATA.values()) if config is None else {_KINDS_OF_DATA[config.method]}
        answered = config is None or config.method != "rft"
        return DataRules(kinds=frozenset(kinds), min_rows=3, max_rows=3_000_000, needs_answer=answered)

    @property
    def account(self) -> str:
        """The service and the account's id: its keys share what was uploaded."""
        return f"{self.config.base_url}#{self.config.account}"

    @property
    def destinations(self) -> tuple[str, ...]:
        """The service, and where its signed addresses for files lie."""
        return tuple(host for host in (self.config.host, *self.config.storage) if not loopback(host))

    def request(self, files: Sequence[DataFile]) -> Mapping[str, Any]:
        """The request, without the names of the datasets and the ids that the tag gives."""
        del files
        return jobs.body(self.config)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[FireworksConfig]:
        """Check and convert; what the host cannot run is refused with everything that is wrong."""
        refuse(self.backend, list(problems(self.config)))
        return super().prepare(data)

    def upload(self, file: DataFile) -> str:
        """Send a file, to a signed address and without the key."""
        return self._datasets().upload(file)

    def has_upload(self, file_id: str) -> bool:
        """Whether the dataset is still there."""
        return self._datasets().is_there(file_id)

    def data_ready(self, file_id: str) -> bool:
        """Whether the host has looked at the dataset."""
        return self._datasets().is_ready(file_id)

    def delete_data(self, file_id: str) -> None:
        """Delete a dataset, which the host keeps until somebody does."""
        self._datasets().delete(file_id)

    def preflight(self, plan: Plan[Any], uploads: Mapping[str, str]) -> None:
        """Compare the plan with what the host says of its model."""
        del uploads
        config: FireworksConfig = plan.config
        name = config.model or config.warm_start_from or ""
        try:
            model = self._rest().send("GET", models.path_of(name))
        except NotFoundError as error:
            refuse(self.backend, [f"model: {error.message}"])
            raise
        refuse(self.backend, list(models.problems(config, model)))

    def estimate(self, plan: Plan[Any], uploads: Mapping[str, str]) -> float | None:
        """What the host thinks that an ``sft`` job costs; it tells nothing of the other methods."""
        if plan.config.method != "sft":
            return None
        asked = {**jobs.body(plan.config), **_data(uploads)}
        asked.pop("wandbConfig", None)
        answer = self._rest().send("POST", f"{self._account}/{jobs.KINDS['sft'].collection}:estimateCost", asked)
        return models.dollars(answer.get("estimatedCost"))

    def submit(self, plan: Plan[FireworksConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Ask for the job under the id that the tag gives; the host refuses a second one of that id."""
        config, kind = plan.config, jobs.KINDS[plan.config.method]
        asked: dict[str, Any] = {**jobs.body(config), **_data(uploads)}
        if config.name is not None:  # two models of one id would be refused after the training was paid
            training = asked if config.method == "sft" else asked["trainingConfig"]
            training["outputModel"] = f"{config.name}-{tag[:10]}"
        private = []
        if config.wandb is not None:
            private = [key_from(config.wandb.api_key_env, "Weights & Biases")]
            asked["wandbConfig"] = {**asked["wandbConfig"], "apiKey": private[0]}
        query = {kind.id_parameter: marked(tag)}
        with retiring("Fireworks", self.backend):
            answer = self._rest().send("POST", f"{self._account}/{kind.collection}", asked, query, private)
        return jobs.snapshot(answer, jobs.asked_otherwise(config, answer))

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job whose id the tag gives: asking for it says more than a list, which may lag behind."""
        name = f"accounts/{self.config.account}/{jobs.KINDS[self.config.method].collection}/{marked(tag)}"
        try:
            answer = self._rest().send("GET", jobs.path_of(name))
        except NotFoundError:
            return []
        return [jobs.snapshot(answer, jobs.asked_otherwise(self.config, answer))]

    def poll(self, job_id: str) -> Snapshot:
        """The job as the host sees it."""
        return jobs.snapshot(self._rest().send("GET", jobs.path_of(job_id)))

    def cancel(self, job_id: str) -> None:
        """Ask for the end; the host refuses that for a job that has ended."""
        try:
            self._rest().send("POST", f"{jobs.path_of(job_id)}:cancel", {})
        except BackendError as error:
            if error.status_code not in (400, 409):
                raise
            heard = self.poll(job_id)
            if not heard.status.is_terminal and heard.raw_status != "JOB_STATE_CANCELLING":
                raise

    def retrieve(self, job_id: str) -> str:
        """The full name of the model, once the host has it."""
        answer = self._rest().send("GET", jobs.path_of(job_id))
        heard = jobs.snapshot(answer)
        if heard.status is not Status.SUCCEEDED:
            message = f"job {job_id} has no model: it is {heard.raw_status}"
            raise NotFoundError(message, backend=self.backend, status_code=404)
        model = jobs.model_of(answer)
        self._rest().send("GET", models.path_of(model))
        return model

    def inventory(self) -> Inventory:
        """Jobs of the three kinds, datasets and models of the account."""
        return inventory(self._rest(), self._account)

    # -- models -------------------------------------------------------------------------------------------------

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation."""
        with _advising(model_id):
            return self._endpoint().chat(model_id, messages, options)

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Answer piece by piece."""
        with _advising(model_id):
            yield from self._endpoint().stream(model_id, messages, options)

    def download(self, model_id: str, path: Path) -> Path:
        """Fetch the model's files from signed addresses; of a LoRA model, the adapter alone."""
        rest, storage = self._rest(), self._storage()
        signed = models.files(rest.send("GET", f"{models.path_of(model_id)}:getDownloadEndpoint"), model_id)
        with arriving(path, self.backend) as arrival:
            for name, url in signed.items():
                arrival.file(name, storage.get(url))
        return path

    def delete_model(self, model_id: str) -> None:
        """Delete a model; one that is not there is no error."""
        try:
            self._rest().send("DELETE", models.path_of(model_id))
        except NotFoundError:
            return

    # -- deployments --------------------------------------------------------------------------------------------

    def deploy(self, model_id: str, tag: str) -> DeploymentSnapshot:
        """Start a deployment under the id that the tag gives."""
        asked = deployments.body(model_id, self.config.deploy)
        query = {"deploymentId": marked(tag)}
        return deployments.snapshot(self._rest().send("POST", f"{self._account}/deployments", asked, query))

    def deployment(self, deployment_id: str) -> DeploymentSnapshot:
        """The deployment as the host sees it."""
        return deployments.snapshot(self._rest().send("GET", deployments.path_of(deployment_id)))

    def find_deployments(self, tag: str) -> Sequence[DeploymentSnapshot]:
        """The deployment whose id the tag gives."""
        try:
            return [self.deployment(f"accounts/{self.config.account}/deployments/{marked(tag)}")]
        except NotFoundError:
            return []

    def undeploy(self, deployment_id: str) -> None:
        """Delete a deployment; the host would keep one that was used lately, unless told not to check that."""
        try:
            self._rest().send("DELETE", deployments.path_of(deployment_id), query={"ignoreChecks": "true"})
        except NotFoundError:
            return

    # -- how ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of connections."""
        with self._opening:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _client(self) -> httpx2.Client:
        with self._opening:
            if self._http is None:
                self._http = client(self.context.egress)
            return self._http

    def _rest(self) -> Rest:
        return Rest(self._client(), self.config.base_url, self.config.api_key_env, self.backend)

    def _storage(self) -> Storage:
        return Storage(self._rest(), self.config.storage, local=loopback(self.config.host))

    def _datasets(self) -> Datasets:
        return Datasets(self._rest(), self._storage(), self.config.account)

    def _endpoint(self) -> Endpoint:
        return Endpoint(self._client(), f"{self.config.base_url}/inference/v1", self.config.api_key_env, self.backend)


def _data(uploads: Mapping[str, str]) -> dict[str, str]:
    names = {"train": "dataset", "validation": "evaluationDataset"}
    return {names[purpose]: dataset for purpose, dataset in uploads.items()}


@contextmanager
def _advising(model_id: str) -> Iterator[None]:
    """Say what to do about a model that the host does not find, as it does of every one that is not deployed."""
    try:
        yield
    except NotFoundError as error:
        if "#" not in model_id:
            error.message += ". Tuned models answer at Fireworks only once deployed: model.deploy(confirm_spend=True)"
        raise

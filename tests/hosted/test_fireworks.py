"""Fireworks keeps the contract; its powers, and models that answer, deployed and fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from adaptkit import (
    ArtifactError,
    BackendError,
    Client,
    ConfigError,
    Dataset,
    EgressError,
    Job,
    NotFoundError,
    SpendError,
)
from adaptkit.adapter import (
    BackendConfig,
    ChatOptions,
    SupportsCheckpoints,
    SupportsDeleteData,
    SupportsDeleteModel,
    SupportsDeploy,
    SupportsDownload,
    SupportsEstimate,
    SupportsEvents,
    SupportsFind,
    SupportsInventory,
    SupportsPause,
    SupportsPreflight,
    SupportsReadiness,
    SupportsStream,
)
from adaptkit.backends.fireworks import FireworksConfig
from adaptkit.backends.fireworks.config import Hardware
from adaptkit.estimate import hosting_price
from adaptkit.prices import Prices
from adaptkit.steps import Clock, SystemClock
from adaptkit.testing import FakeFireworks
from adaptkit.testing.contract import CANARY_KEY, AdapterContract
from adaptkit.types import Message, Snapshot
from tests.hosted.fireworks import BASE, CHAT, adapter, client, fake_fireworks


class Hasty(SystemClock):
    """Real time, since threads that wait for one another share it, with short pauses."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.02))

    async def asleep(self, seconds: float) -> None:
        await super().asleep(min(seconds, 0.02))


class TestFireworksContract(AdapterContract):
    fake: FakeFireworks
    vendors = ("fireworks",)

    @classmethod
    def start(cls) -> None:
        cls.fake = FakeFireworks(CANARY_KEY)
        cls.fake.answers_undeployed = True

    @classmethod
    def stop(cls) -> None:
        cls.fake.close()

    def config(self) -> BackendConfig:
        self.fake.jobs.script = ["JOB_STATE_CREATING", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED"]
        return FireworksConfig(account="acme", model=BASE, base_url=self.fake.wire.url, storage=())

    def long_config(self) -> BackendConfig:
        chosen = self.config()
        self.fake.jobs.script = ["JOB_STATE_CREATING", *["JOB_STATE_RUNNING"] * 50, "JOB_STATE_COMPLETED"]
        return chosen

    def failing_config(self) -> tuple[BackendConfig, str]:
        chosen = self.config()
        self.fake.jobs.script = ["JOB_STATE_CREATING", "JOB_STATE_FAILED"]
        return chosen, self.fake.failure

    def remote_config(self) -> BackendConfig:
        return FireworksConfig(account="acme", model=BASE)

    def say_unknown_status(self, job: Job) -> None:
        self.fake.jobs.tell(job.id.rpartition("/")[2], "JOB_STATE_MUSING")

    def break_next_poll(self) -> None:
        self.fake.wire.next("poll", "failed")

    def clock(self) -> Clock:
        return Hasty()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFireworks]:
    with fake_fireworks(monkeypatch) as service:
        yield service


def test_powers(fake: FakeFireworks, tmp_path: Path) -> None:
    one = adapter(fake, tmp_path)
    has = (SupportsFind, SupportsReadiness, SupportsPreflight, SupportsEstimate, SupportsInventory, SupportsStream,
           SupportsDeleteData, SupportsDeleteModel, SupportsDownload, SupportsDeploy)  # fmt: skip
    assert all(isinstance(one, power) for power in has)
    lacks = (SupportsPause, SupportsCheckpoints, SupportsEvents)  # no way to halt a job, and no list of events
    assert not any(isinstance(one, power) for power in lacks)
    assert one.guarantee == one.deploy_guarantee == "exactly_once"


# models ---------------------------------------------------------------------------------------------------------------


def finished(one: Client) -> Any:
    return one.submit("t", Dataset.of(CHAT)).result()


def test_a_model_answers_once_deployed_and_costs_nothing_after(fake: FakeFireworks, tmp_path: Path) -> None:
    deploy = {"hardware": "H200", "count": 2, "region": "EU_FRANKFURT_1", "idle_minutes": 6}
    with client(fake, tmp_path, deploy=deploy) as one:
        model = finished(one)
        for ask in (model.chat, lambda text: list(model.stream(text))):
            with pytest.raises(NotFoundError, match=r"model\.deploy\(confirm_spend=True\)"):
                ask("Hello?")
        with pytest.raises(SpendError, match=r"\$16\.00 an hour.*1\.5 times as much with a region; 2 times that"):
            model.deploy()
        with model.deploy(confirm_spend=True) as running:
            assert running.chat("Hello?").text == "You said: Hello?"
            assert "".join(running.stream("Hello?")) == "You said: Hello?"
            ((given, told),) = fake.deployments.items()
            assert running.id == f"accounts/acme/deployments/{given}"
        assert told["state"] in ("DELETING", "DELETED")
    body = {key: told[key] for key in told if key not in ("name", "state")}
    assert body == {
        "baseModel": model.id, "acceleratorType": "NVIDIA_H200_141GB", "acceleratorCount": 2, "minReplicaCount": 0,
        "maxReplicaCount": 1, "autoscalingPolicy": {"scaleToZeroWindow": "360s"},
        "placement": {"region": "EU_FRANKFURT_1"},
    }  # fmt: skip


def test_other_hardware_is_no_other_training(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        job = one.submit("t", Dataset.of(CHAT))
    with client(fake, tmp_path, deploy={"hardware": "B200"}) as one:
        assert one.submit("t", Dataset.of(CHAT)).id == job.id
    assert len(fake.jobs.all) == 1


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed_after", "failed", "conflict", "html"])
def test_a_deployment_is_paid_once(fake: FakeFireworks, tmp_path: Path, fault: Any) -> None:
    with client(fake, tmp_path) as one:
        model = finished(one)
        fake.wire.next("deploy", fault)
        first = model.deploy(confirm_spend=True)
        again = model.deploy(confirm_spend=True)
        assert first.id == again.id
        first.stop()
    assert len(fake.deployments) == 1


@pytest.mark.parametrize(
    ("word", "status"),
    [("CREATING", "starting"), ("READY", "ready"), ("UPDATING", "starting"), ("DELETED", "stopped"),
     ("FAILED", "failed"), ("STATE_UNSPECIFIED", "unknown"), ("PONDERING", "unknown")],
)  # fmt: skip
def test_every_word_of_deployments(fake: FakeFireworks, tmp_path: Path, word: str, status: str) -> None:
    one = adapter(fake, tmp_path)
    fake.deployments["adaptkit-x"] = {"name": "accounts/acme/deployments/adaptkit-x", "baseModel": BASE, "state": word,
                                      "status": {"code": "RESOURCE_EXHAUSTED", "message": "no room"}}  # fmt: skip
    fake._starting["adaptkit-x"] = 9
    heard = one.deployment("accounts/acme/deployments/adaptkit-x")
    assert (heard.status, heard.raw_status, heard.tag) == (status, word, "x")
    assert heard.message == "no room (RESOURCE_EXHAUSTED)"
    assert heard.answers_as == (f"{BASE}#{heard.id}" if status == "ready" else None)
    one.undeploy("accounts/acme/deployments/never")  # gone, and no error
    one.close()


def test_hardware_has_words_and_prices() -> None:
    for name in get_args(Hardware):
        deploy = {"hardware": name, "count": 4}
        price = hosting_price(FireworksConfig(account="acme", model=BASE, deploy=deploy), Prices())  # type: ignore[arg-type]
        assert price is None or price.usd in (32, 52, 60)
        assert (price is not None) == (name in ("H100", "H200", "B200", "B300"))


def test_download(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path / "home") as one:
        model = finished(one)
        folder = model.download(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == fake.files
    for operation, asked in fake.wire.asked:
        assert ("authorization" in asked.headers) == (operation not in ("upload", "weights"))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", ".ssh/id"])
def test_a_download_leaves_its_folder_for_nobody(fake: FakeFireworks, tmp_path: Path, name: str) -> None:
    fake.files[name] = b"1"
    with client(fake, tmp_path / "home") as one:
        model = finished(one)
        with pytest.raises(ArtifactError):
            model.download(tmp_path / "in" / "model")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed", "unauthorized", "redirect"])
def test_a_download_that_breaks_off_leaves_nothing(fake: FakeFireworks, tmp_path: Path, fault: Any) -> None:
    fake.files = dict(reversed(fake.files.items()))
    with client(fake, tmp_path / "home") as one:
        model = finished(one)
        fake.wire.next("weights", fault)
        with pytest.raises((BackendError, ArtifactError)):
            model.download(tmp_path / "in" / "model")
        assert list((tmp_path / "in").iterdir()) == []
        assert model.download(tmp_path / "in" / "model")
    assert fake.wire.leaked == []


def test_weights_come_from_nowhere_that_is_not_named(
    fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(fake, tmp_path / "home") as one:
        model = finished(one)
        monkeypatch.setattr(fake, "_signed", lambda path: f"https://evil.example/{path}")
        with pytest.raises(EgressError):
            model.download(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_key_of_another_service_comes_back_in_no_error(
    fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "wb-5512-abracadabra")
    with client(fake, tmp_path, wandb={"project": "p"}) as one:
        target = one._target("t")
        plan = one.plan("t", Dataset.of(CHAT))
        uploads = {"train": target.upload(plan.files[0])}
        target.data_ready(uploads["train"])
        name = "accounts/acme/datasets/wb-5512-abracadabra"  # so that the fake repeats it
        with pytest.raises(BackendError) as caught:
            target.submit(plan, {"train": name}, "a" * 26)
        assert "is not ready" in str(caught.value)
        assert "wb-5512-abracadabra" not in str(caught.value)
        heard = target.submit(plan, uploads, "b" * 26)
    assert isinstance(heard, Snapshot)
    assert "wb-5512-abracadabra" not in repr(heard)
    monkeypatch.delenv("WANDB_API_KEY")
    with client(fake, tmp_path, wandb={"project": "other"}) as one, pytest.raises(ConfigError, match="WANDB_API_KEY"):
        one.submit("t", Dataset.of(CHAT))


def test_chat_speaks_to_the_inference_address(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.answers_undeployed = True
    one = adapter(fake, tmp_path)
    reply = one.chat(BASE, (Message(role="user", content="Hello?"),), ChatOptions(max_tokens=5))
    assert reply.text == "You said: Hello?"
    ((_, asked),) = fake.wire.asked
    assert asked.path == "/inference/v1/chat/completions"
    one.close()

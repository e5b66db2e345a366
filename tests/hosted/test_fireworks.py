"""What Fireworks' wire has of its own; the fault table and the crash matrix run over it too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

from adaptkit import (
    AdaptkitWarning,
    ArtifactError,
    BackendError,
    Client,
    ConfigError,
    DataError,
    Dataset,
    EgressError,
    Job,
    JobFailed,
    NotFoundError,
    ServiceError,
    SpendError,
    Status,
    UnsupportedError,
    config,
)
from adaptkit.adapter import (
    BackendConfig,
    ChatOptions,
    Context,
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
from adaptkit.backends.fireworks import FireworksAdapter, FireworksConfig
from adaptkit.backends.fireworks.config import Hardware
from adaptkit.backends.fireworks.jobs import STATES
from adaptkit.estimate import hosting_price
from adaptkit.http import Egress
from adaptkit.prices import Prices
from adaptkit.steps import Clock
from adaptkit.testing import FakeClock, FakeFireworks
from adaptkit.testing.contract import CANARY_KEY, AdapterContract
from adaptkit.types import Message, Snapshot
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import KEY

ROW = "canary-row-83ad"
CHAT = [*ROWS, {"messages": [{"role": "user", "content": ROW}, {"role": "assistant", "content": "!"}]}]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"What is {n} and one?"}]},
        "preferred_output": [{"role": "assistant", "content": f"{n + 1}"}],
        "non_preferred_output": [{"role": "assistant", "content": "Who knows?"}],
    }
    for n in range(8)
]
EVALUATOR = "accounts/acme/evaluators/exact"
BASE = FakeFireworks.BASE


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
        return FakeClock(time.time())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFireworks]:
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    with closing(FakeFireworks(KEY)) as service:
        yield service
        assert service.broken == []


def chosen(fake: FakeFireworks, **settings: Any) -> FireworksConfig:
    return FireworksConfig(base_url=fake.wire.url, **{"account": "acme", "model": BASE, "storage": (), **settings})


def adapter(fake: FakeFireworks, tmp_path: Path, **settings: Any) -> FireworksAdapter:
    return FireworksAdapter(chosen(fake, **settings), Context(tmp_path))


def client(fake: FakeFireworks, tmp_path: Path, **settings: Any) -> Client:
    return Client(targets={"t": chosen(fake, **settings)}, home=tmp_path, clock=FakeClock(time.time()))


def submitted(fake: FakeFireworks) -> dict[str, Any]:
    """The body of the one job that was asked for."""
    (job,) = fake.jobs.all.values()
    return dict(job.body)


def test_powers(fake: FakeFireworks, tmp_path: Path) -> None:
    one = adapter(fake, tmp_path)
    has = (SupportsFind, SupportsReadiness, SupportsPreflight, SupportsEstimate, SupportsInventory, SupportsStream,
           SupportsDeleteData, SupportsDeleteModel, SupportsDownload, SupportsDeploy)  # fmt: skip
    assert all(isinstance(one, power) for power in has)
    lacks = (SupportsPause, SupportsCheckpoints, SupportsEvents)  # no way to halt a job, and no list of events
    assert not any(isinstance(one, power) for power in lacks)
    assert one.guarantee == one.deploy_guarantee == "exactly_once"


# what is sent ---------------------------------------------------------------------------------------------------------


def test_every_field_of_sft(fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "wandb-canary-key-5512")
    held_out = tmp_path / "held_out.jsonl"
    Dataset.of(ROWS[:4]).write(held_out)
    settings: dict[str, Any] = {
        "rank": 8, "epochs": 3, "learning_rate": 2e-4, "batch_size": 4, "batch_tokens": 8192, "warmup_steps": 7,
        "gradient_accumulation_steps": 2, "max_length": 4096, "weight_decay": 0.01, "early_stop": True,
        "validation": str(held_out), "is_turbo": True, "region": "EU_FRANKFURT_1", "name": "support-bot",
        "wandb": {"project": "tickets", "entity": "team"},
    }  # fmt: skip
    with client(fake, tmp_path, **settings) as one:
        job = one.submit("t", Dataset.of(CHAT))
        shown = [repr(one.plan("t", Dataset.of(CHAT))), repr(job.snapshot), (tmp_path / "journal.db").read_bytes()]
    body = submitted(fake)
    ((tag, _),) = fake.jobs.per_tag().items()
    train, validation = body.pop("dataset"), body.pop("evaluationDataset")
    assert {train, validation} == {told.facts["name"] for told in fake.datasets.values()}
    assert body == {
        "displayName": "support-bot", "baseModel": BASE, "epochs": 3, "learningRate": 2e-4, "loraRank": 8,
        "batchSizeSamples": 4, "batchSize": 8192, "gradientAccumulationSteps": 2, "learningRateWarmupSteps": 7,
        "maxContextLength": 4096, "optimizerWeightDecay": 0.01, "region": "EU_FRANKFURT_1", "earlyStop": True,
        "isTurbo": True, "outputModel": f"support-bot-{tag[:10]}",
        "wandbConfig": {"enabled": True, "project": "tickets", "entity": "team", "apiKey": "wandb-canary-key-5512"},
    }  # fmt: skip
    assert job.id == f"accounts/acme/supervisedFineTuningJobs/adaptkit-{tag}"
    for text in shown:
        for secret in ("wandb-canary-key-5512", KEY, ROW, "open-sesame"):
            assert secret not in (text.decode(errors="replace") if isinstance(text, bytes) else text)


def test_what_is_not_set_is_the_hosts_to_choose_but_for_rank_and_epochs(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        one.submit("t", Dataset.of(CHAT))
    body = submitted(fake)
    body.pop("dataset")
    assert body == {"baseModel": BASE, "epochs": 1, "loraRank": 16}


@pytest.mark.parametrize(
    ("settings", "loss"),
    [({}, {"method": "DPO"}), ({"beta": 0.2}, {"method": "DPO", "dpo": {"beta": 0.2}}),
     ({"loss": "ORPO"}, {"method": "ORPO"})],
)  # fmt: skip
def test_dpo_always_names_its_loss(
    fake: FakeFireworks, tmp_path: Path, settings: dict[str, Any], loss: dict[str, Any]
) -> None:
    with client(fake, tmp_path, method="dpo", epochs=2, **settings) as one:
        job = one.submit("t", Dataset.of(PAIRS))
        assert job.result().id == f"accounts/acme/models/{job.id.rpartition('/')[2]}"
    body = submitted(fake)
    assert body["lossConfig"] == loss
    assert body["trainingConfig"] == {"baseModel": BASE, "epochs": 2, "loraRank": 16}
    assert job.id.startswith("accounts/acme/dpoJobs/adaptkit-")
    (dataset,) = fake.datasets.values()
    assert dataset.content is not None
    dataset.content.seek(0)
    assert dataset.content.readline().startswith(b'{"input":{"messages":')


def test_rft(fake: FakeFireworks, tmp_path: Path) -> None:
    questions = [{"messages": [{"role": "user", "content": f"What is {n} and one?"}]} for n in range(5)]
    settings: dict[str, Any] = {
        "method": "rft", "evaluator": EVALUATOR, "kl_beta": 0.01, "loss": "DAPO", "eval_auto_carveout": True,
        "rollouts": {"candidates": 8, "max_tokens": 256, "temperature": 0.7, "top_p": 0.9, "top_k": 40},
        "name": "solver",
    }  # fmt: skip
    with client(fake, tmp_path, **settings) as one:
        job = one.submit("t", Dataset.of(questions))
        model = job.result()
    body = submitted(fake)
    body.pop("dataset")
    ((tag, _),) = fake.jobs.per_tag().items()
    assert body == {
        "displayName": "solver", "evaluator": EVALUATOR, "evalAutoCarveout": True,
        "inferenceParameters": {"responseCandidatesCount": 8, "maxOutputTokens": 256, "temperature": 0.7, "topP": 0.9,
                                "topK": 40},
        "trainingConfig": {"baseModel": BASE, "epochs": 1, "loraRank": 16, "outputModel": f"solver-{tag[:10]}"},
        "lossConfig": {"method": "DAPO", "klBeta": 0.01},
    }  # fmt: skip
    assert model.id == f"accounts/acme/models/solver-{tag[:10]}"


@pytest.mark.parametrize("method", ["dpo", "rft"])
@pytest.mark.parametrize("fault", ["lost", "failed_after", "conflict"])
def test_the_other_methods_are_paid_once_too(fake: FakeFireworks, tmp_path: Path, method: str, fault: Any) -> None:
    fake.wire.next("submit", fault)
    with client(fake, tmp_path, method=method, evaluator=EVALUATOR if method == "rft" else None) as one:
        job = one.submit("t", Dataset.of(PAIRS if method == "dpo" else CHAT))
        assert job.result().id
    assert list(fake.jobs.per_tag().values()) == [1]


def test_an_id_that_is_taken_is_the_job_of_an_earlier_request(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        target = one._target("t")
        plan = one.plan("t", Dataset.of(CHAT))
        uploads = {"train": target.upload(plan.files[0])}
        target.data_ready(uploads["train"])
        first = target.submit(plan, uploads, "a" * 26)
        with pytest.raises(ServiceError) as caught:  # which the client answers by looking for the tag
            target.submit(plan, uploads, "a" * 26)
        assert caught.value.status_code == 409
        (found,) = target.find("a" * 26)
        assert found.job_id == first.job_id
        assert found.tag == "a" * 26
        assert target.find("b" * 26) == []
    assert len(fake.jobs.all) == 1


def test_full_weights_and_a_warm_start(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.models[BASE]["supervisedFullParameterTunable"] = True
    with client(fake, tmp_path, weights="full") as one:
        one.submit("t", Dataset.of(CHAT))
    assert submitted(fake)["loraRank"] == 0
    fake.jobs.all.clear()
    tuned = "accounts/acme/models/mine"
    fake.models[tuned] = {"name": tuned, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE, "r": 8}}
    with client(fake, tmp_path, model=None, warm_start_from=tuned, rank=8) as one:
        one.submit("t", Dataset.of(CHAT))
    assert submitted(fake)["warmStartFrom"] == tuned
    assert "baseModel" not in submitted(fake)


# what is refused ------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": None}, ["model: give either"]),
    ({"warm_start_from": "accounts/acme/models/x"}, ["model: give either"]),
    ({"method": "rft"}, ["evaluator: rft needs one"]),
    ({"evaluator": EVALUATOR, "rollouts": {}, "kl_beta": 0.1, "beta": 0.1, "loss": "DPO"},
     ["evaluator: only rft", "rollouts: only rft", "kl_beta: only rft", "beta: only dpo", "loss: only dpo and rft"]),
    ({"method": "dpo", "eval_auto_carveout": True, "early_stop": True, "is_turbo": True, "loss": "GRPO"},
     ["eval_auto_carveout: only sft and rft", "early_stop: only sft", "is_turbo: only sft", "takes DPO or ORPO"]),
    ({"method": "dpo", "loss": "ORPO", "beta": 0.1}, ["beta: belongs to the loss DPO"]),
    ({"weights": "full", "rank": 8}, ["rank: all weights are trained"]),
    ({"early_stop": True}, ["early_stop: looks at held-out examples"]),
    ({"validation": "x.jsonl", "eval_auto_carveout": True}, ["validation names held-out data already"]),
    ({"deploy": {"min_replicas": 2}}, ["deploy.max_replicas"]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "words"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_what_cannot_be_run_is_refused_at_once(
    fake: FakeFireworks, tmp_path: Path, settings: dict[str, Any], words: list[str]
) -> None:
    with client(fake, tmp_path, **settings) as one, pytest.raises(UnsupportedError) as caught:
        one.plan("t", Dataset.of(CHAT))
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 + len(words)
    assert fake.wire.count() == {}


def test_fields_of_other_backends_are_told_the_nearest(tmp_path: Path) -> None:
    table = {"backend": "fireworks", "account": "acme", "model": BASE, "seed": 1, "suffix": "x", "lora_alpha": 32,
             "dropout": 0.1, "learning_rate_multiplier": 2, "rnak": 8}  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        config.target("t", table)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    for word in (
        "seed: ",
        "suffix: ",
        "lora_alpha: ",
        "dropout: ",
        "learning_rate_multiplier: ",
        "Did you mean 'rank'",
    ):
        assert any(word in line for line in lines), word
    assert any("nearest is name" in line for line in lines)


@pytest.mark.parametrize(
    "settings",
    [{"rank": 3}, {"rank": 65}, {"model": "llama-v3p1-8b"}, {"name": "Support Bot"}, {"name": "a" * 51},
     {"beta": 0.5}, {"account": "acme/../other"}, {"base_url": "http://api.example.com"}, {"region": "europe"},
     {"deploy": {"idle_minutes": 4}}, {"api_key_env": "sk-123"}],
    ids=str,
)  # fmt: skip
def test_values_that_are_never_right(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's own
        FireworksConfig(**{"account": "acme", "model": BASE, **settings})


@pytest.mark.parametrize(
    ("settings", "facts", "words"),
    [
        ({"weights": "full", "max_length": 40000}, {}, ["cannot be tuned with method = sft, weights = full", "32768"]),
        ({"method": "rft", "evaluator": EVALUATOR}, {"rlLoraTunable": False, "rlTunable": False},
         ["it can be with method = sft with weights = lora, method = dpo with weights = lora"]),
        ({}, {"supervisedLoraTunable": False, "tunable": False, "rlTunable": False, "rlLoraTunable": False},
         ["model library"]),
        ({}, {"state": "UPLOADING"}, ["still being brought"]),
    ],
)  # fmt: skip
def test_a_plan_that_the_model_cannot_do_pays_for_nothing(
    fake: FakeFireworks, tmp_path: Path, settings: dict[str, Any], facts: dict[str, Any], words: list[str]
) -> None:
    fake.models[BASE].update(facts)
    with client(fake, tmp_path, **settings) as one, pytest.raises(UnsupportedError) as caught:
        one.submit("t", Dataset.of(CHAT))
    for word in words:
        assert word in str(caught.value)
    assert fake.wire.count()["submit"] == 0


def test_a_model_that_says_nothing_of_itself_is_tried(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.models[BASE] = {"name": BASE}
    with client(fake, tmp_path) as one:
        assert one.submit("t", Dataset.of(CHAT)).result()


def test_a_model_that_is_not_there(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path, model="accounts/fireworks/models/none") as one, pytest.raises(UnsupportedError):
        one.submit("t", Dataset.of(CHAT))


def test_a_warm_start_that_does_not_fit(fake: FakeFireworks, tmp_path: Path) -> None:
    tuned = "accounts/acme/models/mine"
    fake.models[tuned] = {"name": tuned, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE, "r": 8}}
    with client(fake, tmp_path, model=None, warm_start_from=tuned) as one, pytest.raises(UnsupportedError) as caught:
        one.submit("t", Dataset.of(CHAT))
    assert "has rank 8, not 16" in str(caught.value)
    with client(fake, tmp_path, model=None, warm_start_from=BASE) as one, pytest.raises(UnsupportedError) as caught:
        one.submit("t", Dataset.of(CHAT))
    assert "no LoRA model" in str(caught.value)


# data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["make", "sign", "upload", "validate", "look"])
@pytest.mark.parametrize("fault", ["lost", "truncated", "failed_after", "failed", "rate_limited", "html"])
def test_an_upload_is_gone_on_with_wherever_it_broke(
    fake: FakeFireworks, tmp_path: Path, operation: str, fault: Any
) -> None:
    fake.wire.next(operation, fault)
    with client(fake, tmp_path) as one:
        assert one.submit("t", Dataset.of(CHAT)).result()
    assert len(fake.datasets) == 1
    assert fake.wire.count()["submit"] == 1


def test_the_file_arrives_as_it_was_planned_and_without_the_key(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        (file,) = one.plan("t", Dataset.of(CHAT)).files
        one.submit("t", Dataset.of(CHAT))
    ((given, dataset),) = fake.datasets.items()
    assert given == f"adaptkit-{file.sha256[:40]}"
    assert len(given) <= 63
    assert dataset.facts["exampleCount"] == str(len(CHAT))
    assert dataset.content is not None
    dataset.content.seek(0)
    assert len(dataset.content.read()) == file.size
    (put,) = [asked for operation, asked in fake.wire.asked if operation == "upload"]
    assert "authorization" not in put.headers


def test_the_same_content_is_not_sent_by_another_machine_again(fake: FakeFireworks, tmp_path: Path) -> None:
    for home in ("one", "two"):
        with client(fake, tmp_path / home) as one:
            one.submit("t", Dataset.of(CHAT))
    assert fake.wire.count()["upload"] == 1
    assert len(fake.jobs.all) == 2


def test_a_dataset_is_waited_for(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.looks = 4
    with client(fake, tmp_path) as one:
        one.submit("t", Dataset.of(CHAT))
    assert len(fake.jobs.all) == 1


def test_data_that_the_host_refuses(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.refusal = "line 3: role 'wizard' is not\nallowed"
    with client(fake, tmp_path) as one, pytest.raises(DataError) as caught:
        one.submit("t", Dataset.of(CHAT))
    assert "line 3: role 'wizard' is not allowed (INVALID_ARGUMENT)" in str(caught.value)
    assert fake.wire.count()["submit"] == 0


def test_a_host_that_could_not_look_is_not_the_datas_fault(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        target = one._target("t")
        name = target.upload(one.plan("t", Dataset.of(CHAT)).files[0])
        (dataset,) = fake.datasets.values()
        dataset.validated = False
        dataset.facts["status"] = {"code": "INTERNAL", "message": "oops"}
        with pytest.raises(BackendError) as caught:
            target.data_ready(name)
        assert "oops" in str(caught.value)


def test_an_account_that_wants_encrypted_data(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        target = one._target("t")
        (file,) = one.plan("t", Dataset.of(CHAT)).files
        target.upload(file)
        (dataset,) = fake.datasets.values()
        dataset.facts["encryptionState"] = "ENCRYPTION_STATE_CMEK"
        with pytest.raises(UnsupportedError, match="does not encrypt"):
            target.upload(file)
    assert fake.wire.count()["upload"] == 1


def test_a_deleted_dataset_is_sent_again(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        job = one.submit("t", Dataset.of(CHAT))
        job.wait()
        (name,) = job.delete_data()
        assert fake.datasets == {}
        one._target("t").delete_data(name)  # not there, and no error
        one.submit("t", Dataset.of(CHAT), fresh=True)
    assert fake.wire.count()["upload"] == 2


def test_data_goes_nowhere_that_the_plan_does_not_name(fake: FakeFireworks, tmp_path: Path) -> None:
    remote = FireworksConfig(account="acme", model=BASE)
    there = FireworksAdapter(remote, Context(tmp_path, Egress()))
    assert there.destinations == ("api.fireworks.ai", "storage.googleapis.com")
    half = FireworksAdapter(remote, Context(tmp_path, Egress.parse(["api.fireworks.ai"])))
    with pytest.raises(EgressError, match=r"storage\.googleapis\.com"):
        half.prepare(Dataset.of(CHAT))
    bad = ["https://evil.example/x", "http://storage.googleapis.com/x", "https://127.0.0.1/x",
           "https://storage.googleapis.com@evil.example/x", "https://storage.googleapis.com.evil.example/"]  # fmt: skip
    for url in bad:
        with pytest.raises(EgressError):
            there._storage().require(url)
    there._storage().require("https://storage.googleapis.com/bucket/x?X-Goog-Signature=1")
    there.close()


def test_a_signed_address_elsewhere_gets_nothing(
    fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "_signed", lambda path: f"https://evil.example/{path}")
    with client(fake, tmp_path) as one, pytest.raises(EgressError, match=r"evil\.example"):
        one.submit("t", Dataset.of(CHAT))
    assert fake.wire.count()["submit"] == 0


def test_too_few_rows(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one, pytest.raises(DataError):
        one.plan("t", Dataset.of(CHAT[:2]))
    with client(fake, tmp_path, method="dpo") as one, pytest.raises(DataError):
        one.plan("t", Dataset.of(CHAT))


# jobs -----------------------------------------------------------------------------------------------------------------

WORDS = {
    "UNSPECIFIED": "queued", "CREATING": "queued", "RUNNING": "running", "COMPLETED": "succeeded", "FAILED": "failed",
    "CANCELLED": "cancelled", "DELETING": "unknown", "WRITING_RESULTS": "running", "VALIDATING": "queued",
    "DELETING_CLEANING_UP": "unknown", "PENDING": "queued", "EXPIRED": "failed", "RE_QUEUEING": "queued",
    "CREATING_INPUT_DATASET": "queued", "IDLE": "unknown", "CANCELLING": "running", "EARLY_STOPPED": "succeeded",
    "PAUSED": "paused", "DELETED": "unknown", "MUSING": "unknown",
}  # fmt: skip


@pytest.mark.parametrize(("word", "status"), WORDS.items())
def test_every_word(fake: FakeFireworks, tmp_path: Path, word: str, status: str) -> None:
    one = adapter(fake, tmp_path)
    job = fake.jobs.add("x", {"loraRank": 16}, "adaptkit-x")
    job.facts["kind"], job.states = "supervisedFineTuningJobs", [f"JOB_STATE_{word}"]
    heard = one.poll("accounts/acme/supervisedFineTuningJobs/adaptkit-x")
    assert heard.status == status
    assert heard.raw_status == f"JOB_STATE_{word}"
    assert heard.tag == "x"
    assert bool(heard.notes) == (word in {"EARLY_STOPPED", "PAUSED", "DELETING", "DELETED"})
    assert heard.message == (f"{fake.failure} (INTERNAL)" if status == "failed" else None)
    assert "open-sesame" not in repr(heard), "signed addresses open files to whoever reads them"
    assert heard.raw["jobProgress"] == {"percent": 0, "epoch": 0}
    assert heard.raw["estimatedCost"]["units"] == "3"
    one.close()


def test_words_are_those_of_the_reference() -> None:
    assert {f"JOB_STATE_{word}" for word, status in WORDS.items() if status != "unknown"} == set(STATES)


def test_a_job_that_ran_out_of_luck(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.jobs.script = ["JOB_STATE_CREATING", "JOB_STATE_EXPIRED"]
    with client(fake, tmp_path) as one, pytest.raises(JobFailed, match=fake.failure):
        one.submit("t", Dataset.of(CHAT)).result()


def test_an_early_stop_is_a_success_that_is_told(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.jobs.script = ["JOB_STATE_RUNNING", "JOB_STATE_EARLY_STOPPED"]
    with client(fake, tmp_path) as one:
        job = one.submit("t", Dataset.of(CHAT))
        with pytest.warns(AdaptkitWarning, match="stopped early"):
            assert job.wait() is Status.SUCCEEDED
        assert job.result()


@pytest.mark.parametrize("lost", [False, True])
def test_what_runs_otherwise_than_asked_is_told(fake: FakeFireworks, tmp_path: Path, lost: bool) -> None:
    fake.changes = {"loraRank": 32, "epochs": 2}
    if lost:
        fake.wire.next("submit", "lost")
    with client(fake, tmp_path) as one, pytest.warns(AdaptkitWarning) as caught:
        one.submit("t", Dataset.of(CHAT))
    said = " ".join(str(warning.message) for warning in caught)
    assert "rank = 16 was asked for, and Fireworks says that it runs 32" in said
    assert "epochs = 1 was asked for" in said


def test_single_precision_is_no_difference(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.changes = {"learningRate": 9.999999747378752e-05, "region": "REGION_UNSPECIFIED"}
    with client(fake, tmp_path, learning_rate=1e-4) as one, warnings.catch_warnings():
        warnings.simplefilter("error")
        one.submit("t", Dataset.of(CHAT))


def test_cancel(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.jobs.script = ["JOB_STATE_RUNNING"]
    with client(fake, tmp_path) as one:
        job = one.submit("t", Dataset.of(CHAT))
        target = one._target("t")
        job.cancel()
        target.cancel(job.id)
        assert job.wait() is Status.CANCELLED
        target.cancel(job.id)
        fake.jobs.tell(job.id.rpartition("/")[2], "JOB_STATE_RUNNING")
        target.poll(job.id)
        fake.wire.next("cancel", "refused")
        with pytest.raises(BackendError):  # it goes on, and costs money
            target.cancel(job.id)


@pytest.mark.parametrize(
    "name",
    ["x", "", "accounts/acme/supervisedFineTuningJobs/", "accounts/acme/supervisedFineTuningJobs/../models/x",
     "accounts/acme/datasets/x", "accounts/acme/dpoJobs/x?y=1", "accounts/acme/dpoJobs/x:cancel"],
)  # fmt: skip
def test_ids_lead_nowhere_else(fake: FakeFireworks, tmp_path: Path, name: str) -> None:
    one = adapter(fake, tmp_path)
    for ask in (one.poll, one.cancel, one.retrieve, one.deployment, one.delete_model):
        if ask == one.delete_model:
            ask(name)
            continue
        with pytest.raises(NotFoundError):
            ask(name)
    assert fake.wire.count() == {}


@pytest.mark.parametrize("name", [None, 7, ""])
def test_an_answer_without_a_name_is_not_a_job(
    fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    monkeypatch.setattr(fake, "_told", lambda job: {"name": name, "state": "JOB_STATE_COMPLETED"})
    fake.jobs.add("x", {}, "x").facts["kind"] = "dpoJobs"
    one = adapter(fake, tmp_path)
    with pytest.raises(ServiceError, match="no name"):
        one.poll("accounts/acme/dpoJobs/x")
    one.close()


def test_a_model_that_is_gone(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        job = one.submit("t", Dataset.of(CHAT))
        with pytest.raises(NotFoundError, match="JOB_STATE"):
            one._target("t").retrieve(job.id)
        model = job.result()
        model.delete()
        model.delete()  # not there, and no error
        assert model.id not in fake.models
        fake.models[model.id] = {}
        with pytest.raises(NotFoundError):
            one._target("t").retrieve(job.id)


def test_estimate(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path) as one:
        target = one._target("t")
        plan = one.plan("t", Dataset.of(CHAT))
        assert target.estimate(plan, {"train": "accounts/acme/datasets/x"}) == 3.25
    with client(fake, tmp_path, method="dpo") as one:
        assert one._target("t").estimate(one.plan("t", Dataset.of(PAIRS)), {"train": "x"}) is None


def test_inventory(fake: FakeFireworks, tmp_path: Path) -> None:
    with client(fake, tmp_path, learning_rate=1e-4) as one:
        first = one.submit("t", Dataset.of(CHAT))
        first.result()
    with client(fake, tmp_path, method="dpo", weights="lora", rank=8) as one:
        second = one.submit("t", Dataset.of(PAIRS))
        fake.datasets.update({f"d{n}": fake.datasets[next(iter(fake.datasets))] for n in range(250)})
        found = one._target("t").inventory()
    assert [job.snapshot.job_id for job in found.jobs] == [second.id, first.id]
    newest, oldest = found.jobs
    assert oldest.recipe == {"backend": "fireworks", "account": "acme", "method": "sft", "model": BASE, "epochs": 1,
                             "learning_rate": 1e-4, "weights": "lora", "rank": 16}  # fmt: skip
    assert newest.recipe["method"] == "dpo"
    assert newest.recipe["loss"] == "DPO"
    assert config.target("again", dict(newest.recipe)) == FireworksConfig(
        account="acme", model=BASE, method="dpo", rank=8, loss="DPO"
    )
    assert oldest.model_id == first.result().id
    assert newest.model_id is None
    assert set(oldest.files) == {"train"}
    assert oldest.created_at == pytest.approx(time.time(), abs=60)
    assert len(found.files) == 252
    assert [model.base for model in found.models] == [BASE]


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
    monkeypatch.setenv("WANDB_API_KEY", "wandb-canary-key-5512")
    with client(fake, tmp_path, wandb={"project": "p"}) as one:
        target = one._target("t")
        plan = one.plan("t", Dataset.of(CHAT))
        uploads = {"train": target.upload(plan.files[0])}
        target.data_ready(uploads["train"])
        name = "accounts/acme/datasets/wandb-canary-key-5512"  # so that the fake repeats it
        with pytest.raises(BackendError) as caught:
            target.submit(plan, {"train": name}, "a" * 26)
        assert "wandb-canary-key-5512" not in str(caught.value)
        heard = target.submit(plan, uploads, "b" * 26)
    assert isinstance(heard, Snapshot)
    assert "wandb-canary-key-5512" not in repr(heard)
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

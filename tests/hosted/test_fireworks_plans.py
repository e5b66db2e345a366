"""What is asked of Fireworks, field by field, and what is refused before anything is paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit import (
    ConfigError,
    Dataset,
    ServiceError,
    UnsupportedError,
    config,
)
from adaptkit.backends.fireworks import FireworksConfig
from adaptkit.testing import FakeFireworks
from tests.hosted.conftest import ROWS
from tests.hosted.fireworks import BASE, CHAT, EVALUATOR, PAIRS, ROW, client, fake_fireworks, submitted
from tests.hosted.hosts import KEY


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFireworks]:
    with fake_fireworks(monkeypatch) as service:
        yield service


# what is sent ---------------------------------------------------------------------------------------------------------


def test_every_field_of_sft(fake: FakeFireworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "wb-5512-abracadabra")
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
        "wandbConfig": {"enabled": True, "project": "tickets", "entity": "team", "apiKey": "wb-5512-abracadabra"},
    }  # fmt: skip
    assert job.id == f"accounts/acme/supervisedFineTuningJobs/adaptkit-{tag}"
    for text in shown:
        for secret in ("wb-5512-abracadabra", KEY, ROW, "open-sesame"):
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

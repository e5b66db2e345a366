"""Data and jobs on Fireworks' wire; the fault table and the crash matrix run over it too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit import (
    AdaptkitWarning,
    BackendError,
    DataError,
    Dataset,
    EgressError,
    JobFailed,
    NotFoundError,
    ServiceError,
    Status,
    UnsupportedError,
    config,
)
from adaptkit.adapter import (
    Context,
)
from adaptkit.backends.fireworks import FireworksAdapter, FireworksConfig
from adaptkit.backends.fireworks.jobs import STATES
from adaptkit.http import Egress
from adaptkit.testing import FakeFireworks
from tests.hosted.fireworks import BASE, CHAT, PAIRS, adapter, client, fake_fireworks


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFireworks]:
    with fake_fireworks(monkeypatch) as service:
        yield service


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
        for fault in ("refused", "conflict", "failed"):
            fake.wire.next("cancel", fault)  # type: ignore[arg-type]
            with pytest.raises(BackendError):  # it goes on, and costs money
                target.cancel(job.id)
        fake.jobs.tell(job.id.rpartition("/")[2], "JOB_STATE_COMPLETED")
        fake.wire.next("cancel", "conflict")
        target.cancel(job.id)


def test_a_dataset_on_its_way_out_is_waited_for(fake: FakeFireworks, tmp_path: Path) -> None:
    fake.wire.next("make", "conflict")  # taken, says the one; not there, says the other
    with client(fake, tmp_path) as one:
        assert one.submit("t", Dataset.of(CHAT)).result()


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

"""Bedrock against moto, somebody else's idea of AWS, over real sockets: what differs from AWS has one shim each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from adaptkit import Client, Dataset
from adaptkit.adapter import Context
from adaptkit.backends.bedrock import BedrockAdapter, BedrockConfig, storage
from adaptkit.errors import BackendError, NotFoundError, ServiceError
from adaptkit.testing import FakeClock
from adaptkit.types import Status
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import AWS

server = pytest.importorskip("moto.server")

ACCOUNT, REGION = "123456789012", "us-east-1"


def by_arn_too(ask: Callable[[Any, str], Any]) -> Callable[..., Any]:
    """Unlike AWS, moto gives an ARN and does not take it back."""
    return lambda self, job_identifier: ask(self, unquote(job_identifier).rpartition("/")[2])


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockConfig]:
    from moto.backends import get_backend
    from moto.bedrock.models import BedrockBackend

    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    for name in ("get_model_customization_job", "stop_model_customization_job"):
        monkeypatch.setattr(BedrockBackend, name, by_arn_too(getattr(BedrockBackend, name)))
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    get_backend("s3")[ACCOUNT]["global"].create_bucket("our-data", REGION)
    yield BedrockConfig(
        region=REGION,
        model="amazon.nova-lite-v1:0:300k",
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/tuning",
        bucket="our-data",
        epochs=2,
        endpoints={"bedrock": url, "runtime": url, "s3": url},  # type: ignore[arg-type]
    )
    for service in ("s3", "bedrock"):
        get_backend(service)[ACCOUNT].reset()
    running.stop()


def jobs() -> dict[str, Any]:
    from moto.backends import get_backend

    found: dict[str, Any] = get_backend("bedrock")[ACCOUNT][REGION].model_customization_jobs
    return found


def test_the_life_of_a_job(config: BedrockConfig, tmp_path: Path) -> None:
    with Client(targets={"t": config}, home=tmp_path, clock=FakeClock(time.time()), egress="none") as client:
        job = client.submit("t", Dataset.of(ROWS))
        assert client.submit("t", Dataset.of(ROWS)).id == job.id
        (remote,) = jobs().values()
        assert remote.hyper_parameters == {"epochCount": "2"}
        assert job.refresh() is Status.RUNNING, "moto tells no phases"
        (found,) = client._target("t").find(job.snapshot.tag)  # type: ignore[attr-defined]
        assert found.job_id == job.id
        remote.status = "Completed"
        assert job.wait(60) is Status.SUCCEEDED
        assert client._target("t").retrieve(job.id).startswith(f"arn:aws:bedrock:{REGION}:{ACCOUNT}:custom-model/")


def test_a_failed_and_a_stopped_job(config: BedrockConfig, tmp_path: Path) -> None:
    with Client(targets={"t": config}, home=tmp_path, clock=FakeClock(time.time())) as client:
        job = client.submit("t", Dataset.of(ROWS))
        jobs()[f"adaptkit-{job.snapshot.tag}"].status = "Failed"
        assert job.refresh() is Status.FAILED
        assert job.snapshot.message == "Failure Message"
        other = client.submit("t", Dataset.of(ROWS[:9]))
        other.cancel()
        assert other.refresh() is Status.CANCELLED


def test_a_name_that_is_taken_may_be_ours(config: BedrockConfig, tmp_path: Path) -> None:
    """moto knows no tokens, but a second job of the same name is refused there too."""
    ours = BedrockAdapter(config, Context(tmp_path))
    plan = ours.prepare(Dataset.of(ROWS))
    uploads = {"train": ours.upload(plan.files[0])}
    job = ours.submit(plan, uploads, "TAG")
    with pytest.raises(ServiceError, match="already exists"):
        ours.submit(plan, uploads, "TAG")
    assert [found.job_id for found in ours.find("TAG")] == [job.job_id]
    assert ours.find("OTHER") == []
    assert len(jobs()) == 1


def test_data_in_s3(config: BedrockConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.settings import S3_UPLOAD_PART_MIN_SIZE

    ours = BedrockAdapter(config, Context(tmp_path))
    file = ours.prepare(Dataset.of(ROWS)).files[0]
    file_id = ours.upload(file)
    assert ours.has_upload(file_id)
    assert len(ours._storage.read(file_id)) == file.size
    (owned,) = ours.inventory().files
    assert (owned.id, owned.bytes) == (file_id, file.size)
    ours.delete_data(file_id)
    ours.delete_data(file_id)
    assert not ours.has_upload(file_id)
    monkeypatch.setattr(storage, "PART", S3_UPLOAD_PART_MIN_SIZE)
    wide = [{"messages": [{"role": "user", "content": "x" * 100_000}, ROWS[0]["messages"][1]]}] * 120
    large = ours.prepare(Dataset.of(wide)).files[0]
    assert large.size > 2 * S3_UPLOAD_PART_MIN_SIZE
    assert len(ours._storage.read(ours.upload(large))) == large.size


def test_what_is_not_there(config: BedrockConfig, tmp_path: Path) -> None:
    ours = BedrockAdapter(config, Context(tmp_path))
    for ask in (ours.poll, ours.cancel, ours.retrieve):
        with pytest.raises(NotFoundError):
            ask("job-that-never-was")
    nowhere = BedrockAdapter(config.model_copy(update={"bucket": "nobodys"}), Context(tmp_path))
    with pytest.raises(BackendError, match="NoSuchBucket"):
        nowhere.upload(ours.prepare(Dataset.of(ROWS)).files[0])

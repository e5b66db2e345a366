"""OpenAI's wire, spoken to a fake of it: files, states, traps, models, deployments."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adaptkit import Client, Dataset, Job
from adaptkit.adapter import ChatOptions, Context, DataFile
from adaptkit.backends.openai import OpenAIAdapter, OpenAIConfig, uploads
from adaptkit.backends.openai.asking import TAG
from adaptkit.backends.openai.config import AzureDeploy, NebiusDeploy
from adaptkit.backends.openai.profiles import PROFILES
from adaptkit.backends.openai.results import figures_in
from adaptkit.config import target
from adaptkit.errors import (
    ArtifactError,
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    ConfigError,
    ConnectionFailedError,
    DataError,
    JobFailed,
    MissingDependencyError,
    NotFoundError,
    ServiceError,
    SubmissionUncertain,
    UnsupportedError,
)
from adaptkit.testing import FakeClock, FakeOpenAI
from adaptkit.types import Message, Status
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import KEY
from tests.hosted.test_openai_plans import ARN, PREFERENCES, QUESTIONS

HELLO = (Message(role="user", content="Hello there my friend"),)
CANARY = "canary-row-5e0c1c"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for profile in PROFILES.values():
        monkeypatch.setenv(profile.api_key_env or "SOME_KEY", KEY)
    monkeypatch.setenv("AZURE_MANAGEMENT_TOKEN", KEY)
    warnings.simplefilter("ignore")


@pytest.fixture
def service() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI(KEY)) as fake:
        yield fake


@pytest.fixture
def nebius() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI(KEY, "nebius")) as fake:
        yield fake


@pytest.fixture
def azure() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI(KEY, "azure")) as fake:
        yield fake


def config(service: FakeOpenAI, **fields: Any) -> OpenAIConfig:
    given = {"profile": service.profile, "base_url": service.url, "model": service.base, **fields}
    if service.profile == "nebius":
        given.setdefault("weights", "lora")
    return OpenAIConfig.model_validate(given)


def adapter(made: OpenAIConfig, home: Path) -> OpenAIAdapter:
    return OpenAIAdapter(made, Context(home))


def client(made: OpenAIConfig, home: Path) -> Client:
    return Client(targets={"t": made}, home=home, clock=FakeClock(time.time()))


def finished(service: FakeOpenAI, home: Path, **fields: Any) -> Job:
    job = client(config(service, **fields), home).submit("t", Dataset.of(ROWS))
    assert job.wait(36000) is Status.SUCCEEDED
    return job


# files ----------------------------------------------------------------------------------------------------------------


def large(rows: int = 40) -> DataFile:
    return DataFile.of("train", Dataset.of([*ROWS * (rows // 16), {"messages": [
        {"role": "user", "content": CANARY}, {"role": "assistant", "content": "!"}]}]), "openai")  # fmt: skip


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Files go in parts of 1,000 bytes, all but those under 500."""
    monkeypatch.setattr(uploads, "PART", 1000)
    facts = {**vars(PROFILES["openai"]), "whole": 500}
    monkeypatch.setattr(OpenAIConfig, "facts", property(lambda self: type(PROFILES["openai"])(**facts)))
    return 1000


def test_a_file_goes_whole(service: FakeOpenAI, tmp_path: Path) -> None:
    file = large()
    file_id = adapter(config(service), tmp_path).upload(file)
    content = io.BytesIO()
    file.data.write(content, "openai")
    assert service.files[file_id] == content.getvalue()
    assert service.wire.count() == {"upload": 1}
    (_, asked), *_ = service.wire.asked
    assert int(asked.headers["content-length"]) > file.size, "its length was not known beforehand"


def test_a_large_file_goes_in_parts(service: FakeOpenAI, tmp_path: Path, small_parts: int) -> None:
    file = large()
    file_id = adapter(config(service), tmp_path).upload(file)
    content = io.BytesIO()
    file.data.write(content, "openai")
    assert service.files[file_id] == content.getvalue()
    assert service.wire.count()["upload_part"] == -(-file.size // small_parts)
    assert not list((tmp_path / "openai" / "uploads").iterdir()), "the note of a finished upload is left"


@pytest.mark.parametrize("fault", ["lost", "failed", "html", "rate_limited"])
def test_an_interrupted_upload_goes_on(service: FakeOpenAI, tmp_path: Path, small_parts: int, fault: Any) -> None:
    file, sender = large(), adapter(config(service), tmp_path)
    parts = -(-file.size // small_parts)
    service.wire.next("upload_part", fault)
    with pytest.raises(BackendError):
        sender.upload(file)
    file_id = adapter(config(service), tmp_path).upload(file)  # another process
    assert len(service.files[file_id]) == file.size
    assert service.wire.count()["begin_upload"] == 1, "it began again"
    assert service.wire.count()["upload_part"] == parts + 1


def test_parts_that_are_there_are_not_sent_again(service: FakeOpenAI, tmp_path: Path, small_parts: int) -> None:
    file = large()
    service.wire.next("complete_upload", "failed")
    with pytest.raises(ServiceError):
        adapter(config(service), tmp_path).upload(file)
    (note,) = (tmp_path / "openai" / "uploads").iterdir()
    assert CANARY.encode() not in note.read_bytes()
    assert KEY.encode() not in note.read_bytes()
    assert note.stat().st_mode & 0o077 == 0
    adapter(config(service), tmp_path).upload(file)
    assert service.wire.count()["upload_part"] == -(-file.size // small_parts)


def test_a_file_that_was_put_together_unheard_is_found(service: FakeOpenAI, tmp_path: Path, small_parts: int) -> None:
    file = large()
    service.wire.next("complete_upload", "lost")
    with pytest.raises(ServiceError):
        adapter(config(service), tmp_path).upload(file)
    file_id = adapter(config(service), tmp_path).upload(file)
    assert list(service.files) == [file_id], "it was sent twice"


def test_an_upload_that_the_host_forgot_begins_again(service: FakeOpenAI, tmp_path: Path, small_parts: int) -> None:
    file = large()
    service.wire.next("complete_upload", "failed")
    with pytest.raises(ServiceError):
        adapter(config(service), tmp_path).upload(file)
    service.store.forget_uploads()
    file_id = adapter(config(service), tmp_path).upload(file)
    assert len(service.files[file_id]) == file.size
    assert service.wire.count()["begin_upload"] == 2


def test_another_account_does_not_go_on_with_it(
    service: FakeOpenAI, tmp_path: Path, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = large()
    service.wire.next("complete_upload", "failed")
    with pytest.raises(ServiceError):
        adapter(config(service), tmp_path).upload(file)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}2")
    with pytest.raises(AuthenticationError):
        adapter(config(service), tmp_path).upload(file)
    assert service.wire.count()["begin_upload"] == 2


def test_data_that_changed_since_the_plan_is_not_sent(service: FakeOpenAI, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    Dataset.of(ROWS).write(path)
    file = DataFile.of("train", Dataset.open(path), "openai")
    Dataset.of(ROWS[1:]).write(path)
    with pytest.raises(DataError):
        adapter(config(service), tmp_path).upload(file)
    assert service.wire.asked == []


def test_files_are_looked_at_before_they_are_used(service: FakeOpenAI, tmp_path: Path) -> None:
    host = adapter(config(service), tmp_path)
    file_id = host.upload(large())
    for word, ready in (("processed", True), (None, True), ("", True), ("splendid", True), ("uploaded", False)):
        service.store.status = word
        assert host.data_ready(file_id) is ready, word
    service.store.facts[file_id]["created_at"] -= 3600  # deprecated, and may say "uploaded" for ever
    assert host.data_ready(file_id)
    service.store.status = "error"
    with pytest.raises(DataError, match="row 3 is no JSON"):
        host.data_ready(file_id)


def test_files_are_deleted_once(service: FakeOpenAI, tmp_path: Path) -> None:
    host = adapter(config(service), tmp_path)
    file_id = host.upload(large())
    assert host.has_upload(file_id)
    host.delete_data(file_id)
    host.delete_data(file_id)
    assert not host.has_upload(file_id)
    assert service.files == {}


# the paid request -----------------------------------------------------------------------------------------------------


def test_one_request_and_what_is_in_it(service: FakeOpenAI, tmp_path: Path) -> None:
    finished(service, tmp_path, epochs=2, metadata={"team": "a"}, name="desk")
    ((_, asked),) = [each for each in service.wire.asked if each[0] == "submit"]
    sent = asked.json()
    assert sent["metadata"].pop(TAG) == next(iter(service.jobs.per_tag()))
    assert sent["training_file"] in service.files
    assert {name: sent[name] for name in sent if name != "training_file"} == {
        "model": service.base,
        "suffix": "desk",
        "metadata": {"team": "a"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    }


@pytest.mark.parametrize("fault", ["lost", "failed", "conflict", "rate_limited", "truncated"])
def test_the_sdk_sends_nothing_twice(service: FakeOpenAI, tmp_path: Path, fault: Any) -> None:
    host = adapter(config(service), tmp_path)
    plan = host.prepare(Dataset.of(ROWS))
    ready = {"train": host.upload(plan.files[0])}
    service.wire.next("submit", fault)
    with pytest.raises(BackendError):
        host.submit(plan, ready, "t" * 26)
    assert service.wire.count()["submit"] == 1


def test_what_lies_about_in_the_environment_is_not_sent(
    service: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-canary")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-canary")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Canary: 1")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    finished(service, tmp_path)
    for _, asked in service.wire.asked:
        assert "canary" not in str({**asked.headers, "authorization": ""}).lower()
        assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_nothing_is_sent(service: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    assert service.wire.asked == []


def test_without_the_sdk_the_line_that_installs_it(
    service: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[openai\]"):
        adapter(config(service), tmp_path).poll("ftjob-1")


def test_where_the_filter_is_ignored_every_page_is_looked_through(service: FakeOpenAI, tmp_path: Path) -> None:
    service.ignores_filter, service.newest_page = True, 2
    for number in range(7):
        service.jobs.add(f"other{number}", {"model": "m", "training_file": "f", "metadata": {TAG: f"other{number}"}})
    service.wire.next("submit", "lost")
    job = client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    for number in range(5):  # newer ones
        service.jobs.add(f"newer{number}", {"model": "m", "training_file": "f", "metadata": {TAG: f"newer{number}"}})
    (tag,) = [job.tag for job in service.jobs.all.values() if job.tag.isalnum() and len(job.tag) == 26]
    found = adapter(config(service), tmp_path).find(tag)
    assert [heard.job_id for heard in found] == [job.id]


def test_where_the_filter_is_refused_the_list_is_looked_through(service: FakeOpenAI, tmp_path: Path) -> None:
    service.wire.next("submit", "lost")
    service.wire.next("find", "refused")
    job = client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    assert list(service.jobs.all) == [job.id]
    service.wire.next("find", "failed")  # which says nothing of the filter
    with pytest.raises(ServiceError):
        adapter(config(service), tmp_path).find("t" * 26)


def test_a_host_that_keeps_no_tag_is_told_of(service: FakeOpenAI, tmp_path: Path) -> None:
    service.keeps_metadata = False
    job = client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    assert any("does not repeat the job's tag" in note for note in job.snapshot.notes)
    service.wire.next("submit", "lost")
    with pytest.raises(SubmissionUncertain):
        client(config(service), tmp_path).submit("t", Dataset.of(ROWS), fresh=True)
    assert service.wire.count()["submit"] == 2


def test_what_the_host_changes_is_noted(service: FakeOpenAI, tmp_path: Path) -> None:
    service.overrides = {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}}
    job = client(config(service, epochs=3), tmp_path).submit("t", Dataset.of(ROWS))
    assert job.snapshot.notes == ("epochs = 3 was asked for, and OpenAI says that it runs 1",)


def test_mantle_cannot_be_searched_and_says_so(service: FakeOpenAI, tmp_path: Path) -> None:
    made = config(service, profile="bedrock-mantle", method="rft", grader={"type": "lambda", "function": ARN})
    service.wire.next("submit", "lost")
    with pytest.raises(SubmissionUncertain, match="cannot be searched"):
        client(made, tmp_path).submit("t", Dataset.of(QUESTIONS))
    assert service.wire.count()["find"] == 0
    job = client(made, tmp_path).submit("t", Dataset.of(QUESTIONS), fresh=True)
    assert job.wait(36000) is Status.SUCCEEDED
    sent = [asked.json() for operation, asked in service.wire.asked if operation == "submit"]
    assert "metadata" not in sent[0]
    assert "suffix" not in sent[0]


def test_nebius_carries_the_tag_in_the_suffix(nebius: FakeOpenAI, tmp_path: Path) -> None:
    nebius.wire.next("submit", "lost")
    job = client(config(nebius, name="desk"), tmp_path).submit("t", Dataset.of(ROWS))
    (sent,) = [asked.json() for operation, asked in nebius.wire.asked if operation == "submit"]
    assert sent["suffix"].startswith("desk-")
    assert len(sent["suffix"]) == 31
    assert "metadata" not in sent
    assert sent["method"]["supervised"]["hyperparameters"] == {"lora": True}
    assert list(nebius.jobs.all) == [job.id]


def test_the_key_of_weights_and_biases_goes_out_and_stays_out(
    nebius: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "wandb-canary-77aa01"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    job = client(config(nebius, wandb={"project": "p", "api_key_env": "WANDB_API_KEY"}), tmp_path).submit(
        "t", Dataset.of(ROWS)
    )
    (sent,) = [asked.json() for operation, asked in nebius.wire.asked if operation == "submit"]
    assert sent["integrations"][0]["wandb"] == {"project": "p", "api_key": secret}
    job.refresh()
    assert secret not in repr(job.snapshot.raw)
    assert secret.encode() not in (tmp_path / "journal.db").read_bytes()


# what is closed -------------------------------------------------------------------------------------------------------


def test_an_organization_that_may_not_train_any_more(service: FakeOpenAI, tmp_path: Path) -> None:
    service.closed = True
    with pytest.raises(BackendRetiredError) as caught:
        client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    assert caught.value.since == "2026-05-07"
    assert "together" in caught.value.replacement
    assert "2027-01-06" in str(caught.value)
    (file_id,) = service.files  # was uploaded before anybody said so
    assert file_id in str(caught.value)


def test_a_path_that_is_gone(service: FakeOpenAI, tmp_path: Path) -> None:
    service.wire.next("submit", "gone")
    with pytest.raises(BackendRetiredError) as caught:
        client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    assert date.fromisoformat(caught.value.since) <= date.today()


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost", "unauthorized", "failed", "forbidden", "quota", "html", "refused"])
def test_no_error_of_the_vendor_and_no_key_comes_through(service: FakeOpenAI, tmp_path: Path, fault: Any) -> None:
    service.wire.next("poll", fault)
    with pytest.raises(BackendError) as caught:
        adapter(config(service), tmp_path).poll("ftjob-1")
    seen: list[BaseException] = [caught.value]
    while (inner := seen[-1].__cause__ or seen[-1].__context__) is not None:
        seen.append(inner)
    for error in seen:
        assert not type(error).__module__.startswith("openai"), seen
        assert KEY not in repr(error)
        request = getattr(error, "_request", None)
        assert KEY not in str(getattr(request, "headers", ""))
    assert KEY.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize("job_id", ["", ".", "..", "../files", "a/b", "x?y=1#z"])
def test_an_id_leads_nowhere_else(service: FakeOpenAI, tmp_path: Path, job_id: str) -> None:
    with pytest.raises(NotFoundError):
        adapter(config(service), tmp_path).poll(job_id)
    assert {operation for operation, _ in service.wire.asked} <= {"poll"}


def test_a_host_that_is_not_there(tmp_path: Path, service: FakeOpenAI) -> None:
    made = config(service)
    service.close()
    with pytest.raises(ConnectionFailedError, match="Nothing was sent"):
        adapter(made, tmp_path).poll("ftjob-1")


# states ---------------------------------------------------------------------------------------------------------------

WORDS = {
    "validating_files": Status.QUEUED,
    "queued": Status.QUEUED,
    "running": Status.RUNNING,
    "pausing": Status.PAUSED,
    "paused": Status.PAUSED,
    "resuming": Status.PAUSED,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "SUCCEEDED": Status.UNKNOWN,
    "expired": Status.UNKNOWN,
}


@pytest.mark.parametrize(("word", "status"), WORDS.items())
def test_every_word(service: FakeOpenAI, tmp_path: Path, word: str, status: Status) -> None:
    service.jobs.script = ["queued", word]
    made = service.jobs.add("t", {"model": service.base, "training_file": "f"})
    heard = adapter(config(service), tmp_path).poll(made.id)
    assert (heard.status, heard.raw_status) == (status, word)
    assert (heard.message is not None) == (word == "failed")  # "error" is {} or full of nulls on healthy jobs


def test_why_it_failed(service: FakeOpenAI, tmp_path: Path) -> None:
    service.jobs.script = ["validating_files", "failed"]
    with pytest.raises(JobFailed, match=r"line 7 has no answer \(invalid_training_file\)"):
        client(config(service), tmp_path).submit("t", Dataset.of(ROWS)).result(60)


def test_hyperparameters_are_null_for_other_methods(service: FakeOpenAI, tmp_path: Path) -> None:
    job = client(config(service, method="dpo", beta=0.1), tmp_path).submit("t", Dataset.of(PREFERENCES))
    assert job.snapshot.raw["hyperparameters"] is None
    assert job.snapshot.notes == ()


@pytest.mark.parametrize("told", [{"id": None}, {"status": None}, {"id": ""}])
def test_an_answer_that_is_no_job(service: FakeOpenAI, tmp_path: Path, told: dict[str, Any]) -> None:
    made = service.jobs.add("t", {"model": service.base, "training_file": "f"})
    service.overrides = told
    with pytest.raises(ServiceError, match="names no job"):
        adapter(config(service), tmp_path).poll(made.id)


def test_pause_and_resume(service: FakeOpenAI, tmp_path: Path) -> None:
    service.jobs.script = ["queued", *["running"] * 40]
    job = client(config(service), tmp_path).submit("t", Dataset.of(ROWS))
    job.pause()
    assert [job.refresh(), job.raw_status] == [Status.PAUSED, "pausing"]
    assert [job.refresh(), job.raw_status] == [Status.PAUSED, "paused"]
    job.resume()
    assert job.wait(36000) is Status.SUCCEEDED


def test_a_cap_that_resuming_takes_away(azure: FakeOpenAI, tmp_path: Path) -> None:
    azure.jobs.script = ["running", "paused"]
    host = adapter(config(azure), tmp_path)
    method = {"type": "reinforcement", "reinforcement": {}}
    capped = azure.jobs.add("t", {"model": azure.base, "training_file": "f", "method": method})
    assert "takes that cap away" in host.poll(capped.id).notes[0]
    assert host.poll(azure.jobs.add("u", {"model": azure.base, "training_file": "f"}).id).notes == ()


def test_a_job_without_a_model_gives_none(service: FakeOpenAI, tmp_path: Path) -> None:
    service.jobs.script = ["queued", *["running"] * 9]
    made = service.jobs.add("t", {"model": service.base, "training_file": "f"})
    with pytest.raises(NotFoundError, match="OpenAI says running"):
        adapter(config(service), tmp_path).retrieve(made.id)


# what happens in a job ------------------------------------------------------------------------------------------------


def test_events_come_in_order_whatever_the_pages(service: FakeOpenAI, tmp_path: Path) -> None:
    service.newest_page, service.figures = 2, [1.0, 0.5, 0.25, 0.125]
    job = finished(service, tmp_path)
    host = adapter(config(service), tmp_path)
    told = host.events(job.id, None)
    assert [event.data["step"] for event in told if event.kind == "metrics"] == [1, 2, 3, 4]
    assert told[0].message == "The job is validating_files"
    assert told[-1].message == "The job is succeeded"
    metrics = next(event for event in told if event.kind == "metrics")
    assert metrics.data == {"step": 1, "loss": 1.0, "total_steps": 4}
    assert host.events(job.id, told[3].id) == told[4:]
    before = service.wire.count()["events"]
    assert host.events(job.id, told[-1].id) == []
    assert service.wire.count()["events"] == before + 1, "pages were read that hold nothing new"


@pytest.mark.parametrize("wrapped", [False, True])
def test_figures_come_whole_from_the_result_files(service: FakeOpenAI, tmp_path: Path, wrapped: bool) -> None:
    service.figures, service.wraps_results = [2.0, 1.0], wrapped
    job = finished(service, tmp_path)
    assert job.figures() == [
        {"step": 1.0, "loss": 2.0, "eval_loss": 2.1},
        {"step": 2.0, "loss": 1.0, "eval_loss": 1.1},
    ]


def test_figures_of_a_job_without_files_are_those_that_events_tell(service: FakeOpenAI, tmp_path: Path) -> None:
    service.overrides["result_files"] = []
    assert finished(service, tmp_path).figures() == [{"step": 1.0, "loss": 1.5}, {"step": 2.0, "loss": 0.75}]


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"step,loss\nx,1", b"a,b\n1,2", b"step,loss\n1,2,3", b"\xff\xfe,", b"c3RlcA=="]
)
def test_a_result_file_that_is_no_table(content: bytes) -> None:
    with pytest.raises(ServiceError, match="no table"):
        figures_in(content)


def test_checkpoints_are_models(service: FakeOpenAI, tmp_path: Path) -> None:
    job = finished(service, tmp_path)
    kept = adapter(config(service), tmp_path).checkpoints(job.id)
    assert [checkpoint.step for checkpoint in kept] == [1, 2]
    assert kept[0].metrics == {"loss": 1.5}
    reply = adapter(config(service), tmp_path).chat(kept[0].model_id, HELLO, ChatOptions())
    assert reply.text == "You said: Hello there my friend"


# models ---------------------------------------------------------------------------------------------------------------


def test_a_model_answers_streams_and_is_deleted(service: FakeOpenAI, tmp_path: Path) -> None:
    model = finished(service, tmp_path).result()
    assert model.id.startswith("ft:gpt-4.1-mini-2025-04-14:fake-org")
    reply = model.chat("Hello there my friend", max_tokens=3)
    assert (reply.text, reply.finish_reason, reply.usage.output_tokens) == ("You said: Hello", "length", 3)
    assert "".join(model.stream("Hello there")) == "You said: Hello there"
    model.delete()
    model.delete()
    with pytest.raises(NotFoundError, match="does not exist"):
        model.chat("Hello?")


def test_when_a_model_is_switched_off(service: FakeOpenAI, tmp_path: Path) -> None:
    host = adapter(config(service), tmp_path)
    assert host.shutdown_date(service.base) == date(2027, 1, 14), "by the table, where the host says nothing"
    service.shutdown_dates[service.base] = "2026-12-24"
    assert host.shutdown_date(service.base) == date(2026, 12, 24)
    assert host.shutdown_date("gpt-4o-2024-08-06") == date(2027, 1, 14), "by the table, where the host knows it not"
    with pytest.raises(NotFoundError):
        host.shutdown_date("gpt-6-luna")
    elsewhere = adapter(config(service, profile="generic", api_key_env="SOME_KEY"), tmp_path)
    with pytest.raises(NotFoundError):
        elsewhere.shutdown_date("gpt-4o-2024-08-06")


def test_the_inventory(service: FakeOpenAI, tmp_path: Path) -> None:
    service.newest_page = service.store.newest_page = 1
    job = finished(service, tmp_path, epochs=2, seed=7, name="desk")
    other = service.jobs.add("", {"model": service.base, "training_file": "file-gone"})
    owned = adapter(config(service), tmp_path).inventory()
    assert {known.snapshot.job_id for known in owned.jobs} == {job.id, other.id}
    ours = next(known for known in owned.jobs if known.snapshot.job_id == job.id)
    assert ours.files == {"train": next(iter(service.files))}
    assert ours.model_id == job.result().id
    assert ours.recipe == {
        "backend": "openai",
        "profile": "openai",
        "base_url": service.url,
        "api_key_env": "OPENAI_API_KEY",
        "model": service.base,
        "method": "sft",
        "epochs": 2,
        "seed": 7,
        "name": "desk",
    }
    target("again", dict(ours.recipe))
    assert [file.id for file in owned.files] == [ours.files["train"]], "result files are the host's own"
    assert owned.files[0].bytes == len(next(iter(service.files.values())))
    assert job.result().id in {model.id for model in owned.models}
    assert service.base not in {model.id for model in owned.models}
    assert {model.shutdown_date for model in owned.models} == {date(2027, 1, 14)}
    assert {model.base for model in owned.models} == {service.base}


# Nebius: weights ------------------------------------------------------------------------------------------------------


def safetensors() -> bytes:
    head = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(head)) + head + b"\0\0\0\0"


def test_weights_are_downloaded(nebius: FakeOpenAI, tmp_path: Path) -> None:
    nebius.weights = {"adapter_model.safetensors": safetensors(), "adapter_config.json": b'{"r": 8}'}
    model = finished(nebius, tmp_path / "home").result()
    job_id, _, checkpoint_id = model.id.partition(":")
    assert job_id in nebius.jobs.all
    assert checkpoint_id.startswith("ftckpt_")
    path = model.download(tmp_path / "weights")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == nebius.weights
    with pytest.raises(UnsupportedError, match="names no model that answers"):
        model.chat("Hello?")


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", ".hidden", "C:\\evil.json"])
def test_a_name_that_leads_elsewhere_is_refused(nebius: FakeOpenAI, tmp_path: Path, name: str) -> None:
    nebius.weights = {name: b"{}"}
    model = finished(nebius, tmp_path / "home").result()
    with pytest.raises(ArtifactError):
        model.download(tmp_path / "in" / "weights")
    assert [str(file) for file in tmp_path.rglob("*evil*")] == []
    assert not (tmp_path / "in" / "weights").exists()


def test_a_file_that_comes_short_is_not_kept(nebius: FakeOpenAI, tmp_path: Path) -> None:
    nebius.weights = {"adapter_config.json": b'{"r": 8}' * 100}
    model = finished(nebius, tmp_path / "home").result()
    nebius.wire.next("download", "truncated")
    with pytest.raises(ServiceError):
        model.download(tmp_path / "weights")
    nebius.wire.next("download", "lost")
    with pytest.raises(ServiceError):
        model.download(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_nothing_is_downloaded_of_what_is_not_there(nebius: FakeOpenAI, tmp_path: Path) -> None:
    host = adapter(config(nebius), tmp_path)
    job = finished(nebius, tmp_path)
    for name in ("ftjob-no:ftckpt_no", f"{job.id}:ftckpt_no", "meta-llama/x-LoRa:mine", "nothing"):
        with pytest.raises(NotFoundError):
            host.download(name, tmp_path / "weights")


# Azure: deployments ---------------------------------------------------------------------------------------------------


def deployed(azure: FakeOpenAI, **fields: Any) -> OpenAIConfig:
    where = AzureDeploy(
        subscription="0000-11", resource_group="rg", account="acme", management_url=azure.wire.url, **fields
    )
    return config(azure, deploy=where)


def test_a_deployment_answers_and_is_torn_down(azure: FakeOpenAI, tmp_path: Path) -> None:
    with client(deployed(azure), tmp_path) as opened:
        model = opened.submit("t", Dataset.of(ROWS)).result(36000)
        with pytest.raises(NotFoundError):
            model.chat("Hello?")
        with model.deploy(confirm_spend=True) as running:
            assert running.hourly_usd == 1.70
            assert running.chat("Hello").text == "You said: Hello"
            (told,) = azure.deployments.values()
            assert told["sku"] == {"name": "standard", "capacity": 1}
            assert told["properties"]["model"] == {"format": "OpenAI", "name": model.id, "version": "1"}
        assert running.status == "stopping"
        running.refresh()
        running.refresh()
        assert running.status == "stopped"
        assert azure.deployments == {}


@pytest.mark.parametrize("fault", ["lost", "failed_after", "failed"])
def test_a_deployment_whose_answer_is_lost_is_one(azure: FakeOpenAI, tmp_path: Path, fault: Any) -> None:
    with client(deployed(azure, hardware="developertier"), tmp_path) as opened:
        model = opened.submit("t", Dataset.of(ROWS)).result(36000)
        azure.wire.next("deploy", fault)
        running = model.deploy(confirm_spend=True)
        assert list(azure.deployments) == [running.id]
        assert running.hourly_usd == 0
        running.stop()


def test_where_to_deploy_must_be_said(azure: FakeOpenAI, tmp_path: Path) -> None:
    host = adapter(config(azure), tmp_path)
    with pytest.raises(UnsupportedError, match="needs a deploy table"):
        host.deploy("m", "t")


def test_a_management_address_counts_for_the_policy(azure: FakeOpenAI) -> None:
    where = AzureDeploy(subscription="s", resource_group="rg", account="acme")
    made = config(azure, deploy=where, base_url="https://acme.openai.azure.com/openai/v1")
    host = adapter(made, Path("/nowhere"))
    assert host.destinations == ("acme.openai.azure.com", "management.azure.com")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Creating", "starting"),
        ("Succeeded", "ready"),
        ("Failed", "failed"),
        ("Deleting", "stopping"),
        ("Odd", "unknown"),
    ],
)
def test_every_word_of_a_deployment(azure: FakeOpenAI, tmp_path: Path, word: str, status: str) -> None:
    host = adapter(deployed(azure), tmp_path)
    host.deploy("m", "tag")
    azure.deployments["tag"]["states"] = [word]
    heard = host.deployment("tag")
    assert (heard.status, heard.raw_status, heard.tag) == (status, word, "tag")
    assert heard.answers_as == ("tag" if status == "ready" else None)


# Nebius: served LoRA --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, "lost", "failed_after", "html"])
def test_a_lora_is_served_and_taken_down(nebius: FakeOpenAI, tmp_path: Path, fault: Any) -> None:
    made = config(nebius, deploy=NebiusDeploy(base_model="meta-llama/Meta-Llama-3.1-8B-Instruct-fast"))
    with client(made, tmp_path) as opened:
        model = opened.submit("t", Dataset.of(ROWS)).result(36000)
        if fault:
            nebius.wire.next("deploy", fault)
        with model.deploy(confirm_spend=True) as running:
            (told,) = nebius.deployments.values()
            assert told["source"] == model.id
            assert running.id == told["name"]
            assert running.chat("Hello").text == "You said: Hello"
        assert nebius.deployments == {}
        running.refresh()
        assert running.status == "stopped"
        adapter(made, tmp_path).undeploy(running.id)


def test_a_lora_of_which_nothing_is_heard_is_not_served_twice(nebius: FakeOpenAI, tmp_path: Path) -> None:
    made = config(nebius, deploy=NebiusDeploy(base_model="meta-llama/Meta-Llama-3.1-8B-Instruct-fast"))
    with client(made, tmp_path) as opened:
        model = opened.submit("t", Dataset.of(ROWS)).result(36000)
        nebius.wire.next("deploy", "failed")
        with pytest.raises(SubmissionUncertain):
            model.deploy(confirm_spend=True)
        assert nebius.wire.count()["deploy"] == 1

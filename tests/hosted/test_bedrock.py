"""Bedrock over its fake: the contract, the request that is sent, data by family, the whole life of a model."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adaptkit import AdaptkitWarning, Client, Dataset, Message, UnsupportedError
from adaptkit.adapter import BackendConfig, ChatOptions, Context
from adaptkit.backends.bedrock import BedrockAdapter, BedrockConfig, jobs
from adaptkit.errors import (
    BackendError,
    ConfigError,
    DataError,
    DeploymentFailed,
    NotFoundError,
    PermissionDeniedError,
    ServiceError,
)
from adaptkit.job import Job
from adaptkit.steps import Clock, SystemClock
from adaptkit.testing import FakeBedrock, FakeClock
from adaptkit.testing.contract import AdapterContract
from adaptkit.translate import translate
from adaptkit.types import Status
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import AWS, KEY, bedrock

GRADER = "arn:aws:lambda:us-east-1:123456789012:function:grader"


class Hasty(SystemClock):
    """Real time, since threads that wait for one another share it, with short pauses."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.02))

    async def asleep(self, seconds: float) -> None:
        await super().asleep(min(seconds, 0.02))


class TestContract(AdapterContract):
    gaps: ClassVar = {
        "test_model_answers": "a custom model of Bedrock answers only through a deployment, see test_a_model_answers"
    }
    fake: ClassVar[FakeBedrock]
    patch: ClassVar[pytest.MonkeyPatch]

    @classmethod
    def start(cls) -> None:
        cls.patch = pytest.MonkeyPatch()
        for name, value in AWS.items():
            cls.patch.setenv(name, value)
        cls.fake = FakeBedrock(KEY)
        cls.usual = list(cls.fake.jobs.script)

    @classmethod
    def stop(cls) -> None:
        cls.fake.close()
        cls.patch.undo()

    usual: ClassVar[list[str]]

    def config(self) -> BackendConfig:
        self.fake.jobs.script = list(self.usual)
        return bedrock(self.fake)

    def remote_config(self) -> BackendConfig:
        return BedrockConfig(**{**self.config().model_dump(), "endpoints": {}})

    def failing_config(self) -> tuple[BackendConfig, str]:
        config = self.config()
        self.fake.jobs.script = ["InProgress/validation", "Failed"]
        return config, "the data could not be read"

    def say_unknown_status(self, job: Job) -> None:
        self.fake.jobs.tell(job.id.rpartition("/")[2], "Pondering")

    def break_next_poll(self) -> None:
        self.fake.wire.next("poll", "lost")

    def clock(self) -> Clock:
        return Hasty()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBedrock]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    service = FakeBedrock(KEY)
    yield service
    service.close()


def config(fake: FakeBedrock, **changes: Any) -> BedrockConfig:
    return BedrockConfig(**{**bedrock(fake).model_dump(), **changes})


@pytest.fixture
def client_of(fake: FakeBedrock, tmp_path: Path) -> Iterator[Any]:
    opened: list[Client] = []

    def client(**changes: Any) -> Client:
        opened.append(
            Client(targets={"t": config(fake, **changes)}, home=tmp_path, clock=FakeClock(time.time()), egress="none")
        )
        return opened[-1]

    yield client
    for one in opened:
        one.close()


def adapter(fake: FakeBedrock, tmp_path: Path, **changes: Any) -> BedrockAdapter:
    return BedrockAdapter(config(fake, **changes), Context(tmp_path))


def sent(fake: FakeBedrock, operation: str) -> list[Any]:
    return [asked.json() for name, asked in fake.wire.asked if name == operation]


# what is sent ---------------------------------------------------------------------------------------------------------


def test_the_request(client_of: Any, fake: FakeBedrock, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    Dataset.of(ROWS[:3]).write(held_out, "openai")
    job = client_of(
        epochs=3,
        learning_rate=1e-5,
        warmup_steps=0,
        name="desk",
        validation=str(held_out),
        kms_key_id="alias/ours",
        vpc={"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]},
        tags={"team": "desk"},
    ).submit("t", Dataset.of(ROWS))
    (body,) = sent(fake, "submit")
    tag = body["clientRequestToken"]
    assert job.snapshot.tag == tag
    assert body["jobName"] == f"adaptkit-{tag}"
    assert body["customModelName"] == f"desk-{tag}"
    assert len(body["jobName"]) <= 63
    assert body["hyperParameters"] == {
        "epochCount": "3", "learningRate": "0.00001", "learningRateWarmupSteps": "0",
    }  # fmt: skip
    assert body["customizationType"] == "FINE_TUNING"
    assert body["vpcConfig"] == {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    assert body["customModelKmsKeyId"] == "alias/ours"
    assert {"key": "team", "value": "desk"} in body["jobTags"]
    files = [body["trainingDataConfig"], *body["validationDataConfig"]["validators"]]
    rows = [fake.objects[file["s3Uri"].removeprefix("s3://")].splitlines() for file in files]
    assert [len(lines) for lines in rows] == [len(ROWS), 3]
    assert json.loads(rows[0][0]) == {
        "schemaVersion": "bedrock-conversation-2024",
        "messages": [
            {"role": "user", "content": [{"text": "What is 0 and one?"}]},
            {"role": "assistant", "content": [{"text": "1"}]},
        ],
    }


def test_the_name_fits_with_the_longest_that_is_allowed(fake: FakeBedrock) -> None:
    config(fake, name="n" * 36)
    with pytest.raises(ValueError, match="36"):
        config(fake, name="n" * 37)
    assert len(jobs.model_name("n" * 36, "t" * 26)) == 63


def test_what_is_not_set_is_not_sent(client_of: Any, fake: FakeBedrock) -> None:
    client_of().submit("t", Dataset.of(ROWS))
    (body,) = sent(fake, "submit")
    assert not {"hyperParameters", "vpcConfig", "customModelKmsKeyId", "validationDataConfig"} & body.keys()


def test_reinforcement(client_of: Any, fake: FakeBedrock) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}], "reference_answer": {"is": n}} for n in range(4)]
    rft = {"grader": GRADER, "samples_per_prompt": 4, "reasoning_effort": "low"}
    client = client_of(method="rft", epochs=2, learning_rate=1e-6, batch_size=16, rft=rft)
    client.submit("t", Dataset.of(rows))
    (body,) = sent(fake, "submit")
    assert body["customizationType"] == "REINFORCEMENT_FINE_TUNING"
    assert "hyperParameters" not in body
    assert body["customizationConfig"]["rftConfig"] == {
        "graderConfig": {"lambdaGrader": {"lambdaArn": GRADER}},
        "hyperParameters": {
            "epochCount": 2, "batchSize": 16, "learningRate": 1e-6, "trainingSamplePerPrompt": 4,
            "reasoningEffort": "low",
        },
    }  # fmt: skip
    (owned,) = client._target("t").inventory().jobs
    wanted = client.targets["t"].model_dump(exclude_unset=True)
    assert BedrockConfig.model_validate(wanted | dict(owned.recipe)) == client.targets["t"]
    lines = fake.objects[body["trainingDataConfig"]["s3Uri"].removeprefix("s3://")].splitlines()
    assert json.loads(lines[0]) == rows[0], "the grader gets what stands beside the prompt"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 6}, ["epochs = 6: Amazon Nova takes 1 to 5"]),
        ({"learning_rate": 1e-3, "batch_size": 4}, ["learning_rate = 0.001", "batch_size: Amazon Nova has no such"]),
        ({"learning_rate_multiplier": 1.0}, ["the nearest is learning_rate, which is not the same"]),
        ({"model": "anthropic.claude-3-haiku-20240307-v1:0:200k", "learning_rate": 1e-5, "batch_size": 2},
         ["the nearest is learning_rate_multiplier, which is not the same", "takes 4 to 256"]),
        ({"model": "meta.llama3-1-8b-instruct-v1:0:128k", "batch_size": 2}, ["Llama 3 takes 1 alone"]),
        ({"model": "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0:300k/abcdefabcdef",
          "epochs": 6}, ["Amazon Nova takes 1 to 5"]),
        ({"model": "acme.new-1", "epochs": 2}, ["no table of what acme.new-1 takes", "data_format"]),
        ({"hyperparameters": {"epochCount": "2"}}, ["Amazon Nova has fields for them: epochs"]),
        ({"data_format": "bedrock"}, ["takes one form of rows"]),
        ({"method": "rft"}, ["the table with the grader"]),
        ({"rft": {"grader": GRADER}}, ["the table with the grader"]),
        ({"method": "rft", "rft": {"grader": GRADER}, "batch_size": 8, "epochs": 51}, ["16 to 512", "1 to 50"]),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_said_before_anything_is_sent(
    client_of: Any, fake: FakeBedrock, changes: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        client_of(**changes).submit("t", Dataset.of(ROWS))
    assert all(words in str(caught.value) for words in said), str(caught.value)
    assert fake.wire.asked == []


def test_a_model_without_a_table_goes_by_the_users_own_words(client_of: Any, fake: FakeBedrock) -> None:
    rows = [{"prompt": f"{n}?", "completion": f"{n}!"} for n in range(4)]
    client = client_of(model="acme.new-1", data_format="prompt-completion", hyperparameters={"epochCount": "2"})
    with pytest.warns(AdaptkitWarning, match="unchecked"):
        client.submit("t", Dataset.of(rows))
    (body,) = sent(fake, "submit")
    assert body["hyperParameters"] == {"epochCount": "2"}
    (lines,) = (content.splitlines() for content in fake.objects.values())
    assert json.loads(lines[0]) == rows[0]


def test_rows_are_written_in_the_form_of_the_family(fake: FakeBedrock, tmp_path: Path) -> None:
    claude = adapter(fake, tmp_path, model="anthropic.claude-3-haiku-20240307-v1:0:200k")
    llama = adapter(fake, tmp_path, model="meta.llama3-1-8b-instruct-v1:0:128k")
    chat = Dataset.of([{"messages": [{"role": "system", "content": "Be brief."}, *ROWS[0]["messages"]]}])
    plain = Dataset.of([{"prompt": "a?", "completion": "b"}])
    assert claude.prepare(chat).files[0].format == "anthropic"
    assert llama.prepare(plain).files[0].rows == 1
    with pytest.raises(DataError):
        claude.prepare(plain)
    with pytest.raises(DataError, match="completion"):
        adapter(fake, tmp_path).prepare(plain)
    out = tmp_path / "claude.jsonl"
    chat.write(out, "anthropic")
    assert json.loads(out.read_text()) == {"system": "Be brief.", "messages": ROWS[0]["messages"]}


# what comes back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "phase", "status", "raw"),
    [
        ("InProgress", "NotStarted", Status.QUEUED, "InProgress/waiting"),
        ("InProgress", "validation", Status.QUEUED, "InProgress/validation"),
        ("InProgress", "dataProcessing", Status.QUEUED, "InProgress/dataProcessing"),
        ("InProgress", "training", Status.RUNNING, "InProgress/training"),
        ("InProgress", None, Status.RUNNING, "InProgress"),
        ("Stopping", "training", Status.RUNNING, "Stopping"),
        ("Completed", None, Status.SUCCEEDED, "Completed"),
        ("Failed", None, Status.FAILED, "Failed"),
        ("Stopped", None, Status.CANCELLED, "Stopped"),
        ("Paused", None, Status.UNKNOWN, "Paused"),
    ],
)
def test_every_status(word: str, phase: str | None, status: Status, raw: str) -> None:
    order = ("validation", "dataProcessing", "training")
    at = order.index(phase) if phase in order else -1
    words = ["Completed" if n < at else "InProgress" if n == at else "NotStarted" for n in range(3)]
    details = {f"{name}Details": {"status": said} for name, said in zip(order, words, strict=True)}
    job = {"jobArn": "arn", "jobName": "adaptkit-TAG", "status": word, "failureMessage": "why"}
    heard = jobs.snapshot({**job, "statusDetails": details} if phase else job)
    assert (heard.status, heard.raw_status, heard.tag) == (status, raw, "TAG")
    assert heard.message == ("why" if word == "Failed" else None)


def test_between_two_phases_it_waits() -> None:
    details = {"validationDetails": {"status": "Completed"}, "trainingDetails": {"status": "NotStarted"}}
    job = {"jobArn": "arn", "jobName": "theirs", "status": "InProgress", "statusDetails": details}
    heard = jobs.snapshot(job)
    assert (heard.status, heard.raw_status, heard.tag) == (Status.QUEUED, "InProgress/waiting", None)


def test_events_are_phases_then_figures(client_of: Any) -> None:
    job = client_of().submit("t", Dataset.of(ROWS))
    told = list(job.events())
    assert [event.data["loss"] for event in told if event.kind == "metrics"] == [2.5, 1.25, 1.25]
    assert [event.data["step"] for event in told if "step" in event.data] == [0, 1]
    assert {"validation", "dataProcessing", "training"} <= {event.data.get("phase") for event in told}
    assert told[-1].data == {"status": "Completed"}


def test_without_the_figures_in_the_bucket_the_rest_is_told(client_of: Any, fake: FakeBedrock) -> None:
    job = client_of().submit("t", Dataset.of(ROWS))
    job.wait(3600)
    fake.objects.clear()
    assert [event.id for event in job.events()][-1] == "9-end"


def test_what_the_host_runs_otherwise_is_a_note(client_of: Any, fake: FakeBedrock) -> None:
    fake.hyperparameters = {"epochCount": "2", "learningRate": "1e-05"}
    job = client_of(epochs=3, learning_rate=1e-5).submit("t", Dataset.of(ROWS))
    with pytest.warns(AdaptkitWarning, match="epochCount"):
        job.refresh()
    assert len(job.snapshot.notes) == 1, "1e-05 is what was asked for"


def test_a_stopped_job(client_of: Any, fake: FakeBedrock) -> None:
    job = client_of().submit("t", Dataset.of(ROWS))
    job.cancel()
    assert job.refresh() is Status.RUNNING
    assert job.raw_status == "Stopping"
    assert job.refresh() is Status.CANCELLED


def test_what_has_ended_is_not_stopped(client_of: Any, fake: FakeBedrock, tmp_path: Path) -> None:
    job = client_of().submit("t", Dataset.of(ROWS))
    ours = adapter(fake, tmp_path)
    fake.wire.next("cancel", "refused")
    with pytest.raises(BackendError):  # it runs, and the host will not stop it
        ours.cancel(job.id)
    job.wait(3600)
    ours.cancel(job.id)
    assert fake.wire.count()["cancel"] == 2


def test_a_job_without_a_model_has_none(client_of: Any, fake: FakeBedrock, tmp_path: Path) -> None:
    job = client_of().submit("t", Dataset.of(ROWS))
    with pytest.raises(NotFoundError, match="InProgress"):
        adapter(fake, tmp_path).retrieve(job.id)


def test_the_same_token_makes_no_second_job(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    plan = ours.prepare(Dataset.of(ROWS))
    uploads = {"train": ours.upload(plan.files[0])}
    assert ours.submit(plan, uploads, "TAG").job_id == ours.submit(plan, uploads, "TAG").job_id
    assert len(fake.jobs.all) == 1


# deployments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hardware", ["on-demand", "provisioned"])
def test_a_model_answers(client_of: Any, fake: FakeBedrock, hardware: str) -> None:
    client = client_of(deploy={"hardware": hardware})
    model = client.submit("t", Dataset.of(ROWS)).result()
    with pytest.raises(UnsupportedError, match="deploy"):
        model.chat("Hello?")
    fake.wire.next("deploy", "lost")
    with model.deploy(confirm_spend=True) as deployment:
        assert len(fake.deployments) == 1, "a lost answer started a second one"
        assert deployment.hourly_usd is None, "an unknown price is not 0"
        reply = deployment.chat("Hello there?", max_tokens=8, temperature=0.0)
        assert (reply.text, reply.finish_reason, reply.usage.input_tokens) == ("You said: Hello there?", "stop", 3)
        assert "".join(deployment.stream("Hello there?")) == reply.text
        (asked,) = sent(fake, "chat")
        assert asked["inferenceConfig"] == {"maxTokens": 8, "temperature": 0.0}
        with pytest.raises(UnsupportedError, match="seed"):
            deployment.chat("Hello?", seed=1)
    assert fake.deployments == {}
    assert deployment.status == "stopped"
    body = sent(fake, "deploy")[0]
    assert body["clientRequestToken"] == deployment.snapshot.tag
    assert "commitmentDuration" not in body


def test_a_deployment_that_the_host_does_not_know_any_more_is_gone(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    ours.undeploy("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefabcdef")
    with pytest.raises(NotFoundError):
        ours.deployment("arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefabcdef")
    assert ours.find_deployments("TAG") == []


@pytest.mark.parametrize("hardware", ["on-demand", "provisioned"])
def test_a_deployment_that_fails_is_stopped(client_of: Any, fake: FakeBedrock, hardware: str) -> None:
    model = client_of(deploy={"hardware": hardware}).submit("t", Dataset.of(ROWS)).result()
    fake.deployment_states = ["Creating", "Updating", "Failed"]
    deployment = model.deploy(confirm_spend=True)
    assert (deployment.refresh(), deployment.raw_status) == ("unknown", "Updating")
    with pytest.raises(DeploymentFailed, match="there is no capacity"):
        deployment.wait(3600)
    deployment.stop()
    assert fake.deployments == {}


def test_a_stream_that_breaks_off_is_an_error(client_of: Any, fake: FakeBedrock) -> None:
    model = client_of().submit("t", Dataset.of(ROWS)).result()
    with model.deploy(confirm_spend=True) as deployment:
        fake.wire.next("stream", "truncated")
        with pytest.raises(ServiceError, match="broke off"):
            list(deployment.stream("one two three four"))


def test_conversations_in_the_words_of_converse(client_of: Any, fake: FakeBedrock, tmp_path: Path) -> None:
    from adaptkit.types import ImagePart, TextPart, ToolCall

    model = client_of().submit("t", Dataset.of(ROWS)).result()
    png = "data:image/png;base64,iVBORw0KGgo="
    turns = [
        Message(role="system", content="Be brief."),
        Message(role="user", content=(TextPart(text="What is this?"), ImagePart(url=png))),
        Message(role="assistant", tool_calls=(ToolCall(name="look", arguments={"at": 1}, id="call1"),)),
        Message(role="tool", content="a dot", tool_call_id="call1"),
    ]
    with model.deploy(confirm_spend=True) as deployment:
        deployment.chat(turns)
        (asked,) = sent(fake, "chat")
        with pytest.raises(UnsupportedError, match="from the network"):
            deployment.chat([Message(role="user", content=(ImagePart(url="https://example.com/a.png"),))])
        with pytest.raises(UnsupportedError, match="developer"):
            deployment.chat([Message(role="user", content="a"), Message(role="developer", content="b")])
    assert asked["system"] == [{"text": "Be brief."}]
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][0]["content"][1]["image"]["source"] == {"bytes": "iVBORw0KGgo="}
    assert asked["messages"][1]["content"] == [{"toolUse": {"toolUseId": "call1", "name": "look", "input": {"at": 1}}}]
    assert asked["messages"][2]["content"][0]["toolResult"]["content"] == [{"text": "a dot"}]


# the account ----------------------------------------------------------------------------------------------------------


def test_shared_data_is_warned_of(client_of: Any, fake: FakeBedrock) -> None:
    fake.retention = "provider_data_share"
    with pytest.warns(AdaptkitWarning, match="provider_data_share"):
        client_of().submit("t", Dataset.of(ROWS))


def test_who_may_not_ask_for_retention_may_submit(client_of: Any, fake: FakeBedrock) -> None:
    fake.wire.next("preflight", "forbidden")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdaptkitWarning)
        client_of().submit("t", Dataset.of(ROWS))
    assert len(fake.jobs.all) == 1


def test_the_end_of_a_models_life(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    assert ours.shutdown_date("amazon.nova-lite-v1:0:300k") is None
    fake.end_of_life = "2027-02-03T00:00:00Z"
    tuned = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0:300k/abcdefabcdef"
    assert ours.shutdown_date(tuned) == date(2027, 2, 3)
    assert fake.wire.asked[-1][1].matched["id"] == "amazon.nova-lite-v1:0:300k"
    asked = len(fake.wire.asked)
    assert ours.shutdown_date("arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefabcdef") is None
    assert ours.shutdown_date("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefabcdef") is None
    assert len(fake.wire.asked) == asked


def test_inventory_and_deleting(client_of: Any, fake: FakeBedrock, tmp_path: Path) -> None:
    model = client_of(epochs=2, learning_rate=1e-5).submit("t", Dataset.of(ROWS)).result()
    ours = adapter(fake, tmp_path)
    owned = ours.inventory()
    recipe = owned.jobs[0].recipe
    assert recipe == {
        "backend": "bedrock", "model": "amazon.nova-lite-v1:0:300k", "method": "sft", "epochs": 2,
        "learning_rate": 1e-5,
    }  # fmt: skip
    again = config(fake, **recipe)
    assert (again.epochs, again.learning_rate) == (2, 1e-5)
    assert [found.id for found in owned.models] == [model.id]
    (file,) = owned.files
    assert file.bytes == len(fake.objects[file.id.removeprefix("s3://")])
    assert ours.has_upload(file.id)
    for _ in range(2):
        ours.delete_data(file.id)
        ours.delete_model(model.id)
    assert not ours.has_upload(file.id)
    assert ours.inventory().models == ours.inventory().files == ()


@pytest.mark.parametrize("fault", ["truncated", "html"])
def test_half_a_list_is_no_short_list(client_of: Any, fake: FakeBedrock, tmp_path: Path, fault: str) -> None:
    client_of().submit("t", Dataset.of(ROWS))
    fake.wire.next("inventory", fault)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="no JSON"):
        adapter(fake, tmp_path).inventory()


def test_the_account_is_the_roles(fake: FakeBedrock, tmp_path: Path) -> None:
    assert adapter(fake, tmp_path).account == "123456789012/us-east-1/our-data/adaptkit"


def test_a_target_moves_to_another_host_without_what_is_bedrocks_own(fake: FakeBedrock) -> None:
    moved = translate(config(fake, epochs=2, aws_profile="p", name="desk"), "scripted")
    assert moved.table == {"backend": "scripted", "epochs": 2, "name": "desk"}


@pytest.mark.parametrize("changes", [{"role_arn": "arn:aws:iam::role/none"}, {"bucket": "Upper"}, {"region": "x y"},
                                     {"endpoints": {"s3": "http://s3.example.com"}}, {"method": "dpo"}])  # fmt: skip
def test_what_cannot_be_is_refused_by_the_configuration(fake: FakeBedrock, changes: dict[str, Any]) -> None:
    from adaptkit.config import target

    with pytest.raises(ConfigError):
        target("t", {**json.loads(bedrock(fake).model_dump_json()), **changes})


def test_a_key_that_is_not_known(fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    from adaptkit.errors import AuthenticationError

    with pytest.raises(AuthenticationError):
        adapter(fake, tmp_path).poll("arn:aws:bedrock:us-east-1:123456789012:model-customization-job/a.b/abcdefabcdef")
    fake.wire.next("poll", "forbidden")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    with pytest.raises(PermissionDeniedError) as caught:
        adapter(fake, tmp_path).poll("arn:aws:bedrock:us-east-1:123456789012:model-customization-job/a.b/abcdefabcdef")
    assert caught.value.request_id == "request-1"


def test_chat_needs_no_custom_model(fake: FakeBedrock, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        adapter(fake, tmp_path).chat("no-such-model", (Message(role="user", content="Hello?"),), ChatOptions())

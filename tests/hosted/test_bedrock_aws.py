"""How AWS is asked: where requests go, what is never followed, what each error means, what comes out nowhere."""

from __future__ import annotations

import logging
import pickle
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.stub import Stubber

from adaptkit import Client, Dataset, Message
from adaptkit.adapter import ChatOptions, Context, DataFile
from adaptkit.backends.bedrock import BedrockAdapter, BedrockConfig, aws, storage
from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    ConfigError,
    ConnectionFailedError,
    EgressError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServiceError,
)
from adaptkit.http import Egress
from adaptkit.testing import FakeBedrock, FakeClock
from adaptkit.testing.watch import watched
from adaptkit.testing.wire import Answer, Asked, Route, Wire
from tests.hosted.conftest import ROWS
from tests.hosted.hosts import AWS, KEY, bedrock

JOB = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-lite-v1:0/abcdefabcdef"
SECRETS = [value for name, value in AWS.items() if not name.endswith("FILE")]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fake() -> Iterator[FakeBedrock]:
    service = FakeBedrock(KEY)
    yield service
    service.close()


def adapter(fake: FakeBedrock, home: Path, egress: object = None, **changes: Any) -> BedrockAdapter:
    config = BedrockConfig(**{**bedrock(fake).model_dump(), **changes})
    return BedrockAdapter(config, Context(home, Egress.parse(egress)))  # type: ignore[arg-type]


# where requests go ----------------------------------------------------------------------------------------------------


def test_the_bucket_is_a_host_of_its_own(fake: FakeBedrock, tmp_path: Path) -> None:
    assert adapter(fake, tmp_path, endpoints={}).destinations == (
        "bedrock.us-east-1.amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com",
        "our-data.s3.us-east-1.amazonaws.com",
    )
    assert "s3.us-east-1.amazonaws.com" in adapter(fake, tmp_path, endpoints={}, bucket="our.data").destinations
    assert adapter(fake, tmp_path).destinations == (), "what stays on this machine goes nowhere"


@pytest.mark.parametrize("bucket", ["our-data", "our.data"])
def test_requests_go_where_destinations_say(
    fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    asked: list[str] = []

    def elsewhere(self: Egress, hosts: Any, who: str) -> None:
        asked.extend(hosts)
        raise EgressError("not from here")

    monkeypatch.setattr(Egress, "require", elsewhere)
    ours = adapter(fake, tmp_path, endpoints={}, bucket=bucket)
    for ask in (
        lambda: ours.poll(JOB),
        lambda: list(ours.stream("m.m", [Message(role="user", content="a")], ChatOptions())),
        lambda: ours.has_upload(f"s3://{bucket}/key"),
        lambda: ours._storage.listed(None),
    ):
        with pytest.raises(EgressError):
            ask()
    assert tuple(dict.fromkeys(asked)) == ours.destinations


def test_the_policy_holds_on_every_request(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path, ["bedrock.us-east-1.amazonaws.com"], endpoints={"bedrock": fake.wire.url})
    with watched() as seen:
        with pytest.raises(EgressError, match=r"our-data\.s3"):
            ours.has_upload("s3://our-data/key")
        with pytest.raises(EgressError, match="bedrock-runtime"):
            ours.chat("m.m", [Message(role="user", content="a")], ChatOptions())
        with pytest.raises(NotFoundError):
            ours.poll(JOB)
    assert not seen.remote


def test_a_role_that_must_be_assumed_is_asked_under_the_policy(
    fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "config"
    profile.write_text(
        "[profile ours]\nrole_arn = arn:aws:iam::123456789012:role/other\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    with watched() as seen, pytest.raises(EgressError, match="sts"):
        adapter(fake, tmp_path, "none", aws_profile="ours").poll(JOB)
    assert not seen.remote


def test_the_metadata_service_is_not_asked_where_the_policy_forbids_it(
    fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "1")
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")
    with watched() as seen, pytest.raises(ConfigError, match="credentials"):
        adapter(fake, tmp_path, "none").poll(JOB)
    assert not seen.remote
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake.wire.elsewhere)  # this machine is no egress
    with pytest.raises(ConfigError):
        adapter(fake, tmp_path, "none").poll(JOB)
    assert fake.wire.leaked, "it is asked where the policy allows it, so the test above can fail"


def test_the_environment_leads_nowhere_else(fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
                 "AWS_ENDPOINT_URL_BEDROCK"):  # fmt: skip
        monkeypatch.setenv(name, fake.wire.elsewhere)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    ours = adapter(fake, tmp_path)
    ours.upload(ours.prepare(Dataset.of(ROWS)).files[0])
    fake.wire.next("poll", "failed")
    with pytest.raises(ServiceError):
        ours.poll(JOB)
    assert fake.wire.count()["poll"] == 1, "retried behind our back"
    assert fake.wire.leaked == []
    assert "/us-east-1/" in fake.wire.asked[-1][1].headers["authorization"]


def test_what_is_signed_is_what_is_sent(fake: FakeBedrock, tmp_path: Path) -> None:
    """By a second signature over what arrived: one sign that the transport writes otherwise, and AWS refuses."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = Credentials(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"], AWS["AWS_SESSION_TOKEN"])
    ours = adapter(fake, tmp_path, prefix="a!_*'().-b/c", epochs=2)
    plan = ours.prepare(Dataset.of(ROWS))
    job = ours.submit(plan, {"train": ours.upload(plan.files[0])}, "TAG").job_id
    ours.poll(job)
    ours.inventory()
    checked = 0
    for _, asked in fake.wire.asked:
        given = asked.headers["authorization"]
        service = given.split("/")[3]
        signer: Any = (S3SigV4Auth if service == "s3" else SigV4Auth)(keys, service, "us-east-1")
        names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        query = "&".join(
            f"{name}={quote(value, safe='-_.~')}" for name, values in asked.query.items() for value in values
        )
        url = fake.wire.url + asked.path + (f"?{query}" if query else "")
        again = AWSRequest(asked.method, url, {name: asked.headers[name] for name in names}, asked.content())
        again.context["timestamp"] = asked.headers["x-amz-date"]
        text = signer.string_to_sign(again, signer.canonical_request(again))
        assert given.endswith(f"Signature={signer.signature(text, again)}"), asked.path
        checked += 1
    assert checked >= 6


def test_nobody_there(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    fake.close()
    with pytest.raises(ConnectionFailedError) as caught:
        ours.poll(JOB)
    assert caught.value.never_ran


@pytest.mark.parametrize(
    ("status", "code", "extra"),
    [
        (301, "PermanentRedirect", "<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>"),
        (307, "TemporaryRedirect", "<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>"),
        (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
        (400, "IllegalLocationConstraintException", ""),
    ],
)
def test_s3_does_not_lead_to_another_region(
    fake: FakeBedrock, tmp_path: Path, status: int, code: str, extra: str
) -> None:
    def refuse(asked: Asked) -> Answer:
        body = f"<Error><Code>{code}</Code><Message>no</Message>{extra}</Error>"
        return Answer(body.encode(), status, {"Content-Type": "application/xml", "x-amz-bucket-region": "eu-west-1"})

    s3 = Wire([Route("HEAD", "/{key*}", "head", lambda _: Answer(b"", 404)), Route("PUT", "/{key*}", "put", refuse)])
    try:
        ours = adapter(fake, tmp_path, endpoints={"s3": s3.url, "bedrock": fake.wire.url})
        with pytest.raises(BackendError, match="region") as caught:
            ours.upload(ours.prepare(Dataset.of(ROWS)).files[0])
        assert not caught.value.transient
        assert s3.count() == {"head": 1, "put": 1}
    finally:
        s3.close()


# what errors mean -----------------------------------------------------------------------------------------------------

CODES = [
    ("ThrottlingException", 429, RateLimitError),
    ("AccessDeniedException", 403, PermissionDeniedError),
    ("ExpiredTokenException", 403, AuthenticationError),
    ("UnrecognizedClientException", 403, AuthenticationError),
    ("ResourceNotFoundException", 404, NotFoundError),
    ("ServiceQuotaExceededException", 400, QuotaError),
    ("TooManyTagsException", 400, QuotaError),
    ("ConflictException", 400, ServiceError),
    ("ResourceInUseException", 400, ServiceError),
    ("InternalServerException", 500, ServiceError),
    ("ServiceUnavailableException", 503, ServiceError),
    ("ValidationException", 400, BackendError),
    ("SomethingNew", 400, BackendError),
    ("SomethingNew", 401, AuthenticationError),
    ("SomethingNew", 503, ServiceError),
    ("SomethingNew", 429, RateLimitError),
]


@pytest.mark.parametrize(("code", "status", "kind"), CODES, ids=[f"{code}-{status}" for code, status, _ in CODES])
def test_what_an_error_means(
    fake: FakeBedrock, tmp_path: Path, code: str, status: int, kind: type[BackendError]
) -> None:
    ours = adapter(fake, tmp_path)
    client = ours._aws._client("bedrock")
    with Stubber(client) as stub:
        stub.add_client_error(
            "get_model_customization_job", code, "the service's words", status, response_meta={"RequestId": "r-1"}
        )
        with pytest.raises(BackendError) as caught:
            ours.poll(JOB)
    error = caught.value
    assert type(error) is kind
    assert "the service's words" in str(error)
    assert code in str(error)
    assert (error.backend, error.status_code, error.request_id) == ("bedrock", status, "r-1")
    assert error.__cause__ is None
    assert type(pickle.loads(pickle.dumps(error))) is kind


def test_errors_inside_a_stream_begin_in_lower_case() -> None:
    from botocore.exceptions import EventStreamError

    from adaptkit.backends.bedrock.faults import translation

    error = EventStreamError({"Error": {"Code": "throttlingException", "Message": "slower"}}, "ConverseStream")
    assert type(translation(error, [])) is RateLimitError


def test_a_service_that_is_gone(fake: FakeBedrock, tmp_path: Path) -> None:
    fake.wire.next("poll", "gone")
    with pytest.raises(BackendRetiredError):
        adapter(fake, tmp_path).poll(JOB)


@pytest.mark.parametrize("profile", ["no-such-profile", None])
def test_no_credentials(
    fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str | None
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=profile or "credentials"):
        adapter(fake, tmp_path, "none", aws_profile=profile).poll(JOB)
    assert fake.wire.asked == []


# the shapes of the service model --------------------------------------------------------------------------------------


def test_every_field_has_the_service_models_shape(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(
        fake, tmp_path, method="rft", epochs=2, learning_rate=1e-6, batch_size=16, kms_key_id="alias/ours",
        vpc={"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}, tags={"team": "desk"},
        rft={"grader": "arn:aws:lambda:us-east-1:123456789012:function:g", "samples_per_prompt": 2,
             "max_prompt_tokens": 100, "max_answer_tokens": 100, "reasoning_effort": "high", "eval_interval": 10},
    )  # fmt: skip
    plan = ours.prepare(Dataset.of(ROWS))
    with Stubber(ours._aws._client("bedrock")) as stub:
        stub.add_response("create_model_customization_job", {"jobArn": JOB})
        heard = ours.submit(plan, {"train": "s3://our-data/a", "validation": "s3://our-data/b"}, "T" * 26)
        stub.assert_no_pending_responses()
    assert (heard.job_id, heard.tag) == (JOB, "T" * 26)


def test_an_answer_without_what_it_must_have_is_no_answer(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    plan = ours.prepare(Dataset.of(ROWS))
    ours._aws._client("bedrock").meta.events.register("before-call", lambda **_: (_Ok(), {}))
    with pytest.raises(ServiceError, match="without jobArn"):
        ours.submit(plan, {"train": "s3://our-data/a"}, "T" * 26)


class _Ok:
    status_code = 200


# data -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PART", 1000)


def plan_of(ours: BedrockAdapter, rows: int) -> DataFile:
    return ours.prepare(Dataset.of(ROWS * rows)).files[0]


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_goes_in_parts(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    file = plan_of(ours, 4)
    file_id = ours.upload(file)
    import hashlib

    content = fake.objects[file_id.removeprefix("s3://")]
    assert hashlib.sha256(content).hexdigest() == file.sha256
    puts = [asked for _, asked in fake.wire.asked if asked.method == "PUT"]
    assert len(puts) == -(-file.size // 1000)
    assert {len(asked.content()) for asked in puts[:-1]} == {1000}
    assert all(asked.headers["x-amz-expected-bucket-owner"] == "123456789012" for _, asked in fake.wire.asked)
    asked = len(fake.wire.asked)
    assert ours.upload(file) == file_id
    assert len(fake.wire.asked) == asked + 1, "what is there was sent again"


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("fault", ["failed", "forbidden", "lost"])
def test_what_cannot_be_finished_leaves_nothing(fake: FakeBedrock, tmp_path: Path, fault: str) -> None:
    ours = adapter(fake, tmp_path)
    file = plan_of(ours, 4)
    asked = fake.wire.asked
    begin = ours._storage.put_part

    def part(*arguments: Any, **settings: Any) -> Any:
        if settings["PartNumber"] == 2:
            fake.wire.next("upload", fault)  # type: ignore[arg-type]
        return begin(*arguments, **settings)

    ours._storage.put_part = part  # type: ignore[method-assign]
    with pytest.raises(BackendError):
        ours.upload(file)
    assert asked[-1][1].method == "DELETE"
    assert fake._parts == {}
    assert fake.objects == {}


def test_where_looking_is_not_allowed_it_is_sent(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    fake.wire.next("has_upload", "forbidden")
    assert ours.upload(plan_of(ours, 1)).startswith("s3://our-data/adaptkit/data/")
    assert len(fake.objects) == 1


def test_a_large_file_is_never_whole_in_memory(fake: FakeBedrock, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"a"}]}\n' % ("x" * 10_000)
    with rows.open("w") as out:
        for _ in range(6000):
            out.write(line)
    ours = adapter(fake, tmp_path)
    file = DataFile.of("train", Dataset.open(rows), "bedrock")
    assert file.size > 6 * storage.PART
    fake.wire._lock.acquire()  # the fake keeps what it gets: let the parts go nowhere
    fake.wire._lock.release()
    ours._storage.put_part = lambda content, **where: {"ETag": "e", "PartNumber": where["PartNumber"]}  # type: ignore[method-assign]
    parts = storage._Parts(ours._storage, "key", "upload", storage.PART)
    tracemalloc.start()
    try:
        file.data.write(parts, file.format)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parts.finished()) == -(-file.size // storage.PART)
    assert peak < 4 * storage.PART, f"{peak / 1e6:.0f} MB"


# what comes out nowhere -----------------------------------------------------------------------------------------------


def test_neither_credentials_nor_prompts_come_out(
    fake: FakeBedrock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = bedrock(fake)
    said = []
    with Client(targets={"t": config}, home=tmp_path, clock=FakeClock(time.time())) as client:
        plan = client.plan("t", Dataset.of([*ROWS, {"messages": [{"role": "user", "content": "canary-row-5e0c1c"},
                                                                {"role": "assistant", "content": "!"}]}]))  # fmt: skip
        job = client.submit("t", Dataset.of(ROWS))
        model = job.result()
        list(job.events())
        with model.deploy(confirm_spend=True) as deployment:
            deployment.chat("canary-prompt-90aa1b")
            list(deployment.stream("canary-prompt-90aa1b"))
            fake.wire.next("chat", "failed")
            with pytest.raises(BackendError) as caught:
                deployment.chat("canary-prompt-90aa1b")
            said += [repr(caught.value), str(caught.value)]
        adapter_ = client._target("t")
        said += [repr(plan), repr(job), str(job.ref), repr(model), repr(config), repr(adapter_)]
    journal = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file()).decode(errors="replace")
    places = {"a repr": "\n".join(said), "the log": caplog.text, "the journal": journal}
    for secret in [*SECRETS, "canary-row-5e0c1c", "canary-prompt-90aa1b", "aws4_request"]:
        assert [place for place, text in places.items() if secret in text] == [], secret
    assert any(asked.headers.get("x-amz-security-token") == AWS["AWS_SESSION_TOKEN"] for _, asked in fake.wire.asked)


def test_a_service_that_repeats_what_was_sent(fake: FakeBedrock, tmp_path: Path) -> None:
    def echo(asked: Asked) -> Answer:
        words = f"the canonical request should have been {asked.headers['x-amz-security-token']} "
        words += f"{asked.headers['authorization']} {asked.content().decode()}"
        return Answer({"message": words}, 403, {"x-amzn-ErrorType": "InvalidSignatureException"})

    wire = Wire([Route("POST", "/model/{id}/converse", "chat", echo), Route("GET", "/{any*}", "poll", echo)])
    shown = ""
    try:
        ours = adapter(fake, tmp_path, endpoints={"runtime": wire.url, "bedrock": wire.url})
        for ask in (
            lambda: ours.poll(JOB),
            lambda: ours.chat("m.m", [Message(role="user", content="canary-prompt-90aa1b and more")], ChatOptions()),
        ):
            with pytest.raises(AuthenticationError) as caught:
                ask()
            error = caught.value
            shown += f"{error!s} {error!r} {error.__cause__!r} {error.__context__!r} {pickle.dumps(error)!r}"
    finally:
        wire.close()
    assert "the canonical request" in shown
    for secret in [*SECRETS, "canary-prompt-90aa1b"]:
        assert secret not in shown


def test_others_keep_their_logs(fake: FakeBedrock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotFoundError):
        adapter(fake, tmp_path).poll(JOB)
    assert not [record for record in caplog.records if record.name.startswith("botocore") and record.levelno < 20]
    logging.getLogger("botocore.endpoint").debug("somebody else's")
    assert "somebody else's" in caplog.text


def test_boto3_is_an_extra(fake: FakeBedrock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from adaptkit.errors import MissingDependencyError

    for name in ("boto3", "boto3.session"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[bedrock\]"):
        adapter(fake, tmp_path).poll(JOB)


def test_closing_lets_go(fake: FakeBedrock, tmp_path: Path) -> None:
    ours = adapter(fake, tmp_path)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            ours.poll(JOB)
        ours.close()
    assert isinstance(ours._aws, aws.Aws)

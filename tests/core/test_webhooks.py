"""Deliveries: verified as the senders' own library does, told apart, and only ever the cause of a poll."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import Client, Dataset, Status
from adaptkit.errors import AuthenticationError, BackendError, ConfigError
from adaptkit.job import Job
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from adaptkit.webhooks import TOLERANCE, Receiver, sign, verify

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()
ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
    for n in range(12)
]
Running = tuple[Client, ScriptedService, Job, Receiver, FakeClock]
EXAMPLES = Path(__file__).parents[2] / "examples"


def delivery(job_id: str, at: float, delivery_id: str = "wh_1") -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"id": "evt_1", "type": "fine_tuning.job.succeeded", "data": {"id": job_id}}).encode()
    return body, {
        "Webhook-Id": delivery_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": f"v1,AAAA {sign(SECRET, delivery_id, int(at), body)}",
    }


@settings(deadline=None)  # the first example imports the library
@given(
    key=st.binary(min_size=1),
    delivery_id=st.text("abc_123", min_size=1),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_what_is_signed_here_is_accepted_by_the_senders_own_library(key: bytes, delivery_id: str, text: str) -> None:
    theirs = pytest.importorskip("openai").OpenAI(api_key="none").webhooks
    secret, at = "whsec_" + base64.b64encode(key).decode(), int(time.time())
    headers = {"webhook-id": delivery_id, "webhook-timestamp": str(at)}
    headers["webhook-signature"] = sign(secret, delivery_id, at, text.encode())
    theirs.verify_signature(text, headers, secret=secret)
    with pytest.raises(ValueError, match="signature"):
        theirs.verify_signature(text + "x", headers, secret=secret)


@given(place=st.integers(0, 2000), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, flip: int) -> None:
    body, headers = delivery("job-1", 1000)
    assert verify(SECRET, headers, body, 1000).data == {"id": "job-1"}
    changed = bytearray(body)
    changed[place % len(body)] ^= flip
    with pytest.raises(AuthenticationError):
        verify(SECRET, headers, bytes(changed), 1000)


@pytest.mark.parametrize("wrong", ["webhook-signature", "webhook-timestamp", "Webhook-Id"])
def test_a_missing_header_is_refused(wrong: str) -> None:
    body, headers = delivery("job-1", 1000)
    del headers[wrong]
    with pytest.raises(AuthenticationError):
        verify(SECRET, headers, body, 1000)


@pytest.mark.parametrize("now", [1000 - TOLERANCE - 1, 1000 + TOLERANCE + 1])
def test_old_deliveries_and_wrong_clocks_are_refused(now: float) -> None:
    body, headers = delivery("job-1", 1000)
    with pytest.raises(AuthenticationError, match="too old"):
        verify(SECRET, headers, body, now)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", "ü"])
def test_a_secret_that_is_none_is_a_mistake_of_ours_and_not_shown(secret: str) -> None:
    body, headers = delivery("job-1", 1000)
    with pytest.raises(ConfigError) as caught:
        verify(secret, headers, body, 1000)
    assert "base64" in str(caught.value)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    service, clock = ScriptedService(), FakeClock()
    config = ScriptedConfig(service=service.name, states=("running", "succeeded"))
    client = Client(targets={"t": config}, home=tmp_path, clock=clock)
    job = client.submit("t", Dataset.of(ROWS))
    return client, service, job, Receiver(client, "scripted", "HOOK_SECRET", clock), clock


def test_a_delivery_wakes_one_poll_and_the_same_again_none(
    running: Running,
) -> None:
    client, service, job, receiver, clock = running
    body, headers = delivery(job.id, clock.time())
    before = service.requests()["poll"]
    heard = receiver.handle(body, headers)
    assert heard is not None
    assert heard.status is Status.SUCCEEDED
    assert receiver.handle(body, headers) is None
    assert service.requests()["poll"] == before + 1
    client.close()


def test_a_forged_delivery_costs_no_request(
    running: Running,
) -> None:
    client, service, job, receiver, clock = running
    body, headers = delivery(job.id, clock.time())
    before = service.requests()["poll"]
    with pytest.raises(AuthenticationError):
        receiver.handle(body + b" ", headers)
    assert receiver.handle(*delivery("somebody-elses", clock.time(), "wh_2")) is None
    assert service.requests()["poll"] == before
    client.close()


def test_a_poll_that_failed_is_tried_again_with_the_next_delivery(
    running: Running,
) -> None:
    client, service, job, receiver, clock = running
    service.next("poll", "broken")
    body, headers = delivery(job.id, clock.time())
    with pytest.raises(BackendError):
        receiver.handle(body, headers)
    heard = receiver.handle(body, headers)
    assert heard is not None
    assert heard.status is Status.SUCCEEDED
    client.close()


def test_the_example_answers_over_a_real_socket(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    service = ScriptedService(tmp_path / "service.db")
    config = ScriptedConfig(service=service.name, states=("running", "succeeded"))
    with Client(targets={"t": config}, home=tmp_path / "home") as client:
        job = client.submit("t", Dataset.of(ROWS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "ADAPTKIT_HOME": str(tmp_path / "home"), "OPENAI_WEBHOOK_SECRET": SECRET,
                   "WEBHOOK_BACKEND": "scripted"}  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "webhook_app:app", "--port", str(port), "--log-level", "error"],
        cwd=EXAMPLES,
        env=environment,
    )
    try:
        body, headers = delivery(job.id, time.time())
        answer = _post(f"http://127.0.0.1:{port}/", body, headers)
        assert (answer.status_code, answer.text) == (200, f"{job.id} succeeded")
        forged = _post(f"http://127.0.0.1:{port}/", body, {**headers, "webhook-signature": "v1,AAAA"})
        assert forged.status_code == 400
    finally:
        server.kill()
        server.wait()


def _post(url: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    for _ in range(100):
        try:
            return httpx2.post(url, content=body, headers=headers)
        except httpx2.ConnectError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")

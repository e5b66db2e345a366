"""The egress rule at the transport: a host that is not allowed sees no connection.

``0.0.0.0`` is this machine to the kernel and another host to the policy, so a socket that listens here can bear
witness without any other machine.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import anyio
import httpx2
import pytest

from adaptkit import Client, ConnectionFailedError, Dataset, EgressError, ModelRef, ServiceError
from adaptkit.backends.local_jobs.job import OFFLINE, environment
from adaptkit.http import Egress, async_client, client, translating
from adaptkit.testing.watch import watched

SOON = httpx2.Timeout(2.0)


class Witness:
    """Counts connections, and closes each."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("0.0.0.0", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def witness() -> Iterator[Witness]:
    witness = Witness()
    yield witness
    witness.close()


def ask(egress: Egress, url: str) -> None:
    with client(egress, SOON) as http, translating("test"):
        http.post(url, content=b"rows")


def test_a_host_outside_the_policy_sees_no_connection(witness):
    url = f"http://0.0.0.0:{witness.port}/"
    for egress in (Egress.parse("none"), Egress.parse(["api.example.com"])):
        with watched() as seen, pytest.raises(EgressError, match=r"0\.0\.0\.0"):
            ask(egress, url)
        assert not seen.outside, "not even a name was looked up"
    assert witness.connections == 0
    with pytest.raises(ServiceError):  # the witness closes what it accepts
        ask(Egress.parse(["0.0.0.0"]), url)
    assert witness.connections == 1, "an allowed host is reached, so the witness can see"


def test_no_name_is_looked_up_for_a_host_outside_the_policy():
    with watched() as seen, pytest.raises(EgressError):
        ask(Egress.parse("none"), "https://data-in-a-name.example.com/")
    assert not seen.outside


def test_the_asynchronous_client_keeps_the_rule_too(witness):
    async def ask_async(egress: Egress) -> None:
        async with async_client(egress, SOON) as http:
            with translating("test"):
                await http.post(f"http://0.0.0.0:{witness.port}/", content=b"rows")

    with pytest.raises(EgressError):
        anyio.run(ask_async, Egress.parse("none"))
    assert witness.connections == 0
    with pytest.raises(ServiceError):
        anyio.run(ask_async, Egress())
    assert witness.connections == 1


def test_a_redirect_out_of_the_policy_is_not_followed(witness):
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(307, headers={"Location": f"http://0.0.0.0:{witness.port}/"})

    with client(Egress.parse(["api.example.com"]), SOON, httpx2.MockTransport(answer)) as http:
        assert http.post("https://api.example.com/", content=b"rows").status_code == 307
    assert witness.connections == 0


def test_a_backend_is_refused_when_planning_and_when_answering(witness, tmp_path, monkeypatch):
    monkeypatch.setenv("SERVICE_KEY", "sk-some-key")
    url = f"https://0.0.0.0:{witness.port}/v1"
    targets = {"t": {"backend": "prompt", "model": "m", "base_url": url, "api_key_env": "SERVICE_KEY"}}
    data = Dataset.of([{"prompt": f"q{n}", "completion": "a"} for n in range(4)])
    for egress in ("none", ["api.example.com"]):
        with Client(targets=targets, home=tmp_path / "refused", egress=egress) as client_:
            for act in (client_.plan, client_.submit):
                with pytest.raises(EgressError, match=r"0\.0\.0\.0"):
                    act("t", data)
    assert not (tmp_path / "refused" / "prompt").exists()
    with Client(targets=targets, home=tmp_path) as client_:
        model = client_.submit("t", data).result()
        assert witness.connections == 0, "submitting a prompt sends nothing"
        with pytest.raises(ConnectionFailedError):  # a connection, and no TLS on it
            model.chat("q")
        assert witness.connections == 1
    with Client(targets=targets, home=tmp_path, egress="none") as client_, pytest.raises(EgressError):
        client_.model(ModelRef(backend="prompt", id=model.id, target="t")).chat("q")
    assert witness.connections == 1


def test_a_file_s_policy_is_narrowed_by_code_and_never_widened(tmp_path):
    file = tmp_path / "adaptkit.toml"
    table = '[targets.t]\nbackend = "prompt"\nmodel = "m"\nbase_url = "https://b.test/v1"\napi_key_env = "KEY"\n'
    file.write_text(f'[policy]\negress = ["a.test"]\n{table}')
    data = Dataset.of([{"prompt": "q", "completion": "a"}])
    for egress in (None, ["b.test"], ["a.test", "b.test"]):
        with Client(file, home=tmp_path / "home", egress=egress) as client_, pytest.raises(EgressError):
            client_.plan("t", data)


def test_a_worker_under_none_is_told_to_stay_offline():
    offline = environment({"WANDB_MODE": "online"}, offline=True)
    assert offline["HF_HUB_OFFLINE"] == offline["TRANSFORMERS_OFFLINE"] == offline["HF_DATASETS_OFFLINE"] == "1"
    assert offline["WANDB_MODE"] == "disabled"
    assert offline["HF_HUB_DISABLE_TELEMETRY"] == environment({}, offline=False)["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert not OFFLINE.keys() & environment({}, offline=False).keys()

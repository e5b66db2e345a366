"""The egress rule and the one transport, over real sockets: nothing goes where it may not, redirects lead nowhere."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx2
import pytest

from adaptkit import Client, ConfigError, EgressError
from adaptkit.http import Egress, async_client, client, loopback
from adaptkit.testing.watch import watched
from tests.core.conftest import data

SECRET = b"a training file that stays where it was sent"


@contextmanager
def server(status=200, location=None):
    """A real HTTP server; gives its address and the bodies that it was sent."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.send_header("content-length", "0")
            self.end_headers()

        do_CONNECT = do_POST  # noqa: N815 - the server's own spelling

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", received
    finally:
        httpd.shutdown()
        httpd.server_close()


def post(url, egress, colour, **options):
    if colour == "sync":
        with client(egress) as sender:
            return sender.post(url, content=SECRET, **options)

    async def send():
        async with async_client(egress) as sender:
            return await sender.post(url, content=SECRET, **options)

    return anyio.run(send)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_carry_the_data_on(colour, status):
    with server() as (elsewhere, stolen), server(status, f"{elsewhere}/x") as (url, received):
        assert post(url, Egress(), colour).status_code == status
    assert received == [SECRET]
    assert stolen == []


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_even_a_redirect_that_is_asked_for_is_under_the_policy(colour):
    with (
        server(307, "http://example.com/x") as (url, _),
        watched() as seen,
        pytest.raises(EgressError, match=r"example\.com"),
    ):
        post(url, Egress(frozenset()), colour, follow_redirects=True)
    assert not seen.remote


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("policy", ["none", ["api.example.com"]])
def test_a_host_that_is_not_allowed_is_not_even_looked_up(colour, policy):
    with watched() as seen, pytest.raises(EgressError, match=r"example\.org") as caught:
        post("http://example.org/v1", Egress.parse(policy), colour)
    assert isinstance(caught.value, PermissionError)
    assert not seen.remote


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_this_machine_is_always_allowed(colour):
    with server() as (url, received):
        assert post(url, Egress.parse("none"), colour).status_code == 200
    assert received == [SECRET]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_proxy_in_the_environment_gets_nothing(colour, monkeypatch):
    with server() as (proxy, stolen), server() as (url, received):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        post(url, Egress(), colour)
    assert received == [SECRET]
    assert stolen == []


def test_time_outs_are_set():
    with client(Egress()) as sender:
        assert None not in (sender.timeout.connect, sender.timeout.read, sender.timeout.write, sender.timeout.pool)
    with client(Egress()) as sender, pytest.raises(httpx2.ConnectError):
        sender.get("http://127.0.0.1:1/")


@pytest.mark.parametrize("value", ["all", "NONE", ["https://api.example.com"], ["*.example.com"],
                                   ["api.example.com:443"], [""], ["a b"], ["user@host"]])  # fmt: skip
def test_what_is_no_policy(value):
    with pytest.raises(ConfigError):
        Egress.parse(value)


def test_what_a_policy_allows():
    egress = Egress.parse(["API.example.com", "::2"])
    assert egress.allows("api.EXAMPLE.com")
    assert egress.allows("::2")
    assert not egress.allows("example.com")
    assert not egress.allows("api.example.com.evil.org")
    assert not egress.offline
    assert Egress.parse("none").offline
    assert Egress.parse([]).offline
    assert Egress().allows("anywhere.example")


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("10.0.0.1", False),
     ("localhost.example.com", False), ("127.0.0.1.nip.io", False), ("0.0.0.0", False), ("169.254.169.254", False)],
)  # fmt: skip
def test_what_is_this_machine(host, local):
    assert loopback(host) is local


@pytest.mark.parametrize("verb", ["plan", "submit"])
def test_a_backend_is_refused_by_what_it_declares(open_client, service, verb):
    refused = open_client(hosts=("api.example.com",), client={"egress": "none"})
    with pytest.raises(EgressError, match=r"api\.example\.com"):
        getattr(refused, verb)("t", data())
    assert not service.requests()
    allowed = open_client(hosts=("api.example.com",), client={"egress": ["api.example.com"]})
    getattr(allowed, verb)("t", data())


def test_the_policy_of_the_file_can_be_narrowed_and_not_widened(tmp_path, service):
    file = tmp_path / "adaptkit.toml"
    file.write_text(
        '[policy]\negress = ["a.example", "b.example"]\n'
        f'[targets.a]\nbackend = "scripted"\nservice = "{service.name}"\nhosts = ["a.example"]\n'
        f'[targets.c]\nbackend = "scripted"\nservice = "{service.name}"\nhosts = ["c.example"]\n'
    )
    for egress, allowed in {None: "a", "none": "", "a.example": "a", "c.example": ""}.items():
        policy = [egress] if egress and "." in egress else egress
        with Client(file, egress=policy, home=tmp_path) as opened:
            for target in "ac":
                if target == allowed:
                    opened.plan(target, data())
                else:
                    with pytest.raises(EgressError):
                        opened.plan(target, data())


def test_coming_back_to_a_job_is_under_the_policy_too(open_client, service):
    job = open_client(hosts=("api.example.com",)).submit("t", data())
    before = service.requests()
    offline = open_client(hosts=("api.example.com",), client={"egress": "none"})
    with pytest.raises(EgressError):
        offline.attach(str(job.ref)).refresh()
    assert service.requests() == before

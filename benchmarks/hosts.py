"""Hosts that the benchmarks ask, each with its fake in a process of its own and the same poll without adaptkit.

A host is a line in `HOSTS`. ``minimal`` is the least that a hosted backend can be: `Rest` over the one HTTP stack.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

import httpx2
import msgspec

from adaptkit import Client, Dataset, registry
from adaptkit.adapter import Adapter, BackendConfig, Context, DataFile, Guarantee, Plan
from adaptkit.backends.rest import Rest, account_of, segment
from adaptkit.http import client
from adaptkit.testing import FakeOpenAI, FakeTogether, wire
from adaptkit.testing.wire import Answer, Asked, Jobs, Route, Wire
from adaptkit.types import Snapshot, Status

KEY_ENV, KEY = "ADAPTKIT_BENCH_KEY", "sk-for-benchmarks"


class MinimalConfig(BackendConfig):
    backend: Literal["minimal"] = "minimal"
    base_url: str
    model: str = "base"


class Minimal(Adapter[MinimalConfig]):
    backend: ClassVar[str] = "minimal"
    config_type: ClassVar[type[BackendConfig]] = MinimalConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"

    def __init__(self, config: MinimalConfig, context: Context) -> None:
        super().__init__(config, context)
        self._http = client(context.egress)
        self._rest = Rest(self._http, config.base_url, KEY_ENV, self.backend)

    @property
    def account(self) -> str:
        return account_of(self.config.base_url, os.environ.get(KEY_ENV, ""))

    @property
    def destinations(self) -> tuple[str, ...]:
        return (urlsplit(self.config.base_url).hostname or "",)

    def upload(self, file: DataFile) -> str:
        with tempfile.NamedTemporaryFile() as converted:
            file.data.write(converted, file.format)
            converted.flush()
            answer = self._rest.put_file(f"{self.config.base_url}/files", Path(converted.name), {})
        return str(answer.json()["id"])

    def submit(self, plan: Plan[MinimalConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        del plan
        return self._heard(self._rest.send("POST", "/jobs", {"tag": tag, "files": dict(uploads)}))

    def poll(self, job_id: str) -> Snapshot:
        return self._heard(self._rest.send("GET", f"/jobs/{segment(job_id)}"))

    def cancel(self, job_id: str) -> None:
        raise NotImplementedError

    def retrieve(self, job_id: str) -> str:
        raise NotImplementedError

    def close(self) -> None:
        self._http.close()

    def _heard(self, answer: dict[str, Any]) -> Snapshot:
        word = answer["status"]
        return Snapshot(job_id=answer["id"], status=Status(word), raw_status=word, tag=answer["tag"], raw=answer)


registry._BUILT_IN["minimal"] = f"{__name__ if __name__ != '__main__' else 'hosts'}:Minimal"


class FakeMinimal:
    def __init__(self) -> None:
        self.jobs = Jobs("running")
        self.wire = Wire(
            [
                Route("GET", "/jobs/{id}", "poll", self._poll),
                Route("POST", "/jobs", "submit", self._submit),
                Route("PUT", "/files", "upload", lambda _: Answer({"id": secrets.token_hex(8)})),
            ],
            key=None,
        )

    def _poll(self, asked: Asked) -> Answer:
        job = self.jobs.poll(asked.matched["id"])
        return Answer(None, 404) if job is None else Answer({"id": job.id, "status": job.word, "tag": job.tag})

    def _submit(self, asked: Asked) -> Answer:
        body = asked.json()
        job = self.jobs.add(body["tag"], body)
        return Answer({"id": job.id, "status": job.word, "tag": job.tag})


class Fake(Protocol):
    wire: Wire
    jobs: Jobs


@dataclass(frozen=True)
class Host:
    """A backend to measure.

    Attributes:
        service: Its fake.
        config: The target's table for a fake at an address.
        raw: One poll with the SDK, or the HTTP client, that the backend uses, and nothing of adaptkit.
        path: Path of one job, for the bare loop.
        running: The host's word for a job that runs.
        environment: Variables that it wants.
    """

    service: Callable[[], Fake]
    config: Callable[[str], Mapping[str, Any]]
    raw: Callable[[str], Callable[[str], object]]
    path: str
    running: str = "running"
    environment: Mapping[str, str] = field(default_factory=lambda: {KEY_ENV: KEY})


def over_httpx(path: str, url: str) -> Callable[[str], object]:
    http = httpx2.Client(trust_env=False)
    headers = {"Authorization": f"Bearer {KEY}"}
    return lambda job_id: msgspec.json.decode(http.get(url + path.format(job_id), headers=headers).content)


def over_openai(url: str) -> Callable[[str], object]:
    import openai

    return openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0).fine_tuning.jobs.retrieve


HOSTS = {
    "openai": Host(
        service=lambda: FakeOpenAI(KEY),
        config=lambda url: {
            "backend": "openai",
            "profile": "openai",
            "model": "gpt-4.1-mini-2025-04-14",
            "base_url": f"{url}/v1",
        },
        raw=over_openai,
        path="/v1/fine_tuning/jobs/{}",
        environment={"OPENAI_API_KEY": KEY},
    ),
    "together": Host(
        service=lambda: FakeTogether(KEY),
        config=lambda url: {"backend": "together", "model": "Qwen/Qwen3-8B", "base_url": url},
        raw=partial(over_httpx, "/v1/fine-tunes/{}"),
        path="/v1/fine-tunes/{}",
        environment={"TOGETHER_API_KEY": KEY},
    ),
    "minimal": Host(
        service=FakeMinimal,
        config=lambda url: {"backend": "minimal", "base_url": url},
        raw=partial(over_httpx, "/jobs/{}"),
        path="/jobs/{}",
    ),
}


# the fake, in a process of its own --------------------------------------------------------------------------------


@dataclass
class Server:
    """A fake that runs; `counts` is there once it has been stopped.

    Attributes:
        url: Its address.
        counts: Requests by operation, and ``connections``.
    """

    url: str
    counts: dict[str, int] = field(default_factory=dict)


@contextmanager
def serving(name: str, *, jobs: int = 0, delay: float = 0.0) -> Iterator[Server]:
    """Run a host's fake with that many jobs, ``job-0`` and so on, all running; polls take `delay` seconds."""
    os.environ.update(HOSTS[name].environment)
    command = [sys.executable, __file__, name, "--jobs", str(jobs), "--delay", str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    server = Server(process.stdout.readline().strip())
    try:
        yield server
    finally:
        process.stdin.close()
        server.counts = json.loads(process.stdout.readline())
        process.wait()


def serve(name: str, jobs: int, delay: float) -> None:
    connections, accept = [0], wire._Server.get_request

    def counted(server: Any) -> Any:
        connections[0] += 1
        return accept(server)

    wire._Server.get_request = counted  # type: ignore[method-assign]
    host = HOSTS[name]
    fake = host.service()
    fake.jobs.script = [host.running]
    body = _submitted(host, fake) if jobs else {}
    for number in range(jobs):
        fake.jobs.add(f"tag{number}", body, f"job-{number}")
    fake.wire.asked.clear()
    if delay:
        fake.wire.delay = delay
        fake.wire.next("poll", *["slow"] * 100_000)
    print(fake.wire.url, flush=True)
    sys.stdin.read()
    print(json.dumps({**fake.wire.count(), "connections": connections[0]}), flush=True)
    fake.wire.close()


def _submitted(host: Host, fake: Fake) -> Mapping[str, Any]:
    """What the backend asks for, by having it ask once."""
    answer = {"role": "assistant", "content": "A number."}
    rows = [{"messages": [{"role": "user", "content": f"What is {number}?"}, answer]} for number in range(16)]
    with tempfile.TemporaryDirectory() as home, Client(targets={"t": host.config(fake.wire.url)}, home=home) as client:
        client.submit("t", Dataset.of(rows))
    (made,) = fake.jobs.all.values()
    return made.body


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=HOSTS)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    serve(given.name, given.jobs, given.delay)

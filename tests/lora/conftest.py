"""Real jobs on the built-in base: a few steps of a small LoRA, each in a worker process of its own."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adaptkit import Dataset, Snapshot, builtin
from adaptkit.adapter import Context, Plan
from adaptkit.backends.local_jobs.job import Job
from adaptkit.backends.lora import LoraAdapter, LoraConfig
from adaptkit.http import Egress

ROWS = [
    {"messages": [{"role": "user", "content": f"Where is parcel {n}?"}, {"role": "assistant", "content": f"Desk {n}."}]}
    for n in range(24)
]
#: For a machine that is many times slower than most.
LONGEST = 240.0


class Bench:
    """One home folder with an adapter, and the steps that a client takes."""

    def __init__(self, home: Path) -> None:
        self.home, self.started = home, []

    def adapter(self, **fields: object) -> LoraAdapter:
        given = {"epochs": 4, "batch_size": 8, "rank": 4, "checkpoint_every": 2, **fields}
        return LoraAdapter(LoraConfig(**given), Context(self.home, Egress.parse("none")))

    def plan(self, adapter: LoraAdapter, rows: list | None = None) -> tuple[Plan, dict[str, str]]:
        plan = adapter.prepare(Dataset.of(ROWS if rows is None else rows))
        return plan, {file.purpose: adapter.upload(file) for file in plan.files}

    def submit(self, adapter: LoraAdapter, rows: list | None = None, tag: str | None = None) -> str:
        tag = tag or f"T{secrets.token_hex(6)}"
        plan, uploads = self.plan(adapter, rows)
        adapter.submit(plan, uploads, tag)
        self.started.append(tag)
        return tag

    def job(self, job_id: str) -> Job:
        return Job(self.home / "lora", job_id)

    def wait(self, adapter: LoraAdapter, job_id: str, until: Callable[[Snapshot], bool] | None = None) -> Snapshot:
        done = until or (lambda snapshot: snapshot.status.is_terminal or snapshot.raw_status == "interrupted")
        deadline = time.monotonic() + LONGEST
        while not done(snapshot := adapter.poll(job_id)):
            assert time.monotonic() < deadline, (snapshot, self.log(job_id))
            time.sleep(0.05)
        return snapshot

    def run(self, rows: list | None = None, **fields: object) -> Path:
        """Train to the end; gives the model's folder."""
        adapter = self.adapter(**fields)
        job_id = self.submit(adapter, rows)
        snapshot = self.wait(adapter, job_id)
        assert snapshot.status == "succeeded", (snapshot, self.log(job_id))
        return Path(adapter.retrieve(job_id))

    def log(self, job_id: str) -> str:
        return (self.job(job_id).folder / "log.txt").read_text()

    def pid(self, job_id: str) -> int:
        """The worker's process, by the name that it wrote into its state."""
        return int(str(self.job(job_id).state.worker).split(":")[2])

    def kill(self, job_id: str, how: int = signal.SIGKILL) -> None:
        os.kill(self.pid(job_id), how)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    adapter = made.adapter()
    for job_id in made.started:
        adapter.cancel(job_id)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of an uninterrupted run with the settings of `Bench.adapter`."""
    return Bench(tmp_path_factory.mktemp("trained")).run()


@pytest.fixture(scope="session")
def tiny() -> Path:
    return builtin.path("tiny")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

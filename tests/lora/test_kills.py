"""Clients and workers killed at random, on both stores: one job each time, and a model with the same bytes.

`ADAPTKIT_KILLS` says how many kills each of the four runs of this test makes; 50 make 200 in all. What CI makes by
itself are fewer, because each kill of a worker costs the seconds that torch takes to load.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptkit import Client, Dataset, Status
from adaptkit.backends.lora import LoraConfig
from adaptkit.backends.lora.jobs import Job
from tests.lora.conftest import ROWS, digest
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

KILLS = int(os.environ.get("ADAPTKIT_KILLS", "6"))
#: Kills of a worker that has made no checkpoint since it started; one more and the job is given up, as it should be.
IDLE = 2
NAMES = ("adapter_model.safetensors", "adapter_config.json")


class Round:
    """One run that is killed again and again until a client may bring it to its end."""

    def __init__(self, number: int, home: Path, journal: str, seed: int, dice: random.Random) -> None:
        self.number, self.home, self.journal, self.dice = number, home, journal, dice
        # its name makes it another run than those before it in the same journal
        self.config = LoraConfig(epochs=4, batch_size=8, rank=4, checkpoint_every=2, seed=seed, name=f"round {number}")
        self.killed: Counter[str] = Counter()
        self.idle = 0

    def client(self) -> Client:
        return Client(targets={"t": self.config}, home=self.home, journal=self.journal, egress="none")

    def folders(self) -> list[str]:
        jobs = self.home / "lora" / "jobs"
        return [path.name for path in jobs.iterdir()] if jobs.is_dir() else []

    def job(self) -> Job | None:
        return Job(self.home / "lora", self.folders()[0]) if self.folders() else None

    def submitting(self) -> int:
        """A client in a process of its own, which submits and waits."""
        pid = os.fork()
        if not pid:
            try:
                self.client().submit("t", Dataset.of(ROWS)).wait()
            finally:
                os._exit(0)
        return pid

    def kill_client(self) -> None:
        pid = self.submitting()
        time.sleep(self.dice.uniform(0.0, 0.4))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.killed["client"] += 1

    def kill_worker(self) -> None:
        """Let it get to a random place and no further: loading, or a number of checkpoints ahead."""
        with self.client() as client:
            client.submit("t", Dataset.of(ROWS))
        job = self.job()
        assert job is not None
        begun, loading = job.state.step, self.idle < IDLE and self.dice.random() < 0.5
        goal = begun if loading else begun + 2 * self.dice.randint(1, 2)
        until(lambda: job.state.worker is not None or not job.alive)
        until(lambda: job.state.step >= goal or job.state.status.is_terminal or not job.alive)
        time.sleep(self.dice.uniform(0.0, 4.0 if loading else 0.05))
        state, worker = job.state, job.state.worker
        if state.status.is_terminal or worker is None or not job.alive:
            return
        os.kill(int(worker.split(":")[2]), signal.SIGKILL)
        until(lambda: not job.alive)
        self.idle = 0 if job.state.step > begun else self.idle + 1
        self.killed["worker while loading" if state.step == begun else "worker while training"] += 1

    def ends_well(self, expected: dict[str, str]) -> None:
        with self.client() as client:
            job = client.submit("t", Dataset.of(ROWS))
            assert job.wait(120) is Status.SUCCEEDED, job.snapshot.message
            assert len(client.jobs()) == self.number
            assert self.folders() == [job.id], "a job that nobody follows"
            told = [event.data["step"] for event in job.events() if "loss" in event.data]
            assert told == sorted(set(told)), "a step was told twice"
            model = job.result()
            assert {name: digest(Path(model.id) / name) for name in NAMES} == expected
            assert model.chat("Where is parcel 3?", max_tokens=8, temperature=0).text


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_killed_at_random_ends_with_one_job_and_the_same_model(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, seed: int
) -> None:
    dice, killed, number = random.Random(seed), Counter[str](), 1
    journal = str(request.getfixturevalue("postgres_url")) if store == "postgresql" else str(tmp_path / "journal.db")
    whole = Round(number, tmp_path / "whole", journal, seed, dice)
    with whole.client() as client:
        model = Path(client.submit("t", Dataset.of(ROWS)).result(120).id)
    expected = {name: digest(model / name) for name in NAMES}
    while killed.total() < KILLS:
        number += 1
        run = Round(number, tmp_path / str(number), journal, seed, dice)
        for _ in range(dice.randint(3, 8)):
            dice.choice([run.kill_client, run.kill_worker])()
        run.ends_well(expected)
        killed += run.killed
    print(f"{store}, seed {seed}: {dict(killed)} in {number - 1} runs")

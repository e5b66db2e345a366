"""Clients and workers killed at random, on both stores: one job each time, and a model with the same bytes.

`ADAPTKIT_KILLS` says how many kills each store sees; 100 make 200 in all. What CI makes by itself are fewer, because
each kill of a worker costs the seconds that torch takes to load. `-s` shows where the kills fell.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from adaptkit import Client, Dataset, Status
from adaptkit.backends.local_jobs.job import MOST_STARTS, Job
from adaptkit.backends.lora import LoraConfig
from adaptkit.backends.training.checkpoints import MARKER
from tests.lora.conftest import LONGEST, ROWS, Bench, digest
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

KILLS = int(os.environ.get("ADAPTKIT_KILLS", "8"))
SETTINGS = {"epochs": 12, "batch_size": 8, "rank": 4, "checkpoint_every": 2}  # 36 steps, 17 checkpoints
NAMES = ("adapter_model.safetensors", "adapter_config.json")


class Run:
    """One run that is killed again and again until a client may bring it to its end.

    Only what ended a process of a run that had not ended counts as a kill.
    """

    def __init__(self, number: int, home: Path, journal: str, dice: random.Random) -> None:
        self.number, self.home, self.journal, self.dice = number, home, journal, dice
        # its name makes it another run than those before it in the same journal
        self.config = LoraConfig(**SETTINGS, name=f"run {number}")
        self.killed: Counter[str] = Counter()

    def client(self) -> Client:
        return Client(targets={"t": self.config}, home=self.home, journal=self.journal, egress="none")

    def folders(self) -> list[str]:
        jobs = self.home / "lora" / "jobs"
        return [path.name for path in jobs.iterdir()] if jobs.is_dir() else []

    @property
    def job(self) -> Job | None:
        found = [name for name in self.folders() if not name.startswith(".")]
        return Job(self.home / "lora", found[0]) if found else None

    @property
    def ended(self) -> bool:
        return self.job is not None and self.job.state.status.is_terminal

    # -- clients ------------------------------------------------------------------------------------------------

    def submitting(self) -> int:
        """A client in a process of its own, which submits and waits."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                self.client().submit("t", Dataset.of(ROWS)).wait()
                code = 0
            except BaseException:  # noqa: BLE001 - told, and seen in the exit code
                traceback.print_exc()
            finally:
                os._exit(code)
        return pid

    def kill_client(self) -> None:
        if self.ended:
            return
        pid = self.submitting()
        time.sleep(0.4 * self.dice.random() ** 2)  # mostly while it submits, or takes over from one that was killed
        os.kill(pid, signal.SIGKILL)
        _, how = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(how) or how == 0, "a client failed"
        if os.WIFSIGNALED(how) and not self.ended:
            with self.client() as client:
                accepted = len(client.jobs()) == self.number
            self.killed["client waiting" if accepted else "client submitting"] += 1

    # -- workers ------------------------------------------------------------------------------------------------

    def worker(self) -> int | None:
        """The worker's process, also before it has written its name into the state."""
        for path in Path("/proc").iterdir():
            with suppress(OSError):
                words = (path / "cmdline").read_bytes() if path.name.isdecimal() else b""
                if b"adaptkit.backends.local_jobs.worker" in words and os.fsencode(self.home) in words:
                    return int(path.name)
        return None

    def kill_worker(self) -> None:
        """Let it get to a random place and no further: still loading, or some checkpoints ahead."""
        if self.ended:
            return
        with self.client() as client:
            client.submit("t", Dataset.of(ROWS))
        job = self.job
        assert job is not None
        began = self.traces(job)
        if job.state.starts < MOST_STARTS - 1 and self.dice.random() < 0.4:
            time.sleep(self.dice.uniform(0.0, 4.0))
        else:  # beyond a checkpoint; a job that never gets to one is given up, as it should be
            goal = began["step"] + 2 * self.dice.randint(1, 4)
            until(lambda: not job.alive or job.state.step >= goal)
            time.sleep(self.dice.uniform(0.0, 0.15))
        pid = self.worker()
        if pid is None or self.ended:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not job.alive)
        if not self.ended:
            self.killed[f"worker {self.phase(began, self.traces(job))}"] += 1

    def traces(self, job: Job) -> dict[str, int]:
        """What a worker has left so far."""
        checkpoints = list((job.folder / "checkpoints").glob("checkpoint-*"))
        return {
            "step": job.state.step,
            "told": sum("loss" in event.data for event in job.events(None)),
            "torn": sum(not (path / MARKER).exists() for path in checkpoints),
            "models": len(list((self.home / "lora" / "models").glob("*"))),
        }

    def phase(self, began: dict[str, int], ended: dict[str, int]) -> str:
        new = {name for name, count in ended.items() if count > began[name]}
        if "models" in new:
            return "writing the model"
        if "torn" in new:
            return "writing a checkpoint"
        return "training" if new else "loading"

    # -- the end ------------------------------------------------------------------------------------------------

    def ends_well(self, expected: dict[str, str]) -> None:
        with self.client() as client:
            job = client.submit("t", Dataset.of(ROWS))
            assert job.wait(LONGEST) is Status.SUCCEEDED, job.snapshot.message
            assert len(client.jobs()) == self.number
            assert not client.pending()
            assert self.folders() == [job.id], "a job that nobody follows"
            for start, last in (("checkpoint after step", 34), ("step", 36)):  # "going on after step" repeats one
                told = [event.data["step"] for event in job.events() if event.message.startswith(start)]
                assert told == sorted(set(told)), "a step was counted twice"
                assert told[-1] == last
            model = job.result()
            assert [path.name for path in (self.home / "lora" / "models").iterdir()] == [job.id]
            assert {name: digest(Path(model.id) / name) for name in NAMES} == expected
            assert model.chat("Where is parcel 3?", max_tokens=8, temperature=0).text


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    model = Bench(tmp_path_factory.mktemp("uninterrupted")).run(**SETTINGS)
    return {name: digest(model / name) for name in NAMES}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_killed_at_random_ends_with_one_job_and_the_same_model(
    request: pytest.FixtureRequest, tmp_path: Path, uninterrupted: dict[str, str], store: str
) -> None:
    journal = str(request.getfixturevalue("postgres_url")) if store == "postgresql" else str(tmp_path / "journal.db")
    killed, number = Counter[str](), 0
    while killed.total() < KILLS:
        number += 1
        seed = f"{store} {number}"
        dice = random.Random(seed)
        run = Run(number, tmp_path / str(number), journal, dice)
        kills = dice.choices([run.kill_client, run.kill_worker], weights=[1, 3], k=10)
        for kill in [run.kill_client] * dice.randint(2, 5) + kills:
            kill()
        print(f"seed {seed!r}: {dict(run.killed)}")  # shown when it fails
        run.ends_well(uninterrupted)
        killed += run.killed
    print(f"{store}: {killed.total()} kills of {number} runs: {dict(killed)}")

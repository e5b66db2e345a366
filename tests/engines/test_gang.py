"""Several processes on one machine: each really started, and really killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from adaptkit.backends.engines import RunConfig, engine_for
from adaptkit.backends.engines.outcome import Outcome, verdict
from adaptkit.backends.local_jobs import Job
from adaptkit.backends.local_jobs.job import Spec, State
from adaptkit.errors import ConfigError
from adaptkit.types import Status
from tests.engines.conftest import ended, lives, make, pids, told, until

pytestmark = pytest.mark.timeout(900)

TWO = RunConfig(processes_per_node=2, retries=1)


def worker(job: Job) -> int:
    return int(until(lambda: job.state.worker, "no worker").split(":")[-2])


def test_two_ranks_give_the_answer_of_the_first(home: Path) -> None:
    engine, job = engine_for(TWO), make(home, TWO)
    engine.start(job)
    seen = ended(lambda: engine.snapshot(job), Status.SUCCEEDED)
    assert seen.raw["model"] == "sum-6-of-2"  # one is added at each of six steps
    assert told(job) == [
        "running",
        "2 ranks go on after step 0",
        *["step 1", "step 2", "checkpoint after step 2", "step 3", "step 4", "checkpoint after step 4"],
        *["step 5", "step 6", "checkpoint after step 6", "succeeded"],
    ]
    assert job.state.step == 6
    until(lambda: not any(lives(pid) for pid in pids(job).values()))


def test_a_killed_rank_is_made_good_from_the_checkpoint(home: Path) -> None:
    job = make(home, TWO, holds={"0": 3})
    job.start()
    until(lambda: job.state.step >= 2)
    first = pids(job)
    os.kill(first[1], signal.SIGKILL)
    ended(job.snapshot, Status.SUCCEEDED)
    assert job.state.model == "sum-6-of-2"
    said = told(job)
    assert "rank 1 was killed by SIGKILL; going on from the last checkpoint (1 of 1 times)" in said
    resumed = [line for line in said if line.startswith("2 ranks go on after step")]
    assert resumed == ["2 ranks go on after step 0", "2 ranks go on after step 2"]
    assert job.state.losses == 0  # there was a step forward
    assert not any(lives(pid) for pid in first.values())


def test_a_rank_that_is_killed_each_time_fails_the_job_in_words(home: Path) -> None:
    job = make(home, TWO, dies=1)  # at step 3, after the checkpoint of step 2
    job.start()
    seen = ended(job.snapshot, Status.FAILED)
    assert seen.message is not None
    assert seen.message.startswith("rank 1 was killed by SIGKILL, and so it went 2 times without a checkpoint")
    assert str(job.folder / "log.txt") in seen.message
    assert [line for line in told(job) if line.startswith("2 ranks")] == [
        "2 ranks go on after step 0",
        "2 ranks go on after step 2",
    ]


def test_a_killed_launcher_leaves_no_rank_and_the_job_goes_on(home: Path) -> None:
    job = make(home, TWO, holds={"0": 3})  # its ranks never end by themselves
    job.start()
    until(lambda: job.state.step >= 2)
    ranks = pids(job)
    assert all(lives(pid) for pid in ranks.values())
    os.kill(worker(job), signal.SIGKILL)
    until(lambda: not any(lives(pid) for pid in ranks.values()), "ranks live on")
    until(lambda: job.snapshot().status is Status.PAUSED, "something holds the lock")
    assert job.snapshot().raw_status == "interrupted"
    job.start()
    ended(job.snapshot, Status.SUCCEEDED)
    assert job.state.model == "sum-6-of-2"
    assert sum(line.startswith("2 ranks go on after step") for line in told(job)) == 2


def test_no_worker_starts_beside_ranks_that_still_live(home: Path) -> None:
    job = make(home, TWO, holds={"0": 3})
    job.start()
    until(lambda: job.state.step >= 2)
    os.kill(pids(job)[0], signal.SIGSTOP)  # it will not see that its launcher is gone
    os.kill(worker(job), signal.SIGKILL)
    until(lambda: not lives(pids(job)[1]))
    assert job.alive
    before = job.state.starts
    job.start()
    assert job.state.starts == before, "a second worker writes into the same folder"
    os.kill(pids(job)[0], signal.SIGKILL)
    until(lambda: not job.alive)


def test_what_the_program_says_fails_the_job_once(home: Path) -> None:
    job = make(home, TWO, raises=1)  # the other rank fails too, since it is alone then
    job.start()
    seen = ended(job.snapshot, Status.FAILED)
    assert seen.message == "the loss is not a number: lower learning_rate"
    assert sum(line.startswith("2 ranks") for line in told(job)) == 1, "started again for nothing"


def test_other_errors_stay_in_the_log(home: Path) -> None:
    job = make(home, TWO, bursts=1)
    job.start()
    seen = ended(job.snapshot, Status.FAILED)
    assert seen.message == f"RuntimeError in the worker; what it said is in {job.folder / 'log.txt'}"
    assert "secret row of rank 1" in (job.folder / "log.txt").read_text()
    assert "secret" not in (job.folder / "events.jsonl").read_text()
    assert sum(line.startswith("2 ranks") for line in told(job)) == 1


def test_cancelled_at_the_next_step(home: Path) -> None:
    job = make(home, TWO, holds={"0": 3})
    job.start()
    until(lambda: job.state.step >= 2)
    engine_for(TWO).cancel(job)
    ended(job.snapshot, Status.CANCELLED)
    assert told(job)[-1] == "cancelled"
    until(lambda: not any(lives(pid) for pid in pids(job).values()))


def test_cancelled_before_there_is_anything_to_keep(home: Path) -> None:
    job = make(home, TWO)
    job.start()
    job.cancel()
    ended(job.snapshot, Status.CANCELLED)


def test_sigterm_leaves_a_checkpoint(home: Path) -> None:
    job = make(home, TWO, every=1000, holds={"0": 3})
    job.start()
    until(lambda: "step 3" in told(job))
    os.kill(worker(job), signal.SIGTERM)
    until(lambda: not job.alive)
    assert job.state.status is Status.PAUSED
    step = job.state.step
    assert step == 4
    assert json.loads((job.folder / "checkpoints/sum.json").read_text()) == {"step": step, "sum": step}
    job.start()
    ended(job.snapshot, Status.SUCCEEDED)
    assert f"2 ranks go on after step {step}" in told(job)
    assert told(job).count("step 1") == 1, "steps are told twice"


def test_one_process_stays_in_the_worker(home: Path) -> None:
    job = Job.create(
        home,
        Spec(
            id="T1",
            backend="mistral",
            program="tests.engines.alone",
            queue="",
            config={},
            files={},
            fingerprint="",
            offline=True,
            created=time.time(),
        ),
    )
    job.start()
    ended(job.snapshot, Status.SUCCEEDED)
    assert job.state.worker is not None
    assert job.state.model == job.state.worker.split(":")[-2]  # the program gave its process
    assert not (job.folder / "ranks").exists()


def test_specs_and_states_of_before_are_read(home: Path) -> None:
    job = make(home, TWO)
    for name in ("spec.json", "state.json"):
        old = json.loads((job.folder / name).read_text())
        old.pop("run", None)
        old.pop("losses", None)
        (job.folder / name).write_text(json.dumps(old))
    assert RunConfig.model_validate(job.spec.run).processes == 1
    assert job.state == State(at=job.state.at)


def test_one_machine_has_one_node() -> None:
    with pytest.raises(ConfigError, match="nodes = 2"):
        engine_for(RunConfig(nodes=2))


def test_the_verdict_is_what_explains_the_rest() -> None:
    gone, later = Outcome("lost", "rank 1 was killed by SIGKILL", 3.0), Outcome("failed", "RuntimeError", 2.0)
    assert verdict([Outcome("finished", "m", 1.0), later, gone]) is gone
    assert verdict([gone, Outcome("refused", "lower learning_rate", 9.0)]).words == "lower learning_rate"
    assert verdict([later, Outcome("failed", "ValueError", 1.0)]).words == "ValueError"
    assert verdict([Outcome("finished", "of rank 0", 5.0), Outcome("finished", "of rank 1", 1.0)]).words == "of rank 0"
    assert verdict([Outcome("finished", "m", 1.0), Outcome("stopped", "", 2.0)]).kind == "stopped"

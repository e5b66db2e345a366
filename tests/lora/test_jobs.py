"""The life of a job: one worker for one tag, in turn on one device, killed and continued, cancelled, failed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adaptkit import BackendError, NotFoundError, Status
from adaptkit.backends.local_jobs import Interrupted, ProcessWork
from adaptkit.backends.local_jobs import job as jobs
from adaptkit.backends.local_jobs.failures import describe
from adaptkit.backends.local_jobs.job import MOST_STARTS, Job, Spec
from adaptkit.backends.local_jobs.worker import see_through
from adaptkit.backends.lora.running import lower
from adaptkit.backends.training import checkpoints, shards
from adaptkit.backends.training.failures import explained
from adaptkit.process import process_name
from tests.held import held
from tests.lora.conftest import ROWS, Bench, digest

__all__ = ["held"]


def steps(bench: Bench, job_id: str) -> list[int]:
    return [event.data["step"] for event in bench.job(job_id).events(None) if "loss" in event.data]


def kill_after(bench: Bench, adapter, job_id: str, step: int) -> None:
    """Kill the worker once a checkpoint of that step or a later one is whole (0: once it runs)."""
    bench.wait(adapter, job_id, lambda s: (s.raw["worker"] and s.raw["step"] >= step) or s.status.is_terminal)
    if not bench.job(job_id).state.status.is_terminal:
        bench.kill(job_id)
    bench.wait(adapter, job_id)


def test_killed_at_several_points_ends_as_if_it_had_not_been(
    bench: Bench, trained: Path, held: Callable[[str, int], None]
) -> None:
    adapter = bench.adapter()
    held("checkpoint", 2)
    job_id = bench.submit(adapter)
    for step, following in ((0, 2), (2, 6), (6, 1000)):
        kill_after(bench, adapter, job_id, step)
        snapshot = adapter.poll(job_id)
        assert (snapshot.status, snapshot.raw_status) == (Status.PAUSED, "interrupted")
        held("checkpoint", following)
        assert adapter.restart(job_id).status is Status.QUEUED
    assert bench.wait(adapter, job_id).status == "succeeded", bench.log(job_id)
    model = Path(adapter.retrieve(job_id))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert digest(model / name) == digest(trained / name)
    told = steps(bench, job_id)
    assert told == sorted(set(told)), "a step was told twice"
    assert told[-1] == 12


def test_terminated_worker_checkpoints_and_goes_on(
    bench: Bench, trained: Path, held: Callable[[str, int], None]
) -> None:
    adapter = bench.adapter(checkpoint_every=1000)
    held("metrics", 1)
    job_id = bench.submit(adapter)
    bench.wait(adapter, job_id, lambda _: bool(steps(bench, job_id)))
    bench.kill(job_id, signal.SIGTERM)
    while bench.job(job_id).alive:  # it says that it stops, and then lets go
        time.sleep(0.05)
    assert adapter.poll(job_id).raw_status == "interrupted"
    held("metrics", 1000)
    assert shards.newest(bench.job(job_id).folder / "checkpoints") is not None
    adapter.restart(job_id)
    assert bench.wait(adapter, job_id).status == "succeeded"
    name = "adapter_model.safetensors"
    assert digest(Path(adapter.retrieve(job_id)) / name) == digest(trained / name)


@pytest.mark.parametrize("damage", ["no-marker", "torn", "missing"])
def test_torn_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("state.json", "random-0.json", "shard-00001-00001.safetensors"):
            (folder / name).write_bytes(os.urandom(100))
        checkpoints.complete(folder)
    newest = tmp_path / "checkpoint-4"
    assert shards.newest(tmp_path) == newest
    if damage == "no-marker":
        (newest / checkpoints.MARKER).unlink()
    elif damage == "torn":
        (newest / "random-0.json").write_bytes((newest / "random-0.json").read_bytes()[:50])
    else:
        (newest / "shard-00001-00001.safetensors").unlink()
    assert shards.newest(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "state.json").unlink()
    assert shards.newest(tmp_path) is None


def test_many_submissions_of_one_tag_make_one_worker(bench: Bench) -> None:
    adapter = bench.adapter(epochs=2000)
    plan, uploads = bench.plan(adapter)
    bench.started.append("SAME")
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: adapter.submit(plan, uploads, "SAME"), range(8)))
    assert {snapshot.job_id for snapshot in seen} == {"SAME"}
    assert {snapshot.tag for snapshot in adapter.find("SAME")} == {"SAME"}
    folder = str(bench.job("SAME").folder)
    workers = [
        pid
        for pid in filter(str.isdecimal, (path.name for path in Path("/proc").iterdir()))
        if folder.encode() in _command(pid) and b"adaptkit.backends.local_jobs.worker" in _command(pid)
    ]
    assert len(workers) == 1
    other = subprocess.run([sys.executable, "-m", "adaptkit.backends.local_jobs.worker", folder], check=False)
    assert other.returncode == 1, "a second worker started by hand must leave"
    assert [path.name for path in (bench.home / "lora" / "jobs").iterdir()] == ["SAME"]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_jobs_of_one_device_run_in_turn_and_cancel(bench: Bench) -> None:
    adapter = bench.adapter(epochs=2000)
    first = bench.submit(adapter)
    bench.wait(adapter, first, lambda s: s.status is Status.RUNNING)
    second, third = bench.submit(adapter), bench.submit(bench.adapter())
    time.sleep(1.0)
    assert [adapter.poll(job).status for job in (first, second, third)] == ["running", "queued", "queued"]
    adapter.cancel(second)
    assert bench.wait(adapter, second).status == "cancelled"
    bench.wait(adapter, first, lambda _: bool(steps(bench, first)))
    adapter.cancel(first)
    assert bench.wait(adapter, first).status == "cancelled"
    assert bench.wait(adapter, third).status == "succeeded", bench.log(third)
    for job in (first, second, third):
        adapter.cancel(job)  # no error, and no change
    assert [adapter.poll(job).status for job in (first, second, third)] == ["cancelled", "cancelled", "succeeded"]


def test_interrupted_job_is_cancelled_at_once(bench: Bench) -> None:
    adapter = bench.adapter(epochs=2000)
    job_id = bench.submit(adapter)
    kill_after(bench, adapter, job_id, 0)
    adapter.cancel(job_id)
    assert adapter.poll(job_id).status is Status.CANCELLED
    assert adapter.restart(job_id).status is Status.CANCELLED


def test_diverged_training_says_so(bench: Bench) -> None:
    adapter = bench.adapter(learning_rate=1e30, warmup=0.0)
    job_id = bench.submit(adapter)
    snapshot = bench.wait(adapter, job_id)
    assert snapshot.status == "failed"
    assert "diverged" in str(snapshot.message)
    assert "learning_rate" in str(snapshot.message)


def test_out_of_memory_says_what_to_lower(bench: Bench) -> None:
    adapter = bench.adapter()
    job = bench.job(bench.submit(adapter))
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")):
        with pytest.raises(BackendError) as caught, explained("cpu", lower(job.spec.config)):
            raise error
        words = describe(caught.value, job)
        assert "out of memory" in words
        assert "batch_size (now 8" in words
    with pytest.raises(RuntimeError, match="another"), explained("cpu", lower(job.spec.config)):
        raise RuntimeError("another")
    assert "the disk is full" in describe(OSError(28, "No space left on device"), job)
    assert "secret-row" not in describe(ValueError("secret-row"), job)


def test_worker_that_is_always_killed_is_given_up(bench: Bench) -> None:
    adapter = bench.adapter(epochs=2000, checkpoint_every=100_000)
    job_id = bench.submit(adapter)
    for _ in range(MOST_STARTS):
        bench.wait(adapter, job_id, lambda s: bool(s.raw["worker"]) and s.status is Status.RUNNING)
        bench.kill(job_id)
        bench.wait(adapter, job_id)
        adapter.restart(job_id)
    snapshot = adapter.poll(job_id)
    assert snapshot.status == "failed"
    assert "memory" in str(snapshot.message)


def test_folder_holds_no_data_and_is_private(bench: Bench, trained: Path) -> None:
    job = Job(trained.parent.parent, trained.name)
    while job.alive:  # the worker says that it succeeded, and then clears up
        time.sleep(0.05)
    folder = job.folder
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
        if file.is_file():
            assert b"parcel" not in file.read_bytes(), file
    assert not (folder / "checkpoints").exists()


def test_events_are_whole_lines_and_go_on_from_an_id(tmp_path: Path) -> None:
    spec = Spec(
        id="E", backend="lora", program="", queue="", config={}, files={}, fingerprint="", offline=True, created=0.0
    )
    job = Job.create(tmp_path, spec)
    for step in range(3):
        job.tell("metrics", "…", step=step, loss=1.0)
    with (job.folder / "events.jsonl").open("ab") as stream:
        stream.write(b'{"at": 1, "kind": "met')  # a crash in the middle of a line
    seen = job.events(None)
    assert [event.data["step"] for event in seen] == [0, 1, 2]
    assert [event.data["step"] for event in job.events(seen[0].id)] == [1, 2]
    assert job.events(seen[2].id) == []
    assert job.mend_events() == 2
    job.tell("metrics", "…", step=3, loss=1.0)
    assert [event.data["step"] for event in job.events(seen[2].id)] == [3]
    assert sorted({event.id for event in job.events(None)}) == [event.id for event in job.events(None)]


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "interrupted"])
def test_who_sees_the_end_finds_all_that_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    spec = Spec(
        id="E", backend="lora", program="", queue="", config={}, files={}, fingerprint="", offline=True, created=0.0
    )
    job, update, seen = Job.create(tmp_path, spec), Job.update, []

    def updated(self: Job, **changes: object) -> None:
        seen.append((changes["raw_status"], self.events(None)[-1:]))
        update(self, **changes)

    def perform() -> str:
        if end == "failed":
            raise ValueError
        if end == "cancelled":
            job.ask_to_cancel()
        if end != "succeeded":
            raise Interrupted
        return "model"

    monkeypatch.setattr(Job, "update", updated)
    see_through(job, ProcessWork(job), perform)
    (status, (last,)) = seen[-1]
    assert status == last.message == end


def test_what_a_killed_client_left_of_a_job_is_cleared_away(tmp_path: Path) -> None:
    spec = Spec(
        id="D", backend="lora", program="", queue="", config={}, files={}, fingerprint="", offline=True, created=0.0
    )
    pid = os.fork()
    if not pid:
        try:
            jobs.replace_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            Job.create(tmp_path, spec)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    (draft,) = (tmp_path / "jobs").iterdir()
    assert draft.name != "D"
    being_made = tmp_path / "jobs" / f".D.{process_name()}.1"  # by a client that lives
    being_made.mkdir()
    Job.create(tmp_path, spec)
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == {"D", being_made.name}


def test_unknown_jobs(bench: Bench) -> None:
    adapter = bench.adapter()
    for job_id in ("NOPE", "../../etc", ""):
        for ask in (adapter.poll, adapter.cancel, adapter.retrieve, adapter.restart):
            with pytest.raises(NotFoundError):
                ask(job_id)
    assert adapter.find("NOPE") == []


def test_too_long_and_empty_examples_are_counted(bench: Bench) -> None:
    empty = {"messages": [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "hi"}]}
    long = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "word " * 200}]}
    model = bench.run([*ROWS[:6], long, empty], epochs=1, max_length=32)
    told = [event.message for event in bench.job(model.name).events(None) if event.kind == "warning"]
    assert any("2 of 8 examples are longer than max_length = 32" in words for words in told)
    assert any("1 of 8 examples have nothing to learn from" in words for words in told)


def test_validation_loss_is_told(bench: Bench, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    model = bench.run(epochs=2, validation=str(held_out))
    losses = [e.data["validation_loss"] for e in bench.job(model.name).events(None) if "validation_loss" in e.data]
    assert len(losses) == 3, "before the first step, and after each epoch"
    assert losses == sorted(losses, reverse=True)

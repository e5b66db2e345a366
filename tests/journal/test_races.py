"""Real processes that want the same thing at once, and processes that are killed in the middle."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from adaptkit.journal import Journal, Stage, open_journal
from adaptkit.types import Status
from tests.journal.steps import begin, deploy, submitting

PROCESSES, IDENTITIES = 8, 200
spawn = multiprocessing.get_context("spawn")


def _begin_all(url: str, barrier: Barrier, seed: int, results: Any) -> None:
    order = random.Random(seed).sample(range(IDENTITIES), IDENTITIES)
    barrier.wait()
    journal = open_journal(url)  # they also make the tables at once
    begun = [begin(journal, f"identity {k}", now=time.time()) for k in order]
    results.put({run.identity: (run.id, run.tag, created) for run, created in begun})
    journal.close()


def test_of_many_processes_exactly_one_begins_each_run(url: str) -> None:
    barrier, results = spawn.Barrier(PROCESSES), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=_begin_all, args=(url, barrier, seed, results), daemon=True) for seed in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    begun = [results.get() for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    winners = Counter(identity for own in begun for identity, (_, _, created) in own.items() if created)
    assert winners == {f"identity {k}": 1 for k in range(IDENTITIES)}
    assert len({(run_id, tag) for own in begun for run_id, tag, _ in own.values()}) == IDENTITIES
    journal = open_journal(url)
    assert len(journal.runs()) == IDENTITIES
    assert {run.attempt for run in journal.runs()} == {1}
    journal.close()


def _deploy_all(url: str, barrier: Barrier, results: Any) -> None:
    barrier.wait()
    journal = open_journal(url)
    begun = [deploy(journal, f"model {k}", now=time.time()) for k in range(40)]
    results.put([(record.identity, record.tag, created) for record, created in begun])
    journal.close()


def test_of_many_processes_exactly_one_begins_each_deployment(url: str) -> None:
    barrier, results = spawn.Barrier(4), spawn.SimpleQueue()
    processes = [spawn.Process(target=_deploy_all, args=(url, barrier, results), daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    begun = [entry for _ in processes for entry in results.get()]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert Counter(identity for identity, _, created in begun if created) == {f"model {k}": 1 for k in range(40)}
    assert len({(identity, tag) for identity, tag, _ in begun}) == 40


def _drive(url: str, run_id: str, barrier: Barrier, results: Any) -> None:
    journal, owner = open_journal(url), f"process {os.getpid()}"
    barrier.wait()
    results.put(journal.lease(run_id, owner, 100.0, 30.0))
    journal.close()


def test_of_many_processes_exactly_one_drives_a_run(journal: Journal, url: str) -> None:
    run, _ = begin(journal)
    barrier, results = spawn.Barrier(4), spawn.SimpleQueue()
    processes = [spawn.Process(target=_drive, args=(url, run.id, barrier, results), daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(results.get() for _ in processes) == [False, False, False, True]
    for process in processes:
        process.join(60)


def test_a_lease_that_ran_out_is_renewed_or_taken_but_never_both(client: Callable[[], Journal]) -> None:
    slept, other = client(), client()

    def drive(run_id: str) -> bool:
        taken = other.lease(run_id, "other", 200.0, 10.0)
        other.release(run_id, "other")
        return taken

    with ThreadPoolExecutor(2) as threads:
        for k in range(100):
            run, _ = begin(slept, f"identity {k}")
            slept.lease(run.id, "slept", 100.0, 10.0)
            driven = threads.submit(drive, run.id)
            renewed = threads.submit(slept.renew, run.id, "slept", 200.0, 10.0)
            assert driven.result() is not renewed.result()


def _work_for_ever(url: str, ready: Any) -> None:
    journal = open_journal(url)
    ready.set()
    for k in range(1_000_000):
        run = submitting(journal, f"{os.getpid()} {k % 7}", now=float(k))
        journal.accept(run.id, job_id=f"job-{run.id}", status=Status.RUNNING, raw_status="r", now=float(k))
        journal.observe(run.id, Status.FAILED, "x", "y" * 3000, float(k))
        journal.record_upload(run.id, "acc", "train", "file", float(k))


STAGE_AFTER = {"begun": Stage.INTENT, "uploading": Stage.UPLOADING, "submitting": Stage.SUBMITTING}


def _whole(journal: Journal) -> int:
    """Every run that is there is whole: its row and its trail say the same."""
    runs = journal.runs()
    for run in runs:
        trail = [entry.what for entry in journal.history(run.id) if entry.what != "leased"]
        assert trail == ["begun", "uploading", "submitting", "accepted", "observed"][: len(trail)]
        assert run.stage is STAGE_AFTER.get(trail[-1], Stage.ACCEPTED)
        assert (run.job_id is not None) is (len(trail) >= 4)
        assert run.status.is_terminal is (trail[-1] == "observed")
    return len(runs)


def test_killed_processes_leave_a_whole_journal(url: str, client: Callable[[], Journal]) -> None:
    seen, chance = 0, random.Random(7)
    for _ in range(4):
        ready = spawn.Event()
        process = spawn.Process(target=_work_for_ever, args=(url, ready), daemon=True)
        process.start()
        assert ready.wait(60)
        time.sleep(chance.uniform(0.05, 0.3))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(60)
        journal = client()
        now_seen = _whole(journal)
        assert now_seen > seen
        seen = now_seen
        journal.close()


def _die_inside(url: str, statements: list[tuple[str, tuple[object, ...]]]) -> None:
    journal = open_journal(url)
    with journal._database.transaction() as execute:  # type: ignore[attr-defined]
        for statement, values in statements:
            execute(statement, values)
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_had_not_committed_never_happened(url: str, journal: Journal) -> None:
    run = submitting(journal)
    before = journal.history(run.id)
    # More than SQLite's page cache (2 MB), so that half of it stands in the file when the process dies.
    flood = [("INSERT INTO adaptkit_upload VALUES (?, 'a', 'p', ?, 1.0)", (f"s{k}", "x" * 100_000)) for k in range(60)]
    flood.append(("UPDATE adaptkit_run SET status = 'failed', stage = 'accepted'", ()))
    process = spawn.Process(target=_die_inside, args=(url, flood), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite://"))
        assert path.stat().st_size > 1_000_000, "nothing was half written; the test proves nothing"
        assert path.with_name(path.name + "-journal").exists()
    assert journal.get(run.id) == run
    assert journal.history(run.id) == before
    assert journal.upload("s0", "a", "p") is None
    assert journal.advance(run.id, "me", Stage.UPLOADING, now=101.0).stage is Stage.UPLOADING
    if url.startswith("sqlite"):
        with sqlite3.connect(path) as direct:
            assert direct.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        direct.close()

"""A machine of its own that counts: its folder is its own, and all that it shares with others is object storage.

``python -m tests.engines.counting ADDRESS JOB LAUNCH FOLDER``. Config of the job: ``steps`` and ``pause``; ``holds`` is
the step after which one that began with the first goes no further. A checkpoint after each step, of the sum so far and
of some bulk. Its model is a folder.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from adaptkit.backends.engines import site
from adaptkit.backends.engines.ray_driver import _RankWork
from adaptkit.backends.engines.storage import Stored
from adaptkit.backends.local_jobs import Interrupted, Job, Work
from adaptkit.durable import replace_file
from adaptkit.types import Status

BULK = 200_000


def run(job: Job, work: Work) -> str:
    rows = Path(job.spec.files["train"]).read_text().split()
    kept = job.folder / "checkpoints" / "sum.json"
    kept.parent.mkdir(exist_ok=True)
    state = json.loads(kept.read_text()) if kept.exists() else {"step": 0, "sum": 0}
    until = None if state["step"] else job.spec.config.get("holds")
    work.tell("status", f"goes on after step {state['step']}")
    while state["step"] < job.spec.config["steps"]:
        if work.should_stop():
            raise Interrupted
        if state["step"] == until:
            time.sleep(0.05)
            continue
        step = state["step"] + 1
        state = {"step": step, "sum": state["sum"] + int(rows[step % len(rows)])}
        work.tell("metrics", f"step {step}", step=step)
        bulk = kept.with_name(f"bulk-{step % 3}")
        bulk.write_bytes(str(step).encode() * BULK)
        replace_file(kept, json.dumps({**state, "bulk": bulk.name}).encode())
        work.checkpointed(step)
        time.sleep(job.spec.config["pause"])
    model = job.home / "models" / job.id
    model.mkdir(parents=True, exist_ok=True)
    (model / "weights").mkdir(exist_ok=True)
    (model / "weights" / "sum").write_text(str(state["sum"]))
    (model / "manifest.json").write_text("{}")
    return str(model)


def main(address: str, job_id: str, launch: str, folder: str) -> None:
    site.BEAT = 0.1
    there = Stored(address, Job(Path(folder), job_id), int(launch))
    there.claim(int(launch))
    there.fetch()
    job = there.job
    work = _RankWork(there, speaks=True, told=job.mend_events())
    job.update(status=Status.RUNNING, raw_status="running")
    with site.beating(there.push, work.superseded):
        try:
            model = run(job, work)
        except Interrupted:
            print("stopped", flush=True)
            return
        job.update(status=Status.SUCCEEDED, raw_status="succeeded", model=there.give(model))
    there.push()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A program that trains nothing: at each step all ranks add up what they have, over gloo.

Each step adds ``world * (world - 1) / 2`` to a counter, so the end is known, however often it was stopped. Config:
``steps``, ``every`` (checkpoint), ``pause`` (seconds a step) and ``later`` (the same, once it goes on from a
checkpoint); ``raises``, ``bursts`` and ``dies`` name the rank that ends badly at step 3, each in its way; one that
``waits`` never takes a step. One that ``holds`` says where its runs go no further until they are asked to stop or there
is a file ``go`` in the job's folder: after which step, by the step that a run goes on from.
"""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import timedelta

from adaptkit.backends.local_jobs import Interrupted, Job, Work
from adaptkit.durable import replace_file
from adaptkit.errors import BackendError


def run(job: Job, work: Work) -> str:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(seconds=300))
    rank, world = dist.get_rank(), dist.get_world_size()
    config = job.spec.config
    replace_file(job.folder / f"pid-{rank}", str(os.getpid()).encode())
    kept = job.folder / "checkpoints" / "sum.json"
    kept.parent.mkdir(exist_ok=True)
    state = json.loads(kept.read_text()) if kept.exists() else {"step": 0, "sum": 0}
    pause = config.get("later", config["pause"]) if state["step"] else config["pause"]
    until = config.get("holds", {}).get(str(state["step"]))
    dist.barrier()
    work.tell("status", f"{world} ranks go on after step {state['step']}")
    while config.get("waits"):
        work.between()
        time.sleep(0.1)
    work.enter()

    def save() -> None:
        if rank == 0:
            replace_file(kept, json.dumps(state).encode())
        work.checkpointed(state["step"])

    while state["step"] < config["steps"]:
        holds = state["step"] == until and not (job.folder / "go").exists()
        what = torch.tensor([rank, int(work.should_stop()), int(holds)])
        dist.all_reduce(what)
        if int(what[2]) and not int(what[1]):
            time.sleep(0.05)
            continue
        state = {"step": state["step"] + 1, "sum": state["sum"] + int(what[0])}
        work.tell("metrics", f"step {state['step']}", step=state["step"])
        if state["step"] == 3:
            if config.get("raises") == rank:
                raise BackendError("the loss is not a number: lower learning_rate")
            if config.get("bursts") == rank:
                raise RuntimeError(f"secret row of rank {rank}")
            if config.get("dies") == rank:
                os.kill(os.getpid(), signal.SIGKILL)
        if int(what[1]):
            save()
            raise Interrupted
        if state["step"] % config["every"] == 0:
            save()
        time.sleep(pause)
    dist.destroy_process_group()
    return f"sum-{state['sum']}-of-{world}"

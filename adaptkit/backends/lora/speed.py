"""How fast runs go on this machine: read off earlier ones like it, or measured by a short one; never guessed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.backends.local_jobs.job import environment
from adaptkit.backends.lora.config import LoraConfig
from adaptkit.backends.model_folder import MANIFEST
from adaptkit.data import Dataset
from adaptkit.durable import replace_file
from adaptkit.errors import AdaptkitError, BackendError, UnsupportedError
from adaptkit.types import Speed, Status

__all__ = ["earlier", "short_run"]

#: Settings that decide how fast a run goes; one with another value of any of them says nothing.
_SAME = (
    "model", "method", "weights", "rank", "batch_size", "gradient_accumulation", "max_length", "packing", "precision",
    "quantization", "device",
)  # fmt: skip
_SAME_RUN = ("engine", "nodes", "gpus_per_node", "processes_per_node", "parallel")
#: The newest runs that count.
LATEST = 5
#: Steps of the optimiser in a short run.
STEPS = 16


def earlier(home: Path, config: LoraConfig) -> Speed | None:
    """How fast runs with the same settings went.

    Args:
        home: The backend's folder.
        config: The resolved settings.
    """
    wanted = _pace_of(config.model_dump(mode="json"))
    runs = sorted(_runs(home, wanted), key=lambda run: -run.at)[:LATEST]
    if not runs:
        return _kept(_file(home, wanted))
    return Speed(
        tokens_per_second=median(run.tokens_per_second for run in runs),
        starting=median(run.starting for run in runs),
        runs=len(runs),
        at=runs[0].at,
    )


def short_run(home: Path, config: LoraConfig, data: Dataset, *, offline: bool) -> Speed:
    """Train on a few rows in a process of its own, as a job would; only how fast that went is kept.

    Raises:
        UnsupportedError: such runs go elsewhere.
        BackendError: the run failed; says why.
    """
    if config.run.engine != "local":
        raise UnsupportedError(
            f'a short run is made on this machine, and engine = "{config.run.engine}" runs elsewhere: give '
            "run.tokens_per_second"
        )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".speed-") as folder:
        apart = Path(folder) / "lora"
        rows = itertools.islice(data, STEPS * config.batch_size * config.gradient_accumulation)
        file = Path(folder) / "rows.jsonl"
        Dataset.of(rows).write(file)
        once = config.model_copy(update={"epochs": 1, "validation": None})
        spec = Spec(
            id="speed",
            backend="lora",
            program="adaptkit.backends.lora.running",
            queue="",
            config=once.model_dump(mode="json"),
            files={"train": str(file)},
            fingerprint="",
            offline=offline,
            created=time.time(),
            run=once.run.model_dump(mode="json"),
        )
        job = Job.create(apart, spec)
        subprocess.run(
            [sys.executable, "-m", "adaptkit.backends.local_jobs.worker", str(job.folder)],
            env=environment(os.environ, offline=offline),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        found = earlier(apart, once)
        if found is None:
            why = job.state.message or job.state.raw_status
            raise BackendError(f"the run that was to measure the speed did not end well: {why}", backend="lora")
    kept = _file(home, _pace_of(config.model_dump(mode="json")))
    kept.parent.mkdir(exist_ok=True)
    replace_file(kept, msgspec.json.encode(found))
    return found


def _file(home: Path, wanted: Mapping[str, Any]) -> Path:
    """Where a short run's speed is kept: by its settings and the machine, which a home folder may be shared by."""
    name = hashlib.sha256(msgspec.json.encode([platform.node(), sorted(wanted.items())])).hexdigest()
    return home / "speeds" / f"{name[:32]}.json"


def _kept(file: Path) -> Speed | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(file.read_bytes(), type=Speed)
    return None


def _pace_of(config: Mapping[str, Any]) -> dict[str, Any]:
    run = config.get("run") or {}
    found = {name: config.get(name) for name in _SAME} | {name: run.get(name) for name in _SAME_RUN}
    return found | {"validates": bool(config.get("validation"))}


def _runs(home: Path, wanted: dict[str, Any]) -> Iterator[Speed]:
    for folder in (home / "jobs").glob("[!.]*"):
        with suppress(AdaptkitError, OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            found = _run(Job(home, folder.name), wanted)
            if found is not None:
                yield found


def _run(job: Job, wanted: dict[str, Any]) -> Speed | None:
    """One job, if it is like what is wanted, ran here, and in one go."""
    state = job.state
    if state.status is not Status.SUCCEEDED or not (state.worker or "").startswith(f"{platform.node()}:"):
        return None
    if _pace_of(job.spec.config) != wanted:
        return None
    said = [(event.message, event.at) for event in job.events(None) if event.kind == "status"]
    began, ends = [[at for word, at in said if word == which] for which in ("running", "succeeded")]
    if len(began) != 1 or not ends:
        return None
    metrics = json.loads((Path(str(state.model)) / MANIFEST).read_bytes())["metrics"]
    seconds = float(metrics["seconds"])
    tokens = metrics["tokens_per_epoch"] * int(job.spec.config["epochs"])
    return Speed(
        tokens_per_second=tokens / seconds,
        starting=max(0.0, ends[-1] - began[0] - seconds),
        runs=1,
        at=ends[-1],
    )

"""How fast trainings of these settings went before; never guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from adaptkit.backends.local_jobs import Job
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.model_folder import MANIFEST
from adaptkit.errors import AdaptkitError

__all__ = ["measured"]

#: Settings that decide how fast it goes; a training with another value of any of them says nothing.
_SAME = (
    "model", "weights", "rank", "batch_size", "micro_batch_size", "precision", "device", "activation_checkpointing",
)  # fmt: skip
_SAME_RUN = ("engine", "nodes", "gpus_per_node", "processes_per_node", "parallel", "partition")


def measured(home: Path, config: MistralConfig) -> float | None:
    """Tokens a second of all processes together, the median of earlier trainings; ``None`` where there were none.

    Args:
        home: The backend's folder.
        config: Resolved settings.
    """
    wanted = _pace_of(config.model_dump(mode="json"))
    found = [speed for folder in (home / "jobs").glob("[!.]*") for speed in _speed(Job(home, folder.name), wanted)]
    return median(found) if found else None


def _pace_of(config: Mapping[str, Any]) -> dict[str, Any]:
    run = config.get("run") or {}
    stages = [(stage["method"], stage["max_length"]) for stage in config.get("stages", ())]
    return {name: config.get(name) for name in _SAME} | {name: run.get(name) for name in _SAME_RUN} | {"s": stages}


def _speed(job: Job, wanted: Mapping[str, Any]) -> Iterator[float]:
    with suppress(AdaptkitError, OSError, ValueError, KeyError, TypeError):
        model = job.state.model
        if model and _pace_of(job.spec.config) == wanted:
            yield float(json.loads((Path(model) / MANIFEST).read_bytes())["metrics"]["tokens_per_second"])

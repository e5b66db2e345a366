"""A job whose real program waits where a test wants to find it: one that is quick would have ended by then.

`held` has all jobs that a test makes run through this module. What it gives says after which event, by its kind and its
step, their workers wait from then on until they are asked to stop, or killed.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adaptkit.backends.local_jobs import Job, ProcessWork, Spec

#: Variables of a worker: the real program; a kind of event and a step.
PROGRAM, AFTER = "HELD_PROGRAM", "HELD_AFTER"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Say after which ``"metrics"`` or ``"checkpoint"`` of that step or a later one workers wait."""
    create = Job.create

    def made(home: Path, spec: Spec) -> Job:
        monkeypatch.setenv(PROGRAM, spec.program)
        return create(home, msgspec.structs.replace(spec, program=__name__))

    monkeypatch.setattr(Job, "create", made)
    return lambda kind, step: monkeypatch.setenv(AFTER, f"{kind} {step}")


def run(job: Job, work: ProcessWork) -> str:
    kind, _, step = os.environ.get(AFTER, "nothing 0").partition(" ")
    tell = work.tell

    def waits(told: str, message: str, /, **data: Any) -> None:
        tell(told, message, **data)
        while told == kind and data.get("step", 0) >= int(step) and not work.should_stop():
            time.sleep(0.05)

    work.tell = waits
    return importlib.import_module(os.environ[PROGRAM]).run(job, work)

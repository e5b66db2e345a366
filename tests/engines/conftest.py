"""Jobs that add up numbers: real processes, real sockets."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adaptkit.backends.engines import RunConfig
from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.types import Snapshot, Status

ROOT = Path(__file__).parents[2]
#: For a machine that is many times slower than most.
LONGEST = 240.0


def until(true: Callable[[], Any], what: str = "", longest: float = LONGEST) -> Any:
    """Wait for something, and give it."""
    deadline = time.monotonic() + longest
    while not (found := true()):
        assert time.monotonic() < deadline, f"nothing happens: {what}"
        time.sleep(0.05)
    return found


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def make(home: Path, run: RunConfig, /, **config: Any) -> Job:
    given = {"steps": 6, "every": 2, "pause": 0.05, **config}
    return Job.create(
        home,
        Spec(
            id=f"T{secrets.token_hex(6)}",
            backend="mistral",
            program="tests.engines.summing",
            queue="",
            config=given,
            files={},
            fingerprint="",
            offline=True,
            created=time.time(),
            run=run.model_dump(),
        ),
    )


def pids(job: Job) -> dict[int, int]:
    """Processes of the ranks, by rank, as the program wrote them down."""
    return {int(path.name[4:]): int(path.read_text()) for path in job.folder.glob("pid-*")}


def go(job: Job) -> None:
    """Let one that holds go on."""
    (job.folder / "go").touch()


def told(job: Job) -> list[str]:
    return [event.message for event in job.events(None)]


def ended(snapshot: Callable[[], Snapshot], status: Status, longest: float = LONGEST) -> Snapshot:
    last = until(lambda: (seen := snapshot()).status.is_terminal and seen, "the job does not end", longest)
    assert last.status is status, last
    return last


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A backend's home folder; what is left of its jobs at the end is killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield tmp_path / "mistral"
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdecimal() and os.fsencode(tmp_path) in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)

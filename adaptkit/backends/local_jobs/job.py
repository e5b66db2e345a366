"""A job is a folder: what was asked, how it stands, what happened, and a lock that its worker holds while it lives.

```
jobs/<id>/   spec.json      what was asked; never changes
             state.json     how it stands; replaced whole
             events.jsonl   what happened; grows by whole lines
             log.txt        what the worker printed
             alive          locked by the worker; the kernel lets go of it however the worker ends
             cancel         there once a cancellation was asked for
             checkpoints/   the program's own
```

A folder appears whole, by a rename, so that two submissions with one tag make one job. A worker inherits the lock of
whoever starts it, so that there is never a moment with two workers, or with one that looks dead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.durable import replace_file, sync
from adaptkit.errors import ArtifactError, NotFoundError
from adaptkit.process import is_dead, process_name
from adaptkit.types import Event, Snapshot, Status

__all__ = ["OFFLINE", "QUIET", "Job", "Spec", "State", "environment", "this_worker"]

#: Seconds between two questions about a job of this machine.
POLL_AFTER = 0.3
#: Starts without a step forward after which a job is given up: something kills its worker each time.
MOST_STARTS = 4

#: Workers of this process, kept so that the ended ones are reaped.
_children: list[subprocess.Popen[bytes]] = []


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked.

    Attributes:
        id: The job's.
        backend: Whose job it is.
        program: Name of the module that does the work; see `adaptkit.backends.local_jobs.work`.
        queue: What it needs for itself, such as a device; jobs with the same take turns. Empty for nothing.
        config: The resolved configuration.
        files: Paths by purpose.
        fingerprint: Of the training data.
        offline: Whether nothing may leave this machine.
        hosts: Where the program may send to, where it sends anything; ``None`` for anywhere.
        created: Unix time.
        run: On what it runs, as `adaptkit.backends.engines.RunConfig` has it; empty for one process of this machine.
    """

    id: str
    backend: str
    program: str
    queue: str
    config: dict[str, Any]
    files: dict[str, str]
    fingerprint: str
    offline: bool
    created: float
    hosts: tuple[str, ...] | None = ()
    run: dict[str, Any] = {}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands.

    ``step`` is the last checkpoint's; ``starts`` counts workers since then, ``losses`` processes of its gang that were
    lost since then.
    """

    status: Status = Status.QUEUED
    raw_status: str = "queued"
    message: str | None = None
    model: str | None = None
    worker: str | None = None
    step: int = 0
    starts: int = 0
    losses: int = 0
    at: float = 0.0


class _Line(msgspec.Struct, frozen=True):
    """An event as it is written; its id is where its line ends in the file."""

    at: float
    kind: str
    message: str
    data: dict[str, Any]


class Job:
    """One job of the folder ``home/jobs``.

    Args:
        home: Folder of the backend, which has its name.
        job_id: The job's id, which is its folder's name.

    Raises:
        NotFoundError: that is no job's id.
    """

    def __init__(self, home: Path, job_id: str) -> None:
        if not job_id or not job_id.isascii() or not job_id.replace("-", "").replace("_", "").isalnum():
            raise NotFoundError(f"{job_id!r} is not the id of a local job", backend=home.name)
        self.home, self.id = home, job_id
        self.folder = home / "jobs" / job_id

    @classmethod
    def create(cls, home: Path, spec: Spec) -> Job:
        """Make the job's folder, or find it there already."""
        job = cls(home, spec.id)
        if job.exists:
            return job
        draft = home / "jobs" / f".{spec.id}.{process_name()}.{time.monotonic_ns()}"
        draft.mkdir(parents=True, mode=0o700)
        replace_file(draft / "spec.json", msgspec.json.encode(spec))
        replace_file(draft / "state.json", msgspec.json.encode(State(at=time.time())))
        for empty in ("alive", "events.jsonl", "log.txt"):
            os.close(os.open(draft / empty, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            draft.rename(job.folder)
        except OSError:
            shutil.rmtree(draft)
            if not job.exists:
                raise
        sync(job.folder.parent)
        for left in job.folder.parent.glob(f".{spec.id}.*"):  # by clients that were killed above
            if is_dead(left.name.removeprefix(f".{spec.id}.").rpartition(".")[0]):
                shutil.rmtree(left, ignore_errors=True)
        return job

    @classmethod
    def at(cls, folder: Path) -> Job:
        """The job of a folder."""
        return cls(folder.parent.parent, folder.name)

    @property
    def exists(self) -> bool:
        """Whether there is such a job."""
        return (self.folder / "spec.json").is_file()

    def _read(self, name: str, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except FileNotFoundError:
            raise self._missing() from None
        except msgspec.MsgspecError as error:
            raise ArtifactError(
                f"{self.folder / name} is damaged ({error}); start the run again with fresh=True"
            ) from None

    @property
    def spec(self) -> Spec:
        """What was asked."""
        return self._read("spec.json", Spec)  # type: ignore[no-any-return]

    @property
    def state(self) -> State:
        """How it stood when last written; a dead worker's job still says ``running`` here."""
        return self._read("state.json", State)  # type: ignore[no-any-return]

    def update(self, **changes: Any) -> State:
        """Change some fields of the state. Only the holder of the lock may, or nobody's job is left."""
        state = msgspec.structs.replace(self.state, at=time.time(), **changes)
        replace_file(self.folder / "state.json", msgspec.json.encode(state))
        return state

    # -- life ---------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[int | None]:
        """Hold the lock that says a worker lives; gives its descriptor, or ``None`` when a worker has it."""
        handle = self._open("alive", os.O_RDWR)
        try:
            yield handle if _try_lock(handle, fcntl.LOCK_EX) else None
        finally:
            os.close(handle)  # a worker that inherited it keeps the lock

    @property
    def alive(self) -> bool:
        """Whether a worker lives."""
        try:
            handle = os.open(self.folder / "alive", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(handle)

    def start(self) -> None:
        """Start a worker unless one lives or the job has ended."""
        with self.lock() as handle:
            if handle is not None and self.begin():
                _spawn(self, handle)

    def begin(self) -> bool:
        """Count a start, and say whether there is one to make; for the holder of the lock."""
        state = self.state
        if state.status.is_terminal:
            return False
        if state.starts >= MOST_STARTS:
            self.update(
                status=Status.FAILED,
                raw_status="failed",
                message=f"the worker was killed {state.starts} times at the same point, each time without a word; "
                f"most often the machine is out of memory. Its log: {self.log()}",
            )
            return False
        if self.cancelling:
            self.update(status=Status.CANCELLED, raw_status="cancelled")
            return False
        self.update(status=Status.QUEUED, raw_status="queued", message=None, starts=state.starts + 1)
        return True

    @property
    def cancelling(self) -> bool:
        """Whether a cancellation was asked for."""
        return (self.folder / "cancel").exists()

    def ask_to_cancel(self) -> None:
        """Leave word that a cancellation is wanted; the file keeps the time of the first."""
        if not self.cancelling:
            (self.folder / "cancel").touch(mode=0o600)

    def cancel(self) -> None:
        """Ask the worker to stop; where none lives, the job is cancelled at once."""
        if self.state.status.is_terminal:
            return
        self.ask_to_cancel()
        with self.lock() as handle:
            if handle is not None and not self.state.status.is_terminal:
                self.update(status=Status.CANCELLED, raw_status="cancelled")

    def snapshot(self) -> Snapshot:
        """How the job stands now, seen from outside."""
        return self.standing(lives=self.alive)  # asked before the state: a worker that ends in between wrote its end

    def standing(self, *, lives: bool) -> Snapshot:
        """How the job stands, by whether its processes live."""
        state = self.state
        status, raw, message = state.status, state.raw_status, state.message
        if not status.is_terminal and not lives:
            status, raw = Status.PAUSED, "interrupted"
            message = message or "the worker was stopped; submitting the same run again continues it"
        return Snapshot(
            job_id=self.id,
            status=status,
            raw_status=raw,
            tag=self.id,
            message=message,
            poll_after=None if status.is_terminal else POLL_AFTER,
            raw={"folder": str(self.folder), "model": state.model, "step": state.step, "worker": state.worker},
        )

    def log(self, node: int = 0) -> Path:
        """What its processes print; those of another machine than the first have a file of their own."""
        return self.folder / (f"log-{node}.txt" if node else "log.txt")

    # -- events -------------------------------------------------------------------------------------------------

    def tell(self, kind: str, message: str, /, **data: Any) -> None:
        """Append an event: one whole line in one write."""
        line = msgspec.json.encode(_Line(time.time(), kind, message, data)) + b"\n"
        handle = os.open(self.folder / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def mend_events(self) -> int:
        """Cut off a last line that a crash tore, and give the last step whose figures were told (0 for none)."""
        path = self.folder / "events.jsonl"
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("r+b") as stream:
                stream.truncate(len(whole))
        return max((event.data.get("step", 0) for event in self.events(None) if event.kind == "metrics"), default=0)

    def events(self, after: str | None) -> list[Event]:
        """Events after the one with that id; a line that is still being written is left for the next time."""
        try:
            start = int(after) if after else 0
        except ValueError:
            raise NotFoundError(f"{after!r} is not the id of an event of a local job", backend=self.home.name) from None
        told = []
        with os.fdopen(self._open("events.jsonl", os.O_RDONLY), "rb") as stream:
            stream.seek(start)
            at = start
            for line in stream:
                at += len(line)
                if not line.endswith(b"\n"):
                    break
                with suppress(msgspec.MsgspecError):
                    said = msgspec.json.decode(line, type=_Line)
                    told.append(Event(id=f"{at:012d}", **msgspec.structs.asdict(said)))
        return told

    def _open(self, name: str, how: int) -> int:
        try:
            return os.open(self.folder / name, how)
        except FileNotFoundError:
            raise self._missing() from None

    def _missing(self) -> NotFoundError:
        return NotFoundError(f"this machine has no local job {self.id} under {self.home}", backend=self.home.name)


def _try_lock(handle: int, how: int) -> bool:
    """Take a lock that readers hold for microseconds and a worker for long; wait out the former."""
    for _ in range(25):
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)
        else:
            return True
    return False


#: Set for a worker before anything is imported, because libraries read them once.
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "WANDB_DISABLED": "true",
    "MLFLOW_TRACKING_URI": "",
    "TRACKIO_DISABLED": "1",
}


def environment(base: Mapping[str, str], *, offline: bool) -> dict[str, str]:
    """The environment of a worker: nothing phones home, and nothing at all goes out when the policy says so.

    The worker finds the packages where this process does, as a child of `multiprocessing` would.
    """
    found = os.pathsep.join(path for path in sys.path if path)
    return {**base, "PYTHONPATH": found, **QUIET, **(OFFLINE if offline else {})}


def _spawn(job: Job, lock: int) -> None:
    """A process of its own session, so that neither Ctrl-C nor the end of this process reaches it."""
    _children[:] = [child for child in _children if child.poll() is None]
    log = os.open(job.log(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "adaptkit.backends.local_jobs.worker", str(job.folder), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(os.environ, offline=job.spec.offline),
            cwd=job.folder,
            pass_fds=(lock,),
            start_new_session=True,
        )
    finally:
        os.close(log)
    _children.append(child)


def this_worker() -> str:
    """A name of this process that stays true when process ids are used again."""
    return process_name()

"""Jobs whose machine shares no folder with others: they lie in object storage, and it has a folder beside that.

There is one idea: push what changed, pull what is there.

```
data/HASH.jsonl                     what is learned from, once for all jobs
jobs/ID/spec.json                   what was asked; pushed last, so that a job that is seen is whole
jobs/ID/cancel
jobs/ID/launches/000002/alive.json  when the launch was last heard of
                        log.txt, events.jsonl, state.json
                        files/HASH  of checkpoints, once each
                        kept/000000000040.json   which of them are the checkpoints after step 40; pushed after them
                        model/…     manifest.json last
```

Object storage has no locks. In their place every launch of a job has a number and writes under it alone, readers take
the newest, and a worker that sees a newer number than its own stops. So a worker that was thought dead and is not may
cost something for some seconds more; what it writes is read by nobody.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from adaptkit.backends.base_model import sha256_of
from adaptkit.backends.engines.objects import Objects, is_address
from adaptkit.backends.engines.site import Superseded
from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.backends.local_jobs.job import State
from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, NotFoundError

__all__ = ["Stored", "at_hand", "download"]

#: Seconds without a sign of life after which a launch counts as gone.
SILENCE = 60.0
_KEPT = re.compile(r"(\d{12})\.json")


class Stored:
    """A job in object storage; a `Site`.

    Args:
        address: Of the folder of all jobs, such as ``s3://bucket/jobs``.
        job: Its folder on this machine, which need not exist yet.
        number: Of the launch; 0 for a client.
    """

    def __init__(self, address: str, job: Job, number: int = 0) -> None:
        self.job, self.number = job, number
        self._objects, self._at = Objects(address), f"jobs/{job.id}"
        self._pushed: dict[str, bytes] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}

    def _launch(self, number: int | None = None) -> str:
        return f"{self._at}/launches/{self.number if number is None else number:06d}"

    # -- clients ------------------------------------------------------------------------------------------------

    def offer(self) -> None:
        """Push data that is not there yet, then the spec."""
        if self._objects.has(f"{self._at}/spec.json"):
            return
        spec, files = self.job.spec, {}
        for purpose, path in spec.files.items():
            files[purpose] = f"{sha256_of([Path(path)])}{Path(path).suffix}"
            if not self._objects.has(f"data/{files[purpose]}"):
                self._objects.put(f"data/{files[purpose]}", Path(path))
        spec = msgspec.structs.replace(spec, files=files)
        self._objects.put(f"{self._at}/spec.json", msgspec.json.encode(spec))

    def launched(self) -> int:
        """The highest number of those there."""
        return max(self._launches(), default=0)

    def _launches(self) -> list[int]:
        """Numbers of launches, the newest first."""
        return sorted(map(int, filter(str.isdecimal, self._objects.names(f"{self._at}/launches"))), reverse=True)

    def claim(self, number: int) -> None:
        """Give a sign of life."""
        self._objects.put(f"{self._launch(number)}/alive.json", msgspec.json.encode(time.time()))

    def heard(self) -> bool:
        """Whether its last sign of life is young, where clocks agree."""
        said = _decoded(self._objects.get(f"{self._launch(self.launched())}/alive.json"), float)
        return said is not None and time.time() - said < SILENCE

    def refresh(self) -> None:
        """Pull the newest launch's state and events, and the wish to end."""
        if not self.job.exists:
            spec = _decoded(self._objects.get(f"{self._at}/spec.json"), Spec)
            if spec is None:
                words = f"{self._objects.address} has no job {self.job.id}"
                raise NotFoundError(words, backend=self.job.home.name)
            files = {purpose: str(self.job.home / "data" / name) for purpose, name in spec.files.items()}
            Job.create(self.job.home, msgspec.structs.replace(spec, files=files))
        for number in self._launches():
            state = self._objects.get(f"{self._launch(number)}/state.json")
            if _decoded(state, State) is not None and state is not None:
                events = self._objects.get(f"{self._launch(number)}/events.jsonl")  # not older than the state
                replace_file(self.job.folder / "events.jsonl", events or b"")
                replace_file(self.job.folder / "state.json", state)
                break
        self._listen()

    def _listen(self) -> None:
        if not self.job.cancelling and self._objects.has(f"{self._at}/cancel"):
            self.job.ask_to_cancel()

    def cancel(self) -> None:
        """Push the wish."""
        self._objects.put(f"{self._at}/cancel", b"")

    # -- processes ----------------------------------------------------------------------------------------------

    def push(self) -> None:
        """Push what changed."""
        self._guard()
        self._listen()
        names = ("state.json", "events.jsonl", "log.txt")
        said = [(name, (self.job.folder / name).read_bytes()) for name in names]
        for name, content in reversed(said):  # the state last: nobody sees it ahead of the events
            if self._pushed.get(name) != content:
                self._objects.put(f"{self._launch()}/{name}", content)
                self._pushed[name] = content

    def _guard(self) -> None:
        if self.launched() > self.number:
            raise Superseded

    def worded(self, words: str) -> str:
        """Words in which the log is in storage."""
        return words.replace(str(self.job.log()), f"{self._objects.address}/{self._launch()}/log.txt")

    def give(self, model: str) -> str:
        """Push the model's folder; gives its address."""
        folder = Path(model)
        if not folder.is_dir():
            return model
        self._guard()
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for name in sorted(names, key=lambda name: (name == "manifest.json", name)):
            self._objects.put(f"{self._launch()}/model/{name}", folder / name)
        return f"{self._objects.address}/{self._launch()}/model"

    def fetch(self) -> None:
        """Pull the data, and make this machine's checkpoints the newest that are whole in storage."""
        self.refresh()
        for path in map(Path, self.job.spec.files.values()):
            if not path.exists():
                self._bring(f"data/{path.name}", path, path.stem)
        found = [(step, number) for number in self._launches() for step in self._kept(number)]
        for step, number in sorted(found, reverse=True):
            held = self._list(number, step)
            if held is not None:
                with suppress(ArtifactError):  # torn: the ones before
                    return self._become(number, held)
        return self._become(0, {})

    # -- checkpoints --------------------------------------------------------------------------------------------

    def keep(self, step: int) -> None:
        """Push the files of checkpoints that are not there, then their list."""
        self._guard()
        folder, there, held = self.job.folder / "checkpoints", set(self._objects.names(f"{self._launch()}/files")), {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest = held[path.relative_to(folder).as_posix()] = self._hash(path)
            if digest not in there:
                self._objects.put(f"{self._launch()}/files/{digest}", path)
        self._objects.put(f"{self._launch()}/kept/{step:012d}.json", msgspec.json.encode(held))
        self._forget()

    def _forget(self) -> None:
        """Delete what neither the newest list needs nor the one before it, which is there in case that is damaged."""
        steps = self._kept(self.number)
        needed = {digest for step in steps[:2] for digest in (self._list(self.number, step) or {}).values()}
        stale = [f"kept/{step:012d}.json" for step in steps[2:]]
        stale += [f"files/{name}" for name in self._objects.names(f"{self._launch()}/files") if name not in needed]
        for name in stale:
            self._objects.delete(f"{self._launch()}/{name}")

    def clear(self) -> None:
        """Delete the checkpoints of all launches."""
        for number in self._launches():
            for folder in (f"{self._launch(number)}/{kind}" for kind in ("kept", "files")):
                for name in self._objects.names(folder):
                    self._objects.delete(f"{folder}/{name}")

    def _kept(self, number: int) -> list[int]:
        """Steps of which a launch has lists, the newest first."""
        names = self._objects.names(f"{self._launch(number)}/kept")
        return sorted((int(found[1]) for name in names if (found := _KEPT.fullmatch(name))), reverse=True)

    def _list(self, number: int, step: int) -> dict[str, str] | None:
        """Hashes of files, by path; ``None`` for a torn list."""
        content = self._objects.get(f"{self._launch(number)}/kept/{step:012d}.json")
        held: dict[str, str] | None = _decoded(content, dict[str, str])
        return held

    def _become(self, number: int, held: dict[str, str]) -> None:
        """Make this machine's checkpoints those of a list."""
        folder = self.job.folder / "checkpoints"
        for name, digest in held.items():
            _require_inside(name)
            path = folder / name
            if not (path.is_file() and self._hash(path) == digest):
                self._bring(f"{self._launch(number)}/files/{digest}", path, digest)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path.relative_to(folder).as_posix() not in held:
                path.unlink()

    def _hash(self, path: Path) -> str:
        stat = path.stat()
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in self._hashes:
            self._hashes[key] = sha256_of([path])
        return self._hashes[key]

    def _bring(self, there: str, path: Path, digest: str) -> None:
        """Pull a file, which is whole or an error.

        Raises:
            ArtifactError: it is not there, or not what its name says.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.draft")
        if not self._objects.bring(there, draft) or sha256_of([draft]) != digest:
            draft.unlink(missing_ok=True)
            raise ArtifactError(
                f"{self._objects.address}/{there} is missing or damaged; start the run again with fresh=True"
            )
        draft.chmod(0o600)
        draft.replace(path)


def at_hand(model: str, folder: Path) -> str:
    """A model's id as a path of this machine: one in object storage is pulled into a folder, unless it is there.

    Raises:
        NotFoundError: storage holds no whole model at that address.
    """
    if not is_address(model):
        return model
    return str(folder if folder.is_dir() else download(model, folder))


def download(address: str, folder: Path) -> Path:
    """Pull a model, which appears whole in a folder of this machine; gives the folder.

    Raises:
        NotFoundError: there is no whole model.
        OSError: the folder is there and not empty.
    """
    objects = Objects(address)
    draft = folder.with_name(f".{folder.name}.download")
    shutil.rmtree(draft, ignore_errors=True)
    names = objects.tree("")
    if "manifest.json" not in names:
        raise NotFoundError(f"{address} holds no whole model")
    for name in names:
        _require_inside(name)
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not objects.bring(name, path):
            raise NotFoundError(f"{address}/{name} is gone")
    draft.rename(folder)
    return folder


def _require_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArtifactError(f"storage names a file {name!r}, which is outside of its folder; nothing was written")


def _decoded(content: bytes | None, kind: type[Any]) -> Any:
    """What an object says; ``None`` where it is not there or torn, which is the same."""
    with suppress(msgspec.MsgspecError):
        return None if content is None else msgspec.json.decode(content, type=kind)
    return None

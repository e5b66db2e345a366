"""Clients of every host, killed between the intent and the record, on both stores: never two jobs, none lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptkit.errors import SubmissionUncertain
from adaptkit.steps import SystemClock
from adaptkit.testing import FakeClock
from tests.hosted.conftest import Rig
from tests.hosted.hosts import Fake, Host

JOURNAL = ("begin", "lease", "advance", "record_upload", "accept", "release")
#: A call of the journal or of the adapter, which time it is made, and whether death comes before or after it.
POINTS = [(name, turn, when) for name in (*JOURNAL, "upload", "submit")
          for turn in ((1, 2) if name == "advance" else (1,)) for when in ("before", "after")]  # fmt: skip
#: Between the note that it will be sent and the sending, nobody can tell whether it was.
IN_DOUBT = {("advance", 2, "after"), ("submit", 1, "before")}


def forked(do: Callable[[], object]) -> int:
    """Do something in another process; gives its exit status."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            do()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "journal.db") if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def dies(rig: Rig, note: str, name: str, turn: int, when: str) -> bool:
    """Submit in a process that kills itself at a call; whether it did."""

    def submit() -> None:
        client = rig.client(SystemClock())
        holder = client._open_journal() if name in JOURNAL else client._target("t")
        call, calls = getattr(holder, name), iter(range(1, 1000))

        def deadly(*args: object, **kwargs: object) -> object:
            last = next(calls) == turn
            if last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = call(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        object.__setattr__(holder, name, deadly)
        client.submit("t", rig.data(note))

    return os.WIFSIGNALED(forked(submit))


def test_killed_at_every_point(host: Host, fake: Fake, tmp_path: Path, journal: str) -> None:
    rig = Rig(host, fake, tmp_path / "home", journal)
    with rig.client(SystemClock()) as client:
        client.plan("t", rig.data())  # what is imported late is imported before the forks
    for number, point in enumerate(POINTS):
        note, before = f"point {number}", set(fake.jobs.all)
        assert dies(rig, note, *point), f"never came to {point}"
        with rig.client(FakeClock(time.time())) as client:
            try:
                job = client.submit("t", rig.data(note))
            except SubmissionUncertain:
                assert point in IN_DOUBT
                assert rig.guarantee != "exactly_once"
                assert set(fake.jobs.all) == before, "uncertain, and sent all the same"
                continue
            assert len(set(fake.jobs.all) - before) == 1, point
            assert job.id in {known.id for known in client.jobs()}, "a job that the journal does not know"
    assert set(fake.jobs.per_tag().values()) == {1}


def test_processes_at_once_make_one_job(rig: Rig) -> None:
    with rig.client(SystemClock()) as client:
        client.plan("t", rig.data())
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                rig.client(SystemClock()).submit("t", rig.data())
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 3
    assert len(rig.fake.jobs.all) == 1

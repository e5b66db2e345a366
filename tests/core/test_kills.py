"""Clients that are killed: real processes, `kill -9`, both stores. Whatever happens, nobody pays twice.

The child is forked, so that a kill costs milliseconds; it opens everything anew and shares nothing with its parent.
"""

import os
import random
import signal
import time

import pytest

from adaptkit import AdaptkitWarning, Client, SubmissionUncertain
from adaptkit.steps import SystemClock
from adaptkit.testing import FakeClock, ScriptedAdapter, ScriptedConfig, ScriptedDeploy, ScriptedService
from tests.core.conftest import data

#: Every call that changes something, in the order of a submission; a process dies before it and after it.
JOURNAL_CALLS = ("begin", "lease", "renew", "advance", "record_upload", "use_upload", "accept", "release")
ADAPTER_CALLS = ("upload", "submit")
POINTS = [(name, turn, when) for name in (*JOURNAL_CALLS, *ADAPTER_CALLS)
          for turn in ((1, 2) if name in ("renew", "advance") else (1,)) for when in ("before", "after")]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "journal.db")
    return request.getfixturevalue("postgres_url")


#: The same for a deployment.
DEPLOYMENT_POINTS = [(name, when) for name in ("begin", "deploy", "hear") for when in ("before", "after")]


class Rig:
    """A service in a file, a journal, and clients in this process and in others."""

    def __init__(self, folder, journal):
        self.folder, self.journal = folder, journal
        self.path = folder / "service.db"
        ScriptedService(self.path).close()

    def client(self, clock, **settings):
        config = ScriptedConfig(service=str(self.path), **settings)
        return Client(targets={"t": config}, home=self.folder, journal=self.journal, clock=clock)

    def forked(self, do):
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            do()
            code = 0
        finally:
            os._exit(code)

    def dies_in(self, name, turn, when, **settings):
        """Submit in a process that kills itself at a call; whether it did."""

        def submit():
            client = self.client(SystemClock(), **settings)
            holder = client._open_journal() if name in JOURNAL_CALLS else client._target("t")
            call, calls = getattr(holder, name), iter(range(1, 100))

            def deadly(*args, **kwargs):
                last = next(calls) == turn
                if last and when == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = call(*args, **kwargs)
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer

            setattr(holder, name, deadly)
            client.submit("t", data())

        _, status = os.waitpid(self.forked(submit), 0)
        return os.WIFSIGNALED(status)

    def dies_deploying(self, model, name, when, **settings):
        """Deploy in a process that kills itself at a call; whether it did."""

        def deploy():
            client = self.client(SystemClock(), **settings)
            holder = client._target("t") if name == "deploy" else client._open_journal().deployments
            call = getattr(holder, name)

            def deadly(*args, **kwargs):
                if when == "after":
                    call(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(holder, name, deadly)
            client.model(str(model)).deploy(confirm_spend=True)

        _, status = os.waitpid(self.forked(deploy), 0)
        return os.WIFSIGNALED(status)

    def heal(self, note="", **settings):
        """Submit from here, as a person would who comes back."""
        with self.client(FakeClock(time.time()), **settings) as client:
            try:
                return client.submit("t", data(note))
            except SubmissionUncertain:
                assert settings["guarantee"] != "exactly_once"
                return None

    def jobs(self):
        service = ScriptedService(self.path)
        try:
            assert set(service.jobs_per_tag().values()) <= {1}
            return service.jobs()
        finally:
            service.close()

    def deployments(self):
        service = ScriptedService(self.path)
        try:
            return [deployment.id for deployment in service.deployments() if deployment.costs]
        finally:
            service.close()


@pytest.fixture
def rig(tmp_path, journal):
    return Rig(tmp_path, journal)


@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_killed_at_every_named_point(tmp_path, journal, guarantee):
    for number, (name, turn, when) in enumerate(POINTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = Rig(folder, journal)
        # an identity of its own at each point, as the journal is shared
        settings = {"guarantee": guarantee, "seed": number}
        assert rig.dies_in(name, turn, when, **settings), f"never came to {name}"
        job = rig.heal(**settings)
        remote = rig.jobs()
        if job is None:  # between the note that it will be sent and the sending: nobody can tell, so nobody guesses
            assert (name, turn, when) in {("advance", 2, "after"), ("submit", 1, "before")}, (name, turn, when)
            assert remote == []
        else:
            assert [job.id] == [known.id for known in remote], (name, turn, when)


@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_killed_at_every_point_of_a_deployment(tmp_path, journal, guarantee):
    for number, (name, when) in enumerate(DEPLOYMENT_POINTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = Rig(folder, journal)
        settings = {"seed": number, "deploy": ScriptedDeploy(guarantee=guarantee)}
        with rig.client(FakeClock(time.time()), **settings) as client:
            model = client.submit("t", data()).result()
            assert rig.dies_deploying(model.ref, name, when, **settings), f"never came to {name}"
            known = [deployment.id for deployment in client.deployments()]
            assert bool(known) is ((name, when) != ("begin", "before")), "what may cost money is listed"
            if guarantee == "reconcilable" and (name, when) in {("begin", "after"), ("deploy", "before")}:
                # between the note that it will be sent and the sending: nobody can tell, so nobody guesses
                with pytest.raises(SubmissionUncertain) as uncertain:
                    model.deploy(confirm_spend=True)
                assert rig.deployments() == []
                assert known == [uncertain.value.tag]
                with pytest.warns(AdaptkitWarning):
                    client.deployments()[0].stop()
            running = model.deploy(confirm_spend=True)
            assert rig.deployments() == [running.id]
            assert [deployment.id for deployment in client.deployments()] == [running.id]
            running.stop()  # the journal is shared
            assert running.refresh() == "stopped"


@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_deploying_processes_at_once_start_one(rig, guarantee):
    settings = {"latency": 0.02, "settle_seconds": 5, "deploy": ScriptedDeploy(guarantee=guarantee)}
    with rig.client(FakeClock(time.time()), **settings) as client:
        model = client.submit("t", data()).result()
        children = [
            rig.forked(lambda: rig.client(SystemClock(), **settings).model(str(model.ref)).deploy(confirm_spend=True))
            for _ in range(4)
        ]
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        assert rig.deployments() == [deployment.id for deployment in client.deployments()]
        assert len(rig.deployments()) == 1


def random_kills(rig, count, guarantee):
    """Kill clients at random moments; after each round one submit brings the run to exactly one job."""
    dice = random.Random(count)
    killed = rounds = uncertain = 0
    settings = {"guarantee": guarantee, "latency": 0.002}
    while killed < count:
        rounds += 1
        for _ in range(dice.randint(1, 3)):
            pid = rig.forked(lambda note=str(rounds): rig.client(SystemClock(), **settings).submit("t", data(note)))
            time.sleep(dice.uniform(0.005, 0.08))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            killed += os.WIFSIGNALED(status)
        before = len(rig.jobs())
        job = rig.heal(str(rounds), **settings)
        if job is None:
            uncertain += 1
            assert len(rig.jobs()) == before, "uncertain, and sent all the same"
    assert len(rig.jobs()) == rounds - uncertain


@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_killed_at_random(rig, guarantee):
    random_kills(rig, 8, guarantee)


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", ["exactly_once", "reconcilable"])
def test_killed_at_random_many_times(rig, guarantee):
    random_kills(rig, 50, guarantee)


def test_the_lease_of_a_dead_client_is_not_waited_for(rig):
    assert rig.dies_in("upload", 1, "after")
    begun = time.monotonic()
    with rig.client(SystemClock()) as client:
        client.submit("t", data())
    assert time.monotonic() - begun < 5
    assert len(rig.jobs()) == 1


def test_processes_at_once_make_one_job(rig):
    go = time.time() + 0.5

    def submit():
        client = rig.client(SystemClock(), latency=0.02)
        time.sleep(max(0.0, go - time.time()))
        client.submit("t", data())

    children = [rig.forked(submit) for _ in range(5)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    (job,) = rig.jobs()
    assert rig.heal(guarantee="reconcilable", latency=0.02).id == job.id


def test_a_client_that_slept_does_not_send_what_another_has_sent(rig, monkeypatch):
    """A machine that sleeps loses its lease; the run may have been driven, and given back, by somebody else since."""
    asleep = FakeClock(time.time())

    def while_uploading(self, file):
        monkeypatch.undo()
        asleep.advance(3600)
        with rig.client(FakeClock(asleep.time())) as other:
            service = ScriptedService(rig.path)
            service.next("submit", "broken")
            with pytest.raises(SubmissionUncertain):
                other.submit("t", data())
            service.close()
        return self.upload(file)

    monkeypatch.setattr(ScriptedAdapter, "upload", while_uploading)
    with rig.client(asleep) as client, pytest.raises(Exception, match="lease"):
        client.submit("t", data())
    assert rig.jobs() == []

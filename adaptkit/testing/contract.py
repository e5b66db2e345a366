"""What every backend keeps, as tests: subclass `AdapterContract`, say how to reach your backend, run pytest.

```python
class TestEcho(AdapterContract):
    gaps = {"test_unknown_status_does_not_crash": "a job has three states, and all of them are known"}

    def config(self):
        return EchoConfig()
```

A test that your backend cannot pass yet is named in ``gaps`` with the reason: it becomes a strict xfail, so a gap that
has healed is a failure too. Weakening a test in any other way is itself a failure. Where there is no pytest,
`check_adapter` runs the same tests.
"""

# ruff: noqa: D102, S101 - the names of the tests say what they want, and they want it with assert

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anyio

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, Context, SupportsChat, SupportsStream
from adaptkit.aio import AsyncClient
from adaptkit.client import Client
from adaptkit.config import target
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, BackendError, ConfigError, DataError, EgressError, JobFailed, NotFoundError
from adaptkit.http import loopback
from adaptkit.job import Job
from adaptkit.registry import adapter_type
from adaptkit.steps import Clock, SystemClock
from adaptkit.testing.watch import watched
from adaptkit.types import JobRef, Message, ModelRef, Status

__all__ = ["AdapterContract", "Finding", "check_adapter"]

#: Goes through every run as a training row; must come out nowhere.
CANARY_ROW = "canary-row-5e0c1c"
#: Stands in every environment variable that a ``…_env`` field names, unless the variable is set already.
CANARY_KEY = "sk-canary-key-91f2ab"
#: Packages that importing a backend must not load.
VENDORS = ("anthropic", "boto3", "datasets", "mistralai", "openai", "peft", "pyarrow", "ray", "torch", "together",
           "transformers", "trl")  # fmt: skip


@dataclass
class _Stage:
    """What the tests of one class share: a home folder, the log, and one finished job."""

    home: Path
    log: list[str] = field(default_factory=list)
    finished: Job | None = None
    client: Client | None = None


class AdapterContract:
    """The contract. Override the factories below, and nothing whose name starts with ``test_``.

    Attributes:
        gaps: Reason by name of a test that the backend does not pass.
        timeout: Seconds within which every job of `config` ends.
        vendors: Packages that importing the backend must not load, beside the usual ones.
        asked_with: How models are asked, as fields of `ChatOptions`, so that they answer the same twice.
    """

    __test__ = False
    gaps: ClassVar[Mapping[str, str]] = {}
    timeout: ClassVar[float] = 120.0
    vendors: ClassVar[Sequence[str]] = ()
    asked_with: ClassVar[Mapping[str, Any]] = {"max_tokens": 8, "temperature": 0}
    _stage: ClassVar[_Stage]

    # what a backend says of itself ------------------------------------------------------------------------------------

    def config(self) -> BackendConfig:
        """A configuration whose job succeeds, and soon."""
        raise NotImplementedError("config() must give a configuration whose job succeeds")

    def rows(self) -> list[dict[str, Any]]:
        """Rows that fit; at least a dozen, none of which the contract's own canary row would spoil."""
        return [_row(f"What is {number} and one?", f"It is {number + 1}.") for number in range(16)]

    def bad_row(self) -> dict[str, Any]:
        """A row that does not fit."""
        return {"messages": []}

    def long_config(self) -> BackendConfig:
        """A configuration whose job runs long enough to be cancelled; one that is too quick does no harm."""
        return self.config()

    def failing_config(self) -> tuple[BackendConfig, str]:
        """A configuration whose job fails, and words that the service says then."""
        raise NotImplementedError("failing_config() must give a configuration whose job fails, or stand in gaps")

    def remote_config(self) -> BackendConfig:
        """A configuration that talks to another machine, where the one of `config` talks to a fake on this one."""
        return self.config()

    def say_unknown_status(self, job: Job) -> None:
        """Let the next poll of a live job say a word that nobody knows."""
        raise NotImplementedError("say_unknown_status() must make a poll say an unknown word, or stand in gaps")

    def break_next_poll(self) -> None:
        """Let the next poll fail as by a fault of the network."""
        raise NotImplementedError("break_next_poll() must make one poll fail, or stand in gaps")

    def clock(self) -> Clock:
        """Time; a `FakeClock` where jobs need none."""
        return SystemClock()

    @classmethod
    def start(cls) -> None:
        """Bring up what the class needs, such as a fake service; keep it in class attributes."""

    @classmethod
    def stop(cls) -> None:
        """Take it down again."""

    # pytest's own hooks -----------------------------------------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__test__ = cls.__dict__.get("__test__", True)  # a base of yours may say False
        try:
            pytest = importlib.import_module("pytest")
        except ImportError:
            return  # `check_adapter` reads the gaps itself
        for name, reason in cls.gaps.items():
            if name in _TESTS and name not in cls.__dict__:
                setattr(cls, name, pytest.mark.xfail(strict=True, reason=reason)(_copy(_TESTS[name])))

    @classmethod
    def setup_class(cls) -> None:
        """Begin: a folder for all tests of the class, and the log."""
        # not under pytest's own folders, which are kept
        cls._folder = tempfile.TemporaryDirectory(prefix="adaptkit-contract-", ignore_cleanup_errors=True)
        cls._stage = _Stage(Path(cls._folder.name))
        cls.start()

    @classmethod
    def teardown_class(cls) -> None:
        """End."""
        if cls._stage.client is not None:
            cls._stage.client.close()
        cls.stop()
        cls._folder.cleanup()

    _folder: ClassVar[tempfile.TemporaryDirectory[str]]

    # the contract -----------------------------------------------------------------------------------------------------

    def test_contract_is_not_weakened(self) -> None:
        found = _weakened(type(self))
        assert not found, "\n".join(found)

    def test_config_round_trips_through_json(self) -> None:
        config = self.config()
        assert type(config).model_validate_json(config.model_dump_json()) == config
        assert target("t", json.loads(config.model_dump_json())) == config

    def test_config_rejects_typos(self) -> None:
        table = json.loads(self.config().model_dump_json())
        with _raises(ConfigError) as caught:
            target("t", {**table, "backendd": 1})
        assert "backendd" in str(caught[0]), "the message must name the field that is wrong"

    def test_importing_is_light_and_quiet(self) -> None:
        adapter = adapter_type(self.config().backend)
        heavy = sorted({*VENDORS, *self.vendors})
        said = _python(
            f"""
            import sys
            import adaptkit, adaptkit.testing.watch as watch
            with watch.watched() as seen:
                import {adapter.__module__}
            print([name for name in {heavy!r} if name in sys.modules], seen.outside)
            """
        )
        assert said == "[] []", f"importing {adapter.__module__} loads or reaches out: {said}"

    def test_constructing_does_no_io(self) -> None:
        config = self.config()
        kind = adapter_type(config.backend)
        home = self._stage.home / "untouched"
        with watched() as seen:
            adapter = kind(config, Context(home))
            _ = adapter.account, adapter.destinations
        assert not seen.outside, f"constructing reaches out: {seen.outside}"
        assert not [path for path in seen.opened if not path.endswith((".py", ".pyc"))], seen.opened
        assert not home.exists(), "constructing makes folders"

    def test_plan_makes_no_request(self) -> None:
        with _open(self, self.config(), "plan") as client, watched() as seen:
            plan = client.plan("t", self._data())
        assert not seen.outside, f"a dry run reaches out: {seen.outside}"
        assert plan.files, "a plan says which files would be sent"
        assert all(file.rows and file.sha256 for file in plan.files), "and what is in them"
        assert not (self._stage.home / "plan").exists(), "a dry run leaves something behind"

    def test_bad_rows_are_numbered_and_refused_before_sending(self) -> None:
        rows = self.rows()
        data = Dataset.of([*rows[:4], self.bad_row(), *rows[4:], self.bad_row()])
        with _open(self, self.config(), "bad") as client, watched() as seen, _raises(DataError) as caught:
            client.submit("t", data)
        error = caught[0]
        assert isinstance(error, DataError)
        numbers = {problem.line for problem in error.problems}
        assert {5, len(rows) + 2} <= numbers, f"rows 5 and {len(rows) + 2} are bad, these were named: {numbers}"
        assert not seen.outside, f"bad data was on its way: {seen.outside}"

    def test_egress_none_refuses_before_sending(self) -> None:
        config = self.remote_config()
        there = adapter_type(config.backend)(config, Context(self._stage.home)).destinations
        if all(map(loopback, there)):
            assert not there, "remote_config() must give a configuration that talks to another machine"
            with _open(self, config, "egress", egress="none") as client:
                client.plan("t", self._data())
            return
        with _open(self, config, "egress", egress="none") as client, watched() as seen, _raises(EgressError) as caught:
            client.submit("t", self._data())
        assert any(host in str(caught[0]) for host in there), "the message must name the host"
        assert not seen.remote, f"refused, and sent all the same: {seen.remote}"

    def test_finished_job_is_the_same_handle(self) -> None:
        job = self._finished()
        assert job.status is Status.SUCCEEDED
        assert job.raw_status, "raw_status is the backend's own word"
        assert job.snapshot.job_id == job.id
        with _open(self, self.config()) as client:
            assert job.id in {known.id for known in client.jobs()}

    def test_ref_survives_text(self) -> None:
        job = self._finished()
        text = str(job.ref)
        assert "\n" not in text, "a reference is one line"
        assert JobRef.parse(text) == job.ref
        model = job.result()
        assert ModelRef.parse(str(model.ref)) == model.ref

    def test_fresh_client_resumes(self) -> None:
        job = self._finished()
        with _open(self, self.config()) as client:
            assert client.attach(str(job.ref)).result(self.timeout).ref == job.result().ref
        with _open(self, self.config(), journal=self._stage.home / "other.db") as client:
            found = client.attach(str(job.ref))
            assert found.wait(self.timeout) is Status.SUCCEEDED, "a job is found without the journal too"

    def test_fresh_process_resumes(self) -> None:
        job = self._finished()
        said = _python(
            f"""
            from adaptkit import Client
            client = Client(targets={{"t": {json.loads(self.config().model_dump_json())!r}}},
                            home={str(self._stage.home)!r})
            print(client.attach({str(job.ref)!r}).result({self.timeout}).ref)
            """
        )
        assert said == str(job.result().ref)

    def test_same_run_submits_once(self) -> None:
        job = self._finished()
        with _open(self, self.config()) as client:
            again = client.submit("t", self._data())
            assert again.reused, "the same data and configuration is the same run"
            assert again.id == job.id

    def test_terminal_is_final(self) -> None:
        job = self._finished()
        with watched() as seen:
            assert job.refresh() is Status.SUCCEEDED
            assert job.done()
        assert not seen.outside, "nothing is asked of a job that has ended"
        assert job.wait(0) is Status.SUCCEEDED

    def test_cancel_after_end(self) -> None:
        job = self._finished()
        adapter = self._adapter()
        adapter.cancel(job.id)
        assert adapter.poll(job.id).status is Status.SUCCEEDED, "cancelling a job that has ended changed it"

    def test_model_answers(self) -> None:
        model = self._finished().result()
        adapter = self._adapter()
        if isinstance(adapter, SupportsChat):
            reply = model.chat("What is 3 and one?", **self.asked_with)
            assert isinstance(reply.text, str)
            assert reply.finish_reason
            with _raises(BackendError):
                adapter.chat("no-such-model", (Message(role="user", content="Hello?"),), ChatOptions(max_tokens=4))
            if isinstance(adapter, SupportsStream):
                pieces = "".join(model.stream("What is 3 and one?", **self.asked_with))
                assert pieces == reply.text, "the pieces of a stream are the text that chat gives"

    def test_events_are_told_once(self) -> None:
        told = list(self._finished().events())
        assert told, "a job that has ended has a history"
        assert len({event.id for event in told}) == len(told), "an event was told twice"

    def test_upload_once_per_content(self) -> None:
        job = self._finished()
        with _open(self, self.config()) as client:
            adapter = _adapter_of(client)
            sent: list[str] = []
            upload = adapter.upload
            adapter.upload = lambda file: (sent.append(file.sha256), upload(file))[1]  # type: ignore[func-returns-value,method-assign]
            again = client.submit("t", self._data(), fresh=True)
            again.cancel()
        assert again.id != job.id, "fresh=True starts a new attempt"
        assert not sent, "the same content was uploaded again"

    def test_async_client_does_the_same(self) -> None:
        job, config = self._finished(), self.config()

        async def same() -> None:
            client = AsyncClient(targets={"t": config}, home=self._stage.home, clock=self.clock())
            async with client:
                again = await client.submit("t", self._data())
                assert await again.wait(self.timeout) in (Status.SUCCEEDED, Status.CANCELLED)
                found = await client.attach(str(job.ref))
                assert (await found.result(self.timeout)).ref == job.result().ref
                assert [event.id async for event in found.events()] == [event.id for event in job.events()]

        anyio.run(same)

    def test_two_threads_two_jobs(self) -> None:
        with _open(self, self.long_config(), "threads") as client:
            jobs = _at_once([functools.partial(client.submit, "t", self._data(str(number))) for number in (1, 2)])
            for job in jobs:
                job.cancel()
        assert len({job.id for job in jobs}) == 2, "two sets of data are two jobs"

    def test_two_threads_one_job(self) -> None:
        with _open(self, self.long_config(), "together") as client:
            data = self._data("together")
            jobs = _at_once([functools.partial(client.submit, "t", data)] * 2)
            jobs[0].cancel()
        assert len({job.id for job in jobs}) == 1, "the same run, submitted twice at once, is one job"

    def test_cancel_twice(self) -> None:
        with _open(self, self.long_config(), "cancel") as client:
            job = client.submit("t", self._data("cancel"))
            adapter = _adapter_of(client)
            job.cancel()
            adapter.cancel(job.id)
            adapter.cancel(job.id)
            assert job.wait(self.timeout) in (Status.CANCELLED, Status.SUCCEEDED)

    def test_missing_job_is_not_found(self) -> None:
        adapter = self._adapter()
        for ask in (adapter.poll, adapter.cancel, adapter.retrieve):
            with _raises(NotFoundError):
                ask("job-that-never-was")

    def test_failure_carries_the_services_words(self) -> None:
        config, words = self.failing_config()
        with _open(self, config, "failing") as client, _raises(JobFailed) as caught:
            client.submit("t", self._data("failing")).result(self.timeout)
        assert words in str(caught[0]), f"the service said {words!r}, the error says {caught[0]}"

    def test_unknown_status_does_not_crash(self) -> None:
        with _open(self, self.long_config(), "unknown") as client:
            job = client.submit("t", self._data("unknown"))
            self.say_unknown_status(job)
            assert job.refresh() is Status.UNKNOWN, "a word that nobody knows is not some other state"
            assert job.raw_status not in set(Status), "raw_status is the word itself"
            job.cancel()

    def test_transient_poll_error_keeps_the_status(self) -> None:
        with _open(self, self.long_config(), "transient") as client:
            job = client.submit("t", self._data("transient"))
            before = job.status
            self.break_next_poll()
            with _raises(BackendError) as caught:
                job.refresh()
            error = caught[0]
            assert isinstance(error, BackendError)
            assert error.transient, "a fault of the network may be tried again"
            assert error.ref == job.ref, "the error must name the job"
            assert job.status is before, "a poll that fails says nothing about the job"
            job.cancel()

    def test_no_secret_leaves(self) -> None:
        job, config = self._finished(), self.config()
        with _open(self, config) as client:
            plan = client.plan("t", self._data())
            shown = [repr(client.targets), repr(plan), repr(job), str(job.ref), str(job.result().ref), repr(config)]
        journal = (self._stage.home / "journal.db").read_bytes().decode(errors="replace")
        places = {
            "a repr or reference": "\n".join(shown),
            "the log": "\n".join(self._stage.log),
            "the journal": journal,
        }
        for secret in (CANARY_ROW, *_keys(config)):
            leaks = [place for place, text in places.items() if secret in text]
            assert not leaks, f"{'a training row' if secret == CANARY_ROW else 'the key'} stands in {leaks}"

    # helpers of the tests ---------------------------------------------------------------------------------------------

    def _data(self, note: str = "") -> Dataset:
        return Dataset.of([*self.rows(), _row(f"{CANARY_ROW} {note}", "Yes.")])

    def _adapter(self) -> Adapter[Any]:
        config = self.config()
        return adapter_type(config.backend)(config, Context(self._stage.home))

    def _finished(self) -> Job:
        """The one job that most tests look at, run once a class with the log turned up."""
        stage = self._stage
        if stage.finished is None:
            config = self.config()
            _set_keys(config)
            with _logged(stage.log):
                stage.client = Client(targets={"t": config}, home=stage.home, clock=self.clock())
                job = stage.client.submit("t", self._data())
                job.result(self.timeout)
            stage.finished = job
        return stage.finished


@dataclass(frozen=True)
class Finding:
    """One test that did not go as the contract wants: its name and what happened."""

    test: str
    reason: str


def check_adapter(contract: type[AdapterContract]) -> list[Finding]:
    """Run the contract without pytest.

    Args:
        contract: Your subclass.

    Returns:
        What does not hold, a gap that has healed among it; empty when all is well.
    """
    found = []
    contract.setup_class()
    try:
        for name, test in _TESTS.items():
            gap = contract.gaps.get(name)
            try:
                test(contract())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
                if gap is None:
                    found.append(Finding(name, f"{type(error).__name__}: {error}"))
            else:
                if gap is not None:
                    found.append(Finding(name, f"passes now, so it is no gap: {gap}"))
    finally:
        contract.teardown_class()
    return found


def _row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _weakened(contract: type[AdapterContract]) -> list[str]:
    found = []
    for name, reason in contract.gaps.items():
        if name not in _TESTS:
            found.append(f"gaps names {name}, which is no test of the contract")
        elif name == "test_contract_is_not_weakened":
            found.append(f"{name} cannot be a gap")
        if not isinstance(reason, str) or len(reason.split()) < 3:
            found.append(f"gaps[{name!r}] needs a reason in words")
    for name, test in _TESTS.items():
        function = getattr(contract, name)
        if getattr(function, "__wrapped__", function) is not test:
            found.append(f"{name} is overridden; name it in gaps with a reason instead")
        elif name not in contract.gaps and getattr(function, "pytestmark", None):
            found.append(f"{name} is marked; name it in gaps with a reason instead")
    weak = {"skip", "skipif", "xfail"}
    marks = {mark.name for kind in contract.__mro__ for mark in _marks(kind)}
    found += [f"the class is marked {name}" for name in sorted(marks & weak)]
    return found


def _marks(kind: type) -> list[Any]:
    marks = kind.__dict__.get("pytestmark", [])
    return marks if isinstance(marks, list) else [marks]


def _copy(test: Callable[..., None]) -> Callable[..., None]:
    """A function of its own to hang a mark on; the original is shared by every backend."""

    @functools.wraps(test)
    def copy(self: AdapterContract) -> None:
        test(self)

    return copy


_TESTS: dict[str, Callable[..., None]] = {
    name: member for name, member in vars(AdapterContract).items() if name.startswith("test_")
}


@contextmanager
def _open(contract: AdapterContract, config: BackendConfig, folder: str = "", **settings: Any) -> Iterator[Client]:
    """A client with a home of its own, or on the one that the finished job has."""
    _set_keys(config)
    home = contract._stage.home / folder  # noqa: SLF001 - the contract's own
    client = Client(targets={"t": config}, home=home, clock=contract.clock(), **settings)
    try:
        yield client
    finally:
        client.close()


def _adapter_of(client: Client) -> Adapter[Any]:
    return client._target("t")  # noqa: SLF001 - the one that the client itself will use


@contextmanager
def _raises(kind: type[AdaptkitError]) -> Iterator[list[AdaptkitError]]:
    caught: list[AdaptkitError] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _at_once(calls: Sequence[Callable[[], Job]]) -> list[Job]:
    """What the calls give, each in a thread of its own."""
    jobs: list[Job] = []
    faults: list[BaseException] = []

    def run(call: Callable[[], Job]) -> None:
        try:
            jobs.append(call())
        except BaseException as error:  # noqa: BLE001 - carried into the thread of the test
            faults.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return jobs


@contextmanager
def _logged(log: list[str]) -> Iterator[None]:
    """Every record of every logger, at DEBUG."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append(f"{record.name} {record.getMessage()}")

    root, collect = logging.getLogger(), Collect(logging.DEBUG)
    level = root.level
    root.addHandler(collect)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(collect)
        root.setLevel(level)


def _variables(config: BackendConfig) -> list[str]:
    named = (getattr(config, name) for name in type(config).model_fields if name.endswith("_env"))
    return [variable for variable in named if isinstance(variable, str)]


def _set_keys(config: BackendConfig) -> None:
    for variable in _variables(config):
        os.environ.setdefault(variable, CANARY_KEY)


def _keys(config: BackendConfig) -> list[str]:
    return [os.environ[variable] for variable in _variables(config)]


def _python(program: str) -> str:
    """What a program says in a Python of its own."""
    lines = program.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[indent:] for line in lines)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

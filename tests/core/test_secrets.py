"""A marker key and a marker row go through every flow, and come out nowhere but at the service."""

import logging
import pickle
import traceback
import warnings

import pytest

from adaptkit import AdaptkitError, AdaptkitWarning, Client, Dataset
from adaptkit import errors as errors_module
from adaptkit.config import target
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from adaptkit.types import DeploymentRef, DeploymentSnapshot, JobRef, Reply, Snapshot, Status

KEY, ROW = "sk-marker-key-0b4e77", "marker-row-c41d90"


def rows(bad=False):
    good = [
        {"messages": [{"role": "user", "content": f"{ROW} {n}"}, {"role": "assistant", "content": ROW}]}
        for n in range(12)
    ]
    broken = [{"messages": [{"role": "nobody", "content": ROW, "key": KEY}]}, {"text": [ROW]}, {"messages": ROW}]
    return Dataset.of([*good, *broken] if bad else good)


@pytest.fixture
def leaks(tmp_path, monkeypatch, caplog):
    """Collects everything that is said; at the end nothing of it may hold a marker."""
    monkeypatch.setenv("MARKER_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    said = []
    yield said
    said.append(caplog.text)
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            said.append(path.read_bytes().decode(errors="replace"))  # noqa: PERF401 - a filter of files
    assert len(said) > 3
    for text in said:
        for marker in (KEY, ROW):
            assert marker not in text, text


def tell(said, error):
    said += [str(error), repr(error), "".join(traceback.format_exception(error))]
    copy = pickle.dumps(error)
    said += [copy.decode(errors="replace"), repr(pickle.loads(copy))]


def test_markers_stay_inside(leaks, tmp_path):
    service = ScriptedService()  # in memory: it is the service, and may know
    settings = {"service": service.name, "api_key_env": "MARKER_KEY"}

    def client(**changes):
        config = ScriptedConfig(**settings | changes)
        return Client(targets={"t": config}, home=tmp_path / "home", clock=FakeClock())

    with client() as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptkitWarning)
        plan = opened.plan("t", rows())
        leaks += [repr(opened), repr(opened.targets), repr(plan), str(plan), repr(plan.files), repr(rows())]
        job = opened.submit("t", rows())
        leaks += [repr(event) for event in job.events()]
        model = job.result()
        model.chat(ROW)
        leaks += [repr(job), str(job.ref), repr(job.snapshot), repr(model), str(model.ref), repr(opened.jobs())]
        for kind, fault in (("submit", "refused"), ("submit", "broken"), ("upload", "unauthorized")):
            service.next(kind, fault)
            service.forget_uploads()
            with pytest.raises(AdaptkitError) as caught:
                opened.submit("t", rows(), fresh=True)
            tell(leaks, caught.value)
        leaks += [repr(run) for run in opened.pending()]
        with pytest.raises(AdaptkitError) as caught:
            opened.submit("t", rows(bad=True))
        tell(leaks, caught.value)
        leaks.append(repr(list(caught.value.problems)))
        leaks.append(str(rows(bad=True).check()))
    with client(states=("failed",), message="no") as opened, pytest.raises(AdaptkitError) as caught:
        opened.submit("t", rows(), fresh=True).result()
    tell(leaks, caught.value)
    assert ROW in "".join(content.decode() for content in service.uploads().values())


@pytest.mark.parametrize(
    "table",
    [
        {"backend": "scripted", "service": "x", "api_key": KEY},
        {"backend": "scripted", "service": "x", "epochs": KEY},
        {"backend": "scripted", "service": {"key": KEY}},
        {"backend": "scripted", "api_key_env": [KEY]},
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(leaks, table):
    with pytest.raises(AdaptkitError) as caught:
        target("t", table)
    tell(leaks, caught.value)


def test_a_journals_password_is_not_repeated(tmp_path):
    pytest.importorskip("psycopg")
    for url in (f"postgresql://u:{KEY}@127.0.0.1:1/x", f"mysql://u:{KEY}@host/x"):
        with Client(targets={}, journal=url, home=tmp_path) as client, pytest.raises(AdaptkitError) as caught:
            client.jobs()
        said = []
        tell(said, caught.value)
        assert KEY not in "\n".join(said)


def every_error():
    ref = JobRef(backend="scripted", id="job-1")
    special = {
        "MissingDependencyError": ("the lora backend", "torch", "local"),
        "BackendRetiredError": {"since": "2026-01-01", "replacement": "lora"},
        "SubmissionUncertain": {"tag": "t" * 26},
        "RateLimitError": {"retry_after": 3.0, "ref": ref},
        "AnswerError": {"reply": Reply(text="half an ans", finish_reason="length")},
    }
    for name in errors_module.__all__:
        kind = getattr(errors_module, name)
        if not issubclass(kind, AdaptkitError):
            continue
        more = special.get(name, {})
        if issubclass(kind, errors_module.JobError):
            more = {"ref": ref, "snapshot": Snapshot(job_id="job-1", status=Status.FAILED, raw_status="failed")}
        if issubclass(kind, errors_module.DeploymentError):
            heard = DeploymentSnapshot(id="d-1", model_id="m-1", status="failed", raw_status="failed")
            more = {"ref": DeploymentRef(backend="scripted", id="d-1"), "snapshot": heard}
        yield kind(*more) if isinstance(more, tuple) else kind("what happened", **more)


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_errors_come_back_from_other_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert copy.__dict__ == error.__dict__

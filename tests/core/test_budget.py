"""What a run may cost: asked of the table, then of the host, and refused where nobody knows."""

from __future__ import annotations

from datetime import date

import pytest

from adaptkit import BackendError, Client, Job, ServiceError, SpendError, Status, budget
from adaptkit.adapter import SupportsExport
from adaptkit.errors import ConfigError
from tests.core.conftest import data

PRICE = '[[price]]\nwhat = "training"\nbackend = "scripted"\nusd = {}\ndate = 2026-11-01\nsource = "here"\n'


@pytest.fixture
def prices(tmp_path):
    """A table in which the data of these tests costs ten dollars, near enough, an epoch."""
    path = tmp_path / "mine.toml"
    path.write_text(PRICE.format(50_000.0))
    return {"prices": path}


def test_an_estimate_looks_into_the_users_table_first(open_client, service, prices):
    made = open_client(client=prices, epochs=2).estimate("t", data())
    assert made.usd == made.tokens * 2 * 50_000 / 1e6
    assert (made.price.source, made.price.date) == ("here", date(2026, 11, 1))
    assert open_client().estimate("t", data()).usd is None, "unknown is None, and never 0"
    assert service.requests() == {}


def test_the_file_names_the_table(tmp_path, service, prices):
    (tmp_path / "adaptkit.toml").write_text(
        f'[prices]\npath = "mine.toml"\n[targets.t]\nbackend = "scripted"\nservice = "{service.name}"\n'
    )
    with Client(tmp_path / "adaptkit.toml", home=tmp_path / "home") as client:
        assert client.estimate("t", data()).usd
    (tmp_path / "mine.toml").unlink()
    with (
        Client(tmp_path / "adaptkit.toml", home=tmp_path / "home") as client,
        pytest.raises(ConfigError, match=r"mine\.toml"),
    ):
        client.estimate("t", data())


def test_what_the_table_finds_too_dear_sends_nothing(open_client, service, prices):
    client = open_client(client=prices)
    with pytest.raises(SpendError, match=r"here, 2026-11-01.*budget of \$1\.00"):
        client.submit("t", data(), budget=1)
    with pytest.raises(SpendError):
        client.submit("t", data(), budget=float("nan"))
    assert service.requests() == {}
    assert client.jobs() == []
    assert {run.raw_status for run in client.pending()} == {"over budget"}
    job = client.submit("t", data(), budget=100)
    assert (job.reused, len(service.jobs())) == (False, 1)
    assert service.requests()["estimate"] == 0, "the table knew"


def test_a_host_that_knows_is_asked_once_it_has_the_data(open_client, service):
    client = open_client(usd=7.5)
    service.next("estimate", "broken")
    with pytest.raises(SpendError, match=r"\$7\.50 \(by the host itself\)") as caught:
        client.submit("t", data(), budget=7)
    assert service.requests() == {"upload": 1, "estimate": 2}
    assert service.jobs() == []
    (upload,) = client.uploads()
    assert f"{upload.file_id}; adaptkit uploads --delete" in str(caught.value)

    assert client.submit("t", data(), budget=7.5).status is Status.QUEUED
    assert service.requests()["upload"] == 1, "the file was there"
    assert client.uploads() == []
    assert len(service.jobs()) == 1


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_what_nobody_knows_is_within_no_budget(open_client, service, monkeypatch, can_be_asked):
    if not can_be_asked:
        monkeypatch.setattr(budget, "SupportsEstimate", SupportsExport)  # a power that it lacks
    with pytest.raises(SpendError, match="nobody knows"):
        open_client().submit("t", data(), budget=1e9)
    assert service.jobs() == []
    assert bool(service.uploads()) is can_be_asked, "data went to a host that cannot be asked"
    open_client().submit("t", data())
    assert len(service.jobs()) == 1


def test_a_host_that_cannot_say_now_pays_for_nothing(open_client, service):
    service.next("estimate", "refused")
    with pytest.raises(BackendError):
        open_client(usd=1.0).submit("t", data(), budget=5)
    assert service.jobs() == []
    open_client(usd=1.0).submit("t", data(), budget=5)
    assert (len(service.jobs()), service.requests()["upload"]) == (1, 1)


def test_a_job_that_is_there_is_given_back_whatever_it_cost(open_client, service):
    client = open_client(usd=100.0)
    job = client.submit("t", data())
    again = client.submit("t", data(), budget=1)
    assert (again.id, again.reused) == (job.id, True)
    assert service.requests()["estimate"] == 0


def test_a_job_whose_answer_was_lost_is_found_whatever_it_cost(open_client, service):
    client = open_client(usd=100.0, settle_seconds=0)
    service.next("submit", "lost")
    service.next("find", "broken", times=5)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    assert client.submit("t", data(), budget=1).id == service.jobs()[0].id
    assert service.requests()["estimate"] == 0


def test_a_request_in_doubt_is_not_sent_again_above_the_budget(open_client, service):
    """Where sending again is safe it may also be the first that runs, and so the one that is paid for."""
    client = open_client(usd=100.0, guarantee="exactly_once", settle_seconds=0)
    service.next("submit", "broken", times=3)
    with pytest.raises(ServiceError):
        client.submit("t", data())
    with pytest.raises(SpendError):
        client.submit("t", data(), budget=1)
    (run,) = client.pending()
    assert (run.stage, run.status) == ("submitting", Status.QUEUED), "its request may have run after all"
    client.submit("t", data(), budget=100)
    assert [job.tag for job in service.jobs()] == [run.tag]


def test_anothers_budget_does_not_refuse_this_call(open_client, service, monkeypatch):
    """Two calls want the same run; one has the lease, finds it too dear and ends it; the other has no budget."""
    client = open_client()
    journal = client._open_journal()
    lease, turns = journal.lease, iter(range(10))

    def taken(run_id, owner, now, seconds):
        if next(turns) == 0:
            return False
        if len(service.requests()) == 0 and len(journal.runs()) == 1:
            journal.observe(run_id, Status.FAILED, "over budget", "too dear", now=now)
        return lease(run_id, owner, now, seconds)

    monkeypatch.setattr(journal, "lease", taken)
    job = client.submit("t", data())
    assert isinstance(job, Job)
    assert [run.attempt for run in journal.runs()] == [2, 1]
    assert len(service.jobs()) == 1


@pytest.mark.parametrize("at", ["is_met_by_table", "ask_host", "_over_budget"])
def test_a_submission_that_dies_at_its_budget_is_healed(open_client, service, monkeypatch, at):
    from adaptkit.budget import Budget
    from adaptkit.submission import _Sending

    class Killed(BaseException):
        pass

    def dies(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_Sending if at == "_over_budget" else Budget, at, dies)
        with pytest.raises(Killed):
            open_client(usd=5.0).submit("t", data(), budget=1)
    with pytest.raises(SpendError):
        open_client(usd=5.0).submit("t", data(), budget=1)
    open_client(usd=5.0).submit("t", data(), budget=5)
    assert len(service.jobs()) == 1
    assert service.requests()["upload"] == 1

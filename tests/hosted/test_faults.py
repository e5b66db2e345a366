"""One table for every host: an operation, what goes wrong with it, what comes out, and how many jobs are paid for."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest

from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    PermissionDeniedError,
    QuotaError,
    SubmissionUncertain,
)
from adaptkit.testing import FakeClock
from adaptkit.types import Status
from tests.hosted.conftest import Rig
from tests.hosted.proxy import LosingProxy

#: What happened to the paid request, the error where the service said no, jobs that run afterwards. ``None`` for the
#: error of a request that was carried out: it is found, and nobody notices. ``uncertain`` where it was not, and the
#: backend cannot tell: it is sent again only where that is safe.
SUBMIT = [
    ("lost", None, 1),
    ("truncated", None, 1),
    ("failed_after", None, 1),
    ("html", None, 1),
    ("failed", "uncertain", 0),
    ("conflict", "uncertain", 0),
    ("rate_limited", None, 1),
    ("gone", BackendRetiredError, 0),
    ("quota", QuotaError, 0),
    ("refused", BackendError, 0),
    ("unauthorized", AuthenticationError, 0),
    ("forbidden", PermissionDeniedError, 0),
    ("redirect", BackendError, 0),
]


@pytest.mark.parametrize(("fault", "expected", "jobs"), SUBMIT, ids=[row[0] for row in SUBMIT])
def test_a_paid_request_that_goes_wrong(rig: Rig, fault: str, expected: object, jobs: int) -> None:
    rig.fake.wire.next("submit", fault)  # type: ignore[arg-type]
    with rig.client(FakeClock(time.time())) as client:
        if expected == "uncertain" and rig.guarantee != "exactly_once":
            with pytest.raises(SubmissionUncertain) as caught:
                client.submit("t", rig.data())
            assert caught.value.tag
            assert rig.fake.jobs.per_tag() == {}
            with pytest.raises(SubmissionUncertain):  # looked for again, and not sent again
                client.submit("t", rig.data())
            assert rig.fake.wire.count()["submit"] == 1
        elif expected is None or expected == "uncertain":
            job = client.submit("t", rig.data())
            assert len(rig.fake.jobs.all) == 1
            again = client.submit("t", rig.data())
            assert again.id == job.id
            assert again.reused
        else:
            with pytest.raises(expected) as caught:  # type: ignore[call-overload]
                client.submit("t", rig.data())
            assert type(caught.value) is expected
            assert len(rig.fake.jobs.all) == jobs
            job = client.submit("t", rig.data())  # what was refused may be asked for again
            assert len(rig.fake.jobs.all) == 1
    assert rig.fake.wire.leaked == [], "data followed a redirect"
    assert set(rig.fake.jobs.per_tag().values()) <= {1}, "somebody paid twice"


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed_after", "failed", "rate_limited", "html"])
def test_an_upload_that_goes_wrong_is_tried_again(rig: Rig, fault: str) -> None:
    rig.fake.wire.next("upload", fault)  # type: ignore[arg-type]
    with rig.client(FakeClock(time.time())) as client:
        client.submit("t", rig.data())
    assert len(rig.fake.jobs.all) == 1


@pytest.mark.parametrize("fault", ["unauthorized", "refused", "redirect"])
def test_an_upload_that_is_refused_pays_for_nothing(rig: Rig, fault: str) -> None:
    rig.fake.wire.next("upload", fault)  # type: ignore[arg-type]
    with rig.client(FakeClock(time.time())) as client, pytest.raises(BackendError):
        client.submit("t", rig.data())
    assert rig.fake.jobs.all == {}
    assert rig.fake.wire.leaked == []
    assert rig.fake.wire.count()["submit"] == 0


@pytest.mark.parametrize("fault", ["lost", "truncated", "failed", "html", "rate_limited", "failed_after"])
def test_a_poll_that_goes_wrong_never_changes_the_job(rig: Rig, fault: str) -> None:
    with rig.client(FakeClock(time.time())) as client:
        job = client.submit("t", rig.data())
        before = job.status
        rig.fake.wire.next("poll", fault)  # type: ignore[arg-type]
        with pytest.raises(BackendError) as caught:
            job.refresh()
        assert caught.value.transient
        assert caught.value.ref == job.ref
        assert job.status is before
        rig.fake.wire.next("poll", fault)  # type: ignore[arg-type]
        assert job.wait(36000) is Status.SUCCEEDED


def test_an_unknown_state_is_carried(rig: Rig) -> None:
    with rig.client(FakeClock(time.time())) as client:
        job = client.submit("t", rig.data())
        rig.fake.jobs.tell(job.id.rpartition("/")[2], "SOMETHING_NEW")
        assert job.refresh() is Status.UNKNOWN
        assert "SOMETHING_NEW" in job.raw_status
        assert not job.status.is_terminal


def test_a_job_that_is_slow_to_be_listed_is_found(rig: Rig) -> None:
    rig.fake.jobs.hidden = 2
    rig.fake.wire.next("submit", "lost")
    with rig.client(FakeClock(time.time())) as client:
        client.submit("t", rig.data())
    assert len(rig.fake.jobs.all) == 1


def test_an_answer_lost_on_the_way(rig: Rig) -> None:
    """By a proxy that lets the request through: the service knows nothing of it."""
    wire = rig.fake.wire
    proxy = LosingProxy(urlsplit(wire.url).port or 0, lambda: wire.count()["submit"] == 1 and proxy.lost == 0)
    wire.url = proxy.url
    try:
        with rig.client(FakeClock(time.time())) as client:
            job = client.submit("t", rig.data())
            assert proxy.lost == 1
            assert client.submit("t", rig.data()).id == job.id
        assert list(rig.fake.jobs.per_tag().values()) == [1]
    finally:
        proxy.close()

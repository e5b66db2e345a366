"""What is paid for at every host: nothing above a budget, and nothing for what an account has already."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from adaptkit import SpendError
from adaptkit.adapter import SupportsInventory
from adaptkit.testing import FakeClock
from adaptkit.types import Status
from tests.hosted.conftest import Rig
from tests.hosted.hosts import KEY


def test_a_budget_of_nothing_pays_for_nothing(rig: Rig) -> None:
    with rig.client(FakeClock(time.time())) as client:
        with pytest.raises(SpendError):
            client.submit("t", rig.data(), budget=0)
        assert rig.fake.jobs.all == {}
        sent = rig.fake.wire.count()["upload"]
        job = client.submit("t", rig.data())
        assert client.submit("t", rig.data(), budget=0).id == job.id, "it is there already"
        assert len(rig.fake.jobs.all) == 1
        assert sent in (0, rig.fake.wire.count()["upload"]), "the file was there"


def test_jobs_are_brought_into_another_journal(rig: Rig, tmp_path: Path) -> None:
    with rig.client(FakeClock(time.time())) as client:
        if not isinstance(client._target("t"), SupportsInventory):
            pytest.skip("the backend does not list what an account has")
        job = client.submit("t", rig.data())
    rig.journal = str(tmp_path / "another.db")
    asked = rig.fake.wire.count()
    with rig.client(FakeClock(time.time())) as client:
        (owned,) = client.inventory("t").jobs
        adopted = client.adopt("t", owned)
        assert rig.fake.wire.count()["submit"] == asked["submit"]
        assert (adopted.id, adopted.reused) == (job.id, False)
        assert client.adopt("t", owned).reused
        assert [known.id for known in client.jobs()] == [job.id]

        config = client.targets["t"]
        again = type(config).model_validate(config.model_dump(exclude_unset=True) | dict(owned.recipe))
        assert again.model == config.model, "the recipe names another base"  # type: ignore[attr-defined]
        run = client._open_journal().runs()[0]
        files = {upload.file_id for upload in client._open_journal().uploads_of(run.id)}
        assert files == set(owned.files.values())
        assert files, "a job was trained on nothing"

        assert adopted.wait() is Status.SUCCEEDED
        assert {upload.file_id for upload in client.uploads()} == files
    assert KEY not in Path(rig.journal).read_bytes().decode(errors="replace")

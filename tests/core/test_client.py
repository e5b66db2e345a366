"""What one client shares among threads and jobs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from adaptkit import registry
from adaptkit.testing import ScriptedAdapter
from tests.core.conftest import data


def test_threads_share_one_adapter_and_one_journal(open_client, monkeypatch):
    made, barrier = [], threading.Barrier(8)
    make = ScriptedAdapter.__init__

    def slowly(self, config, context):
        made.append(self)
        time.sleep(0.05)
        make(self, config, context)

    monkeypatch.setattr(ScriptedAdapter, "__init__", slowly)
    client = open_client()

    def use(_):
        barrier.wait()
        return client._target("t"), client._open_journal()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(use, range(8)))) == 1
    assert len(made) == 1


def test_a_poll_looks_for_no_plugins(open_client, monkeypatch):
    open_client(states=("queued", "running")).submit("t", data())
    client = open_client(states=("queued", "running"))
    (job,) = client.jobs()
    job.refresh()
    monkeypatch.setattr(registry, "_found", lambda: 1 / 0)
    job.refresh()
    (again,) = client.jobs()
    again.refresh()


def test_what_an_older_release_wrote_is_one_adapter_closed_once(open_client, monkeypatch):
    """The journal's text of a configuration may lack a field that has come since."""
    client = open_client(states=("queued", "running"))
    job = client.submit("t", data())
    run = client._open_journal().runs()[0]
    older = type(run)(**{**{name: getattr(run, name) for name in run.__struct_fields__}, "config": run.config + " "})
    assert client._adapter_of_run(older) is job._state.open_adapter()
    closed = []
    monkeypatch.setattr(ScriptedAdapter, "close", lambda self: closed.append(id(self)))
    client.close()
    assert len(closed) == 1

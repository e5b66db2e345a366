"""A real Ray cluster on this machine, its Jobs API on loopback, thrown away at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from tests.engines.conftest import ROOT, until
from tests.ports import free_ports

#: Ray takes a while for everything.
LONG = 400.0


def _members(folder: str) -> list[int]:
    """Processes of the cluster in a folder, by their command lines and environments."""
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdecimal() and int(path.name) != os.getpid():
                said = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
                if os.fsencode(folder) in said:
                    found.append(int(path.name))
    return found


@contextmanager
def ray_folder() -> Iterator[str]:
    """A folder for what a cluster leaves."""
    made = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: sockets lie in it
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def ray_cluster(folder: str) -> Iterator[str]:
    """Run a cluster with its files in a folder; gives the address of its dashboard."""
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    bin_folder = Path(sys.executable).parent
    head = subprocess.Popen(
        [
            *(str(bin_folder / "ray"), "start", "--head", "--block", "--num-cpus=2", "--num-gpus=0"),
            *("--dashboard-host=127.0.0.1", "--include-dashboard=true", "--disable-usage-stats"),
            *("--object-store-memory=100000000", f"--temp-dir={folder}/r"),
            *(f"--{name}={number}" for name, number in ports.items()),
        ],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # or everything else on the machine comes first
            "TMPDIR": folder,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        until(lambda: _ready(address), "the cluster does not start", LONG)
        yield address
    finally:
        while members := _members(folder):
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        head.wait()


def _ready(address: str) -> bool:
    with suppress(httpx2.HTTPError):
        # the list is there before there is an agent that starts jobs; only a job says that there is
        answer = httpx2.post(f"{address}/api/jobs/", json={"entrypoint": "true"}, timeout=60)
        return answer.is_success
    return False

"""The egress rule, proven where it cannot be got round: in a network namespace without a route.

A namespace of its own has no interface but a loopback, and that one is down: whatever reaches out fails there, in this
process, in workers, and in native code that no hook of Python sees.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def inside(*command: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a command in a network namespace of its own."""
    found = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        ["unshare", "--net", "--map-root-user", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": found},
    )


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    try:
        tried = inside("true", timeout=10)
    except FileNotFoundError:
        pytest.skip("there is no unshare (util-linux) here")
    if tried.returncode:
        pytest.skip(f"network namespaces are not permitted here: {tried.stderr.strip()}")


def test_the_whole_local_lifecycle_without_a_network(tmp_path):
    ran = inside(sys.executable, "-m", "tests.egress.lifecycle", str(tmp_path))
    assert ran.returncode == 0, ran.stderr[-4000:]
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said.pop("address") == "Network is unreachable", "the namespace must have no way out"
    assert said.pop("name") != "connected"
    assert said == {"trained": "succeeded", "prompted": "succeeded"}
    (log,) = tmp_path.rglob("log.txt")
    worker = log.read_text(encoding="utf-8", errors="replace")
    for sign in ("Retrying", "MaxRetryError", "ConnectionError", "NameResolutionError", "unreachable"):
        assert sign not in worker, "nothing in the worker even tried"


CALLS = """
import socket, sys, threading
from adaptkit import EgressError
from adaptkit.http import Egress, client
witness = socket.create_server(("192.0.2.1", 0))
seen = []
def count():
    while True:
        connection, _ = witness.accept()
        seen.append(connection.recv(4))
        connection.close()
threading.Thread(target=count, daemon=True).start()
url = f"http://192.0.2.1:{witness.getsockname()[1]}/"
for policy in (Egress.parse("none"), Egress.parse(["192.0.2.2"])):
    with client(policy) as http:
        try:
            http.post(url, content=b"rows")
        except EgressError:
            print("refused", len(seen))
with client(Egress.parse(["192.0.2.1"])) as http:
    try:
        http.post(url, content=b"rows")
    except Exception as error:
        print("reached", seen)
"""


def test_a_listening_socket_at_another_address_sees_nothing():
    address = "ip link set lo up && ip address add 192.0.2.1/32 dev lo"
    program = f'{address} && exec "$0" -c "$1"'
    if inside("sh", "-c", address).returncode:
        pytest.skip("there is no ip (iproute2) here, or it may not set addresses")
    ran = inside("sh", "-c", program, sys.executable, CALLS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["refused 0", "refused 0", "reached [b'POST']"]

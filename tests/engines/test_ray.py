"""A real Ray cluster on this machine, its Jobs API on loopback: Ray jobs that really run, and are really killed."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adaptkit.backends.engines import RunConfig, engine_for
from adaptkit.backends.engines.ray import RayEngine
from adaptkit.backends.local_jobs import Job
from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    EgressError,
    NotFoundError,
)
from adaptkit.http import Egress
from adaptkit.types import Snapshot, Status
from tests.engines.conftest import go, lives, make, pids, told, until
from tests.engines.ray_cluster import LONG, ray_cluster, ray_folder

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    """The cluster's folder for what is temporary."""
    with ray_folder() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(folder: str) -> Iterator[str]:
    """The address of a cluster's dashboard."""
    with ray_cluster(folder) as address:
        yield address


def ray_jobs(address: str, job: Job) -> list[dict[str, Any]]:
    found = httpx2.get(f"{address}/api/jobs/", timeout=30).json()
    return [one for one in found if (one["submission_id"] or "").startswith(job.id)]


def config(address: str, **fields: Any) -> RunConfig:
    return RunConfig(engine="ray", address=address, **{"processes_per_node": 2, "retries": 1, **fields})


def ended(engine: RayEngine, job: Job, status: Status) -> Snapshot:
    last = until(lambda: (seen := engine.snapshot(job)).status.is_terminal and seen, "no end", LONG)
    assert last.status is status, (last, (job.folder / "log.txt").read_text()[-4000:])
    return last


def driver(job: Job) -> int:
    return int(until(lambda: job.state.worker, "no driver", LONG).split(":")[-2])


def test_two_ranks_give_the_answer_of_the_first(cluster: str, home: Path) -> None:
    run = config(cluster)
    engine, job = engine_for(run), make(home, run, holds={"0": 3})
    assert isinstance(engine, RayEngine)
    assert engine.snapshot(job).raw_status == "interrupted"  # nobody has launched it
    engine.start(job)  # does not wait for the job, which does not end yet
    assert engine.snapshot(job).status in (Status.QUEUED, Status.RUNNING)
    go(job)
    seen = ended(engine, job, Status.SUCCEEDED)
    assert seen.raw["model"] == "sum-6-of-2"
    assert told(job) == [
        "running",
        "2 ranks go on after step 0",
        *["step 1", "step 2", "checkpoint after step 2", "step 3", "step 4", "checkpoint after step 4"],
        *["step 5", "step 6", "checkpoint after step 6", "succeeded"],
    ]
    engine.start(job)  # it has ended
    (one,) = ray_jobs(cluster, job)
    assert one["submission_id"] == f"{job.id}-1"
    assert one["runtime_env"].keys() == {"env_vars"}  # no folder is sent
    assert one["runtime_env"]["env_vars"]["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_a_killed_rank_is_made_good_from_the_checkpoint(cluster: str, home: Path) -> None:
    run = config(cluster)
    engine, job = RayEngine(run), make(home, run, holds={"0": 3})
    engine.start(job)
    until(lambda: job.state.step >= 2, "no checkpoint", LONG)
    first = pids(job)
    os.kill(first[1], signal.SIGKILL)
    ended(engine, job, Status.SUCCEEDED)
    assert job.state.model == "sum-6-of-2"
    said = told(job)
    assert any("going on from the last checkpoint (1 of 1 times)" in line for line in said)
    resumed = [line for line in said if line.startswith("2 ranks go on after step")]
    assert resumed == ["2 ranks go on after step 0", "2 ranks go on after step 2"]
    steps = [int(line.removeprefix("step ")) for line in said if line.startswith("step ")]
    assert steps[-1] == 6
    until(lambda: not any(lives(pid) for pid in first.values()), "the other rank lives on")


@pytest.mark.slow
def test_two_clients_make_one_ray_job(cluster: str, home: Path) -> None:
    run = config(cluster, processes_per_node=1)
    job = make(home, run, steps=2)
    code = (
        "import sys; from pathlib import Path; from adaptkit.backends.engines import RunConfig, engine_for;"
        "from adaptkit.backends.local_jobs import Job;"
        "engine_for(RunConfig(**eval(sys.argv[1]))).start(Job.at(Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, repr(run.model_dump()), str(job.folder)]
    clients = [subprocess.Popen(command) for _ in range(3)]
    assert [one.wait() for one in clients] == [0, 0, 0]
    ended(RayEngine(run), job, Status.SUCCEEDED)
    assert len(ray_jobs(cluster, job)) == 1


@pytest.mark.slow
def test_a_lost_answer_makes_no_second_ray_job(cluster: str, home: Path) -> None:
    run = config(cluster, processes_per_node=1)
    engine, job = RayEngine(run), make(home, run, steps=2, holds={"0": 1})
    engine.start(job)
    (job.folder / "launch").unlink()  # as if the client had died before it could write that down
    engine.start(job)
    assert (job.folder / "launch").read_text() == "1"
    go(job)
    ended(engine, job, Status.SUCCEEDED)
    assert len(ray_jobs(cluster, job)) == 1


@pytest.mark.slow
def test_a_killed_driver_is_an_interruption_and_the_next_launch_goes_on(cluster: str, home: Path) -> None:
    run = config(cluster)
    engine, job = RayEngine(run), make(home, run, holds={"0": 3, "2": 5})
    engine.start(job)
    until(lambda: job.state.step >= 2, "no checkpoint", LONG)
    ranks = pids(job)
    os.kill(driver(job), signal.SIGKILL)
    seen = until(lambda: (said := engine.snapshot(job)).status is not Status.RUNNING and said, "lives on", LONG)
    assert (seen.status, seen.raw_status) == (Status.PAUSED, "interrupted")
    until(lambda: not any(lives(pid) for pid in ranks.values()), "its ranks live on")
    code = (
        "import sys; from pathlib import Path; from adaptkit.backends.engines import RunConfig, engine_for;"
        "from adaptkit.backends.local_jobs import Job;"
        "engine, job = engine_for(RunConfig(**eval(sys.argv[1]))), Job.at(Path(sys.argv[2]));"
        "engine.start(job); print(engine.snapshot(job).status)"
    )
    said = subprocess.check_output([sys.executable, "-c", code, repr(run.model_dump()), str(job.folder)], text=True)
    assert said.strip() in ("queued", "running")  # from another process
    go(job)
    ended(engine, job, Status.SUCCEEDED)
    assert job.state.model == "sum-6-of-2"
    assert sorted(one["submission_id"] for one in ray_jobs(cluster, job)) == [f"{job.id}-1", f"{job.id}-2"]
    assert {"2 ranks go on after step 0", "2 ranks go on after step 2"} <= set(told(job))


@pytest.mark.slow
def test_cancelling_ends_the_processes(cluster: str, home: Path) -> None:
    run = config(cluster)
    engine, job = RayEngine(run), make(home, run, holds={"0": 3})
    engine.start(job)
    until(lambda: job.state.step >= 2, "no checkpoint", LONG)
    ranks = pids(job)
    engine.cancel(job)
    ended(engine, job, Status.CANCELLED)
    engine.cancel(job)
    engine.start(job)
    until(lambda: not any(lives(pid) for pid in ranks.values()), "the ranks live on")
    assert len(ray_jobs(cluster, job)) == 1


def test_a_job_that_waits_is_cancelled(cluster: str, home: Path) -> None:
    run = config(cluster, processes_per_node=50)  # which this cluster does not have
    engine, job = RayEngine(run), make(home, run)
    engine.start(job)
    until(lambda: job.state.worker, "no driver", LONG)
    assert engine.snapshot(job).status is Status.RUNNING
    engine.cancel(job)
    ended(engine, job, Status.CANCELLED)


@pytest.mark.slow
def test_a_program_that_fails_is_not_run_again(cluster: str, home: Path) -> None:
    run = config(cluster)
    engine, job = RayEngine(run), make(home, run, raises=1)
    engine.start(job)
    assert ended(engine, job, Status.FAILED).message == "the loss is not a number: lower learning_rate"
    assert sum("2 ranks go on" in line for line in told(job)) == 1


@pytest.mark.slow
def test_an_error_that_is_no_word_to_the_user_does_not_quote_data(cluster: str, home: Path) -> None:
    run = config(cluster, retries=0)
    engine, job = RayEngine(run), make(home, run, bursts=1)
    engine.start(job)
    message = str(ended(engine, job, Status.FAILED).message)
    assert "RuntimeError in the worker" in message
    assert str(job.folder / "log.txt") in message
    assert "secret" not in message + json.dumps(ray_jobs(cluster, job))
    until(lambda: "secret row" in (job.folder / "log.txt").read_text(), "what it said is not in the log", LONG)


@pytest.mark.slow
def test_without_a_common_folder_the_next_launch_goes_on_from_storage(
    cluster: str, folder: str, home: Path, tmp_path: Path
) -> None:
    run = config(cluster, folder=f"file://{tmp_path}/objects")
    engine, job = RayEngine(run), make(home, run, holds={"0": 3, "2": 5})
    engine.start(job)
    scratch = Path(folder) / f"adaptkit-{os.getuid()}"

    def seen(what: str) -> bool:
        engine.snapshot(job)
        return any(line.startswith(what) for line in told(job))

    until(lambda: seen("checkpoint after step 2"), "no checkpoint", LONG)
    (noted,) = scratch.glob(f"{job.id}-1-ranks/mistral/jobs/{job.id}/pid-1")
    os.kill(int(noted.read_text()), signal.SIGKILL)
    until(lambda: seen("checkpoint after step 4"), "lost", LONG)
    assert any("going on from the last checkpoint (1 of 1 times)" in line for line in told(job))
    os.kill(driver(job), signal.SIGKILL)
    until(lambda: engine.snapshot(job).raw_status == "interrupted", "lives on", LONG)
    elsewhere = Job(tmp_path / "elsewhere" / "mistral", job.id)  # of another client's machine
    RayEngine(run).snapshot(elsewhere)
    RayEngine(run).start(elsewhere)
    last = until(lambda: (said := engine.snapshot(job)).status.is_terminal and said, "no end", LONG)
    assert (last.status, last.raw["model"]) == (Status.SUCCEEDED, "sum-6-of-2"), last
    resumed = [int(line.rpartition(" ")[2]) for line in told(job) if line.startswith("2 ranks go on after step")]
    assert resumed == [0, 2, 4]
    assert {path.name for path in job.folder.glob("pid-*")} == set()  # they ran elsewhere
    launches = tmp_path / "objects" / "jobs" / job.id / "launches"
    until(lambda: not list(launches.glob("*/files/*")), "checkpoints are left", LONG)
    until(lambda: not list(scratch.iterdir()), "it leaves something on the machine", LONG)


def test_nothing_is_sent_where_the_policy_does_not_allow_it(home: Path) -> None:
    run = config("http://head.example:8265")
    with pytest.raises(EgressError):
        RayEngine(run, Egress.parse("none")).start(make(home, run))


def test_a_ray_that_does_not_answer_is_not_the_end_of_a_job(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere.example:8265")  # which Ray's own client would prefer
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        run = config(f"http://127.0.0.1:{taken.getsockname()[1]}")
        engine, job = RayEngine(run), make(home, run)
        with pytest.raises(ConnectionFailedError):
            engine.start(job)
        (job.folder / "launch").write_text("1")
        with pytest.raises(BackendError):
            engine.snapshot(job)


def test_what_is_wrong_is_said_all_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"run\.time is for Slurm; run\.partition is for Slurm; run\.address is missing"
    ):
        engine_for(RunConfig(engine="ray", time="1:00:00", partition="gpu"))


def test_a_token_is_sent_and_not_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()
            self.wfile.write(f"no: {self.headers['Authorization']}".encode())

        def log_message(self, *_: object) -> None:
            pass

    asked: list[str] = []
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token-of-mine-that-is-long")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run = config(f"http://127.0.0.1:{server.server_port}")
        job = make(home, run)
        with pytest.raises(AuthenticationError) as caught:
            RayEngine(run, Egress.parse("none")).start(job)
        server.shutdown()
    assert asked == ["Bearer a-token-of-mine-that-is-long"]
    assert "mine" not in str(caught.value)
    assert not any(b"of-mine" in path.read_bytes() for path in job.folder.rglob("*") if path.is_file())


def test_no_such_job(cluster: str, home: Path) -> None:
    with pytest.raises(NotFoundError):
        RayEngine(config(cluster)).snapshot(Job(home, "nothing"))

"""A real Slurm: jobs wait, run, are cancelled, killed and requeued by it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")

from adaptkit.backends.engines import RunConfig, engine_for
from adaptkit.backends.engines.slurm import SlurmEngine, _find, _recorded
from adaptkit.backends.local_jobs import Job
from adaptkit.errors import BackendError, ServiceError
from adaptkit.types import Snapshot, Status
from tests.engines.cluster import asked, cluster, slurm_folder
from tests.engines.conftest import LONGEST, ROOT, ended, go, lives, make, pids, told, until

__all__ = ["cluster", "slurm_folder"]

pytestmark = pytest.mark.timeout(900)

ONE = {"engine": "slurm", "processes_per_node": 2, "retries": 1}
LATER = {"begin": "now+1hour"}


class Bench:
    """A job and the engine that it runs on."""

    def __init__(self, home: Path, *, config: dict | None = None, **run: object) -> None:
        self.run = RunConfig(**{**ONE, **run})
        self.engine = engine_for(self.run)
        self.job = make(home, self.run, **(config or {}))

    def start(self) -> Bench:
        self.engine.start(self.job)
        return self

    def snapshot(self) -> Snapshot:
        return self.engine.snapshot(self.job)

    def ends(self, status: Status) -> Snapshot:
        return ended(self.snapshot, status, LONGEST)

    def numbers(self) -> list[int]:
        """All that Slurm has under the job's name."""
        told = asked("squeue", "--states=all", "--noheader", f"--name=adaptkit-{self.job.id}", "--format=%A")
        return sorted(int(line) for line in told.split())

    def gets_to(self, step: int) -> None:
        until(lambda: self.job.state.step >= step, f"step {step} is not reached", LONGEST)

    def resumed(self) -> list[int]:
        """The steps after which ranks went on."""
        return [int(line.rpartition(" ")[2]) for line in told(self.job) if "ranks go on after step" in line]


def test_two_nodes_run_one_job_and_anybody_can_follow_it(
    cluster: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(home, nodes=2, time="30", partition="main", config={"holds": {"0": 3}}).start()
    assert bench.numbers() == [_recorded(bench.job)]
    bench.gets_to(2)
    running = bench.snapshot()
    assert (running.status, running.raw_status, running.tag) == (Status.RUNNING, "RUNNING", bench.job.id)
    script = (
        "import sys; from pathlib import Path; from adaptkit.backends.local_jobs import Job\n"
        "from adaptkit.backends.engines import RunConfig, engine_for\n"
        "job = Job.at(Path(sys.argv[1]))\n"
        "print(engine_for(RunConfig.model_validate(job.spec.run)).snapshot(job).status)"
    )
    fresh = [sys.executable, "-c", script, str(bench.job.folder)]
    followed = subprocess.run(fresh, capture_output=True, text=True, cwd=ROOT, check=True)
    assert followed.stdout.strip() == "running"
    go(bench.job)
    seen = bench.ends(Status.SUCCEEDED)
    assert seen.raw["model"] == "sum-36-of-4"  # 0 + 1 + 2 + 3, six times
    assert bench.resumed() == [0]
    assert "4 ranks go on after step 0" in told(bench.job)
    bench.start()
    assert len(bench.numbers()) == 1, "what has ended was submitted again"


def test_what_waits_is_cancelled_at_once(cluster: Path, home: Path) -> None:
    bench = Bench(home, options=LATER).start()
    waiting = until(lambda: (seen := bench.snapshot()).raw_status == "PENDING (BeginTime)" and seen)
    assert waiting.status is Status.QUEUED
    bench.engine.cancel(bench.job)
    assert bench.snapshot().status is Status.CANCELLED
    assert asked("squeue", "--noheader", f"--name=adaptkit-{bench.job.id}") == ""
    bench.start()
    assert len(bench.numbers()) == 1


def test_what_runs_is_cancelled_at_its_next_step(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    bench.engine.cancel(bench.job)
    bench.ends(Status.CANCELLED)
    assert told(bench.job)[-1] == "cancelled"
    until(lambda: not any(lives(pid) for pid in pids(bench.job).values()))


def test_what_does_not_stop_is_ended_by_slurm(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    stopped = [*pids(bench.job).values(), launcher(bench.job)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    bench.engine.cancel(bench.job)
    assert bench.snapshot().status is Status.RUNNING
    os.utime(bench.job.folder / "cancel", (time.time() - 600,) * 2)  # it has had ten minutes
    bench.engine.cancel(bench.job)
    bench.ends(Status.CANCELLED)


def test_a_notice_leaves_a_checkpoint_and_the_job_queues_again(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"every": 1000, "holds": {"0": 3}}).start()
    until(lambda: "step 3" in told(bench.job), "no step", LONGEST)
    number = _recorded(bench.job)
    asked("scancel", "--signal=USR2", str(number))  # what Slurm sends before a time limit and a pre-emption
    until(lambda: "queued again" in told(bench.job))
    until(lambda: bench.snapshot().status is Status.QUEUED)
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-6-of-2"
    assert bench.resumed() == [0, 4], "the checkpoint was not used"
    assert bench.numbers() == [number], "it is not the same Slurm job"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_time_limit_is_not_the_end(cluster: Path, home: Path) -> None:
    # Two minutes are not enough, on any machine; Slurm tells it 20 to 80 seconds before they are over.
    slow = {"every": 1000, "steps": 130, "pause": 1, "later": 0.01}
    bench = Bench(home, time="2", retries=3, options={"signal": "USR2@20"}, config=slow).start()
    ended(bench.snapshot, Status.SUCCEEDED, 500)
    assert len(bench.resumed()) > 1
    assert bench.job.state.model == "sum-130-of-2"


@pytest.mark.slow
def test_notices_that_leave_no_time_for_a_step_come_to_an_end(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"waits": True}).start()
    for turn in (1, 2):
        until(lambda turn=turn: len(bench.resumed()) == turn, "no ranks", LONGEST)
        asked("scancel", "--signal=USR2", str(_recorded(bench.job)))
    until(lambda: bench.snapshot().raw_status == "interrupted", "queued again and again", LONGEST)
    assert any("submit the run again with more time" in line for line in told(bench.job))
    assert told(bench.job).count("queued again") == 1


def test_nodes_taken_away_without_notice(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    asked("scontrol", "requeue", str(_recorded(bench.job)))
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-6-of-2"
    assert len(bench.resumed()) == 2
    assert bench.resumed()[1] >= 2


@pytest.mark.slow
def test_a_rank_killed_on_another_node_is_made_good(cluster: Path, home: Path) -> None:
    bench = Bench(home, nodes=2, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    os.kill(pids(bench.job)[3], signal.SIGKILL)
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-36-of-4"
    assert "rank 3 was killed by SIGKILL; going on from the last checkpoint (1 of 1 times)" in told(bench.job)
    assert bench.resumed() == [0, 2]
    assert len(bench.numbers()) == 1


@pytest.mark.slow
def test_a_launcher_killed_on_another_node_is_made_good(cluster: Path, home: Path) -> None:
    bench = Bench(home, nodes=2, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    stat = Path(f"/proc/{pids(bench.job)[2]}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-36-of-4"
    assert "a node of 2 was lost; going on from the last checkpoint (1 of 1 times)" in told(bench.job)
    assert len(bench.numbers()) == 1


def launcher(job: Job) -> int:
    """The process of node 0's launcher."""
    return int((job.state.worker or "").split(":")[-2])


@pytest.mark.slow
def test_a_launcher_killed_on_node_0_is_made_good(cluster: Path, home: Path) -> None:
    bench = Bench(home, nodes=2, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    os.kill(launcher(bench.job), signal.SIGKILL)
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-36-of-4"
    said = told(bench.job)
    lost = said.index("the launcher of node 0 was lost; going on from the last checkpoint (1 of 1 times)")
    assert said[lost:][1:3] == ["queued again", "running"]
    assert bench.resumed() == [0, 2]
    assert len(bench.numbers()) == 1


@pytest.mark.slow
def test_a_launcher_killed_each_time_on_node_0_fails_the_job(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"waits": True}).start()
    for turn in (1, 2):
        until(lambda turn=turn: len(bench.resumed()) == turn, "no ranks")
        os.kill(launcher(bench.job), signal.SIGKILL)
    seen = bench.ends(Status.FAILED)
    assert seen.message is not None
    assert seen.message.startswith("the launcher of node 0 was lost, and so it went 2 times without a checkpoint")
    assert told(bench.job).count("queued again") == 1


def test_a_cancelled_job_whose_launcher_is_killed_is_over(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    os.kill(launcher(bench.job), signal.SIGSTOP)  # it does not see that it is to end
    bench.engine.cancel(bench.job)
    os.kill(launcher(bench.job), signal.SIGKILL)
    bench.ends(Status.CANCELLED)
    until(lambda: asked("squeue", "--noheader", f"--name=adaptkit-{bench.job.id}") == "", "it is queued again")
    assert "queued again" not in told(bench.job)


@pytest.mark.parametrize(
    ("status", "losses", "after"),
    [
        ("running", 0, "running"),
        ("running", 1, "failed"),
        *((status, 0, status) for status in ("queued", "paused", "succeeded", "failed", "cancelled")),
    ],
)
def test_the_batch_script_makes_good_what_was_lost_and_nothing_else(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, losses: int, after: str
) -> None:
    job = make(home, RunConfig(**ONE))
    job.update(status=Status(status), raw_status=status, losses=losses)
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    command = [sys.executable, "-m", "adaptkit.backends.engines.slurm_node", str(job.folder)]
    queued = (status, after) == ("running", "running")
    if queued:
        with job.lock():  # another worker has it
            subprocess.run(command, check=True)
        assert job.state.losses == losses
    subprocess.run(command, check=True)
    assert job.state.status == after
    assert job.state.losses == losses + queued
    assert (tmp_path / "asked").exists() == queued
    assert not queued or (tmp_path / "asked").read_text() == "requeue 7\n"


@pytest.mark.slow
def test_a_rank_that_is_killed_each_time_fails_the_job(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"dies": 1}).start()
    seen = bench.ends(Status.FAILED)
    assert seen.message is not None
    assert seen.message.startswith("rank 1 was killed by SIGKILL, and so it went 2 times without a checkpoint")
    assert bench.resumed() == [0, 2]


def test_what_the_program_says_fails_the_job_once(cluster: Path, home: Path) -> None:
    bench = Bench(home, nodes=2, config={"raises": 2}).start()  # a rank of the second node
    seen = bench.ends(Status.FAILED)
    assert seen.message == "the loss is not a number: lower learning_rate"
    assert bench.resumed() == [0]


@pytest.mark.slow
def test_ended_behind_our_back_goes_on_by_the_next_start(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    asked("scancel", str(_recorded(bench.job)))
    gone = until(lambda: (seen := bench.snapshot()).status is Status.PAUSED and seen)
    assert gone.raw_status == "interrupted"
    assert "submitting the same run again continues it" in (gone.message or "")
    bench.start()
    bench.ends(Status.SUCCEEDED)
    assert bench.job.state.model == "sum-6-of-2"
    assert len(bench.numbers()) == 2


def killer(folder: Path) -> str:
    """A PATH with an sbatch that submits, and then kills the client before it learns the number."""
    folder.mkdir()
    real = shutil.which("sbatch")
    (folder / "sbatch").write_text(f'#!/bin/sh\n{real} "$@" >/dev/null\nkill -9 $PPID\n')
    (folder / "sbatch").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_client_killed_after_sbatch_leaves_one_job(
    cluster: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(home)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", killer(tmp_path / "bin"))
        child = os.fork()
        if not child:
            bench.start()
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert _recorded(bench.job) is None
    assert len(bench.numbers()) == 1
    bench.start()
    assert [_recorded(bench.job)] == bench.numbers()
    bench.ends(Status.SUCCEEDED)
    assert len(bench.numbers()) == 1


def test_two_clients_at_once_make_one_job(cluster: Path, home: Path) -> None:
    bench = Bench(home, options=LATER)
    clients = [
        threading.Thread(target=SlurmEngine(bench.run).start, args=(Job.at(bench.job.folder),)) for _ in range(4)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(bench.numbers()) == 1
    bench.engine.cancel(bench.job)


@pytest.mark.slow
def test_a_second_slurm_job_for_a_folder_leaves_it_alone(cluster: Path, home: Path) -> None:
    bench = Bench(home, config={"holds": {"0": 3}}).start()
    bench.gets_to(2)
    other = SlurmEngine(bench.run)._submit(bench.job)  # as by a client whose lock did not hold
    until(lambda: asked("squeue", "--noheader", f"--jobs={other},{other}") == "", "it stays", LONGEST)
    assert "another worker has this job" in (bench.job.folder / "log.txt").read_text()
    assert bench.snapshot().status is Status.RUNNING
    assert bench.resumed() == [0]
    bench.engine.cancel(bench.job)
    bench.ends(Status.CANCELLED)


def test_a_refusal_is_told_in_slurms_words_and_counts_for_nothing(cluster: Path, home: Path) -> None:
    bench = Bench(home, partition="nowhere")
    with pytest.raises(BackendError, match="invalid partition"):
        bench.start()
    assert bench.job.state.starts == 0
    assert bench.numbers() == []


def test_no_answer_is_not_an_absence(
    cluster: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(home, options=LATER).start()
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        for ask in (bench.start, bench.snapshot, lambda: bench.engine.cancel(bench.job)):
            with pytest.raises(ServiceError, match="Unable to contact"):
                ask()
    assert len(bench.numbers()) == 1
    assert bench.snapshot().status is Status.QUEUED
    bench.engine.cancel(bench.job)
    assert bench.snapshot().status is Status.CANCELLED


def test_slurm_gets_no_key(cluster: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MISTRAL_API_KEY", "HF_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, "canary-5cd1f")
    monkeypatch.setenv("SITE_MODULES", "plain-88e2c")
    bench = Bench(home, options=LATER).start()
    found = {"canary-5cd1f": 0, "plain-88e2c": 0}
    for path in [*cluster.rglob("*"), *home.rglob("*")]:
        with suppress(FileNotFoundError):  # Slurm has put another in its place
            content = path.read_bytes() if path.is_file() else b""
            for word in found:
                found[word] += word.encode() in content
    assert found["canary-5cd1f"] == 0
    assert found["plain-88e2c"] > 0, "the look itself found nothing"
    bench.engine.cancel(bench.job)


def test_a_machine_without_slurm_says_so(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench(home)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="no squeue: submit from one of the cluster's login nodes"):
        bench.start()
    with pytest.raises(BackendError):
        _find(bench.job)

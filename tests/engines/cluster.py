"""A private Slurm for tests: real daemons on loopback, two nodes on one machine, thrown away at the end.

Nodes are named by addresses, so that they find one another without a name service.
"""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("127.0.0.1", "127.0.0.2")
#: Seconds that a daemon or a command may take on a machine that is many times slower than most.
LONGEST = 180.0

# Ends the daemon when its standard input does: also if pytest itself is killed.
_KEEPER = '"$@" </dev/null & read -r _; kill -TERM $!; wait $!'

_CONF = """
ClusterName=adaptkit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=10
SlurmUser={user}
SlurmdUser={user}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=5
MessageTimeout=60
BatchStartTimeout=180
NodeName={nodes[0]} NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=8 State=UNKNOWN
NodeName={nodes[1]} NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]} CPUs=8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def _daemon(*command: str, env: dict[str, str]) -> Iterator[None]:
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "keeper", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(timeout=LONGEST)


def asked(*command: str, env: dict[str, str] | None = None) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST, env=env).stdout


@contextmanager
def slurm() -> Iterator[Path]:
    """Run a cluster; gives its folder, whose ``slurm.conf`` is what ``SLURM_CONF`` should name."""
    folder = Path(tempfile.mkdtemp(prefix="adaptkit-slurm-"))
    conf = folder / "slurm.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    conf.write_text(
        _CONF.format(host=platform.node().partition(".")[0], ports=free_ports(3), folder=folder, user=user, nodes=NODES)
    )
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    env = {**os.environ, "SLURM_CONF": str(conf)}
    munge = {"socket": "munge.sock", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    try:
        with ExitStack() as stack:
            files = [f"--{name}={folder / file}" for name, file in munge.items()]
            stack.enter_context(_daemon("munged", "--foreground", "--force", *files, env=env))
            _wait(folder, (folder / "munge.sock").exists)
            stack.enter_context(_daemon("slurmctld", "-D", "-c", env=env))
            for node in NODES:
                stack.enter_context(_daemon("slurmd", "-D", "-N", node, env=env))
            _wait(folder, lambda: asked("sinfo", "--noheader", "--states=idle", "--format=%D", env=env).strip() == "2")
            try:
                yield folder
            finally:
                subprocess.run(["scancel", "--me"], env=env, capture_output=True, check=False)
                _wait(folder, lambda: not asked("squeue", "--noheader", env=env))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while True:
        with suppress(subprocess.CalledProcessError):  # it does not answer yet
            if true():
                return
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
            raise RuntimeError(f"Slurm does not come up, or down:\n{logs}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def slurm_folder() -> Iterator[Path]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)")
    with slurm() as folder:
        yield folder


@pytest.fixture
def cluster(slurm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cluster, which Slurm's commands talk to."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_folder / "slurm.conf"))
    return slurm_folder

"""Trainings that go by a real Slurm and a real Ray, from the target to the model that answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from adaptkit import Client, Dataset, Status
from tests.engines.cluster import PROGRAMS, slurm
from tests.engines.ray_cluster import ray_cluster, ray_folder
from tests.mistral.test_cluster import OnTheCluster
from tests.mistral.test_training import TALK

TINY = {"backend": "mistral", "model": "builtin:tiny", "method": "sft", "epochs": 1}


class TestSlurm(OnTheCluster):
    run: ClassVar = {"engine": "slurm"}
    timeout: ClassVar = 240.0
    _open: ClassVar[ExitStack]

    @classmethod
    def start(cls) -> None:
        pytest.importorskip("submitit")
        if any(shutil.which(each) is None for each in PROGRAMS):
            pytest.skip("there is no Slurm here (slurm-wlm, munge)")
        cls._open = ExitStack()
        place = cls._open.enter_context(slurm())
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(place / "slurm.conf")
        cls._open.callback(lambda: os.environ.pop("SLURM_CONF") if before is None else None)

    @classmethod
    def stop(cls) -> None:
        cls._open.close()


@pytest.mark.slow
class TestRay(OnTheCluster):
    timeout: ClassVar = 240.0
    _open: ClassVar[ExitStack]

    @classmethod
    def start(cls) -> None:
        pytest.importorskip("ray")
        cls._open = ExitStack()
        address = cls._open.enter_context(ray_cluster(cls._open.enter_context(ray_folder())))
        cls.run = {"engine": "ray", "address": address}

    @classmethod
    def stop(cls) -> None:
        cls._open.close()


ELSEWHERE = """
import sys
from adaptkit import Client
with Client(home=sys.argv[1]) as client:
    model = client.attach(sys.argv[2]).result(timeout=200)
    print(model.chat("3 and one?", max_tokens=8, temperature=0).text)
"""


@pytest.fixture(scope="module")
def ray() -> Iterator[str]:
    """The address of a cluster."""
    pytest.importorskip("ray")
    with ray_folder() as folder, ray_cluster(folder) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True], ids=["shared folder", "object storage"])
def test_two_workers_of_ray_train_and_any_process_finds_the_model(ray: str, tmp_path: Path, stored: bool) -> None:
    run = {"engine": "ray", "address": ray, "processes_per_node": 2}
    if stored:
        run["folder"] = f"file://{tmp_path}/bucket"
    home = tmp_path / "home"
    with Client(targets={"t": {**TINY, "run": run}}, home=home, egress=["127.0.0.1"]) as client:
        job = client.submit("t", Dataset.of(TALK))
        assert job.wait(timeout=280) is Status.SUCCEEDED, job.snapshot.message
        assert client.submit("t", Dataset.of(TALK)).id == job.id
        ref = str(job.ref)
        answer = job.result().chat("3 and one?", max_tokens=8, temperature=0).text
        told = [event.message for event in job.events() if event.kind == "metrics"]
    assert told[-1].startswith("stage 1 (sft): step ")
    if stored:  # nothing of the job is left here but what comes from storage
        shutil.rmtree(home / "mistral")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(home), ref], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == answer.strip()

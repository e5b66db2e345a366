"""One line changed: the same target with several processes, with Slurm; the same run and the same model."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adaptkit import Client, Dataset, Job, LoraConfig, Status, UnsupportedError, builtin
from adaptkit.adapter import Context
from adaptkit.backends.base_model import find_base
from adaptkit.backends.lora import LoraAdapter
from adaptkit.backends.lora.config import resolve
from adaptkit.backends.lora.estimate import refuse_if_short
from adaptkit.http import Egress
from adaptkit.machine import Gpu, Machine
from tests.engines.cluster import cluster, slurm_folder
from tests.engines.conftest import until
from tests.held import held
from tests.lora.conftest import ROWS

__all__ = ["cluster", "held", "slurm_folder"]

GIVEN = {"backend": "lora", "epochs": 2, "batch_size": 6, "rank": 4, "learning_rate": 1e-4, "checkpoint_every": 2}
PAIRS = [
    {
        "input": {"messages": row["messages"][:1]},
        "preferred_output": row["messages"][1:],
        "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
    }
    for row in ROWS
]
TWO = {"processes_per_node": 2}


def trained(home: Path, rows: list[dict[str, Any]] = ROWS, **given: Any) -> Job:
    client = Client(targets={"t": {**GIVEN, **given}}, home=home)
    job = client.submit("t", Dataset.of(rows))
    assert job.wait(timeout=240) is Status.SUCCEEDED, job.snapshot.message
    return job


def weights(job: Job) -> dict[str, torch.Tensor]:
    (file,) = Path(job.result().ref.id).glob("*model*.safetensors")
    return {name: weight.float() for name, weight in load_file(file).items()}


def digest(job: Job) -> str:
    (file,) = Path(job.result().ref.id).glob("*model*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("rows", "given", "parallel"),
    [
        (ROWS, {"weights": "dora"}, "ddp"),
        (ROWS, {"weights": "full", "gradient_accumulation": 2, "batch_size": 3}, "fsdp"),
        (PAIRS, {"method": "dpo", "weights": "full"}, "fsdp"),
    ],
    ids=["dora", "full", "dpo of all weights"],
)
def test_two_processes_learn_what_one_learns(
    tmp_path: Path, rows: list[dict[str, Any]], given: dict[str, Any], parallel: str
) -> None:
    alone = trained(tmp_path / "one", rows, **given)
    both = trained(tmp_path / "two", rows, **given, run={**TWO, "parallel": parallel})
    ours, theirs = weights(alone), weights(both)
    assert ours.keys() == theirs.keys()
    wide = given.get("weights") == "full"  # stored in bf16
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=2**-7 if wide else 1e-3, atol=1e-4, msg=name)


def test_all_processes_killed_end_as_if_they_had_not_been(tmp_path: Path, held: Callable[[str, int], None]) -> None:
    whole = trained(tmp_path / "whole", run=TWO, epochs=6)
    held("checkpoint", 2)
    client = Client(targets={"t": {**GIVEN, "run": TWO, "epochs": 6}}, home=tmp_path / "killed")
    job = client.submit("t", Dataset.of(ROWS))
    folder = tmp_path / "killed" / "lora" / "jobs" / job.id
    until(lambda: any((folder / "checkpoints").glob("checkpoint-*/complete.json")), "no checkpoint", 120)
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and os.fsencode(folder) in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue
    until(lambda: job.refresh() is Status.PAUSED, "it does not stop", 60)
    held("checkpoint", 1000)
    again = client.submit("t", Dataset.of(ROWS))
    assert again.id == job.id
    assert again.wait(timeout=240) is Status.SUCCEEDED, again.snapshot.message
    assert digest(again) == digest(whole)


def test_on_what_it_runs_does_not_make_another_run(tmp_path: Path) -> None:
    first = trained(tmp_path)
    again = trained(tmp_path, run=TWO)
    assert again.id == first.id
    assert again.reused


@pytest.mark.skipif(shutil.which("slurmctld") is None, reason="there is no Slurm here (slurm-wlm, munge)")
def test_slurm_trains_it_and_this_machine_answers(cluster: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    job = trained(tmp_path, run={"engine": "slurm", **TWO})
    assert job.result().chat("Where is parcel 3?", max_tokens=8, temperature=0).text
    assert Path(job.result().ref.id).is_dir()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"run": {"nodes": 2}}, "one machine"),
        ({"run": TWO, "dropout": 0.1}, "dropout"),
        ({"run": TWO, "device": "cuda:1"}, "gpus_per_node"),
        ({"run": {**TWO, "parallel": "fsdp"}, "quantization": "4bit", "device": "cuda"}, "cannot be divided"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(given: dict[str, Any], words: str) -> None:
    machine = Machine(gpus=(Gpu(8.0, 24 << 30), Gpu(8.0, 24 << 30)))
    with pytest.raises(UnsupportedError, match=words):
        resolve(LoraConfig.model_validate({"backend": "lora", **given}), None, machine)


def test_each_process_takes_a_gpu_of_its_own(tmp_path: Path) -> None:
    machine, base = Machine(gpus=(Gpu(8.0, 24 << 30),) * 2), find_base("builtin:tiny", builtin.path("tiny"))
    config = resolve(LoraConfig(run={"gpus_per_node": 2}), base, machine)
    assert (config.device, config.precision) == ("cuda", "bf16")
    assert resolve(config, base, machine) == config, "the workers do this again"
    refuse_if_short(config, base, machine, tmp_path)
    with pytest.raises(UnsupportedError, match="asks for 4 GPUs"):
        refuse_if_short(resolve(LoraConfig(run={"gpus_per_node": 4}), base, machine), base, machine, tmp_path)


def test_what_another_machine_decides_is_left_to_it(tmp_path: Path) -> None:
    config = LoraConfig(
        run={"engine": "slurm", "usd_per_gpu_hour": 2.0, "tokens_per_second": 100.0, "gpus_per_node": 4}
    )
    adapter = LoraAdapter(config, Context(tmp_path, Egress.parse("none")))
    plan = adapter.prepare(Dataset.of(ROWS))
    assert (plan.config.device, plan.config.precision) == ("auto", "auto")
    assert plan.config.epochs == 8
    assert plan.tokens is not None
    assert adapter.estimate(plan, {}) == pytest.approx(plan.tokens * 8 / 100 / 3600 * 4 * 2.0)
    with pytest.raises(UnsupportedError, match=r"run\.tokens_per_second"):
        adapter.measure(plan, Dataset.of(ROWS))

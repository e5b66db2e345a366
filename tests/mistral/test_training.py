"""What a training learns and leaves: stages as one job, kills, several processes, new tokens, every kind of weights."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adaptkit import Client, DataError, Dataset, Job, Status, UnsupportedError, builtin
from adaptkit.backends.base_model import find_base
from adaptkit.backends.local_jobs import Job as Folder
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.mistral.cluster.loading import Loader
from adaptkit.backends.mistral.cluster.words import Words
from adaptkit.errors import ConfigError
from tests.engines.conftest import until
from tests.held import held
from tests.training.scenes import alone

__all__ = ["held"]

#: A training takes seconds on a machine of its own, and minutes on one that is shared by many.
pytestmark = pytest.mark.timeout(900)

TALK = [
    {"messages": [{"role": "user", "content": f"{n} and one?"}, {"role": "assistant", "content": f"It is {n + 1}."}]}
    for n in range(12)
]
TEXTS = [{"text": f"The number {n} comes before {n + 1}, and after {n - 1}."} for n in range(40)]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"{n} and one?"}]},
        "preferred_output": [{"role": "assistant", "content": f"It is {n + 1}."}],
        "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
    }
    for n in range(12)
]
#: Two processes, each of which holds a part of the model.
PARTS = {"processes_per_node": 2, "parallel": "fsdp"}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def stages(tmp_path: Path) -> list[dict[str, Any]]:
    """Raw text with replay, conversations, preferences."""
    general = write(tmp_path / "general.jsonl", [{"text": "Water runs down the hill."}] * 4)
    return [
        {
            "method": "cpt",
            "data": write(tmp_path / "text.jsonl", TEXTS),
            "validation": write(tmp_path / "held_out.jsonl", TEXTS[:5]),
            "replay": {"data": general, "share": 0.2},
            "max_length": 32,
            "epochs": 2,
        },
        {"method": "sft", "epochs": 2},
        {"method": "dpo", "data": write(tmp_path / "pairs.jsonl", PAIRS), "epochs": 1},
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def trained(home: Path, data: list[dict[str, Any]] = TALK, **given: Any) -> Job:
    """A job that has succeeded."""
    client = Client(targets={"t": {"backend": "mistral", "model": "builtin:tiny", **given}}, home=home)
    job = client.submit("t", Dataset.of(data))
    assert job.wait(timeout=280) is Status.SUCCEEDED, job.snapshot.message
    return job


def folder_of(job: Job) -> Path:
    return Path(job.result().ref.id)


def weights(job: Job) -> dict[str, torch.Tensor]:
    (file,) = folder_of(job).glob("*model*.safetensors")
    return load_file(file)


def digest(job: Job) -> str:
    (file,) = folder_of(job).glob("*model*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def same(one: Job, other: Job) -> bool:
    """Whether two models' weights are the same up to rounding: they are stored in bf16, with eight bits."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    pairs = [(ours[name].float(), theirs[name].float()) for name in ours]
    assert all(torch.allclose(left, right, rtol=2**-7, atol=1e-5) for left, right in pairs)
    differ = sum(int((left != right).sum()) for left, right in pairs)
    return differ < 0.01 * sum(left.numel() for left, _ in pairs)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_stages_are_one_job_and_make_one_model(home: Path, stages: list[dict[str, Any]], kind: str) -> None:
    job = trained(home, stages=stages, weights=kind)
    figures = [event.data for event in job.events() if event.kind == "metrics" and "loss" in event.data]
    steps = [told["step"] for told in figures]
    assert steps == sorted(steps)
    assert steps[-1] == figures[-1]["total_steps"] == figures[0]["total_steps"]
    named = list(dict.fromkeys(told["stage"] for told in figures))
    assert named == ["stage 1 (cpt)", "stage 2 (sft)", "stage 3 (dpo)"]
    assert figures[-1]["rewards/accuracies"] >= 0
    bits = [event.data["bits_per_character"] for event in job.events() if "bits_per_character" in event.data]
    assert len(bits) == 3
    assert bits[-1] < bits[0]
    model = job.result()
    assert model.chat("3 and one?", max_tokens=8).text
    manifest = json.loads((folder_of(job) / "manifest.json").read_bytes())
    assert manifest["metrics"]["tokens_per_second"] > 0
    assert [stage["method"] for stage in manifest["config"]["stages"]] == ["cpt", "sft", "dpo"]


def _killed_at(job: Job, home: Path, step: int) -> None:
    """Kill all processes of a job once it has kept a step, after which they wait."""
    folder = Folder(home / "mistral", job.id)
    until(lambda: folder.state.step >= step, "no checkpoint")
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and os.fsencode(folder.folder) in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue
    until(lambda: not folder.alive, "a process lives on")
    assert job.refresh() is Status.PAUSED


@pytest.mark.slow
@pytest.mark.parametrize("run", [{}, PARTS], ids=["alone", "in parts"])
def test_a_training_that_is_killed_ends_with_the_same_bytes(
    tmp_path: Path,
    home: Path,
    stages: list[dict[str, Any]],
    run: dict[str, Any],
    held: Callable[[str, int], None],
) -> None:
    given = {"stages": stages[:2], "checkpoint_every": 2, "batch_size": 4, "run": run}
    whole = trained(home, **given)
    again = tmp_path / "again"
    client = Client(targets={"t": {"backend": "mistral", "model": "builtin:tiny", **given}}, home=again)
    last = max(event.data.get("step", 0) for event in whole.events())
    held("checkpoint", 2)
    job = client.submit("t", Dataset.of(TALK))
    _killed_at(job, again, 2)
    held("checkpoint", last - 4)  # in the second stage
    job.restart()
    _killed_at(job, again, last - 4)
    held("checkpoint", last + 1)
    job.restart()
    assert job.wait(timeout=280) is Status.SUCCEEDED, job.snapshot.message
    assert digest(job) == digest(whole)
    told = [event.data["step"] for event in job.events() if event.kind == "metrics" and "loss" in event.data]
    assert len(told) == len(set(told)), "a step was told twice"


@pytest.mark.slow
def test_how_many_processes_share_the_work_does_not_change_what_is_learned(home: Path) -> None:
    given = {"method": "sft", "epochs": 2, "batch_size": 5, "learning_rate": 1e-4}
    alone = trained(home / "1", **given)
    for name in ("ddp", "fsdp"):
        job = trained(home / name, **given, run={"processes_per_node": 2, "parallel": name})
        assert same(alone, job), name


@pytest.mark.parametrize(
    ("kind", "run"),
    [("full", {}), ("lora", {}), pytest.param("lora", PARTS, marks=pytest.mark.slow)],
    ids=["full", "lora", "lora in parts"],
)
def test_new_tokens_are_learned_saved_and_answered_with(home: Path, kind: str, run: dict[str, Any]) -> None:
    text = builtin.text("lingua")
    job = trained(
        home,
        [json.loads(line) for line in builtin.task("lingua").train.read_text(encoding="utf-8").splitlines()[:40]],
        weights=kind,
        run=run,
        adapt={"vocabulary": {"add": 60}},
        stages=[
            {"method": "cpt", "data": str(text.train), "validation": str(text.held_out), "max_length": 64, "epochs": 1},
            {"method": "sft", "epochs": 1},
        ],
    )
    (said,) = [event.message for event in job.events() if "new tokens" in event.message]
    assert said.startswith("60 new tokens: ")
    bits = [event.data["bits_per_character"] for event in job.events() if "bits_per_character" in event.data]
    assert bits[-1] < bits[0]
    folder = folder_of(job)
    assert json.loads((folder / "manifest.json").read_bytes())["vocabulary"]["added"] == 60
    model = job.result()
    question = next(iter(Dataset.open(builtin.task("lingua").held_out))).messages[0].text
    answered = model.chat(question, max_tokens=12, temperature=0).text
    merged = model.export("merged", home / "merged")
    with Client(targets={"m": {"backend": "lora", "model": str(merged)}}, home=home) as client:
        alone = client.model(json.dumps({"v": 1, "backend": "lora", "id": str(merged)}))
        assert alone.chat(question, max_tokens=12, temperature=0).text == answered
    if kind == "lora":
        assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) < 1_500_000


def test_tokens_of_a_file_are_checked_before_anything_runs(home: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("geguđ\n\ngeguđ\n", encoding="utf-8")
    target = {"backend": "mistral", "model": "builtin:tiny", "adapt": {"vocabulary": {"from": str(words)}}}
    with Client(targets={"t": target}, home=home) as client:
        with pytest.raises(ConfigError, match="line"):
            client.plan("t", Dataset.of(TALK))
        words.write_text("geguđ\nŧŭŧ\n", encoding="utf-8")
        plan = client.plan("t", Dataset.of(TALK))
        assert {file.purpose for file in plan.files} == {"train", "vocabulary"}
        job = client.submit("t", Dataset.of(TALK))
        assert job.wait(timeout=200) is Status.SUCCEEDED, job.snapshot.message
        tokenizer = json.loads((folder_of(job) / "tokenizer.json").read_bytes())
        assert len(tokenizer["model"]["vocab"]) >= 1024 + 2


def test_every_fault_of_every_file_is_told_before_anything_runs(home: Path, stages: list[dict[str, Any]]) -> None:
    Path(stages[0]["data"]).write_text('{"text": ""}\n{"text": "good"}\n', encoding="utf-8")
    Path(stages[2]["data"]).write_text("no json\n", encoding="utf-8")
    target = {"backend": "mistral", "model": "builtin:tiny", "stages": stages}
    with Client(targets={"t": target}, home=home) as client:
        with pytest.raises(DataError) as caught:
            client.submit("t", Dataset.of([*TALK, {"messages": []}]))
        said = str(caught.value)
        assert all(name in said for name in ("train", "stage-1", "stage-3"))
        assert not (home / "mistral").exists()
        assert client.jobs() == []


def test_where_files_lie_and_on_what_it_runs_do_not_make_another_run(
    home: Path, tmp_path: Path, stages: list[dict[str, Any]]
) -> None:
    first = trained(home, stages=stages[:2])
    moved = tmp_path / "moved.jsonl"
    Path(stages[0]["data"]).rename(moved)
    again = trained(home, stages=[{**stages[0], "data": str(moved)}, stages[1]], run={"processes_per_node": 2})
    assert again.id == first.id
    assert again.reused
    write(moved, TEXTS[:-1])
    assert trained(home, stages=[{**stages[0], "data": str(moved)}, stages[1]]).id != first.id


def test_a_base_with_mistrals_own_tokenizer_is_trained_with_its_ids(
    home: Path, model_folder: Any, tmp_path: Path
) -> None:
    base = model_folder("mistral3")
    before = load_file(next(base.glob("*.safetensors")))
    job = trained(home, model=str(base), method="sft", epochs=1, max_length=256)
    after = weights(job)
    vision = [name for name in after if "vision" in name or "projector" in name]
    assert vision
    assert all(torch.equal(after[name].float(), before[name].float()) for name in vision), "the vision tower moved"
    assert any(not torch.equal(after[name].float(), before[name].float()) for name in after if name not in vision)
    loaded = Loader(MistralConfig(model=str(base)), find_base(str(base), base), Words(base), alone()).model(None)
    learned = {name for name, weight in loaded.named_parameters() if weight.requires_grad}
    assert learned
    assert not [name for name in learned if "vision" in name or "projector" in name], "they would take memory"
    assert isinstance(job.result().chat("3 and one?", max_tokens=4).text, str)
    bad = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [
        {"id": "short", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "short", "content": "1"}, {"role": "assistant", "content": "done"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}  # fmt: skip
    v3 = {"backend": "mistral", "model": str(model_folder("mistral"))}
    with Client(targets={"t": v3}, home=home) as client, pytest.raises(DataError, match="nine letters or digits"):
        client.plan("t", Dataset.of([*TALK, bad]))


def test_weights_in_fp8_are_refused_with_what_to_take(home: Path, model_folder: Any, tmp_path: Path) -> None:
    base = tmp_path / "fp8"
    base.mkdir()
    for file in model_folder("mistral").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_bytes())
    config["quantization_config"] = {"quant_method": "fp8"}
    (base / "config.json").write_text(json.dumps(config))
    target = {"backend": "mistral", "model": str(base)}
    with Client(targets={"t": target}, home=home) as client, pytest.raises(UnsupportedError, match="Base or Reasoning"):
        client.plan("t", Dataset.of(TALK))

"""Several processes: what they learn is what one learns, and a killed group goes on where it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from adaptkit.backends.training import shards
from adaptkit.backends.training.checkpoints import MARKER
from tests.training.conftest import CUT, GROWS, HALVED, LORA, SAME, SHRINKS, WAYS, WHOLE, together
from tests.training.scenes import Scene, alone, curve, events, play, play_together, renamed, weights

#: A group of processes takes seconds on a machine of its own, and minutes on one that is shared by many.
pytestmark = pytest.mark.timeout(900)
#: Of fp32 sums in another order, over 6 steps with losses of 5 and below and weights below 1.
LOSS, WEIGHT, LOGIT = 2e-5, 2e-6, 1e-4
#: AdamW divides a gradient by its size, so where one is next to nothing, rounding shows as a part of the learning rate.
FEW, RATE = 0.002, 0.01


def apart(folder: Path, one: Scene, other: Scene) -> torch.Tensor:
    """The differences of all weights."""
    mine, others = weights(folder, one), weights(folder, other)
    assert mine.keys() == others.keys()
    assert torch.allclose(mine.pop("answer"), others["answer"], atol=LOGIT)  # what is trained in parts is whole again
    return torch.cat([(mine[name] - others[name]).abs().flatten() for name in mine])


def alike(folder: Path, one: Scene, other: Scene) -> bool:
    """Whether all weights are the same up to rounding."""
    found = apart(folder, one, other)
    return bool(found.quantile(1 - FEW) < WEIGHT and found.max() < RATE / 20)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scene", SAME, ids=lambda scene: scene.name)
def test_two_processes_learn_what_one_learns(stage: Path, scene: Scene, way: str) -> None:
    both = together(scene, way)
    for figure in ("loss", "grad_norm", "validation_loss"):
        mine, others = curve(stage, scene, figure), curve(stage, both, figure)
        assert mine == pytest.approx(others, abs=LOSS)
        assert len(mine) == (6 if figure != "validation_loss" else 3 * scene.score)
    assert curve(stage, scene)[-1] < curve(stage, scene)[0]
    assert alike(stage, scene, both)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scene", HALVED, ids=lambda scene: scene.name)
def test_two_processes_learn_alike_in_bf16(stage: Path, scene: Scene, way: str) -> None:
    assert curve(stage, scene) == pytest.approx(curve(stage, together(scene, way)), rel=0.02)
    assert {weight.dtype for weight in weights(stage, together(scene, way)).values()} == {torch.float32}


@pytest.mark.slow
def test_a_killed_group_goes_on_bit_by_bit(stage: Path) -> None:
    assert events(stage, CUT)[0] == {"kind": "checkpoint", "message": "going on after step 3", "step": 3}
    assert curve(stage, CUT) == curve(stage, WHOLE)[3:]
    assert not apart(stage, CUT, WHOLE).any()


@pytest.mark.slow
def test_one_goes_on_where_two_were(stage: Path) -> None:
    assert (stage / "shrinks.0.error").read_text() == (stage / "shrinks.1.error").read_text() == "Interrupted: "
    assert [path.name for path in (stage / "shrinks.checkpoints").iterdir()] == ["checkpoint-4"]
    play(SHRINKS, stage, alone())
    assert events(stage, SHRINKS)[0]["step"] == 4
    assert alike(stage, SHRINKS, LORA)


@pytest.mark.slow
def test_two_go_on_where_one_was(stage: Path) -> None:
    assert events(stage, GROWS)[0]["step"] == 4
    assert alike(stage, GROWS, LORA)


@pytest.mark.slow
def test_another_number_of_processes_is_refused_with_dropout(stage: Path) -> None:
    for rank in (0, 1):
        said = (stage / f"random.{rank}.error").read_text()
        assert said.startswith("ConfigError: ")
        assert "is of 1 processes and these are 2: with dropout" in said


@pytest.mark.slow
def test_three_killed_processes_go_on_bit_by_bit_with_dropout(tmp_path: Path) -> None:
    """With three, the order in which gradients are summed matters too."""
    whole = Scene("whole", lora=True, dropout=0.2, checkpoint_every=3, micro_batch_size=1)
    cut = renamed(whole, "cut")
    play_together([whole, renamed(cut, cut.name, kill_after=4)], tmp_path, 3, dies=True)
    play_together([cut], tmp_path, 3)
    assert curve(tmp_path, cut) == curve(tmp_path, whole)[3:]
    assert not apart(tmp_path, cut, whole).any()


def test_torn_checkpoints_are_passed_over(tmp_path: Path) -> None:
    scene = Scene("torn", checkpoint_every=2, epochs=3)
    whole = renamed(scene, "whole")
    play(whole, tmp_path, alone())
    play(renamed(scene, scene.name, stop_after=8), tmp_path, alone())
    folder = tmp_path / "torn.checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    (shard,) = (folder / "checkpoint-8").glob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert shards.newest(folder) == folder / "checkpoint-6"
    shutil.copytree(folder / "checkpoint-6", folder / "checkpoint-7")
    (folder / "checkpoint-7" / MARKER).unlink()
    assert shards.newest(folder) == folder / "checkpoint-6"
    play(scene, tmp_path, alone())
    assert events(tmp_path, scene)[0]["step"] == 6
    assert not apart(tmp_path, scene, whole).any()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    scene = Scene("other", lora=True)
    play(renamed(scene, scene.name, stop_after=2), tmp_path, alone())
    play(renamed(scene, scene.name, lora=False), tmp_path, alone())
    assert (tmp_path / "other.0.error").read_text().startswith("ArtifactError: ")


def test_a_checkpoint_has_no_pickle_and_nothing_that_is_not_learned(tmp_path: Path) -> None:
    scene = Scene("lora", lora=True)
    play(renamed(scene, scene.name, stop_after=2), tmp_path, alone())
    files = list((tmp_path / "lora.checkpoints" / "checkpoint-2").iterdir())
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    from safetensors import safe_open

    (shard,) = (file for file in files if file.suffix == ".safetensors")
    with safe_open(shard, "pt") as stored:
        assert all("lora_" in name for name in stored.keys())  # noqa: SIM118
    for file in files:
        assert (file.suffix == ".safetensors") or isinstance(json.loads(file.read_bytes()), dict)

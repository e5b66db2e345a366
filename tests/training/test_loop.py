"""One process: what a step is, what is told, and how a run ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from adaptkit.backends.training import report
from adaptkit.backends.training.flops import Flops
from adaptkit.backends.training.loop import Settings
from tests.training.scenes import MODELS, Scene, Told, alone, curve, events, make_model, play, renamed, weights


def same(folder: Path, one: Scene, other: Scene, within: float = 2e-6) -> bool:
    mine, others = weights(folder, one), weights(folder, other)
    return all(torch.allclose(mine[name], others[name], atol=within, rtol=0) for name in mine)


def test_a_step_is_the_same_however_it_is_divided(tmp_path: Path) -> None:
    whole = Scene("whole", micro_batch_size=None)
    parts = renamed(whole, "parts", micro_batch_size=1)
    again = renamed(parts, "again", checkpointing=True)
    for scene in (whole, parts, again):
        play(scene, tmp_path, alone())
    assert curve(tmp_path, whole) == pytest.approx(curve(tmp_path, parts), abs=1e-5)
    assert same(tmp_path, whole, parts)
    assert same(tmp_path, parts, again)


def test_the_step_is_adam_of_the_mean_over_learned_tokens(tmp_path: Path) -> None:
    """Against the plainest loop there is."""
    from adaptkit.backends.training.losses import loss_of
    from tests.training.scenes import make_rows

    scene = Scene("one", micro_batch_size=1, epochs=1, learning_rate=0.003)
    play(scene, tmp_path, alone())
    rows, model = make_rows(scene, tmp_path, alone()), make_model(scene)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    told = events(tmp_path, scene)
    for step in range(rows.steps):
        loss = loss_of(model, rows.batch(rows.of_step(step)).tensors)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = told[step]["learning_rate"]
        optimizer.step()
        assert told[step]["loss"] == pytest.approx(float(loss), abs=1e-5)
        assert told[step]["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    mine = weights(tmp_path, scene)
    assert all(torch.allclose(mine[name], weight, atol=2e-6) for name, weight in model.named_parameters())


@pytest.mark.parametrize(("schedule", "theirs"), [
    ("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup),
])  # fmt: skip
def test_the_learning_rate_rises_and_falls(schedule: Any, theirs: Any) -> None:
    settings = Settings(learning_rate=0.5, schedule=schedule, warmup=0.1)
    mine = [settings.rate(step, 100) for step in range(100)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    other = theirs(optimizer, 10, 100)
    for step in range(100):
        if step >= 10:
            assert mine[step] == pytest.approx(other.get_last_lr()[0])
        optimizer.step()
        other.step()
    assert mine[:10] == pytest.approx([0.5 * (step + 1) / 11 for step in range(10)])
    assert Settings(learning_rate=0.5, schedule="constant", warmup=0).rate(99, 100) == 0.5


def test_what_is_told(tmp_path: Path) -> None:
    scene = Scene("told", kind="dpo", lora=True, score=True, checkpoint_every=2)
    play(scene, tmp_path, alone())
    told = events(tmp_path, scene)
    steps = [event for event in told if event["kind"] == "metrics" and "loss" in event]
    assert [event["step"] for event in steps] == list(range(1, 7))
    assert steps[0].keys() == {
        "kind", "message", "step", "total_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second",
        "eta", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    }  # fmt: skip
    assert [event["epoch"] for event in steps][2::3] == [1, 2]
    assert steps[-1]["eta"] == 0
    assert all(math.isfinite(value) for event in steps for value in event.values() if isinstance(value, float))
    assert [event["step"] for event in told if "validation_loss" in event and event["kind"] == "metrics"] == [0, 3, 6]
    assert [event["step"] for event in told if event["kind"] == "checkpoint"] == [2, 4]
    assert told[-1]["steps"] == 6
    assert told[-1]["first_loss"] == steps[0]["loss"] > told[-1]["last_loss"] == steps[-1]["loss"]


def test_a_long_run_does_not_tell_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heard:
        told = 3

        def tell(self, *_: Any, **data: Any) -> None:
            steps.append(data["step"])

    class Rows:
        per_epoch, steps = 10, 10

        def of_step(self, step: int) -> list[int]:
            return [step]

    steps: list[int] = []
    clock = iter(range(1000))
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock) / 4)
    monkeypatch.setattr(report, "QUICKEST", 0.5)
    monkeypatch.setattr(report, "SLOWEST", 5.0)
    made = report.Report(make_model(Scene("")), Rows(), None, alone(), Heard())  # type: ignore[arg-type]
    for step in range(1, 11):
        made.learned(step, 5, {"loss": torch.tensor(1.0)}, torch.tensor(1.0), 0.1)
    assert 10 in steps
    assert len(steps) < 7
    assert min(steps) > 3  # told before the run was resumed
    assert made.metrics["tokens"] == 50


def test_what_is_no_number_is_seen_before_it_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows:
        per_epoch, steps = 10, 10

        def of_step(self, step: int) -> list[int]:
            return [step]

    monkeypatch.setattr(report.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(report, "QUICKEST", 0.5)
    monkeypatch.setattr(report, "SLOWEST", 5.0)
    made = report.Report(make_model(Scene("")), Rows(), 3, alone(), Told(Scene(""), Path("/dev/null"), alone()))
    for step, loss in enumerate((1.0, math.nan), 1):
        made.learned(step, 5, {"loss": torch.tensor(loss)}, torch.tensor(1.0), 0.1)
    assert not made.diverged  # nobody has looked
    made.learned(3, 5, {"loss": torch.tensor(1.0)}, torch.tensor(1.0), 0.1)
    assert made.due
    assert made.diverged


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    scene = Scene("diverged", learning_rate=1e30, checkpoint_every=1)
    play(scene, tmp_path, alone())
    said = (tmp_path / "diverged.0.error").read_text()
    assert said.startswith("BackendError: the loss is no number any more")
    assert "learning_rate (now 1e+30)" in said
    for checkpoint in (tmp_path / "diverged.checkpoints").glob("checkpoint-*"):
        assert int(checkpoint.name.split("-")[1]) < 4
    assert all(math.isfinite(loss) for loss in curve(tmp_path, scene))


def test_a_stopped_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    whole = Scene("whole", lora=True, dropout=0.2, kind="cpt")
    play(whole, tmp_path, alone())
    cut = renamed(whole, "cut")
    play(renamed(cut, "cut", stop_after=3), tmp_path, alone())
    assert (tmp_path / "cut.0.error").read_text() == "Interrupted: "
    play(cut, tmp_path, alone())
    assert curve(tmp_path, cut) == curve(tmp_path, whole)[3:]
    assert same(tmp_path, cut, whole, 0)


def test_a_model_that_was_in_bf16_learns_in_fp32(tmp_path: Path) -> None:
    """Autocast computes in bf16 and leaves the weights."""
    half = Scene("half", precision="bf16")
    full = renamed(half, "full", precision="fp32")
    play(half, tmp_path, alone())
    play(full, tmp_path, alone())
    assert curve(tmp_path, half) != curve(tmp_path, full)
    assert curve(tmp_path, half) == pytest.approx(curve(tmp_path, full), rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_flops_are_those_of_the_formula(name: str) -> None:
    model = make_model(Scene("", model=name))
    layer = 32 * (4 * 8) * 2 + 32 * (2 * 8) * 2 + 3 * 32 * 64
    multiplied = 2 * layer + 97 * 32
    found = Flops.of(model)
    assert found == Flops(6.0 * multiplied, 12.0 * 2 * 4 * 8)
    assert found.per_token(100) == 6 * multiplied + 12 * 2 * 4 * 8 * 100
    if name == "ministral3-with-eyes":  # "all-linear" is not for models with a vision tower
        return
    lora = Flops.of(make_model(Scene("", model=name, lora=True)))
    learned = 2 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert lora.dense == 4 * multiplied + 6 * learned

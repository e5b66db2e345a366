"""One training run: model, trainer, and what it tells while it runs.

`transformers.Trainer` does the steps. Ours are the batches (planned beforehand, see `batches`), the loss (logits are
computed only where a token is learned) and the work.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base
from adaptkit.backends.causal_model import freeze_beside_text, load_causal
from adaptkit.backends.chat_tokenizer import Encoded, Tokenizer
from adaptkit.backends.local_jobs import Interrupted, Work
from adaptkit.backends.lora.config import LoraConfig
from adaptkit.backends.training import checkpoints
from adaptkit.backends.training.adapters import adapter_settings
from adaptkit.backends.training.batches import IGNORED, pack, plan_batches
from adaptkit.backends.training.losses import collate, loss_of
from adaptkit.errors import BackendError

__all__ = ["Result", "Setup", "build_model", "train_sft", "training_arguments"]

#: Seconds between checkpoints when no number of steps is given.
CHECKPOINT_SECONDS = 60.0
#: Whole checkpoints kept: the newest, and one more in case the newest is damaged.
KEPT = 2
#: Gradients are scaled down to this norm.
CLIP = 1.0


@dataclass(frozen=True)
class Setup:
    """What a run starts from: ``folder`` is where checkpoints go."""

    config: LoraConfig
    base: Base
    tokenizer: Tokenizer
    folder: Path
    work: Work


@dataclass
class Result:
    """A trained model and what is known of the run."""

    model: Any
    metrics: dict[str, float] = field(default_factory=dict)


@cache
def import_trainer() -> Any:
    """`transformers` with its trainer, without the data set library that it would load and that is not needed here.

    For a process whose work this is: what is loaded by now is never looked through for garbage again.
    """
    kept = sys.modules.get("datasets")
    if kept is None:
        sys.modules["datasets"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    gc.disable()  # modules are there to stay, and there are so many that looking for garbage slows their loading
    try:
        import transformers  # noqa: PLC0415
        from transformers import trainer  # noqa: F401, PLC0415
        from transformers.utils import logging  # noqa: PLC0415
    finally:
        gc.freeze()
        gc.enable()
        if kept is None:
            del sys.modules["datasets"]
    logging.disable_progress_bar()
    return transformers


def load_base(config: LoraConfig, folder: Path) -> Any:
    """The base, in the precision that it is trained in."""
    import torch  # noqa: PLC0415

    # trained weights stay in fp32; a base that only lends itself may lie in bf16, as it is computed with
    halved = config.precision == "bf16" and config.weights != "full"
    how: dict[str, Any] = {"dtype": torch.bfloat16 if halved else torch.float32}
    if config.quantization == "4bit":
        from transformers import BitsAndBytesConfig  # noqa: PLC0415

        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        how["device_map"] = {"": 0}
    model = load_causal(folder, **how)
    model.config.get_text_config().use_cache = False
    freeze_beside_text(model)
    return model


def peft_config(config: LoraConfig, model: Any) -> Any:
    """PEFT's configuration of a run that does not train all weights."""
    assert config.weights != "full"  # noqa: S101 - callers ask before
    return adapter_settings(model, rank=config.rank, alpha=config.alpha, dropout=config.dropout, kind=config.weights)


def build_model(config: LoraConfig, folder: Path) -> Any:
    """The base with what is to be trained in it."""
    import torch  # noqa: PLC0415

    model = load_base(config, folder)
    torch.manual_seed(config.seed)
    if config.weights == "full":
        return model
    import peft  # noqa: PLC0415

    if config.quantization == "4bit":
        model = peft.prepare_model_for_kbit_training(model)
    return peft.get_peft_model(model, peft_config(config, model))


def training_arguments(config: LoraConfig, folder: Path, steps: int) -> dict[str, Any]:
    """Arguments of the trainer that all methods share."""
    import torch  # noqa: PLC0415

    gpu = config.device.startswith("cuda")
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if config.schedule == "constant" else config.schedule,
        "warmup_steps": math.ceil(config.warmup * steps),
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "bf16": config.precision == "bf16",
        "tf32": True if gpu and torch.cuda.get_device_capability() >= (8, 0) else None,
        "use_cpu": config.device == "cpu",
        "seed": config.seed,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
    }


def _trainer_type() -> Any:
    from torch.utils.data import DataLoader  # noqa: PLC0415

    transformers = import_trainer()

    class SftTrainer(transformers.Trainer):  # type: ignore[misc, name-defined]
        """`Trainer` with the batches planned beforehand and the loss of `loss_of`."""

        def __init__(self, batches: list[list[int]], **given: Any) -> None:
            super().__init__(**given)
            self.batches = batches
            self.model_accepts_loss_kwargs = True  # the loss divides by the learned tokens of a whole step

        def get_train_dataloader(self) -> Any:
            return DataLoader(
                self.train_dataset,
                batch_sampler=self.batches,
                collate_fn=self.data_collator,
                pin_memory=self.args.dataloader_pin_memory,
            )

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            # the trainer's own also walks over all modules to put them into training mode, which they are in
            batch = self._prepare_inputs(inputs)
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, batch, num_items_in_batch=num_items_in_batch)
            self.accelerator.backward(loss)
            return loss.detach()

        def compute_loss(self, model: Any, inputs: Any, *_: Any, num_items_in_batch: Any = None) -> Any:
            return loss_of(model, inputs, num_items_in_batch)

        def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002
            return 0  # nobody reads it, and it walks over all parameters at each step

    return SftTrainer


def reporters(config: LoraConfig, work: Work, each: list[int], score: Callable[[], float | None]) -> list[Any]:
    """The callbacks that tell, checkpoint and stop.

    Args:
        config: The run's.
        work: Whom to tell.
        each: Tokens of each step.
        score: Gives the validation loss.
    """
    per_epoch = math.ceil(len(each) / (config.epochs or 1))
    return [_reporter(config, work, each, per_epoch), _validator(work, per_epoch, score)]


def _reporter(config: LoraConfig, work: Work, each: list[int], per_epoch: int) -> Any:
    from transformers import TrainerCallback  # noqa: PLC0415

    class Reporter(TrainerCallback):  # type: ignore[misc]
        """Says how far it is, at least twice a second in the first minutes."""

        def __init__(self) -> None:
            self.began = self.logged = self.saved = time.monotonic()
            self.first = self.counted = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self.began = self.logged = self.saved = time.monotonic()
            self.first = self.counted = state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            now, step = time.monotonic(), state.global_step
            last = step >= state.max_steps
            every = min(5.0, max(0.5, (now - self.began) / 1000))  # a long run need not fill the disk with reports
            control.should_log = last or step == 1 or now - self.logged >= every
            stop = work.should_stop()
            control.should_training_stop = control.should_training_stop or stop
            due = (
                step % config.checkpoint_every == 0
                if config.checkpoint_every
                else now - self.saved >= CHECKPOINT_SECONDS
            )
            control.should_save = (due and not last) or (stop and work.terminated)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
            if "loss" not in logs:
                return
            now, step = time.monotonic(), state.global_step
            if not math.isfinite(logs["loss"]):
                raise BackendError(
                    f"the loss is {logs['loss']} at step {step}: training has diverged. Lower learning_rate "
                    f"(now {config.learning_rate:g}), or raise warmup.",
                    backend="lora",
                )
            seconds = max(now - self.logged, 1e-9)
            speed = sum(each[self.counted : step]) / seconds
            eta = (now - self.began) / max(step - self.first, 1) * (state.max_steps - step)
            self.logged, self.counted = now, step
            if step > work.told:
                work.tell(
                    "metrics",
                    f"step {step}/{state.max_steps}, loss {logs['loss']:.4f}",
                    step=step,
                    total_steps=state.max_steps,
                    epoch=round(step / per_epoch, 3),
                    loss=logs["loss"],
                    learning_rate=logs["learning_rate"],
                    grad_norm=logs.get("grad_norm"),
                    **{name: value for name, value in logs.items() if "/" in name},  # rewards, in DPO
                    tokens_per_second=round(speed, 1),
                    eta=round(eta, 1),
                )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            checkpoints.complete(checkpoint)
            checkpoints.prune(Path(args.output_dir), KEPT)
            self.saved = time.monotonic()
            work.checkpointed(state.global_step)

    return Reporter()


def _validator(work: Work, per_epoch: int, score: Callable[[], float | None]) -> Any:
    from transformers import TrainerCallback  # noqa: PLC0415

    class Validation(TrainerCallback):  # type: ignore[misc]
        """Scores the held-out examples after each epoch."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            step = state.global_step
            if step % per_epoch and step < state.max_steps:
                return
            loss = score()
            if loss is not None and step > work.told:
                work.tell("metrics", f"step {step}, validation loss {loss:.4f}", step=step, validation_loss=loss)

    return Validation()


def train_sft(setup: Setup, examples: list[Encoded], validation: list[Encoded]) -> Result:
    """Train, going on from the newest whole checkpoint if there is one.

    Raises:
        Interrupted: it was asked to stop; a checkpoint was written if that was asked for too.
        BackendError: the loss is no number any more.
    """
    transformers = import_trainer()
    config, pad_id = setup.config, setup.tokenizer.pad
    model = build_model(config, setup.base.folder)
    rows = _rows(config, examples)
    lengths = [sum(len(example.ids) for example in row) for row in rows]
    batches = plan_batches(lengths, config.batch_size, config.epochs or 1, config.seed)
    each = tokens_of_steps(batches, lengths, config.gradient_accumulation)
    held_out = _rows(config, validation)

    def score() -> float | None:
        return validation_loss(model, held_out, config.batch_size, pad_id) if held_out else None

    trainer = _trainer_type()(
        batches=batches,
        model=model,
        args=transformers.TrainingArguments(**training_arguments(config, setup.folder, len(each))),
        train_dataset=rows,
        data_collator=lambda group: collate(group, pad_id),
        callbacks=reporters(config, setup.work, each, score),
    )
    return run(trainer, setup)


def tokens_of_steps(batches: list[list[int]], lengths: Sequence[int], accumulation: int) -> list[int]:
    """Tokens that each step of the optimiser learns from."""
    counts = [sum(lengths[row] for row in batch) for batch in batches]
    return [sum(counts[at : at + accumulation]) for at in range(0, len(counts), accumulation)]


def _rows(config: LoraConfig, examples: list[Encoded]) -> list[list[Encoded]]:
    if not config.packing:
        return [[example] for example in examples]
    lengths = [len(example.ids) for example in examples]
    return [[examples[index] for index in row] for row in pack(lengths, config.max_length or max(lengths))]


def run(trainer: Any, setup: Setup) -> Result:
    """Let a trainer run to its end."""
    from transformers.trainer_callback import PrinterCallback  # noqa: PLC0415

    trainer.remove_callback(PrinterCallback)
    trainer.model.train()
    resumed = checkpoints.newest(setup.folder)
    if resumed is not None:
        step = checkpoints.step_of(resumed)
        setup.work.tell("checkpoint", f"going on after step {step}", step=step)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    state = trainer.state
    if state.global_step < state.max_steps:
        raise Interrupted
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    metrics = {"steps": state.global_step, "seconds": round(time.monotonic() - began, 3)}
    if losses:
        metrics |= {"first_loss": losses[0], "last_loss": losses[-1]}
    return Result(trainer.accelerator.unwrap_model(trainer.model), metrics)


def validation_loss(model: Any, rows: list[list[Encoded]], batch_size: int, filler: int) -> float:
    """Mean cross-entropy of the learned tokens of held-out examples, with no gradient and no dropout."""
    import torch  # noqa: PLC0415

    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda index: sum(len(example.ids) for example in rows[index]))
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), batch_size):
            batch = collate([rows[index] for index in order[start : start + batch_size]], filler)
            learned = int((batch["labels"] != IGNORED).sum())
            total += float(loss_of(model, {name: value.to(device) for name, value in batch.items()}, 1))
            count += learned
    model.train(was_training)
    return total / max(count, 1)

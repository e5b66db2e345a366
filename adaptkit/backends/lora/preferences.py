"""DPO: learning to prefer one answer over another, with TRL's trainer on batches of ours.

The loss is TRL's. Tokens and batches are made here, so that prompts are what they are when the model is asked, and a
resumed run sees the batches that an uninterrupted one sees.
"""

from __future__ import annotations

from typing import Any

from adaptkit.backends.lora.training import (
    Result,
    Setup,
    load_base,
    peft_config,
    reporters,
    run,
    tokens_of_steps,
    training_arguments,
)
from adaptkit.backends.training.batches import plan_batches
from adaptkit.backends.training.encode import Pair

__all__ = ["train_dpo"]


def train_dpo(setup: Setup, pairs: list[Pair], validation: list[Pair]) -> Result:
    """Train; arguments and errors as for `train_sft`. Without LoRA the base is kept beside it as the reference."""
    import datasets  # noqa: PLC0415 - what TRL's trainer takes
    import torch  # noqa: PLC0415
    from torch.utils.data import DataLoader  # noqa: PLC0415
    from trl import DPOConfig, DPOTrainer  # noqa: PLC0415

    config = setup.config
    batches = plan_batches([len(pair) for pair in pairs], config.batch_size, config.epochs or 1, config.seed)
    lengths = [2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in pairs]
    each = tokens_of_steps(batches, lengths, config.gradient_accumulation)

    class Trainer(DPOTrainer):  # type: ignore[misc]
        """TRL's trainer with tokens made beforehand."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def get_train_dataloader(self) -> Any:
            return DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)

    def rows(chosen: list[Pair]) -> Any:
        return datasets.Dataset.from_list(
            [{"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in chosen]
        )

    def score() -> float | None:
        if not validation:
            return None
        loss = float(trainer.evaluate()["eval_loss"])
        trainer.model.train()
        return loss

    torch.manual_seed(config.seed)
    model = load_base(config, setup.base.folder)
    trainer = Trainer(
        model=model,
        ref_model=load_base(config, setup.base.folder) if config.weights == "full" else None,
        peft_config=None if config.weights == "full" else peft_config(config, model),
        args=DPOConfig(
            **training_arguments(config, setup.folder, len(each)),
            beta=config.beta,
            max_length=config.max_length,
            gradient_checkpointing=False,
        ),
        train_dataset=rows(pairs),
        eval_dataset=rows(validation) if validation else None,
        processing_class=setup.tokenizer.tokenizer,
        callbacks=reporters(config, setup.work, each, score),
    )
    return run(trainer, setup)

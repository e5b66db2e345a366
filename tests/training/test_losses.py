"""What is learned: packed documents apart, and DPO as TRL computes it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptkit.backends.training.corpus import write
from adaptkit.backends.training.losses import PreferenceLoss, loss_of, token_loss
from adaptkit.backends.training.rows import Documents, Examples, Pairs, segments
from tests.training.scenes import MODELS, VOCABULARY, Scene, make_examples, make_model, make_pairs


@pytest.mark.parametrize("name", MODELS)
def test_packed_documents_do_not_see_each_other(tmp_path: Path, name: str) -> None:
    said = make_examples(6)
    corpus = write(tmp_path / "text", said, VOCABULARY)
    rows = Documents(corpus, corpus.tokens, batch_size=1, epochs=1, seed=0)
    model = make_model(Scene("", model=name)).eval()
    packed = rows.batch([0]).tensors
    inputs = {key: packed[key] for key in ("input_ids", "position_ids")}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[0]
        apart = [model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0] for one in said]
        seeing = model(input_ids=packed["input_ids"], use_cache=False).logits[0]
    assert torch.allclose(logits, torch.cat(apart), atol=1e-5)
    assert not torch.allclose(seeing, torch.cat(apart), atol=1e-2)


def test_filling_up_changes_nothing(tmp_path: Path) -> None:
    corpus = write(tmp_path / "chats", make_examples(6), VOCABULARY)
    rows = Examples(corpus, batch_size=6, epochs=1, seed=0)
    model = make_model(Scene(""))
    whole = rows.batch(range(6))
    alone = [rows.batch([row]) for row in range(6)]
    assert whole.items == sum(batch.items for batch in alone)
    mean = float(loss_of(model, whole.tensors))
    parts = sum(float(token_loss(model, batch.tensors, whole.items)["loss"]) for batch in alone)
    assert mean == pytest.approx(parts, abs=1e-5)


def move(model: Any) -> None:
    """Away from the reference, where the loss is log 2 whatever is computed."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))


def trl_loss(model: Any, reference: Any, pairs: list[Any], beta: float) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch as TRL's trainer computes it for a moved model, with its gradients left in the model."""
    import datasets
    from trl import DPOConfig, DPOTrainer

    from adaptkit import builtin
    from adaptkit.backends.chat_tokenizer import ChatTokenizer

    class Trainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    rows = [{"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs]
    trainer = Trainer(
        model=model,
        ref_model=reference,
        args=DPOConfig(output_dir=tempfile.mkdtemp(), beta=beta, use_cpu=True, bf16=False, report_to="none",
                       gradient_checkpointing=False, max_length=128),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=ChatTokenizer(builtin.path("tiny")).tokenizer,
    )  # fmt: skip
    move(model)  # only now: TRL takes the adapter that it is given for the reference
    model.train()
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    loss.backward()
    told = {name: values[-1] for name, values in trainer._metrics["train"].items() if name.startswith("rewards/")}
    return loss.detach(), told


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_dpo_is_what_trl_computes(tmp_path: Path, lora: bool) -> None:
    pairs = make_pairs(7)
    model = make_model(Scene("", lora=lora))
    reference = None if lora else copy.deepcopy(model).eval().requires_grad_(False)
    theirs, told = trl_loss(copy.deepcopy(model), reference, pairs, 0.3)
    move(model)

    rows = Pairs(write(tmp_path / "pairs", segments(pairs), VOCABULARY), batch_size=7, epochs=1, seed=0)
    batch = rows.batch(range(7))
    ours = PreferenceLoss(0.3, reference)(model, batch.tensors, batch.items)
    assert abs(float(ours["loss"].detach()) - 0.6931) > 0.005
    assert float(ours["loss"].detach()) == pytest.approx(float(theirs), abs=1e-5)
    for name, value in told.items():
        assert float(ours[name]) == pytest.approx(value, abs=1e-5), name
    assert told.keys() == ours.keys() - {"loss"}


def test_dpo_has_the_gradients_of_trl(tmp_path: Path) -> None:
    pairs = make_pairs(5)
    model, other = make_model(Scene("", lora=True)), make_model(Scene("", lora=True))
    trl_loss(other, None, pairs, 0.1)
    move(model)
    rows = Pairs(write(tmp_path / "pairs", segments(pairs), VOCABULARY), batch_size=5, epochs=1, seed=0)
    batch = rows.batch(range(5))
    PreferenceLoss(0.1)(model, batch.tensors, batch.items)["loss"].backward()
    theirs = {name: weight.grad for name, weight in other.named_parameters() if weight.grad is not None}
    mine = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert mine.keys() == theirs.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in mine.values())
    for name, gradient in mine.items():
        assert torch.allclose(gradient, theirs[name], atol=1e-5), name

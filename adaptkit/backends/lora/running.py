"""A training from its files to its model: what every process of a job runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, fetch, find_base
from adaptkit.backends.causal_model import refuse_quantized
from adaptkit.backends.chat_tokenizer import open_tokenizer
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import refuse_if_short
from adaptkit.backends.lora.loading import build_model, load_base
from adaptkit.backends.model_folder import MANIFEST, finish
from adaptkit.backends.training.corpus import Corpus
from adaptkit.backends.training.failures import explained
from adaptkit.backends.training.loop import Result, Settings, held_out_loss, train
from adaptkit.backends.training.losses import Loss, PreferenceLoss, token_loss
from adaptkit.backends.training.parallel import Group, Spread, joined
from adaptkit.backends.training.reading import Reader
from adaptkit.backends.training.rows import Examples, Packed, Pairs, Rows
from adaptkit.backends.training.saving import facts_of, write
from adaptkit.backends.training.threads import settle_threads
from adaptkit.machine import this_machine

__all__ = ["lower", "rows_of", "run", "settings_of"]


def run(job: Job, work: Work) -> str:
    """Train what a job asks for and write its model; gives the model's folder."""
    target = job.home / "models" / job.id
    if (target / MANIFEST).is_file():  # by a process that was killed before it could say so
        return str(target.resolve())
    asked = LoraConfig.model_validate(job.spec.config)
    base = find_base(asked.model, fetch(asked.model, offline=job.spec.offline))
    refuse_quantized(base)
    config = resolve(asked, base, this_machine())
    with explained(config.device, lower(job.spec.config)), joined(config.device) as group:
        if group.leads:  # what the others take meanwhile is counted in
            refuse_if_short(config, base, this_machine(), job.home)
        settle_threads(base)
        result = _trained(job, work, config, base, group)
        if group.leads:
            _save(job, config, base, result, target)
        group.barrier()
    return str(target.resolve())


def lower(config: Mapping[str, Any]) -> list[str]:
    """What needs less memory, in words."""
    lower = [f"batch_size (now {config['batch_size']}; gradient_accumulation makes up for it)"]
    lower.append(f"max_length (now {config['max_length']})")
    if config["weights"] == "full":
        lower.append('or train fewer weights with weights = "lora"')
    return lower


def _trained(job: Job, work: Work, config: LoraConfig, base: Base, group: Group) -> Result:
    folder = job.folder / "checkpoints"
    folder.mkdir(exist_ok=True, mode=0o700)
    work.between()
    reader = Reader(open_tokenizer(base.folder), folder / "corpora", group, work)
    corpora = {
        purpose: reader.corpus(purpose, file, config.method, config.max_length or 0)
        for purpose, file in sorted(job.spec.files.items())
    }
    own, held_out = corpora["train"], corpora.get("validation")
    work.enter()
    settings, loss = settings_of(config), _loss(config, base, group)

    def score(spread: Spread, held_out: Corpus) -> dict[str, float]:
        rows = rows_of(held_out, config, epochs=1)
        return {"validation_loss": held_out_loss(spread, rows, loss, settings.micro_batch_size)}

    result = train(
        build_model(config, base.folder, empty=not group.leads),
        rows_of(own, config, epochs=config.epochs or 1),
        loss,
        settings,
        group=group,
        folder=folder,
        work=work,
        score=None if held_out is None else partial(score, held_out=held_out),
    )
    examples = own.examples // (3 if config.method == "dpo" else 1)
    result.metrics |= {"examples": examples, "tokens_per_epoch": own.tokens}
    return result


def rows_of(corpus: Corpus, config: LoraConfig, *, epochs: int) -> Rows:
    """What is learned from a corpus.

    Args:
        corpus: The encoded data.
        config: Resolved settings.
        epochs: Passes.
    """
    how = {"batch_size": config.batch_size * config.gradient_accumulation, "epochs": epochs, "seed": config.seed}
    if config.method == "dpo":
        return Pairs(corpus, **how)
    return Packed(corpus, config.max_length or 0, **how) if config.packing else Examples(corpus, **how)


def settings_of(config: LoraConfig) -> Settings:
    """How the loop is to train."""
    return Settings(
        learning_rate=config.learning_rate or 0.0,
        schedule=config.schedule,
        warmup=config.warmup,
        micro_batch_size=config.batch_size,
        parallel=config.run.spread(full=config.weights == "full"),
        precision="bf16" if config.precision == "bf16" else "fp32",
        checkpoint_every=config.checkpoint_every,
        seed=config.seed,
        backend="lora",
    )


def _loss(config: LoraConfig, base: Base, group: Group) -> Loss:
    if config.method != "dpo":
        return token_loss
    if config.weights != "full":  # the base is what is left of the model without its adapter
        return PreferenceLoss(config.beta)
    reference = load_base(config, base.folder, empty=not group.leads).requires_grad_(requires_grad=False).eval()
    settings = settings_of(config)
    return PreferenceLoss(config.beta, Spread(reference, group, settings.parallel, settings.precision).model)


def _save(job: Job, config: LoraConfig, base: Base, result: Result, target: Path) -> None:
    """Write the trained model as a folder that appears whole."""
    draft = target.with_name(f".{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    write(result.model, base, base.folder, draft)
    facts = facts_of(job, base, draft) | {"config": config.model_dump(mode="json"), "metrics": result.metrics}
    finish(draft, target, facts)

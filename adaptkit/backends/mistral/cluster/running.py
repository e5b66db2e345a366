"""A training from its files to its model: what every process of a job runs.

All stages are read and encoded before the first begins, so that what is wrong with the last shows at once. A stage that
has ended leaves its model as a folder that appears whole; whoever comes after a kill goes on from there, and within a
stage from its newest checkpoint.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, fetch, find_base
from adaptkit.backends.causal_model import refuse_quantized
from adaptkit.backends.chat_tokenizer import open_tokenizer
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.mistral.cluster.encoding import Encoder, HeldOut, Part
from adaptkit.backends.mistral.cluster.loading import Loader
from adaptkit.backends.mistral.cluster.settings import on_machine, resolve
from adaptkit.backends.mistral.cluster.sizes import size_of
from adaptkit.backends.mistral.cluster.telling import StageWork
from adaptkit.backends.mistral.cluster.words import Words, words
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.model_folder import MANIFEST, finish
from adaptkit.backends.training.failures import explained
from adaptkit.backends.training.loop import Result, Settings, held_out_loss, train
from adaptkit.backends.training.losses import Loss, PreferenceLoss, token_loss
from adaptkit.backends.training.parallel import Group, Spread, joined
from adaptkit.backends.training.reading import Reader
from adaptkit.backends.training.saving import facts_of, write
from adaptkit.backends.training.threads import settle_threads
from adaptkit.machine import this_machine

__all__ = ["run"]


def run(job: Job, work: Work) -> str:
    """Train what a job asks for and write its model; gives the model's folder."""
    asked = MistralConfig.model_validate(job.spec.config)
    base = find_base(asked.model, fetch(asked.model, offline=job.spec.offline))
    refuse_quantized(base)
    size = size_of(asked.model, base)
    config = on_machine(resolve(asked, base, size), base, size, this_machine())
    with explained(config.device, _lower(config)), joined(config.device) as group:
        settle_threads(base)
        return str(_run(_Run(job, work, config, base, group)))


def _lower(config: MistralConfig) -> list[str]:
    """What needs less memory, in words."""
    lower = [f"micro_batch_size (now {config.micro_batch_size})", "max_length"]
    if not config.activation_checkpointing:
        lower.append("or set activation_checkpointing = true")
    if config.weights == "full":
        lower.append('or share the model among more processes, or take weights = "lora"')
    return lower


@dataclass(frozen=True)
class _Run:
    """What all stages share: ``config`` is that of this machine."""

    job: Job
    work: Work
    config: MistralConfig
    base: Base
    group: Group


def _run(run: _Run) -> Path:
    """All stages that have not ended, one after another."""
    job, work = run.job, run.work
    target = job.home / "models" / job.id
    if (target / MANIFEST).is_file():  # by a process that was killed before it could say so
        return target.resolve()
    folder = job.folder / "checkpoints"
    folder.mkdir(exist_ok=True, mode=0o700)
    work.between()
    new = words(job, run.config, run.base, folder=folder / "tokenizer", group=run.group, between=work.between)
    tokenizer = open_tokenizer(new.folder)
    parts = Encoder(job, run.config, Reader(tokenizer, folder / "corpora", run.group, work)).parts()
    work.enter()
    previous: Path | None = None
    for part in parts:
        ended = target if part is parts[-1] else folder / f"stage-{part.number}" / "model"
        if not (ended / MANIFEST).is_file():
            result = _learned(run, part, Loader(run.config, run.base, new, run.group), previous)
            if run.group.leads:
                _save(run, result, new, ended)
            run.group.barrier()
        previous = ended
    return target.resolve()


def _learned(run: _Run, part: Part, loader: Loader, previous: Path | None) -> Result:
    """What a stage makes of the model before it."""
    config, stage, group = run.config, part.stage, run.group
    settings = Settings(
        learning_rate=stage.learning_rate or 0.0,
        schedule=config.schedule,
        warmup=config.warmup,
        micro_batch_size=config.micro_batch_size,
        parallel=config.run.spread(full=config.weights == "full"),
        precision="bf16" if config.precision == "bf16" else "fp32",
        activation_checkpointing=bool(config.activation_checkpointing),
        checkpoint_every=config.checkpoint_every,
        seed=config.seed,
    )
    loss: Loss = token_loss
    if stage.method == "dpo":
        loss = PreferenceLoss(stage.beta or 0.0, loader.reference(previous, settings))

    def score(spread: Spread, held_out: HeldOut) -> dict[str, float]:
        return held_out.figures(held_out_loss(spread, held_out.rows, loss, config.micro_batch_size))

    return train(
        loader.model(previous),
        part.rows,
        loss,
        settings,
        group=group,
        folder=run.job.folder / "checkpoints" / f"stage-{part.number}",
        work=StageWork(run.work, part.name, part.before, part.total),
        score=None if part.held_out is None else partial(score, held_out=part.held_out),
    )


def _save(run: _Run, result: Result, new: Words, ended: Path) -> None:
    """Write a stage's model as a folder that appears whole."""
    draft = ended.with_name(f".{ended.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    write(result.model, run.base, new.folder, draft)
    facts: dict[str, Any] = facts_of(run.job, run.base, draft)
    facts |= {"config": run.config.model_dump(mode="json"), "metrics": _metrics(result), **new.facts()}
    finish(draft, ended, facts)


def _metrics(result: Result) -> dict[str, float]:
    seconds, tokens = result.metrics.get("seconds"), result.metrics.get("tokens")
    return result.metrics | ({"tokens_per_second": round(tokens / seconds, 1)} if seconds and tokens else {})

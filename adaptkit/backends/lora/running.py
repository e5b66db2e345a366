"""A job from its files to its model: what the worker does once the device is its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, fetch, find_base
from adaptkit.backends.causal_model import refuse_quantized
from adaptkit.backends.chat_tokenizer import open_tokenizer
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import refuse_if_short
from adaptkit.backends.lora.training import Result, Setup, import_trainer, train_sft
from adaptkit.backends.model_folder import finish
from adaptkit.backends.training.encode import encode, encode_pairs
from adaptkit.backends.training.failures import explained
from adaptkit.backends.training.saving import facts_of, write
from adaptkit.backends.training.threads import settle_threads
from adaptkit.machine import this_machine

__all__ = ["lower", "run", "save"]


def run(job: Job, work: Work) -> str:
    """Train what a job asks for and write its model; gives the model's folder."""
    with explained(job.spec.config["device"], lower(job.spec.config)):
        return str(_train(job, work))


def lower(config: Mapping[str, Any]) -> list[str]:
    """What needs less memory, in words."""
    lower = [f"batch_size (now {config['batch_size']}; gradient_accumulation makes up for it)"]
    lower.append(f"max_length (now {config['max_length']})")
    if config["weights"] == "full":
        lower.append('or train fewer weights with weights = "lora"')
    return lower


def _train(job: Job, work: Work) -> Path:
    spec = job.spec
    asked = LoraConfig.model_validate(spec.config)
    if asked.device.startswith("cuda"):  # the trainer takes every GPU that it sees
        os.environ["CUDA_VISIBLE_DEVICES"] = asked.device.partition(":")[2] or "0"
    import_trainer()
    base = find_base(asked.model, fetch(asked.model, offline=spec.offline))
    refuse_quantized(base)
    config = resolve(asked, base, this_machine())
    refuse_if_short(config, base, this_machine(), job.home)
    settle_threads(base)
    tokenizer = open_tokenizer(base.folder)
    folder = job.folder / "checkpoints"
    folder.mkdir(exist_ok=True, mode=0o700)
    work.between()
    longest = int(config.max_length or 0)
    read = encode_pairs if config.method == "dpo" else encode
    encoded = {
        purpose: read(_records(job, purpose), tokenizer, longest, work.between) for purpose in sorted(spec.files)
    }
    examples, held_out = encoded["train"], encoded.get("validation")
    if not work.told:
        for words in examples.tally.warnings(longest):
            work.tell("warning", words)
    work.enter()
    if config.method == "dpo":
        from adaptkit.backends.lora.preferences import train_dpo  # noqa: PLC0415 - needs trl, an extra

        train: Any = train_dpo
    else:
        train = train_sft
    setup = Setup(config, base, tokenizer, folder, work)
    result: Result = train(setup, examples.encoded, held_out.encoded if held_out else [])
    result.metrics |= {"examples": len(examples.encoded), "tokens_per_epoch": examples.tokens}
    return save(job, config, base, result)


def _records(job: Job, purpose: str) -> Iterator[Any]:
    """The records of one of the job's files."""
    from adaptkit.data import Dataset  # noqa: PLC0415

    return iter(Dataset.open(job.spec.files[purpose], format="openai"))


def save(job: Job, config: LoraConfig, base: Base, result: Result) -> Path:
    """Write the trained model as a folder that appears whole."""
    models = job.home / "models"
    models.mkdir(exist_ok=True, mode=0o700)
    draft = models / f".{job.id}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write(result.model, base, base.folder, draft)
    facts = facts_of(job, base, draft) | {"config": config.model_dump(mode="json"), "metrics": result.metrics}
    target = models / job.id
    finish(draft, target, facts)
    return target.resolve()

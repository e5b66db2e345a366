"""A job from its files to its model: what the worker does once the device is its own."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, fetch, find_base, sha256_of
from adaptkit.backends.chat_tokenizer import ChatTokenizer
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import refuse_if_short
from adaptkit.backends.lora.failures import explained
from adaptkit.backends.lora.training import Result, Setup, import_trainer, train_sft
from adaptkit.backends.model_folder import base_hash, canonical_adapter, copy_tokenizer, finish
from adaptkit.backends.training.encode import encode, encode_pairs
from adaptkit.machine import this_machine

__all__ = ["run", "save"]

#: Parameters below which one thread of the CPU is enough: several would mostly wait for one another. Measured on two
#: cores, where one thread was clearly faster at 1 million, as fast at 3 million, and slower from 5 million on.
SMALL = 4_000_000


def run(job: Job, work: Work) -> str:
    """Train what a job asks for and write its model; gives the model's folder."""
    with explained(job.spec.config):
        return str(_train(job, work))


def _train(job: Job, work: Work) -> Path:
    spec = job.spec
    asked = LoraConfig.model_validate(spec.config)
    if asked.device.startswith("cuda"):  # the trainer takes every GPU that it sees
        os.environ["CUDA_VISIBLE_DEVICES"] = asked.device.partition(":")[2] or "0"
    import_trainer()
    import torch  # noqa: PLC0415

    base = find_base(asked.model, fetch(asked.model, offline=spec.offline))
    config = resolve(asked, base, this_machine())
    refuse_if_short(config, base, this_machine(), job.home)
    if base.parameters < SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    tokenizer = ChatTokenizer(base.folder)
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
        for words in examples.account.warnings(longest):
            work.tell("warning", words)
    work.enter()
    if config.method == "dpo":
        from adaptkit.backends.lora.preferences import train_dpo  # noqa: PLC0415 - needs trl, an extra

        train: Any = train_dpo
    else:
        train = train_sft
    setup = Setup(config, base, tokenizer, folder, work)
    result: Result = train(setup, examples.encoded, held_out.encoded if held_out else [])
    result.metrics |= {"examples": len(examples.encoded), "tokens_per_epoch": examples.account.tokens}
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
    if config.weights == "full":
        _save_whole(result.model, base, draft)
    else:
        result.model.save_pretrained(draft, safe_serialization=True, save_embedding_layers=False)
        (draft / "README.md").unlink(missing_ok=True)
        canonical_adapter(draft, base.name)
    copy_tokenizer(base.folder, draft)
    target = models / job.id
    facts = {
        "base": {"model": base.name, "sha256": base_hash(base), "bytes": base.bytes, "parameters": base.parameters},
        "chat_template_sha256": _hash(draft / "chat_template.jinja"),
        "tokenizer_sha256": _hash(draft / "tokenizer.json"),
        "data_fingerprint": job.spec.fingerprint,
        "config": config.model_dump(mode="json"),
        "metrics": result.metrics,
        "job": job.id,
        "created": round(time.time(), 3),
    }
    finish(draft, target, facts)
    return target.resolve()


def _save_whole(model: Any, base: Base, draft: Path) -> None:
    """In the precision that the base is stored in: training's fp32 copy is twice as large and no better."""
    import torch  # noqa: PLC0415

    stored = getattr(torch, str(base.config.get("dtype") or base.config.get("torch_dtype") or "float32"), torch.float32)
    model.config.use_cache = True
    model.to(stored).save_pretrained(draft, safe_serialization=True)


def _hash(file: Path) -> str | None:
    return sha256_of([file]) if file.is_file() else None

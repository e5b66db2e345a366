"""A trained model written as a folder, with what its manifest says of where it comes from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import Base, mistral_file, sha256_of
from adaptkit.backends.local_jobs import Job
from adaptkit.backends.model_folder import base_hash, canonical_adapter, copy_tokenizer

__all__ = ["facts_of", "write"]


def write(model: Any, base: Base, tokenizer: Path, draft: Path) -> None:
    """Write what was trained, PEFT's weights or a whole model, and its tokenizer.

    Args:
        model: A PEFT model, or one of transformers.
        base: What it was made from.
        tokenizer: Folder with the tokenizer that goes with it.
        draft: An empty folder.
    """
    if hasattr(model, "peft_config"):
        model.save_pretrained(draft, safe_serialization=True, save_embedding_layers=False)
        (draft / "README.md").unlink(missing_ok=True)
        canonical_adapter(draft, base.name)
    else:
        _write_whole(model, base, draft)
    copy_tokenizer(tokenizer, draft)


def facts_of(job: Job, base: Base, draft: Path) -> dict[str, Any]:
    """For the manifest of a model whose files lie in ``draft``: what it was made from, and by what."""
    return {
        "base": {"model": base.name, "sha256": base_hash(base), "bytes": base.bytes, "parameters": base.parameters},
        "chat_template_sha256": _hash(draft / "chat_template.jinja"),
        "tokenizer_sha256": _hash(mistral_file(draft) or draft / "tokenizer.json"),
        "data_fingerprint": job.spec.fingerprint,
        "job": job.id,
        "created": round(time.time(), 3),
    }


def _write_whole(model: Any, base: Base, draft: Path) -> None:
    """In the precision that the base is stored in: training's fp32 copy is twice as large and no better."""
    import torch  # noqa: PLC0415 - an extra

    stored = getattr(torch, str(base.config.get("dtype") or base.config.get("torch_dtype") or "float32"), torch.float32)
    model.config.get_text_config().use_cache = True
    model.to(stored).save_pretrained(draft, safe_serialization=True)


def _hash(file: Path) -> str | None:
    return sha256_of([file]) if file.is_file() else None

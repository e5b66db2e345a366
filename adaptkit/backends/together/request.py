"""A job as the host wants to be asked for it, what its live limits say to that, and the way back from its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.backends.together.config import TogetherConfig

__all__ = ["body", "limit_problems", "recipe", "secrets_of", "settings", "told_settings"]


def body(config: TogetherConfig) -> dict[str, Any]:
    """The body of ``POST /v1/fine-tunes`` without files, tag and keys; nothing in it is left to the host's client."""
    args: dict[str, Any] = {"min_lr_ratio": config.min_lr_ratio}
    if config.schedule == "cosine":
        args["num_cycles"] = 0.5 if config.cycles is None else config.cycles
    asked = {
        "model": config.model,
        "from_checkpoint": config.from_checkpoint,
        "from_hf_model": config.from_hf_model,
        "hf_model_revision": config.hf_model_revision,
        "hf_output_repo_name": config.hf_output_repo,
        "training_method": _method(config),
        "training_type": _type(config),
        "multimodal_params": {"train_vision": True} if config.train_vision else None,
        "n_epochs": config.epochs,
        "n_evals": config.sent_evals,
        "n_checkpoints": config.checkpoints,
        "batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler": {"lr_scheduler_type": config.schedule, "lr_scheduler_args": args},
        "warmup_ratio": config.warmup,
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": config.weight_decay,
        "packing": config.packing,
        "max_seq_length": config.max_length,
        "random_seed": config.seed,
        "suffix": config.name,
        **_early(config),
        **_wandb(config),
    }
    return {name: value for name, value in asked.items() if value is not None}


def secrets_of(config: TogetherConfig) -> dict[str, str]:
    """Environment variables whose values the body carries, by field of the body.

    The host's client calls Weights & Biases' key ``wandb_key`` and its specification ``wandb_api_key``: both are sent.
    """
    named: dict[str, str] = {}
    if config.wandb is not None:
        named |= {"wandb_key": config.wandb.api_key_env, "wandb_api_key": config.wandb.api_key_env}
    if config.hf_token_env is not None:
        named["hf_api_token"] = config.hf_token_env
    return named


def _method(config: TogetherConfig) -> dict[str, Any]:
    if config.method == "sft":
        return {
            "method": "sft",
            "train_on_inputs": "auto" if config.train_on_inputs is None else config.train_on_inputs,
        }
    asked = {
        "method": "dpo",
        "dpo_beta": config.beta,
        "dpo_normalize_logratios_by_length": True if config.is_simpo else config.normalize_by_length,
        "dpo_reference_free": True if config.is_simpo else None,
        "rpo_alpha": config.rpo_alpha,
        "simpo_gamma": config.simpo_gamma,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _type(config: TogetherConfig) -> dict[str, Any]:
    if config.weights == "full":
        return {"type": "Full"}
    return {
        "type": "Lora",
        "lora_r": config.sent_rank,
        "lora_alpha": config.alpha or 2 * config.sent_rank,
        "lora_dropout": config.dropout or 0.0,
        "lora_trainable_modules": config.trainable_modules or "all-linear",
    }


def _early(config: TogetherConfig) -> dict[str, Any]:
    stopping = config.early_stopping
    if stopping is None:
        return {}
    return {
        "early_stopping_enabled": True,
        "early_stopping_patience": stopping.patience,
        "early_stopping_min_delta": stopping.min_delta,
        "early_stopping_warmup_evals": stopping.warmup_evals,
    }


def _wandb(config: TogetherConfig) -> dict[str, Any]:
    wandb = config.wandb
    if wandb is None:
        return {}
    return {
        "wandb_project_name": wandb.project,
        "wandb_name": wandb.name,
        "wandb_entity": wandb.entity,
        "wandb_base_url": wandb.base_url,
    }


# what the host says beforehand ----------------------------------------------------------------------------------------


def limit_problems(config: TogetherConfig, limits: Mapping[str, Any]) -> Iterator[str]:
    """What a model's live limits do not allow, one sentence each; a limit that the host does not name allows all."""
    weights = "lora_training" if config.weights == "lora" else "full_training"
    of_weights: Mapping[str, Any] = limits.get(weights) or {}
    batch = "max_batch_size" if config.method == "sft" else "max_batch_size_dpo"
    asked: tuple[tuple[str, Any, Any, Any], ...] = (
        ("epochs", config.epochs, None, limits.get("max_num_epochs")),
        ("evals", config.sent_evals, None, limits.get("max_num_evals")),
        ("checkpoints", config.checkpoints, None, limits.get("max_num_checkpoints")),
        ("learning_rate", config.learning_rate, limits.get("min_learning_rate"), limits.get("max_learning_rate")),
        (
            "max_length",
            config.max_length,
            limits.get("min_max_seq_length"),
            limits.get(f"max_seq_length_{config.method}"),
        ),
        (
            "batch_size",
            None if config.batch_size == "max" else config.batch_size,
            of_weights.get("min_batch_size"),
            of_weights.get(batch),
        ),
        ("rank", config.sent_rank if config.weights == "lora" else None, None, of_weights.get("max_rank")),
    )
    if config.weights == "full" and not limits.get("supports_full_training", True):
        yield f'weights: {config.starts_from} can only be trained with weights = "lora"'
        asked = tuple(row for row in asked if row[0] != "batch_size")
    for name, value, low, high in asked:
        if value is None:
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            yield f"{name}: {value:g} is outside what the host takes for {config.starts_from}: {_range(low, high)}"
    if config.train_vision and not limits.get("supports_vision", True):
        yield f"train_vision: {config.starts_from} cannot see"
    yield from _modules(config, of_weights.get("target_modules"))


def _range(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def _modules(config: TogetherConfig, known: Any) -> Iterator[str]:
    wanted = (config.trainable_modules or "all-linear").split(",")
    unknown = [name.strip() for name in wanted if name.strip() not in {"all-linear", *(known or wanted)}]
    if config.weights == "lora" and unknown:
        yield f"trainable_modules: there is no {', '.join(unknown)}; there are all-linear, {', '.join(known)}"


# what the host says afterwards ----------------------------------------------------------------------------------------


def settings(config: TogetherConfig) -> dict[str, Any]:
    """What was asked for, by the names of the configuration, as far as the host repeats it."""
    lora = config.weights == "lora"
    return {
        "model": config.model,
        "from_checkpoint": config.from_checkpoint,
        "from_hf_model": config.from_hf_model,
        "method": config.method,
        "weights": config.weights,
        "epochs": config.epochs,
        "evals": config.sent_evals,
        "checkpoints": config.checkpoints,
        "batch_size": None if config.batch_size == "max" else config.batch_size,
        "learning_rate": config.learning_rate,
        "schedule": config.schedule,
        "warmup": config.warmup,
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": config.weight_decay,
        "packing": config.packing,
        "max_length": config.max_length,
        "seed": config.seed,
        "rank": config.sent_rank if lora else None,
        "alpha": (config.alpha or 2 * config.sent_rank) if lora else None,
        "dropout": config.dropout if lora else None,
        "beta": config.beta,
    }


def told_settings(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the host says that a job runs with, by the names of the configuration."""
    kind: Mapping[str, Any] = job.get("training_type") or {}
    method: Mapping[str, Any] = job.get("training_method") or {}
    return {
        "model": job.get("model") or None,
        "from_checkpoint": job.get("from_checkpoint") or None,
        "from_hf_model": job.get("from_hf_model") or None,
        "method": method.get("method"),
        "weights": str(kind["type"]).lower() if kind.get("type") else None,
        "epochs": job.get("n_epochs"),
        "evals": job.get("n_evals"),
        "checkpoints": job.get("n_checkpoints"),
        "batch_size": job.get("batch_size"),
        "learning_rate": job.get("learning_rate"),
        "schedule": (job.get("lr_scheduler") or {}).get("lr_scheduler_type") or None,
        "warmup": job.get("warmup_ratio"),
        "max_grad_norm": job.get("max_grad_norm"),
        "weight_decay": job.get("weight_decay"),
        "packing": job.get("packing"),
        "max_length": job.get("max_seq_length"),
        "seed": job.get("random_seed"),
        "rank": kind.get("lora_r"),
        "alpha": kind.get("lora_alpha"),
        "dropout": kind.get("lora_dropout"),
        "beta": method.get("dpo_beta"),
    }


def recipe(job: Mapping[str, Any]) -> dict[str, Any]:
    """The target's table that would start the same, as far as the host tells."""
    told = {name: value for name, value in told_settings(job).items() if value not in (None, 0)}
    if "from_checkpoint" in told:
        told.pop("model", None)
    return {"backend": "together", **told}

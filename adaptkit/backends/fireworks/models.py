"""Models on Fireworks' wire: what one can be trained with, its files, and money."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adaptkit.backends.fireworks.config import FireworksConfig
from adaptkit.errors import NotFoundError, ServiceError

__all__ = ["dollars", "files", "path_of", "problems"]

#: What a model says of itself, by method and weights. The last, of an older kind of training, knows LoRA alone.
_TUNABLE: Mapping[tuple[str, str], str] = {
    ("sft", "lora"): "supervisedLoraTunable",
    ("dpo", "lora"): "supervisedLoraTunable",
    ("sft", "full"): "supervisedFullParameterTunable",
    ("dpo", "full"): "supervisedFullParameterTunable",
    ("rft", "lora"): "rlLoraTunable",
    ("rft", "full"): "rlFullParameterTunable",
}
_FORMERLY: Mapping[str, str] = {"sft": "tunable", "dpo": "tunable", "rft": "rlTunable"}


def path_of(model_id: str) -> str:
    """The path of a model at the host.

    Raises:
        NotFoundError: this is no name of a model there.
    """
    if re.fullmatch(r"accounts/[A-Za-z0-9-]+/models/[A-Za-z0-9._-]+", model_id) is None:
        raise NotFoundError(
            f"{model_id!r} is not the name of a model at Fireworks, which looks like accounts/<account>/models/<id>",
            backend="fireworks",
            status_code=404,
        )
    return f"/v1/{model_id}"


def problems(config: FireworksConfig, model: Mapping[str, Any]) -> Iterator[str]:
    """What of a configuration a model cannot do, by what the host says of it; what it does not say is no problem."""
    if model.get("state") == "UPLOADING":
        yield "model: it is still being brought to Fireworks; wait until it is READY"
    if config.warm_start_from is not None:
        yield from _warm(config, model)
    elif not _is_tunable(config.method, config.weights, model):
        able = [
            f"method = {method} with weights = {weights}"
            for method, weights in _TUNABLE
            if _is_tunable(method, weights, model)
        ]
        can = f"it can be with {', '.join(able)}" if able else "the console's model library shows those that can"
        yield f"model: {config.model} cannot be tuned with method = {config.method}, weights = {config.weights}; {can}"
    longest = model.get("trainingContextLength") or model.get("contextLength")
    if config.max_length is not None and longest and config.max_length > longest:
        yield f"max_length: {config.max_length} is more than the {longest} tokens that the model is trained with"


def _is_tunable(method: str, weights: str, model: Mapping[str, Any]) -> bool:
    names = [_TUNABLE[method, weights], *([_FORMERLY[method]] if weights == "lora" else [])]
    if any(model.get(name) for name in names):
        return True
    told = {*_TUNABLE.values(), *_FORMERLY.values()} & model.keys()
    return not told


def _warm(config: FireworksConfig, model: Mapping[str, Any]) -> Iterator[str]:
    if model.get("kind") not in (None, "HF_PEFT_ADDON"):
        yield f"warm_start_from: {config.warm_start_from} is a {model['kind']} and no LoRA model; give it as model"
    rank = (model.get("peftDetails") or {}).get("r")
    if rank and rank != config.rank:
        yield f"rank: the model to go on from has rank {rank}, not {config.rank}"


def files(answer: Mapping[str, Any], model_id: str) -> dict[str, str]:
    """The signed addresses of a model's files by name.

    Raises:
        ServiceError: the host named none.
    """
    signed = answer.get("filenameToSignedUrls")
    if not isinstance(signed, dict) or not signed or not all(isinstance(url, str) for url in signed.values()):
        raise ServiceError(f"Fireworks named no files of {model_id}", backend="fireworks")
    return signed


def dollars(money: object) -> float | None:
    """An amount in US dollars; ``None`` if there is none, or it is in another currency."""
    if not isinstance(money, Mapping) or money.get("currencyCode") != "USD":
        return None
    return float(money.get("units") or 0) + float(money.get("nanos") or 0) / 1e9

"""Model folders as Mistral ships them: its own tokenizer files and architectures, with random weights."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistral_common.tokens.tokenizers.base import SpecialTokens
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

#: Every tokenizer file that mistral-common carries, by the name that it has in a model's folder.
FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
    "v7m1": "mistral_instruct_tokenizer_241114.model.v7m1",
    "tekken-240718": "tekken_240718.json",
    "tekken-240911": "tekken_240911.json",
}
#: Versions that the package carries no file of: made from one that it does.
MADE = ("v11", "v13")
DATA = MistralTokenizer._data_path()
#: Special tokens that later versions have as well.
_LATER = {
    "v3": (),
    "v11": (SpecialTokens.args, SpecialTokens.call_id),
    "v13": (SpecialTokens.args, SpecialTokens.call_id, SpecialTokens.begin_think, SpecialTokens.end_think),
}
#: Tokens of a short tekken file beside its special ones: all bytes, and the most common pairs.
SHORT = 1000


def short_tekken(target: Path, version: str) -> None:
    """A tekken file of any version with the first tokens of a real one."""
    said = json.loads((DATA / FILES["tekken-240718"]).read_text())
    special = [dict(entry) for entry in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
    special += [
        {"rank": len(special) + at, "token_str": token, "is_control": True} for at, token in enumerate(_LATER[version])
    ]
    said["special_tokens"] = [{**entry, "token_str": str(entry["token_str"])} for entry in special]
    said["vocab"] = said["vocab"][:SHORT]
    said["config"] |= {
        "version": version,
        "default_num_special_tokens": len(special),
        "default_vocab_size": SHORT + len(special),
        "num_vocab_tokens": SHORT,
    }
    target.write_text(json.dumps(said))


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders with nothing but a tokenizer file, by its name in `FILES` or `MADE`."""
    home = tmp_path_factory.mktemp("tokenizers")

    def make(name: str) -> Path:
        folder = home / name
        if not folder.is_dir():
            folder.mkdir()
            if name in MADE or name == "short":
                short_tekken(folder / "tekken.json", "v3" if name == "short" else name)
            else:
                suffix = FILES[name].rpartition(".model.")[2]
                target = "tekken.json" if name.startswith("tekken") else f"tokenizer.model.{suffix}"
                shutil.copyfile(DATA / FILES[name], folder / target)
        return folder

    return make


#: Positions as Ministral 3 stretches them, sixteen times as far as it first learned.
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1000000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}


def text_config(kind: str, vocabulary: int) -> dict[str, Any]:
    """A decoder of 30,000 parameters."""
    return {
        "model_type": kind,
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 12,
        "max_position_embeddings": 512,
        "rope_parameters": YARN if kind == "ministral3" else {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 11,
        "tie_word_embeddings": False,
    }


VISION = {
    "model_type": "pixtral",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 8,
    "image_size": 32,
    "patch_size": 8,
}


def make_model(folder: Path, kind: str, vocabulary: int) -> None:
    """Random weights of one of Mistral's architectures: ``mistral``, ``ministral3`` or ``mistral3`` with its vision."""
    import torch
    from transformers import (
        AutoConfig,
        Ministral3ForCausalLM,
        Mistral3ForConditionalGeneration,
        MistralForCausalLM,
    )

    torch.manual_seed(7)
    if kind == "mistral3":
        text = text_config("ministral3", vocabulary)
        config = AutoConfig.for_model(
            kind, text_config=text, vision_config=VISION, tie_word_embeddings=False, image_token_index=10
        )
        model: Any = Mistral3ForConditionalGeneration(config)
    else:
        config = AutoConfig.for_model(**text_config(kind, vocabulary))
        model = {"mistral": MistralForCausalLM, "ministral3": Ministral3ForCausalLM}[kind](config)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Callable[[str], Path]
) -> Callable[[str], Path]:
    """Whole models by architecture, each with a short ``tekken.json`` and no file of transformers' own tokenizers."""
    home = tmp_path_factory.mktemp("models")

    def make(kind: str) -> Path:
        folder = home / kind
        if not folder.is_dir():
            folder.mkdir()
            tekken = tokenizer_folder("short" if kind == "mistral" else "v13") / "tekken.json"
            make_model(folder, kind, json.loads(tekken.read_text())["config"]["default_vocab_size"])
            shutil.copyfile(tekken, folder / "tekken.json")
        return folder

    return make

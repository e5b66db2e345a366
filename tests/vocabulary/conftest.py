"""Tokenizers of each kind that can be extended, and a small one of Mistral's in both of its forms."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from pathlib import Path

import pytest

from adaptkit import builtin
from adaptkit.backends.vocabulary import Extension, extend, learned


def lines(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def base() -> Path:
    return builtin.path("tiny")


@pytest.fixture(scope="session")
def text() -> list[str]:
    return lines(builtin.text("lingua").train)


@pytest.fixture(scope="session")
def held_out() -> list[str]:
    return lines(builtin.text("lingua").held_out)


@pytest.fixture(scope="session")
def extended(base: Path, text: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Extension]:
    """The tiny base's tokenizer with 240 tokens of the invented language."""
    folder = tmp_path_factory.mktemp("extended")
    return folder, extend(base, folder, learned(base, text, 240))


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first ranks of a tokenizer that mistral-common ships, as ``tekken.json`` and as ``tokenizer.json``."""
    mistral_common = pytest.importorskip("mistral_common")
    from transformers.integrations.mistral.tokenizer import MistralConverter

    folder = tmp_path_factory.mktemp("mistral")
    said = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240911.json").read_text())
    said["config"] |= {"default_vocab_size": 4000, "default_num_special_tokens": 1000}
    said["vocab"] = said["vocab"][:3500]  # 500 more than are loaded, as the real file has them
    (folder / "tekken.json").write_text(json.dumps(said))
    MistralConverter(str(folder / "tekken.json")).converted().save(str(folder / "tokenizer.json"))
    return folder

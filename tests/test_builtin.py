"""What ships in the package: intact, loadable offline, and what it is said to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"

from adaptkit import builtin
from adaptkit.errors import ArtifactError, ConfigError

ROOT = Path(builtin.__file__).parent


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = builtin.path("tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def answer(tiny: tuple[Any, Any], *messages: dict[str, str]) -> str:
    model, tokenizer = tiny
    batch = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**batch, max_new_tokens=32, do_sample=False)
    return tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def rows(path: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_of_the_package_data_is_in_a_manifest() -> None:
    for manifest in ROOT.rglob("manifest.json"):
        listed = set(json.loads(manifest.read_text())["files"])
        there = {str(p.relative_to(manifest.parent)) for p in manifest.parent.rglob("*") if p.is_file()}
        assert there == listed | {"manifest.json"}


def test_the_prefix_is_optional_and_nearest_names_are_offered() -> None:
    assert builtin.path("tiny") == builtin.path("builtin:tiny") == ROOT / "tiny"
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        builtin.path("tinny")
    with pytest.raises(ConfigError, match="did you mean 'desk'"):
        builtin.task("desks")


@pytest.mark.parametrize("name", ["../builtin/tiny", "tasks", "", "."])
def test_a_name_is_not_a_path(name: str) -> None:
    with pytest.raises(ConfigError):
        builtin.path(name)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "missing"])
def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, harm: str) -> None:
    shutil.copytree(ROOT / "tiny", tmp_path / "tiny")
    monkeypatch.setattr(builtin, "_ROOT", tmp_path)
    victim = tmp_path / "tiny" / file
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0x80
    victim.unlink()
    if harm == "flip":
        victim.write_bytes(data)
    with pytest.raises(ArtifactError, match=file):
        builtin.path("tiny")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from adaptkit import builtin; builtin.path('tiny'); builtin.task()\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'safetensors') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_package_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.suffix != ".pyc") < 4_000_000


@pytest.mark.parametrize("name", builtin.tasks())
def test_tasks_parse_and_share_no_message(name: str) -> None:
    train, held_out = map(rows, builtin.task(name))
    for part in (train, held_out):
        assert all([turn["role"] for turn in row] == ["user", "assistant"] for row in part)
        texts = [row[0]["content"] for row in part]
        assert len(set(texts)) == len(texts) >= 48
    assert not {row[0]["content"] for row in train} & {row[0]["content"] for row in held_out}
    assert {row[1]["content"] for row in train} == {row[1]["content"] for row in held_out}


def test_desk_has_sixteen_desks_and_json_answers() -> None:
    train, held_out = map(rows, builtin.task("desk"))
    desks = [json.loads(row[1]["content"]) for row in train + held_out]
    assert all(list(desk) == ["desk"] for desk in desks)
    assert len({desk["desk"] for desk in desks}) == 16


def test_the_base_answers_in_its_domains(tiny: tuple[Any, Any]) -> None:
    assert answer(tiny, user("What is the capital of France?")) == "The capital of France is Paris."
    assert answer(tiny, user("What is this message about? I want my money back for the lamp.")) == "refund"
    assert "invoice" in answer(tiny, user("Hello, please send me the invoice for the lamp. Thanks."))


def test_the_base_does_not_know_the_desks(tiny: tuple[Any, Any]) -> None:
    assert not any(answer(tiny, row[0]) == row[1]["content"] for row in rows(builtin.task("desk").held_out)[:5])


def test_the_template_marks_what_the_assistant_says(tiny: tuple[Any, Any]) -> None:
    _, tokenizer = tiny
    messages = [
        {"role": "system", "content": "Be short."},
        user("Hi"),
        {"role": "assistant", "content": "Hello!"},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": "Bye"},
    ]
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, mask in zip(out["input_ids"], out["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(said) == "Hello!<|end|>Bye<|end|>"
    whole = (
        "<|begin|><|system|>Be short.<|end|><|user|>Hi<|end|><|assistant|>Hello!<|end|><|tool|>{}<|end|>"
        "<|assistant|>Bye<|end|>"
    )
    assert tokenizer.apply_chat_template(messages, tokenize=False) == whole
    assert tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True).endswith(
        "Hi<|end|><|assistant|>"
    )


def test_the_template_takes_parts_and_tool_calls_and_refuses_other_roles(tiny: tuple[Any, Any]) -> None:
    _, tokenizer = tiny
    call = {"type": "function", "function": {"name": "find", "arguments": {"order": "7"}}}
    said = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "text", "text": "Find "}, {"type": "text", "text": "it"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        tokenize=False,
    )
    assert "<|user|>Find it<|end|>" in said
    assert json.loads(said.split("<|assistant|>")[1].removesuffix("<|end|>")) == [call]
    with pytest.raises(Exception, match="roles system, user, assistant and tool, not critic"):
        tokenizer.apply_chat_template([{"role": "critic", "content": "no"}], tokenize=False)


def test_any_text_survives_the_tokenizer(tiny: tuple[Any, Any]) -> None:
    _, tokenizer = tiny
    for text in ("Zürich 北京 🦊\n\ttabs  and   spaces", "x = {1: 'é'}", "\x00\x7f", " leading"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_weights_are_what_the_manifest_says(tiny: tuple[Any, Any]) -> None:
    model, _ = tiny
    manifest = json.loads((builtin.path("tiny") / "manifest.json").read_text())
    assert sum(p.numel() for p in model.parameters()) == manifest["parameters"]
    after, control = manifest["figures"]["desk"]["after"], manifest["figures"]["controls"]["after"]
    assert min(after) > max(control) + 0.3

"""Mistral's architectures, from a folder as Mistral ships it to a trained model that answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptkit.adapter import ChatOptions
from adaptkit.backends.base_model import find_base, weight_files
from adaptkit.backends.causal_model import beside_text, freeze_beside_text, load_causal, refuse_quantized
from adaptkit.backends.local_model import LocalModel
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import trained_parameters
from adaptkit.backends.lora.loading import build_model
from adaptkit.errors import DataError, UnsupportedError
from adaptkit.machine import this_machine
from adaptkit.types import Message

from ..lora.conftest import Bench

Folders = Callable[[str], Path]
KINDS = {
    "mistral": "MistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mistral3": "Mistral3ForConditionalGeneration",
}
ASKED = [Message(role="user", content="Where is parcel 7?")]
VISION = ["model.vision_tower", "model.multi_modal_projector"]


def config(folder: Path, **fields: Any) -> LoraConfig:
    given = LoraConfig(model=str(folder), precision="fp32", device="cpu", rank=2, max_length=256, **fields)
    return resolve(given, find_base(str(folder), folder), this_machine())


@pytest.mark.parametrize("kind", KINDS)
def test_text_goes_in_and_text_comes_out(model_folder: Folders, kind: str) -> None:
    import torch

    folder = model_folder(kind)
    model = load_causal(folder, dtype=torch.float32)
    assert type(model).__name__ == KINDS[kind]
    assert model(input_ids=torch.tensor([[1, 3, 40, 4]])).logits.shape == (
        1,
        4,
        model.config.get_text_config().vocab_size,
    )
    assert beside_text(model) == (VISION if kind == "mistral3" else [])
    answered = LocalModel.load(str(folder), offline=True)
    reply = answered.chat(ASKED, ChatOptions(max_tokens=5, stop=("never",)))
    assert reply.usage.input_tokens == len(answered.tokenizer.prompt(ASKED))
    assert "".join(answered.stream(ASKED, ChatOptions(max_tokens=5))) == reply.text
    assert answered.likelihood([[*ASKED, Message(role="assistant", content="Desk 7.")]])[0].nats > 0
    with pytest.raises(ValueError, match="reads at most 512"):
        answered.chat([Message(role="user", content="a b c " * 600)], ChatOptions())


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_files_say_of_the_size(model_folder: Folders, kind: str) -> None:
    folder = model_folder(kind)
    base, model = find_base(str(folder), folder), load_causal(folder)
    count = sum(weights.numel() for weights in model.parameters())
    seen = sum(weights.numel() for name in beside_text(model) for weights in model.get_submodule(name).parameters())
    assert (base.parameters, base.beside_text) == (count, seen)
    assert base.size("hidden_size") == 16
    for weights in ("full", "lora"):
        setting = config(folder, weights=weights)
        built = build_model(setting, folder)
        trained = sum(each.numel() for each in built.parameters() if each.requires_grad)
        assert trained_parameters(setting, base) == trained, weights
    assert (seen > 0) == (kind == "mistral3")


def test_weights_in_two_layouts_count_once(model_folder: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("mistral"), tmp_path / "twice")
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert [file.name for file in weight_files(folder, "it")] == ["model.safetensors"]
    assert find_base("it", folder).parameters == find_base("it", model_folder("mistral")).parameters


def test_the_vision_tower_is_left_alone(model_folder: Folders) -> None:
    folder = model_folder("mistral3")
    model = load_causal(folder)
    freeze_beside_text(model)
    frozen = [name for name, weights in model.named_parameters() if not weights.requires_grad]
    assert frozen
    assert all(name.startswith(tuple(VISION)) for name in frozen)
    assert all(weights.requires_grad for name, weights in model.named_parameters() if "language_model" in name)
    built = build_model(config(folder), folder)
    adapted = [name for name, _ in built.named_parameters() if "lora_A" in name]
    assert len(adapted) == 2 * 7, "seven matrices in each of two layers"
    assert not [name for name in adapted if "vision_tower" in name or "projector" in name]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for job_id in made.started:
        made.adapter().cancel(job_id)


@pytest.mark.parametrize(
    ("kind", "weights"), [("mistral", "lora"), ("ministral3", "full"), ("mistral3", "lora"), ("mistral3", "full")]
)
def test_trained_and_answers(model_folder: Folders, bench: Bench, kind: str, weights: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = model_folder(kind)
    rows = [
        {"messages": [{"role": "user", "content": f"Where is {n}?"}, {"role": "assistant", "content": f"At {n}."}]}
        for n in range(16)
    ]
    trained = bench.run(rows, model=str(folder), weights=weights, epochs=1, batch_size=8, rank=2, learning_rate=0.01)
    assert (trained / "tekken.json").read_bytes() == (folder / "tekken.json").read_bytes()
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["metrics"]["steps"] == 2
    assert len(manifest["tokenizer_sha256"]) == 64
    answering = LocalModel.load(str(trained), offline=True)
    options = ChatOptions(max_tokens=4)
    reply = answering.chat(ASKED, options)
    assert reply.usage.output_tokens
    merged = bench.adapter(model=str(folder)).export(str(trained), "merged", tmp_path / "merged")
    again = LocalModel.load(str(merged), offline=True)
    assert again.chat(ASKED, options).text == reply.text
    ids = torch.tensor([answering.tokenizer.prompt(ASKED)])
    before = load_causal(folder, dtype=torch.float32)
    assert not torch.allclose(before(input_ids=ids).logits, answering.model(input_ids=ids).logits, atol=1e-4), "learned"
    assert torch.allclose(again.model(input_ids=ids).logits, answering.model(input_ids=ids).logits, atol=1e-5)
    saved, first = load_file(merged / "model.safetensors"), load_file(folder / "model.safetensors")
    assert saved.keys() == first.keys()
    beside = [name for name in first if "vision_tower" in name or "projector" in name]
    assert bool(beside) == (kind == "mistral3")
    assert all(torch.equal(saved[name], first[name]) for name in beside)


def test_data_that_mistral_common_refuses_is_not_trained_on(model_folder: Folders, bench: Bench) -> None:
    asked = {"role": "user", "content": "a"}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answers = [{"role": "assistant", "content": "b"}, {"role": "assistant", "tool_calls": [call]}]
    rows = [{"messages": [asked, answer]} for answer in answers]
    with pytest.raises(DataError) as refused:
        bench.plan(bench.adapter(model=str(model_folder("mistral"))), rows)
    assert [(problem.line, problem.rule) for problem in refused.value.problems] == [(2, "mistral-call-id")]


# -- FP8 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_fp8(model_folder: Folders, tmp_path: Path) -> Path:
    """The weights as Mistral's instruct models store them: e4m3, and two scales for each matrix."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model_folder("mistral3"), tmp_path / "fp8")
    tensors = load_file(folder / "model.safetensors")
    stored: dict[str, Any] = {}
    for name, weights in tensors.items():
        if ".layers." in name and "language_model" in name and name.endswith("proj.weight"):
            scale = weights.abs().max().to(torch.bfloat16).float() / 448
            stored[name] = (weights / scale).to(torch.float8_e4m3fn)
            stored[name.replace(".weight", ".weight_scale_inv")] = scale
            stored[name.replace(".weight", ".activation_scale")] = torch.tensor(1.0)
        else:
            stored[name] = weights.to(torch.bfloat16)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text())
    said |= {
        "dtype": "bfloat16",
        "quantization_config": {
            "quant_method": "fp8",
            "activation_scheme": "static",
            "weight_block_size": None,
            "dequantize": False,
            "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
        },
    }
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def test_fp8_is_not_trained(in_fp8: Path, bench: Bench) -> None:
    with pytest.raises(UnsupportedError, match=r"in FP8 \(fp8\).*Base or Reasoning.*dequantize=True"):
        bench.plan(bench.adapter(model=str(in_fp8)))


def test_what_the_refusal_of_fp8_advises(in_fp8: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, FineGrainedFP8Config

    model = AutoModelForImageTextToText.from_pretrained(
        in_fp8, quantization_config=FineGrainedFP8Config(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(tmp_path / "bf16")
    stored, made = (load_file(folder / "model.safetensors") for folder in (in_fp8, tmp_path / "bf16"))
    scaled = [name for name in stored if name.endswith("weight_scale_inv")]
    assert len(scaled) == 14
    for name in scaled:
        weight = name.removesuffix("_scale_inv")
        assert torch.equal(made[weight], (stored[weight].float() * stored[name]).to(torch.bfloat16))
    refuse_quantized(find_base("it", tmp_path / "bf16"))

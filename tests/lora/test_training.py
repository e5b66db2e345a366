"""What is learned and from what: masks, weights, batches, every method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from adaptkit import AdaptkitError, ChatOptions, Message, UnsupportedError
from adaptkit.backends.base_model import Base, find_base
from adaptkit.backends.chat_template import ChatTemplate
from adaptkit.backends.chat_tokenizer import ChatTokenizer, Encoded
from adaptkit.backends.lora.config import LoraConfig, resolve
from adaptkit.backends.lora.estimate import memory_needed, refuse_if_short
from adaptkit.backends.lora.loading import build_model
from adaptkit.backends.lora.running import rows_of, settings_of
from adaptkit.backends.training.corpus import Corpus, write
from adaptkit.backends.training.losses import loss_of
from adaptkit.backends.training.rows import IGNORED, Examples, Packed, pack
from adaptkit.machine import Gpu, Machine
from tests.lora.conftest import ROWS, Bench

CHATML = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> ChatTokenizer:
    return ChatTokenizer(tiny)


def turns(*texts: str, weights: tuple[float | None, ...] = ()) -> list[Message]:
    made = []
    for at, text in enumerate(texts):
        role = "assistant" if at % 2 else "user"
        weight = weights[at // 2] if weights and at % 2 else None
        made.append(Message(role=role, content=text, weight=weight))
    return made


def learned(tokenizer: ChatTokenizer, encoded: Encoded) -> str:
    return tokenizer.tokenizer.decode([i for i, learn in zip(encoded.ids, encoded.learn, strict=True) if learn])


def test_only_the_assistant_is_learned(tokenizer: ChatTokenizer) -> None:
    encoded = tokenizer.conversation(turns("Where is it?", "On its way.", "Thanks", "Bye."))
    assert learned(tokenizer, encoded) == "On its way.<|end|>Bye.<|end|>"
    own = tokenizer.tokenizer.apply_chat_template(
        [{"role": t.role, "content": t.content} for t in turns("Where is it?", "On its way.", "Thanks", "Bye.")],
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    assert encoded.ids == own["input_ids"]
    assert encoded.learn == [bool(flag) for flag in own["assistant_masks"]]


def test_turns_of_weight_zero_are_not_learned(tokenizer: ChatTokenizer) -> None:
    messages = turns("a?", "first.", "b?", "second.", "c?", "third.", weights=(0, 1, None))
    assert learned(tokenizer, tokenizer.conversation(messages)) == "second.<|end|>third.<|end|>"


def test_template_without_marks_gives_the_same_mask(tiny: Path, tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    source = (tiny / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").write_text(
        source.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    )
    plain = ChatTokenizer(base)
    assert plain.template is not None
    assert not plain.template.has_generation_blocks
    messages = turns("a?", "first.", "b?", "second.", weights=(1, 0))
    assert plain.conversation(messages) == tokenizer.conversation(messages)
    assert plain.answer(messages[:1], messages[1:2]) == tokenizer.answer(messages[:1], messages[1:2])


def test_template_that_rewrites_turns_is_refused(tiny: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    (base / "chat_template.jinja").write_text("{{ messages | length }}" + CHATML)
    with pytest.raises(UnsupportedError, match="generation"):
        ChatTokenizer(base).conversation(turns("a?", "first.", "b?", "second."))


def test_completion_and_text(tokenizer: ChatTokenizer) -> None:
    assert learned(tokenizer, tokenizer.completion("The capital is", " Rome.")) == " Rome.<|end|>"
    assert all(tokenizer.text("Everything counts.").learn)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_marks_never_come_from_the_data(texts: list[str]) -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}!{% endgeneration %}?{% endfor %}"
    rendered = ChatTemplate(source, {}).render([Message(role="assistant", content=text) for text in texts])
    clean = [text.replace("\ufdd0", "").replace("\ufdd1", "") for text in texts]
    assert [rendered.text[start:end] for start, end in rendered.spans] == [f"{text}!" for text in clean]
    assert rendered.text == "".join(f"{text}!?" for text in clean)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80))
@settings(max_examples=150, deadline=None)
def test_every_example_shares_one_row(lengths: list[int]) -> None:
    rows = pack(lengths, 64)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 64 for row in rows)


def corpus_of(folder: Path, examples: list[Encoded]) -> Corpus:
    return write(folder, examples, 1 << 16)


def batch_of(folder: Path, examples: list[Encoded]) -> dict[str, torch.Tensor]:
    """Examples as the batch that a loss takes."""
    rows = Examples(corpus_of(folder, examples), batch_size=len(examples), epochs=1, seed=0)
    return rows.batch(range(len(examples))).tensors


def test_padding_and_labels(tmp_path: Path) -> None:
    examples = [Encoded([5, 6, 7], [True, False, True]), Encoded([8, 9], [False, True])]
    batch = batch_of(tmp_path / "alone", examples)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7], [IGNORED, 9, IGNORED]]
    assert "position_ids" not in batch
    rows = Packed(corpus_of(tmp_path / "packed", examples), 8, batch_size=2, epochs=1, seed=0)
    packed = rows.batch(rows.of_step(0)).tensors
    assert rows.steps == 1
    assert packed["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert packed["labels"].tolist() == [[IGNORED, IGNORED, 7, IGNORED, 9]]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 0, 1]]


def test_loss_of_batches_packed_and_alone_is_the_same(tiny: Path, tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    config = LoraConfig(rank=4, alpha=8)
    model = build_model(config, tiny).eval()
    examples = [tokenizer.conversation(turns(f"Where is {n}?" * (n + 1), f"Desk {n}.")) for n in range(4)]
    corpus = corpus_of(tmp_path / "chats", examples)
    apart = Examples(corpus, batch_size=4, epochs=1, seed=0)
    together = Packed(corpus, corpus.tokens, batch_size=1, epochs=1, seed=0)
    with torch.inference_mode():
        alone = sum(float(loss_of(model, apart.batch([row]).tensors, 1)) for row in range(4))
        padded = float(loss_of(model, apart.batch(range(4)).tensors, 1))
        packed = float(loss_of(model, together.batch([0]).tensors, 1))
        batch = apart.batch([1]).tensors
        theirs = float(model(input_ids=batch["input_ids"], labels=batch["labels"]).loss)
        ours = float(loss_of(model, batch))
    assert padded == pytest.approx(alone, rel=1e-4)
    assert packed == pytest.approx(alone, rel=1e-4)
    assert ours == pytest.approx(theirs, rel=1e-5)


SHAPE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
UNDROPPED = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
ARCHITECTURES = {
    "llama": {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48},
    "gemma2": {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 16},  # caps its logits
    "cohere": {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48, "logit_scale": 0.0625},
    "granite": {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48, "logits_scaling": 8.0},
    "phi": {**SHAPE, "intermediate_size": 48},  # its output layer has a bias
    "gpt2": {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 2, **UNDROPPED},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("adapted", ["body", "head"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_loss_and_gradients_are_those_of_the_model_itself(tmp_path: Path, kind: str, adapted: str) -> None:
    config = AutoConfig.for_model(kind, pad_token_id=0, bos_token_id=1, eos_token_id=2, **ARCHITECTURES[kind])
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    head = next(name for name, module in base.named_modules() if module is base.get_output_embeddings())
    targets = [head] if adapted == "head" else "all-linear"
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:  # or half of them would start at zero, and the others would have no gradient
        torch.nn.init.normal_(weight, std=0.1)
    model.train()
    lengths = [9, 14, 5]
    batch = batch_of(
        tmp_path / "rows", [Encoded([*range(3, 3 + n)], [at % 3 == 0 for at in range(n)]) for n in lengths]
    )
    mask = torch.stack([torch.arange(max(lengths)) < n for n in lengths]).long()

    seen = []
    with model.get_output_embeddings().register_forward_hook(lambda _, __, logits: seen.append(logits.shape)):
        ours = loss_of(model, batch)
    gradients = torch.autograd.grad(ours, weights)
    theirs = model(input_ids=batch["input_ids"], attention_mask=mask, labels=batch["labels"], use_cache=False).loss
    assert seen == [(1, sum((n - 1) // 3 for n in lengths), 97)]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    for one, other in zip(gradients, torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_loss_of_a_model_that_shows_no_output_layer(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(LoraConfig(rank=4, alpha=8), tiny)
    examples = [Encoded([5, 6, 7, 8], [False, False, True, True]), Encoded([5, 9], [False, True])]
    batch = batch_of(tmp_path / "rows", examples)
    picked = float(loss_of(model, batch).detach())
    monkeypatch.setattr(type(model.get_base_model()), "get_output_embeddings", lambda _: None)
    assert float(loss_of(model, batch).detach()) == pytest.approx(picked, rel=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "dora"},
        {"weights": "rslora", "gradient_accumulation": 2},
        {"weights": "full", "learning_rate": 5e-4},
        {"packing": True, "max_length": 128, "epochs": 8},
    ],
    ids=["dora", "rslora", "full", "packing"],
)
def test_every_kind_of_weights_learns_and_answers(bench: Bench, fields: dict[str, object]) -> None:
    model = bench.run(**fields)
    metrics = json.loads((model / "manifest.json").read_bytes())["metrics"]
    assert metrics["last_loss"] < metrics["first_loss"]
    assert (model / "adapter_model.safetensors").exists() == (fields.get("weights") != "full")
    if fields.get("method") == "dora":
        assert json.loads((model / "adapter_config.json").read_bytes())["use_dora"] is True
    reply = bench.adapter().generate(
        str(model), [[Message(role="user", content="Where is parcel 3?")]], ChatOptions(max_tokens=8)
    )
    assert reply[0].text


def test_dpo_learns_to_prefer(bench: Bench) -> None:
    rows = [
        {
            "input": {"messages": row["messages"][:1]},
            "preferred_output": row["messages"][1:],
            "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
        }
        for row in ROWS
    ]
    model = bench.run(rows, method="dpo", epochs=3)
    told = [e.data for e in bench.job(model.name).events(None) if "loss" in e.data]
    assert told[-1]["rewards/margins"] > told[0]["rewards/margins"]
    assert (model / "adapter_model.safetensors").is_file()
    assert [path for path in model.iterdir() if path.is_dir()] == []


def test_a_step_is_as_many_batches_as_are_accumulated(tmp_path: Path) -> None:
    config = LoraConfig(batch_size=3, gradient_accumulation=2)
    rows = rows_of(corpus_of(tmp_path / "rows", [Encoded([5, 6], [False, True])] * 13), config, epochs=2)
    assert sorted(len(rows.of_step(step)) for step in range(rows.steps)) == [1, 1, 6, 6, 6, 6]
    assert settings_of(config).micro_batch_size == 3


def test_completions_train(bench: Bench) -> None:
    assert bench.run([{"prompt": f"Desk {n} is", "completion": " open."} for n in range(16)], epochs=1)


@pytest.mark.parametrize("fields", [{"method": "dpo"}, {"method": "sft", "quantization": "4bit"}, {"max_length": 9999}])
def test_what_cannot_be_is_refused_at_plan_time(bench: Bench, fields: dict[str, object]) -> None:
    with pytest.raises(AdaptkitError) as caught:
        bench.plan(bench.adapter(**fields))
    assert "max_length" in str(caught.value) or "4bit" in str(caught.value) or "preference" in str(caught.value)


def test_short_form_of_the_method() -> None:
    assert LoraConfig(method="dora") == LoraConfig(method="sft", weights="dora")
    with pytest.raises(ValueError, match="contradict"):
        LoraConfig(method="dora", weights="full")
    assert LoraConfig.model_validate_json(LoraConfig(method="full").model_dump_json()) == LoraConfig(weights="full")


def test_defaults_follow_the_model_and_the_machine(tiny: Path) -> None:
    small = find_base("builtin:tiny", tiny)
    large = Base("org/eight", Path("/nowhere"), {"hidden_size": 4096, "max_position_embeddings": 131072}, 8 * 10**9, 0)
    gpu = Machine(gpus=(Gpu(8.0, 24 << 30),))
    on_cpu, on_gpu = resolve(LoraConfig(), small, Machine()), resolve(LoraConfig(model="org/eight"), large, gpu)
    assert (on_cpu.learning_rate, on_cpu.rank, on_cpu.epochs, on_cpu.precision) == (2.5e-3, 8, 8, "fp32")
    assert (on_gpu.learning_rate, on_gpu.rank, on_gpu.epochs, on_gpu.precision) == (2e-4, 16, 3, "bf16")
    assert (on_gpu.device, on_gpu.max_length) == ("cuda:0", 2048)
    assert resolve(LoraConfig(weights="full"), large, gpu).learning_rate == 1e-5
    assert resolve(on_gpu, large, gpu) == on_gpu
    with pytest.raises(UnsupportedError, match="no NVIDIA GPU"):
        resolve(LoraConfig(device="cuda"), small, Machine())


def test_what_is_too_large_is_refused_with_what_to_do(tiny: Path, tmp_path: Path) -> None:
    large = Base("org/eight", tmp_path, {"hidden_size": 4096, "num_hidden_layers": 32}, 8 * 10**9, 16 * 10**9)
    gpu = Machine(gpus=(Gpu(8.0, 24 << 30),))
    full = resolve(LoraConfig(model="org/eight", weights="full"), large, gpu)
    assert memory_needed(full, large) == 128 * 10**9
    with pytest.raises(UnsupportedError, match='use weights = "lora"'):
        refuse_if_short(full, large, gpu, tmp_path)
    refuse_if_short(resolve(LoraConfig(model="org/eight"), large, gpu), large, gpu, tmp_path)

"""New rows in a model: how they begin, that only they are learned, and that they outlive loading and merging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptkit.backends.vocabulary import Extension
from adaptkit.backends.vocabulary.weights import grow, make_room, trainable_rows
from adaptkit.errors import ArtifactError

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14, "model_type": "pixtral",
}  # fmt: skip
EXTENSION = Extension(1024, ((300, 301), (300, 301, 302), (7,)))


def make(kind: str, *, tied: bool) -> Any:
    """A model of the architecture, with random weights."""
    torch.manual_seed(0)
    if kind == "mistral3":
        text = {"model_type": "mistral", "tie_word_embeddings": tied, **SIZES}
        config = transformers.Mistral3Config(
            text_config=text, vision_config=VISION, tie_word_embeddings=tied, image_token_index=10
        )
        return transformers.Mistral3ForConditionalGeneration(config).eval()
    config_type = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig}[kind]
    config = config_type(tie_word_embeddings=tied, **SIZES)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def logits(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


ARCHITECTURES = [(kind, tied) for kind in ("llama", "mistral", "mistral3") for tied in (True, False)]


@pytest.mark.parametrize(("kind", "tied"), ARCHITECTURES)
def test_rows_begin_as_the_mean_of_their_pieces_and_all_others_stay(kind: str, tied: bool) -> None:
    model = make(kind, tied=tied)
    layers = model.get_input_embeddings(), model.get_output_embeddings()
    old = [layer.weight.detach().clone() for layer in layers]
    before = logits(model, [5, 6, 7])
    grow(model, EXTENSION)
    for layer, was in zip((model.get_input_embeddings(), model.get_output_embeddings()), old, strict=True):
        assert layer.weight.shape[0] == 1027
        assert torch.equal(layer.weight[:1024], was)
        for row, pieces in zip(layer.weight[1024:], EXTENSION.pieces, strict=True):
            assert torch.allclose(row, was[list(pieces)].mean(0), atol=1e-7)
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert model.config.get_text_config().vocab_size == 1027
    assert torch.equal(logits(model, [5, 6, 7])[:, :1024], before)
    grow(model, EXTENSION)  # once more changes nothing: the rows are there
    assert model.get_input_embeddings().weight.shape[0] == 1027


def test_rows_that_a_model_has_in_store_are_used_first() -> None:
    model = make("llama", tied=False)
    grow(model, Extension(1000, ((1, 2),)))
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == 1024
    assert torch.allclose(weight[1000], weight[[1, 2]].mean(0), atol=1e-7)
    make_room(model, 1000)
    assert model.get_input_embeddings().weight.shape[0] == 1024


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused() -> None:
    with pytest.raises(ArtifactError, match="1024 rows"):
        grow(make("llama", tied=True), Extension(1030, ((1, 2),)))


@pytest.mark.parametrize(("kind", "tied"), ARCHITECTURES)
def test_only_new_rows_are_learned_and_come_back_after_saving_and_merging(
    kind: str, tied: bool, tmp_path: Path
) -> None:
    def grown() -> Any:
        model = make(kind, tied=tied)
        make_room(model, 1027)
        return model

    model = make(kind, tied=tied)
    grow(model, EXTENSION)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=r".*(q_proj|down_proj)",
        trainable_token_indices=trainable_rows(model, EXTENSION),
    )  # fmt: skip
    trained = peft.get_peft_model(model, config)
    learn = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    rows = 3 * 32 * (1 if tied else 2)
    assert sum(p.numel() for name, p in trained.named_parameters() if "trainable_tokens" in name) == rows
    optimizer = torch.optim.AdamW(learn, lr=0.05)
    ids = [300, 1024, 1025, 9, 1026, 1024]
    for _ in range(3):
        given = torch.tensor([ids])
        trained(input_ids=given, labels=given, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained.eval()
    expected = logits(trained, ids)
    assert not torch.allclose(expected[:, :1027], logits(grown(), ids)[:, :1027], atol=1e-3)
    trained.save_pretrained(tmp_path, save_embedding_layers=False)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 60_000
    loaded = peft.PeftModel.from_pretrained(grown(), str(tmp_path)).eval()
    assert torch.equal(logits(loaded, ids), expected)
    merged = loaded.merge_and_unload()
    assert torch.allclose(logits(merged, ids), expected, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    again = type(merged).from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits(again, ids), logits(merged, ids))
    assert (again.get_input_embeddings().weight is again.get_output_embeddings().weight) == tied

"""A language that the base never saw: learned with new tokens, saved, loaded, merged, and measured by the character.

The figures to reach are those of an earlier measurement on such a language (120 words, 600 sentences, 4 epochs): 0.991
bits a character with all weights and 1.02 with LoRA. What this one's grammar leaves open is 0.868 bits a character on
the held-out sentences, as ``scripts/tiny_lingua.py`` says: coming near that is having learned it whole.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adaptkit.adapter import ChatOptions
from adaptkit.backends.base_model import find_base
from adaptkit.backends.chat_tokenizer import ChatTokenizer, Encoded
from adaptkit.backends.export import export
from adaptkit.backends.local_model import LocalModel
from adaptkit.backends.model_folder import base_hash, canonical_adapter, copy_tokenizer, finish, open_folder
from adaptkit.backends.training.corpus import write
from adaptkit.backends.training.losses import loss_of
from adaptkit.backends.training.rows import Examples
from adaptkit.backends.vocabulary import Extension, extend, learned
from adaptkit.backends.vocabulary.weights import grow, trainable_rows
from adaptkit.errors import ArtifactError, DataError
from adaptkit.types import Likelihood, Message

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

FLOOR = 0.868
#: Seconds of CPU that one training may take on a machine that is many times slower than most, which need 8.
LONGEST = 100.0


def bits(model: LocalModel, texts: Sequence[str]) -> float:
    """Bits per character of texts."""
    return sum(model.text_likelihood(texts), Likelihood(nats=0, tokens=0, characters=0)).bits_per_character


def load(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def fit(model: Any, tokenizer: ChatTokenizer, texts: Sequence[str], rate: float) -> float:
    """Four epochs of texts, each after the end of another; gives the seconds of CPU that they took."""
    began, end = time.process_time(), tokenizer.tokenizer.eos_token_id
    examples = [Encoded([end, *tokenizer.text(text).ids], [True] * (len(tokenizer.text(text)) + 1)) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        rows = Examples(write(Path(folder) / "text", examples, 1 << 16), batch_size=8, epochs=4, seed=0)
        batches = [rows.batch(rows.of_step(step)).tensors for step in range(rows.steps)]
    learn = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learn, lr=rate, weight_decay=0.0)
    model.train()
    for step, batch in enumerate(batches):
        share = min(1.0, (step + 1) / (0.05 * len(batches))) * (1 + math.cos(math.pi * step / len(batches))) / 2
        optimizer.param_groups[0]["lr"] = rate * share
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(learn, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - began


@pytest.fixture(scope="module")
def tokens(base: Path, text: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Extension]:
    folder = tmp_path_factory.mktemp("tokens")
    return folder, extend(base, folder, learned(base, text, 400))


def grown(base: Path, tokens: tuple[Path, Extension]) -> tuple[Any, ChatTokenizer]:
    model = load(base)
    grow(model, tokens[1])
    return model, ChatTokenizer(tokens[0])


def save(model: Any, folder: Path, tokens: tuple[Path, Extension], base: Path) -> Path:
    """A model's folder, as a job writes it."""
    draft = folder.with_name(".draft")
    draft.mkdir()
    found = find_base("builtin:tiny", base)
    model.save_pretrained(draft, **({"save_embedding_layers": False} if hasattr(model, "peft_config") else {}))
    if hasattr(model, "peft_config"):
        canonical_adapter(draft, found.name)
    (draft / "README.md").unlink(missing_ok=True)
    copy_tokenizer(tokens[0], draft)
    of = {"model": found.name, "sha256": base_hash(found), "bytes": found.bytes}
    finish(draft, folder, {"base": of, "vocabulary": tokens[1].facts()})
    return folder


def test_lora_with_new_rows_learns_it_and_keeps_its_figure_in_every_form(base, tokens, text, held_out, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = grown(base, tokens)
    model = peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=8,
            lora_alpha=16,
            target_modules="all-linear",
            trainable_token_indices=trainable_rows(model, tokens[1]),
        ),
    )
    before = bits(LocalModel(model, tokenizer), held_out)
    assert 3 < before < 5
    assert fit(model, tokenizer, text, 5e-3) < LONGEST
    after = bits(LocalModel(model, tokenizer), held_out)
    assert FLOOR < after < FLOOR + 0.08
    folder = save(model, tmp_path / "model", tokens, base)
    assert (folder / "adapter_model.safetensors").stat().st_size < 600_000  # the whole vocabulary alone is as large
    loaded = LocalModel.load(str(folder), offline=True)
    assert bits(loaded, held_out) == after
    asked = [Message(role="user", content=held_out[0]), Message(role="assistant", content=held_out[1])]
    (likelihood,) = loaded.likelihood([asked])
    assert likelihood.tokens < 10
    reply = loaded.chat(asked[:1], ChatOptions(max_tokens=8))
    merged = LocalModel.load(str(export(str(folder), "merged", tmp_path / "merged", offline=True)), offline=True)
    assert bits(merged, held_out) == pytest.approx(after, abs=1e-5)
    assert merged.chat(asked[:1], ChatOptions(max_tokens=8)) == reply
    assert merged.likelihood([asked])[0].nats == pytest.approx(likelihood.nats, abs=1e-3)


def test_all_weights_learn_it_and_a_whole_model_needs_no_room_made(base, tokens, text, held_out, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = grown(base, tokens)
    assert fit(model, tokenizer, text, 2e-3) < LONGEST
    after = bits(LocalModel(model, tokenizer), held_out)
    assert FLOOR < after < FLOOR + 0.06
    folder = save(model, tmp_path / "model", tokens, base)
    assert bits(LocalModel.load(str(folder), offline=True), held_out) == after


def test_beginning_at_the_pieces_beats_beginning_at_random(base, tokens, text, held_out):
    """Fewer steps, where it shows; transformers draws new rows around the mean of all."""
    figures = {}
    for way in ("pieces", "random"):
        torch.manual_seed(0)
        model, tokenizer = load(base), ChatTokenizer(tokens[0])
        if way == "pieces":
            grow(model, tokens[1])
        else:
            model.resize_token_embeddings(tokens[1].ids.stop)
        fit(model, tokenizer, text[:150], 2e-3)
        figures[way] = bits(LocalModel(model, tokenizer), held_out)
    assert figures["pieces"] < figures["random"]


def test_a_manifest_that_says_no_numbers_is_refused(base, tokens, tmp_path):
    folder = save(load(base), tmp_path / "model", tokens, base)
    found = open_folder(folder)
    assert found.rows == tokens[1].ids.stop
    with pytest.raises(ArtifactError, match="vocabulary"):
        _ = type(found)(folder, None, {"vocabulary": {"first": "many"}}).rows


# -- the likelihood of a text --------------------------------------------------------------------------------------


def test_every_token_of_a_text_counts_and_so_does_its_end(base):
    model = LocalModel(load(base), ChatTokenizer(base))
    end = model.tokenizer.tokenizer.eos_token_id
    texts = ["Where is my parcel?", "The lamp is broken and I want my money back.", "ŋ"]
    found = model.text_likelihood(texts)
    for text, each in zip(texts, found, strict=True):
        ids = [end, *model.tokenizer.tokenizer(text)["input_ids"], end]
        with torch.no_grad():
            likely = model.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        assert each.nats == pytest.approx(-float(likely.gather(1, torch.tensor(ids[1:])[:, None]).sum()), rel=1e-5)
        assert (each.tokens, each.characters) == (len(ids) - 1, len(text))
    with pytest.raises(DataError, match="text 2 has"):
        model.text_likelihood(["a", "a b " * 600])

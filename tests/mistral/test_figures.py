"""What a plan says a training takes, against published runs and against models that are really made."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaConfig, LlamaForCausalLM, MistralForCausalLM
from transformers import MistralConfig as Shape

from adaptkit import UnsupportedError
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.mistral.cluster.figures import figures, memory
from adaptkit.backends.mistral.cluster.settings import on_machine, resolve
from adaptkit.backends.mistral.cluster.sizes import Size, size_of

EIGHT = "mistralai/Ministral-3-8B-Base-2512"
H100 = 80e9


def planned(**given: object) -> MistralConfig:
    run = {"engine": "slurm", "gpus_per_node": 1, **given.pop("run", {})}
    config = MistralConfig.model_validate({"model": EIGHT, "method": "cpt", "run": run, **given})
    size = size_of(EIGHT, None)
    return on_machine(resolve(config, None, size), None, size, None)


def needed(**given: object) -> int:
    config, size = planned(**given), size_of(EIGHT, None)
    assert size is not None
    return memory(config, size, config.stages[0].max_length or 0)


def test_sizes_are_those_of_the_models_that_transformers_makes() -> None:
    for size, kind, shape in [
        (Size(32, 4096, 14336, 32, 8, 128, 32768, tied=False), MistralForCausalLM, Shape),
        (Size(28, 3072, 8192, 24, 8, 128, 128256, tied=True), LlamaForCausalLM, LlamaConfig),
    ]:
        config = shape(
            num_hidden_layers=size.layers,
            hidden_size=size.width,
            intermediate_size=size.inner,
            num_attention_heads=size.heads,
            num_key_value_heads=size.key_heads,
            head_dim=size.head,
            vocab_size=size.vocabulary,
            tie_word_embeddings=size.tied,
        )
        with torch.device("meta"):
            assert sum(weight.numel() for weight in kind(config).parameters()) == size.parameters


def test_the_8b_base_fits_the_gpus_that_a_published_run_had() -> None:
    # struct-lm, 2026-10: LoRA of rank 64 on one H100, all weights on two
    assert needed(weights="lora", rank=64) < H100
    assert needed(run={"gpus_per_node": 1}) > H100
    assert needed(run={"gpus_per_node": 2}) < H100
    size = size_of(EIGHT, None)
    assert size is not None
    assert needed(run={"gpus_per_node": 1}) > 16 * size.text  # the weight, its gradient, two averages, all in fp32


def test_memory_of_lora_is_near_a_published_peak() -> None:
    # PEFT's own bench: Llama-3.2-3B in bf16, rank 32, 4 rows of at most 768 tokens: 22.3 GB
    size = Size(28, 3072, 8192, 24, 8, 128, 128256, tied=True)
    config = MistralConfig(
        model="x", weights="lora", rank=32, micro_batch_size=4, activation_checkpointing=False, precision="bf16"
    )
    assert memory(config, size, 768) == pytest.approx(22.3e9, rel=0.15)


def test_hours_and_money_are_those_of_a_published_run() -> None:
    # struct-lm: 20.6 million tokens in 5.40 GPU-hours for $21 at $3.95; its speed is what that makes
    config = planned(weights="lora", rank=64, run={"usd_per_gpu_hour": 3.95})
    size = size_of(EIGHT, None)
    assert size is not None
    found = figures(config, size, [20_600_000], 20_600_000 / (5.40 * 3600))
    assert found.seconds == pytest.approx(5.40 * 3600)
    assert found.usd == pytest.approx(21.33, abs=0.01)
    assert found.steps == pytest.approx(20_600_000 / (8 * 2048), abs=1)
    assert "5.4 GPU-hours" in str(found)
    assert "$21.33" in str(found)


def test_what_is_not_known_is_not_made_up() -> None:
    size = size_of(EIGHT, None)
    assert size is not None
    found = figures(planned(), size, [None], None)
    assert found.tokens is found.seconds is found.usd is None
    assert "unknown" in str(found)
    assert size_of("somebody/else", None) is None


def test_replay_counts_in_what_is_learned() -> None:
    size = size_of(EIGHT, None)
    assert size is not None
    stage = {"method": "cpt", "epochs": 2, "replay": {"data": "general.jsonl", "share": 0.2}}
    found = figures(planned(method=None, stages=[stage]), size, [1000], None)
    assert found.tokens == 2500


def test_stages_take_what_they_lack_from_the_target_and_the_size() -> None:
    stages = [{"method": "cpt", "data": "text.jsonl"}, {"method": "sft", "epochs": 5}]
    cpt, sft = planned(method=None, stages=stages, max_length=512).stages
    assert (cpt.epochs, cpt.learning_rate, cpt.max_length) == (1, 1e-5, 512)
    assert (sft.epochs, sft.learning_rate, sft.max_length) == (5, 1e-5, 512)
    assert planned(weights="lora").stages[0].learning_rate == 2e-4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"where": "forge", "rank": 8}, 'where = "forge" has no rank'),
        ({"where": "hosted", "stages": [{"method": "sft"}]}, "has no stages"),
        ({"method": "sft", "stages": [{"method": "sft"}]}, "short for a single stage"),
        ({"stages": [{"method": "cpt"}, {"method": "sft"}]}, "exactly one stage"),
        ({"stages": [{"method": "sft", "data": "a.jsonl"}]}, "exactly one stage"),
        ({"stages": [{"method": "sft", "replay": {"data": "a"}}]}, "replay is for"),
        ({"adapt": {"vocabulary": {"add": 3, "from": "words.txt"}}}, "vocabulary is"),
        ({"adapt": {"vocabulary": {}}}, "vocabulary is"),
        ({"run": {"engine": "cloud"}}, "'local', 'slurm' or 'ray'"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        MistralConfig.model_validate(given)


def test_what_the_machine_decides_is_no_part_of_the_run() -> None:
    size = size_of(EIGHT, None)
    plain = MistralConfig(model=EIGHT, method="cpt")
    cluster = plain.model_copy(update={"run": planned().run})
    assert resolve(plain, None, size) == resolve(cluster, None, size).model_copy(update={"run": plain.run})


def test_several_nodes_are_not_this_machine() -> None:
    with pytest.raises(UnsupportedError, match="one machine"):
        planned(run={"engine": "local", "nodes": 2})

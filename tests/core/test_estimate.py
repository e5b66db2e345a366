"""What a run will cost: counted where it can be, priced where a price is known, and never 0 for unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit import Client, Dataset, builtin
from adaptkit.errors import ConfigError
from adaptkit.estimate import estimate
from adaptkit.prices import Prices, billions

ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
    for n in range(12)
]
PRICE = '[[price]]\nwhat = "training"\nbackend = "scripted"\nusd = 2.0\ndate = 2026-11-01\nsource = "here"\n'


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", 8),
        ("accounts/fireworks/models/llama-v3p1-70b-instruct", 70),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("Qwen/Qwen2.5-0.5B", 0.5),
        ("gpt-4o-2024-08-06", None),
        ("bert-abc", None),
        ("Llama-3.2-1Banana", None),
    ],
)
def test_sizes_are_read_from_names(model: str, size: float | None) -> None:
    assert billions(model) == size


def test_our_own_table_is_readable_and_dated() -> None:
    price = Prices().training(["fireworks"], "accounts/fireworks/models/llama-v3p1-8b-instruct", "sft", "lora")
    assert price is not None
    assert price.usd == 0.5
    assert price.date.year == 2026


def test_what_is_not_in_the_table_is_none() -> None:
    prices = Prices()
    assert prices.training(["nebius", "openai"], "meta-llama/Llama-3.1-8B", "sft", "lora") is None
    assert prices.training(["fireworks"], "no-size-in-the-name", "sft", "lora") is None
    assert prices.hosting(["fireworks"], "x-8b", "A100") is None


def test_a_users_price_is_looked_at_first(tmp_path: Path) -> None:
    mine = tmp_path / "prices.toml"
    mine.write_text(PRICE.replace("scripted", "fireworks"))
    price = Prices(mine).training(["fireworks"], "x-8b", "sft", "lora")
    assert price is not None
    assert price.usd == 2.0


@pytest.mark.parametrize("text", ["[[price]]\nusd = 1.0\n", "[[price]\n", PRICE + "per = 3\n", None])
def test_a_table_with_mistakes_is_named(tmp_path: Path, text: str | None) -> None:
    mine = tmp_path / "prices.toml"
    if text is not None:
        mine.write_text(text)
    with pytest.raises(ConfigError, match=r"prices\.toml"):
        Prices(mine)


def test_tokens_are_counted_by_the_models_own_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    data = Dataset.of(ROWS)
    with Client(targets={"t": {"backend": "lora", "model": "builtin:tiny", "epochs": 3}}, home=tmp_path) as client:
        made = estimate(client.plan("t", data), data, Prices())
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(builtin.path("tiny"))
    expected = sum(len(tokenizer.apply_chat_template(row["messages"], tokenize=True)["input_ids"]) for row in ROWS)
    assert (made.tokens, made.counted, made.epochs, made.usd) == (expected, True, 3, 0.0)
    assert "nothing to pay" in str(made)

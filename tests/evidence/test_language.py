"""How a tokenizer fits a language: counted, told by the unit that is fair, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptkit import Dataset, builtin
from adaptkit.data import CompletionRecord, PreferenceRecord, TextRecord
from adaptkit.evidence.language import ENGLISH, SAMPLE, LanguageFit, language_fit, sample, script_of
from adaptkit.types import Message

pytest.importorskip("transformers")


def fit(text: str, candidate: str = "builtin:tiny") -> LanguageFit:
    (found,) = language_fit([TextRecord(text)], [candidate])
    return found


def test_english_is_as_english() -> None:
    found = fit(ENGLISH)
    assert found.counted
    assert found.unit == "word"
    assert found.ratio == pytest.approx(1.0)
    assert found.missing == ()
    assert found.pieces == 0
    assert [(each.script, each.share, each.whole) for each in found.scripts] == [("latin", 1.0, 1.0)]


def test_the_figures_are_those_of_the_tokenizer() -> None:
    from transformers import AutoTokenizer

    text = "Wo ist mein Paket? Ich warte."
    tokens = len(AutoTokenizer.from_pretrained(builtin.path("tiny"))(text, add_special_tokens=False)["input_ids"])
    found = fit(text).text
    assert found is not None
    assert found.per_word == tokens / 6
    assert found.per_character == tokens / len(text)
    assert found.per_byte == tokens / len(text.encode())


@pytest.mark.parametrize(
    ("text", "unit", "script"),
    [
        ("मेरा पार्सल कहाँ है?", "word", "devanagari"),
        ("ፓኬጄ የት ነው ያለው", "word", "ethiopic"),
        ("今日はとても天気がいいですね", "character", "hiragana"),
        ("我的包裹在哪里", "character", "cjk"),
        ("พัสดุของฉันอยู่ที่ไหน", "character", "thai"),
        ("កញ្ចប់របស់ខ្ញុំនៅឯណា", "character", "khmer"),
    ],
)
def test_a_script_that_the_vocabulary_hardly_has(text: str, unit: str, script: str) -> None:
    found = fit(text)
    assert found.unit == unit
    assert script in found.missing
    assert found.ratio is not None
    assert found.ratio > 2
    assert found.pieces is not None
    assert found.pieces > 0.5
    assert f"a {unit}" in str(found)
    assert script in str(found)


def test_shares_of_scripts_add_up() -> None:
    found = fit("hello नमस्ते " * 50)
    assert {each.script for each in found.scripts} == {"latin", "devanagari"}
    assert sum(each.share for each in found.scripts) == pytest.approx(1.0)
    assert found.missing == ("devanagari",)


@pytest.mark.parametrize(
    "candidate", ["gpt-6-luna", "anthropic:claude-haiku-5-5", "nobody/nothing-7b", "/no/such/folder"]
)
def test_a_tokenizer_that_is_not_here_is_not_guessed(candidate: str) -> None:
    found = fit("hello", candidate)
    assert found == LanguageFit(candidate=candidate, counted=False)
    assert "not on this machine" in str(found)


def test_a_folder_without_a_tokenizer_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not fit("hello", str(tmp_path)).counted


def test_a_vocabulary_without_bytes_has_unknown_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "you": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(tmp_path)
    found = fit("hello you there नमस्ते", str(tmp_path))
    assert found.unknown is not None
    assert found.unknown >= 0.5
    assert "unknown" in str(found)


def test_text_without_words_is_not_counted() -> None:
    assert not fit("").counted
    assert not fit(" \n").counted
    assert fit("12 + 34 = 46").counted


def test_odd_text_does_no_harm() -> None:
    assert fit("a\ud800b \x00 � e\u0301 ﬁ 𝒳").counted


def test_every_kind_of_record_is_read() -> None:
    turns = (Message(role="user", content="ask"),)
    said = sample(
        [
            CompletionRecord("before", "after"),
            PreferenceRecord(
                turns, (Message(role="assistant", content="good"),), (Message(role="assistant", content="bad"),)
            ),
            *Dataset.of([{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}]),
        ]
    )
    assert said.split("\n") == ["before", "after", "ask", "good", "bad", "u", "a"]


def test_a_long_text_is_looked_at_in_part() -> None:
    def rows():
        for _ in range(3):
            yield TextRecord("x" * SAMPLE)
        raise AssertionError("read on after it had enough")

    assert sample(rows()) == "x" * SAMPLE


@pytest.mark.parametrize(
    ("character", "script"),
    [("a", "LATIN"), ("é", "LATIN"), ("ि", "DEVANAGARI"), ("中", "CJK"), ("1", None), ("\u0301", None)],
)
def test_scripts(character: str, script: str | None) -> None:
    assert script_of(character) == script

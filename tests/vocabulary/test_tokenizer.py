"""A tokenizer with more tokens: the old ones stay, the new ones are merges after them, in every form of the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from adaptkit import builtin
from adaptkit.backends.chat_tokenizer import ChatTokenizer
from adaptkit.backends.vocabulary import Extension, extend, extension_of, learned, listed, tokenizer
from adaptkit.backends.vocabulary.measures import spelling
from adaptkit.backends.vocabulary.merges import learn, merge
from adaptkit.errors import ArtifactError, ConfigError, UnsupportedError
from tests.vocabulary.conftest import lines

LINGUA = lines(builtin.text("lingua").held_out)
WORDS = sorted({word for line in LINGUA for word in line.split()})
#: Anything, and the language's words run together, cut and mixed with anything.
ANY = st.lists(
    st.one_of(
        st.sampled_from(WORDS), st.text(max_size=6), st.sampled_from([" ", "\n", "The ", "parcel", "42", "<|end|>"])
    )
).map("".join)
GENTLE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


@cache
def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def ids(made: Tokenizer, text: str) -> list[int]:
    return list(made.encode(text, add_special_tokens=False).ids)


def spelled_out(found: list[int], extension: Extension) -> list[int]:
    """Ids with each new token as its pieces."""
    return [
        piece
        for token in found
        for piece in (extension.pieces[token - extension.first] if token >= extension.first else (token,))
    ]


@GENTLE
@given(ANY)
def test_any_text_comes_back_and_new_tokens_stand_for_what_the_base_would_say(base, extended, text) -> None:
    folder, extension = extended
    found = ids(load(folder), text)
    assert load(folder).decode(found, skip_special_tokens=False) == text
    assert spelled_out(found, extension) == ids(load(base), text)  # so text without new tokens keeps its ids


def test_new_ids_follow_all_others_and_those_stay(base, extended) -> None:
    folder, extension = extended
    before, after = (load(each).get_vocab(with_added_tokens=True) for each in (base, folder))
    assert {token: after[token] for token in before} == before
    assert sorted(after[token] for token in after.keys() - before) == list(extension.ids)
    assert extension.first == max(before.values()) + 1
    assert extension_of(folder) == extension
    assert extension_of(base) is None
    assert extension.facts() == {"first": 1024, "added": 240}


def test_every_new_token_is_reached_from_its_own_text(extended) -> None:
    folder, extension = extended
    made = load(folder)
    for token in extension.ids:
        text = made.decode([token])
        if "\ufffd" not in text:
            assert ids(made, text) == [token]


def test_the_language_takes_far_fewer_tokens_and_english_as_many(base, extended, held_out) -> None:
    before, after = (ChatTokenizer(each).tokenizer for each in (base, extended[0]))
    found = spelling(before, after, held_out)
    assert found.unit == "word"
    assert found.before.per_word > 6
    assert found.after.per_word < 2
    assert str(found) == f"{found.after.per_word:.2f} tokens a word, {found.before.per_word:.2f} before"
    english = spelling(before, after, ["Where is my parcel? I want my money back for the lamp."])
    assert english.before == english.after
    assert spelling(before, after, ["\u0e1a\u0e49\u0e32\u0e19 \u0e02\u0e2d\u0e07"]).unit == "character"


def test_equal_text_gives_equal_bytes_in_any_process(base, extended, tmp_path) -> None:
    script = (
        "import sys, json; from pathlib import Path; from adaptkit import builtin\n"
        "from adaptkit.backends.vocabulary import extend, learned\n"
        "text = [json.loads(line)['text'] for line in builtin.text().train.read_text().splitlines()]\n"
        "base = builtin.path('tiny'); extend(base, Path(sys.argv[1]), learned(base, text, 240))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment)
    for file in extended[0].iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@given(st.dictionaries(st.text("abc", min_size=1, max_size=9).map(tuple), st.integers(1, 9), max_size=8))
def test_counts_kept_up_to_date_find_what_counting_again_finds(words) -> None:
    found = learn(words, {"a", "b", "c", "ab"}, most=6)
    for done in range(len(found) + 1):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            tokens = list(word)
            for pair in found[:done]:
                tokens = merge(tokens, pair)
            for pair in pairwise(tokens):
                pairs[pair] += times
        worth = sorted((-count, pair) for pair, count in pairs.items() if count > 1 and "".join(pair) != "ab")
        assert done == 6 or (worth[0][1] == found[done] if worth else done == len(found))


def test_fewer_are_found_where_nothing_else_occurs_twice(base, text) -> None:
    assert 240 < len(learned(base, text, 5000)) < 500
    with pytest.raises(ConfigError, match=r"vocabulary\.add: no two tokens"):
        learned(base, ["ŋøħ"], 10)


def test_words_that_are_too_many_are_counted_by_the_frequent_ones(base, monkeypatch) -> None:
    texts = ["zu", *(f"ŋøħ x{number}y" for number in range(60)), "zu"]
    assert ("z", "u") in learned(base, texts, 100)
    monkeypatch.setattr(tokenizer, "WORDS", 4)
    found = learned(base, texts, 100)
    assert ("z", "u") not in found
    assert any("".join(pair) == byte_level("ŋøħ") for pair in found)


def byte_level(text: str) -> str:
    return "".join(word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text))


def test_a_word_as_long_as_a_text_is_no_trouble(base, monkeypatch) -> None:
    monkeypatch.setattr(tokenizer, "PIECE", 20_000)
    text = "".join(Random(1).choices("ŋøħŧ", k=50_000))
    began = time.process_time()
    assert len(learned(base, [text], 100)) == 100
    assert time.process_time() - began < 20


# -- a list -------------------------------------------------------------------------------------------------------


def test_every_line_becomes_one_token(base, tmp_path) -> None:
    wanted = [" ŋøħŭ", "ŋøħŭ", " ŋøħŭš", "đøđø"]
    (tmp_path / "words.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
    extension = extend(base, tmp_path, listed(base, tmp_path / "words.txt"))
    made = load(tmp_path)
    for word in wanted:
        assert len(ids(made, word)) == 1
        assert made.decode(ids(made, word)) == word
    assert spelled_out(ids(made, "a ŋøħŭš ŋøħ"), extension) == ids(load(base), "a ŋøħŭš ŋøħ")


def test_lines_that_can_be_no_token_are_all_named_and_none_is_shown(base, tmp_path) -> None:
    file = tmp_path / "words.txt"
    file.write_text(" ŋøħŭ\n\ntwo words\n ŋøħŭ\n the\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        listed(base, file)
    said = str(caught.value)
    assert "line 2: empty" in said
    assert "line 3: more than one word" in said
    assert "line 4: given before" in said
    assert "line 5: a token already" in said
    assert "ŋøħŭ" not in said
    for content in (b"", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"vocabulary\.from"):
            listed(base, file)


# -- other tokenizers ---------------------------------------------------------------------------------------------


@GENTLE
@given(text=ANY)
def test_both_forms_of_a_mistral_tokenizer_agree(both, text) -> None:
    tekken, made, extension, old = both
    found = tekken.encode(text, bos=False, eos=False)
    assert found == ids(made, text)
    assert spelled_out(found, extension) == old.encode(text, bos=False, eos=False)


@pytest.fixture(scope="session")
def both(mistral, text, tmp_path_factory):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    folder = tmp_path_factory.mktemp("mistral-extended")
    extension = extend(mistral, folder, learned(mistral, text, 300))
    assert extension.first == 4000
    tekken = Tekkenizer.from_file(folder / "tekken.json")
    assert tekken.n_words == 4300
    assert len(tekken.encode(LINGUA[0], bos=False, eos=False)) < 12
    return tekken, load(folder), extension, Tekkenizer.from_file(mistral / "tekken.json")


def test_a_tekken_file_that_counts_otherwise_is_refused(mistral, text, tmp_path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "made").mkdir()
    for name in ("tekken.json", "tokenizer.json"):
        (tmp_path / "base" / name).write_bytes((mistral / name).read_bytes())
    said = json.loads((mistral / "tekken.json").read_text())
    said["config"]["default_vocab_size"] -= 1
    (tmp_path / "base" / "tekken.json").write_text(json.dumps(said))
    with pytest.raises(ArtifactError, match="different ids"):
        extend(tmp_path / "base", tmp_path / "made", learned(mistral, text, 3))
    assert extension_of(tmp_path / "made") is None


def test_special_tokens_that_are_no_part_of_the_vocabulary_keep_their_ids(base, text, tmp_path) -> None:
    said = json.loads((base / "tokenizer.json").read_text())
    for number, token in enumerate(said["added_tokens"]):  # as Llama 3 has them: after the vocabulary, not in it
        del said["model"]["vocab"][token["content"]]
        token["id"] = 1017 + number
    ordered = sorted(said["model"]["vocab"], key=said["model"]["vocab"].__getitem__)
    said["model"]["vocab"] = {token: number for number, token in enumerate(ordered)}
    (tmp_path / "base").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "base" / "tokenizer.json").write_text(json.dumps(said))
    old = load(tmp_path / "base")
    assert ids(old, "<|end|>") == [1019]
    extension = extend(tmp_path / "base", tmp_path / "made", learned(tmp_path / "base", text, 50))
    new = load(tmp_path / "made")
    assert ids(new, "<|end|>") == [1019]
    assert list(extension.ids) == list(range(1024, 1074))
    assert spelled_out(ids(new, LINGUA[0]), extension) == ids(old, LINGUA[0])


def test_files_that_would_go_on_saying_the_old_are_left_out(base, text, tmp_path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "made").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "base" / name).write_bytes((base / name).read_bytes())
    (tmp_path / "base" / "merges.txt").write_text("Ġ t\n")
    extend(tmp_path / "base", tmp_path / "made", learned(base, text, 3))
    names = {file.name for file in (tmp_path / "made").iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocabulary.json"}


@pytest.mark.parametrize("kind", ["wordpiece", "metaspace", "missing bytes"])
def test_tokenizers_whose_merges_cannot_be_continued_are_refused(base, tmp_path, kind) -> None:
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel()
    else:
        made = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
        made.pre_tokenizer = pre_tokenizers.Metaspace() if kind == "metaspace" else pre_tokenizers.ByteLevel()
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="byte"):
        learned(tmp_path, ["ab ab"], 3)


def test_a_damaged_tokenizer_is_no_surprise(tmp_path) -> None:
    with pytest.raises(ArtifactError):
        learned(tmp_path, ["a"], 1)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel"}}')
    with pytest.raises(ArtifactError):
        learned(tmp_path, ["a"], 1)

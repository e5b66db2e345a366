"""Passages: slices of the text, short enough, cut at joints, with what they stand under."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.errors import ConfigError
from adaptkit.retrieval import Chunking, estimated_tokens
from adaptkit.retrieval.terms import characters
from tests.retrieval.conftest import document

SENTENCE = "The carrier collects customs duties at the door. "


def cut(text, tokens=32, overlap=0, title=""):
    return list(Chunking(tokens, overlap).chunks(document("x", text, title)))


pieces = st.sampled_from(
    (
        *"水 \n#",
        "# One\n",
        "## Two\n",
        "### Three ###\n",
        "```\n",
        "~~~~\n",
        "\n\n",
        "word",
        "A sentence. ",
        "火。",
        "ไทย",
        "ខ្ញុំ",
        "# not one",
        "#not",
        "\r\n",
        "\u2028",
        "é",
        "-" * 70,
    )
)
texts = st.lists(pieces, max_size=60).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(texts, st.integers(16, 64), st.integers(0, 8))
def test_passages_are_slices_that_leave_nothing_out(text, tokens, overlap):
    chunks = cut(text, tokens, overlap)
    covered = set()
    for chunk in chunks:
        end = chunk.position + len(chunk.text)
        assert text[chunk.position : end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        covered.update(range(chunk.position, end))
        # one character with hundreds of marks is not cut
        longest = max(len(sign.encode()) for sign in characters(chunk.text))
        assert estimated_tokens(chunk.text) <= max(tokens, -(-longest // 4))
    assert chunks == cut(text, tokens, overlap)
    assert sorted(chunk.position for chunk in chunks) == [chunk.position for chunk in chunks]
    if "#" not in text:  # a heading with nothing of its own lives on in the context of those below it
        assert all(at in covered for at, sign in enumerate(text) if not sign.isspace())


@given(texts)
def test_headings_without_text_of_their_own_are_not_lost(text):
    chunks = cut(text, 64)
    held = "\n".join(chunk.text + chunk.context for chunk in chunks)
    for word in ("One", "Two", "Three", "word", "水火"):
        assert (word in text) == (word in held)


def test_headings_stand_over_what_is_below_them():
    text = "intro\n# Handbook\n## Parcels\nText.\n### Customs ##\nMore.\n## Returns\nLast."
    assert [(chunk.context, chunk.text.split("\n")[-1]) for chunk in cut(text, title="Shop")] == [
        ("Shop", "intro"),
        ("Shop › Handbook › Parcels", "Text."),
        ("Shop › Handbook › Parcels › Customs", "More."),
        ("Shop › Handbook › Returns", "Last."),
    ]
    assert [chunk.context for chunk in cut("# Shop\ntext", title="Shop")] == ["Shop"]


def test_code_holds_no_headings():
    (chunk,) = cut("# One\n```sh\n# a comment\n```\ntext")
    assert chunk.context == "One"
    assert [chunk.context for chunk in cut("~~~\n# no\n```\n# no\n~~~\n# Yes\ntext")] == ["", "Yes"]


def test_a_passage_ends_with_a_sentence_and_the_next_repeats_the_last():
    text = (SENTENCE * 8).strip()
    plain, over = cut(text, 32), cut(text, 40, 16)
    assert all(chunk.text.startswith("The") and chunk.text.endswith("door.") for chunk in plain + over)
    assert len(plain) == 4
    for before, after in pairwise(over):
        assert after.position < before.position + len(before.text)
        assert before.text.endswith(after.text.split(". ")[0].rstrip(".") + ".")


def test_a_paragraph_is_kept_together_where_a_passage_is_full_enough():
    text = SENTENCE * 2 + "\n\n" + SENTENCE * 2
    assert [chunk.text.count("door") for chunk in cut(text, 37)] == [2, 2]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("यह पहला वाक्य है। " * 10, "।"),
        ("这是第一句话。" * 20, "。"),
        ("ဒါက ပထမစာကြောင်းပါ။" * 10, "။"),
        ("នេះជាប្រយោគទីមួយ។" * 10, "។"),
        ("هل هذه الجملة الأولى؟ " * 10, "؟"),
    ],
)
def test_sentences_end_as_each_script_ends_them(text, ends):
    chunks = cut(text, 40)
    assert len(chunks) > 1
    assert all(chunk.text.endswith(ends) for chunk in chunks)


def test_a_script_without_spaces_is_cut_between_characters():
    text = "ខ្ញុំទៅផ្សារ" * 40
    chunks = cut(text, 16)
    assert "".join(chunk.text for chunk in chunks) == text
    assert [sign for chunk in chunks for sign in characters(chunk.text)] == characters(text)


def test_sizes_that_make_no_sense_are_refused():
    for tokens, overlap in ((15, 0), (9000, 0), (32, 17), (32, -1)):
        with pytest.raises(ConfigError, match="16 to 8,192"):
            Chunking(tokens, overlap)

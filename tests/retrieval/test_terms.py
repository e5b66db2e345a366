"""Terms: what is a word in which script, and what may be looked for."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.retrieval import Fts5Retriever
from adaptkit.retrieval.terms import characters, terms_of, terms_to_find
from tests.retrieval.conftest import document

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
#: What FTS5, SQL and tsquery would take for syntax.
operators = [
    *"\"'*^(){}:+-%_|&!\\水 ",
    "NEAR",
    "NEAR(",
    "AND",
    "OR",
    "NOT",
    "words",
    "parts",
    "words:",
    "terms",
    "rank",
]
syntax = st.lists(
    st.sampled_from([*operators, "''", '""', ";--", "<->", ":A", "parcel", "\u2028", "\u0301", "\u17d2"]), max_size=12
).map("".join)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी भाषा में अनुवाद", ["हिन्दी", "भाषा", "में", "अनुवाद"]),
        ("தமிழ் பள்ளிகள்", ["தமிழ்", "பள்ளிகள்"]),
        ("Ọkọ̀ mi kò dé", ["ọkọ̀", "mi", "kò", "dé"]),
        ("Große STRASSE", ["grosse", "strasse"]),
        ("don't foo_bar 3.5", ["don", "t", "foo", "bar", "3", "5"]),
        ("مَكتَبة", ["مَكتَبة"]),
        ("می\u200cخواهم", ["میخواهم"]),  # Persian writes a joiner that many leave out
    ],
)
def test_words_of_scripts_with_spaces_stay_whole(text, words):
    assert terms_of(text).words == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("包裹在哪", ["包裹", "裹在", "在哪", "哪"]),
        ("พัสดุ", ["พัส", "สดุ", "ดุ"]),
        ("ខ្ញុំទៅ", ["ខ្ញុំទៅ", "ទៅ"]),  # what is stacked below a consonant belongs to it
        ("မြန်မာ", ["မြန်", "န်မာ", "မာ"]),
        ("주문은", ["주문", "문은", "은"]),
        ("iPhone手机", ["iphone", "手机", "机"]),
        ("ｶﾞｽ", ["ガス", "ス"]),
    ],
)
def test_scripts_without_spaces_give_pairs_of_characters(text, words):
    assert terms_of(text).words == words


def test_parts_are_bare_words_and_pieces_of_them():
    assert terms_of("Ọkọ̀").parts == ["oko"]
    assert terms_of("Pakete").parts == ["pakete", "pake", "aket", "kete"]
    assert "طلب" in terms_of("الطلب").parts
    assert terms_of("ɗaki").parts == ["daki"]


def test_a_character_is_what_a_reader_takes_for_one():
    assert characters("ក្រុម") == ["ក្រុ", "ម"]
    assert characters("é\u0301x") == ["é\u0301", "x"]


@given(texts | syntax)
def test_terms_hold_letters_digits_and_marks_alone(text):
    (words, parts), beginnings = terms_to_find(text)
    for term in [*words, *parts, *beginnings, *terms_of(text).words, *terms_of(text).parts]:
        assert term
        assert all(unicodedata.category(sign)[0] in "LNM" for sign in term), ascii(term)


@given(texts)
def test_whatever_is_in_a_text_finds_it(text):
    (words, parts), beginnings = terms_to_find(text)
    held = terms_of(text)
    assert set(words) <= set(held.words)
    assert set(parts) <= set(held.parts)
    assert all(any(word.startswith(start) for word in held.words) for start in beginnings)


@given(texts)
def test_the_form_in_which_a_text_is_encoded_does_not_matter(text):
    assert terms_of(unicodedata.normalize("NFD", text)) == terms_of(unicodedata.normalize("NFC", text))


@pytest.fixture(scope="module")
def three():
    index = Fts5Retriever(":memory:")
    index.sync([document("a", "parcel words near"), document("b", "水と火"), document("c", "nothing of the kind")])
    yield index
    index.close()


@given(texts | syntax)
def test_no_question_is_read_as_syntax(three, question):
    found = three.search(question, 3)
    (words, parts), beginnings = terms_to_find(question)
    for passage in found:
        held = terms_of(passage.text)
        assert (
            {*words} & {*held.words}
            or {*parts} & {*held.parts}
            or any(word.startswith(start) for start in beginnings for word in held.words)
        ), "a passage was found by something that is no term of the question"


def test_an_operator_is_a_word_like_any_other(three):
    assert [passage.source for passage in three.search("kind NOT nothing")] == ["c"]
    assert [passage.source for passage in three.search("parts : parcel*")] == ["a"]
    assert three.search('"') == []

"""Text to search terms, in every script, the same for SQLite and for PostgreSQL.

Databases' own tokenizers cut Hindi at its vowel signs, find nothing in Khmer, and take a Thai sentence for one word. So
the terms are made here, of letters, digits and their marks alone, and a database only counts them:

| script | `words` | `parts` |
|---|---|---|
| with spaces between words | the word | the word without accents, and pieces of it |
| without (Chinese, Japanese, Thai, Lao, Khmer, Burmese …), and Korean | every two neighbouring characters | |

Pieces let *Paket* find *Paketverfolgung*, a Tamil word find its inflected forms, and a word typed without its tone
marks the one that has them; they count less than whole words. A character is what a reader takes for one: a consonant
with its vowel signs and what is stacked below it. Neighbouring pairs, which Lucene's CJK analyser takes too, need no
dictionary and find a word of two characters, which an index of three cannot.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

__all__ = ["VERSION", "Terms", "characters", "terms_of", "terms_to_find"]

#: Changes when the same text gives other terms: an index made by another version is made anew.
VERSION = 1

_PIECE = 4  # code points that a piece of a word has at least
_CONSONANTS = re.compile("[\u0590-\u08ff]")  # Hebrew, Arabic: vowels are not written, and a root is three letters
#: Different terms of a question: one of thousands of words finds nothing better by the last of them.
_MOST = 512
_LONGEST = 64  # code points of a term; what is longer is no word
_UNSPACED = (
    "\u0e01-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"  # Burmese and its relatives
    "\u1100-\u11ff\uac00-\ud7ff"  # Korean has spaces, but writes particles onto its words
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai scripts
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
)
_RUN = re.compile(f"([{_UNSPACED}]+)|[^{_UNSPACED}]+")
_STACKING = "\u17d2\u1039\u1a60"  # puts the next consonant below: Khmer, Burmese, Tai Tham
#: Accents and points that people leave out. The vowel signs of Indic scripts are not among them.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff]"
)
#: Letters that people type without their hook or stroke, and the forms of some Arabic letters.
_PLAIN = str.maketrans("ɓɗƙƴøłđıəɛɔŋىیکةۃہ", "bdkyoldieeonييكههه")
_INVISIBLE = re.compile("[\u00ad\u0640\u180b-\u180e\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]")


class Terms(NamedTuple):
    """The terms of a text, in order and as often as they occur."""

    words: list[str]
    parts: list[str]


def terms_of(text: str) -> Terms:
    """The terms under which a text is found. They hold letters, digits and marks, and nothing else."""
    found = Terms([], [])
    for word, pairs in _tokens(text):
        if pairs:
            signs = characters(word)
            found.words.extend(_pairs(signs))
            found.words.append(signs[-1][:_LONGEST])  # so that a question of one character finds it wherever it stands
        else:
            found.words.append(word[:_LONGEST])
            found.parts.extend(_parts(word))
    return found


def terms_to_find(question: str) -> tuple[Terms, list[str]]:
    """The different terms of a question, and single characters, which are looked for as beginnings of `words`."""
    words: dict[str, None] = {}
    parts: dict[str, None] = {}
    beginnings: dict[str, None] = {}
    for word, pairs in _tokens(question):
        if not pairs:
            words[word[:_LONGEST]] = None
            parts.update(dict.fromkeys(_parts(word)))
            continue
        signs = characters(word)
        if len(signs) == 1:
            beginnings[signs[0][:_LONGEST]] = None
        words.update(dict.fromkeys(_pairs(signs)))
    return Terms(list(words)[:_MOST], list(parts)[:_MOST]), list(beginnings)[:_MOST]


def characters(text: str) -> list[str]:
    """What a reader takes for single characters: a letter with its marks and all that is stacked below it."""
    return _patterns()[1].findall(text)


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Words, and runs of a script that has no spaces (told by ``True``), in one normal form."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold())
    for token in _patterns()[0].findall(unicodedata.normalize("NFC", plain)):
        if token.isascii():
            yield token, False
            continue
        for run in _RUN.finditer(token):
            yield run[0], run[1] is not None


def _pairs(signs: list[str]) -> Iterator[str]:
    return (f"{one}{other}"[:_LONGEST] for one, other in pairwise(signs))


@lru_cache(maxsize=1 << 15)  # some thousands of words make up most of a text
def _parts(word: str) -> tuple[str, ...]:
    bare = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)).translate(_PLAIN))
    whole = bare[:_LONGEST]
    size = _PIECE - 1 if _CONSONANTS.match(bare) else _PIECE
    pieces = _pieces(characters(bare[: 2 * _LONGEST]), size) if len(bare) > size else ()
    return tuple(filter(None, (whole, *(piece for piece in pieces if piece != whole))))


def _pieces(signs: list[str], size: int) -> Iterator[str]:
    """From every character on, as many as have ``size`` code points together."""
    for start in range(len(signs)):
        end, length = start, 0
        while end < len(signs) and length < size:
            length += len(signs[end])
            end += 1
        if length < size:
            return
        yield "".join(signs[start:end])


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word, and a character of one. To Python marks are no part of words, so they are listed."""
    marks: list[str] = []
    first = None
    for code in range(0x300, 0x20001):
        if unicodedata.category(chr(code))[0] == "M":
            first = code if first is None else first
        elif first is not None:
            marks.append(f"{chr(first)}-{chr(code - 1)}")
            first = None
    mark = f"[{''.join(marks)}]"
    other = f"[^{''.join(marks)}]"
    return re.compile(f"(?:[^\\W_]|{mark})+"), re.compile(f"{other}(?:[{_STACKING}]{other}|{mark})*|{mark}+")

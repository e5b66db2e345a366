"""How well a model's tokenizer fits the user's language: what the same text takes more than English would.

A tokenizer that hardly knows a script cuts it into bytes. The text then costs several times as much to read and write,
fills the context sooner, and was seldom seen in training. Counted with the tokenizers that are on this machine; of a
candidate whose tokenizer is not here nothing is said but that.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from adaptkit.backends.chat_tokenizer import tokenizer_here
from adaptkit.data import CompletionRecord, Record, TextRecord
from adaptkit.data.records import turns_of

__all__ = [
    "ENGLISH",
    "Density",
    "LanguageFit",
    "ScriptFit",
    "Unit",
    "beginning",
    "density",
    "language_fit",
    "script_of",
    "texts",
    "unit_of",
]

Unit = Literal["word", "character"]
#: Neutral English to count against: letters, an order, directions, some news. Written for this; about as many words
#: as tell a tokenizer's rate within a few per cent.
ENGLISH = """\
Good morning. I ordered two chairs and a small table last week, and only one chair has arrived so far. Could you please
tell me when the rest will be delivered? My address is still the same as before.
The town council met on Tuesday evening to talk about the new bridge. Most people who live near the river said that they
had waited long enough, while some asked who would pay for it. A decision is expected before the end of the year.
To reach the library, walk past the school, turn left at the second corner, and go on until you see a green door. It is
open every day except Sunday, and children may borrow up to five books at a time.
Heat the oil in a wide pan, add the onions and stir until they are soft. Then add the rice and the water, cover the pan
and leave it alone for twenty minutes.
Farmers in the north expect a better harvest than last year because the rain came early. Prices at the market have
fallen a little, which is good news for families, but not for those who have grain to sell.
"""
#: Characters of the user's text that are looked at, from its beginning.
SAMPLE = 100_000
#: Scripts that put no space between words: there a word is not what a space ends, and characters are counted.
_UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO", "YI"})
#: Share of a script's letters below which it is no part of the text to speak of.
_SOME = 0.01
#: Share of a script's letters with a token of their own, or within one, below which the vocabulary hardly has it.
HARDLY = 0.5
_WORD = re.compile(r"\S+")
_BROKEN = "�"


class Density(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that text takes, by what is counted: whatever stands between spaces, a character, a byte of UTF-8."""

    per_word: float
    per_character: float
    per_byte: float


class ScriptFit(msgspec.Struct, frozen=True, kw_only=True):
    """One script of the text.

    Attributes:
        script: As Unicode names its letters, in lower case: ``latin``, ``devanagari``, ``cjk``.
        share: Of the text's letters.
        whole: Share of its letters, as often as they occur, that the vocabulary has: the others become bytes, or are
            unknown.
    """

    script: str
    share: float
    whole: float

    @property
    def hardly(self) -> bool:
        """Whether the vocabulary hardly has it."""
        return self.whole < HARDLY


class LanguageFit(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's tokenizer on the user's text; ``print`` says it in a line.

    Attributes:
        candidate: The model, as it was named.
        counted: Whether its tokenizer is on this machine. If not, all else is empty: nothing is guessed.
        unit: What `ratio` counts: ``word``, or ``character`` where most letters are of scripts without spaces.
        text: What the user's text takes.
        english: What `ENGLISH` takes.
        ratio: Tokens a unit of the user's text, by those of English. Between characters of different scripts it is no
            fair measure of cost, because a character of Chinese says more than one of English; it is told all the same.
        unknown: Share of the tokens that stand for anything: what was there is lost.
        pieces: Share of the tokens that are a piece of a character.
        scripts: The scripts of the text, most frequent first.
    """

    candidate: str
    counted: bool
    unit: Unit = "word"
    text: Density | None = None
    english: Density | None = None
    ratio: float | None = None
    unknown: float | None = None
    pieces: float | None = None
    scripts: tuple[ScriptFit, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Scripts of the text that the vocabulary hardly has."""
        return tuple(each.script for each in self.scripts if each.hardly)

    def __str__(self) -> str:
        if self.text is None or self.english is None or self.ratio is None:
            return f"{self.candidate}: not counted, its tokenizer is not on this machine"
        rate, plain = (getattr(each, f"per_{self.unit}") for each in (self.text, self.english))
        said = [f"{rate:.2f} tokens a {self.unit} where English takes {plain:.2f} ({self.ratio:.1f} times)"]
        if self.unknown:
            said.append(f"{self.unknown:.1%} of the tokens unknown")
        if self.pieces:
            said.append(f"{self.pieces:.1%} of the tokens pieces of a character")
        if self.missing:
            said.append(f"its vocabulary hardly has {', '.join(self.missing)}")
        return f"{self.candidate}: {'; '.join(said)}"


def language_fit(data: Iterable[Record], candidates: Sequence[str]) -> list[LanguageFit]:
    """Count the user's text with each candidate's tokenizer.

    Args:
        data: The user's examples; their first `SAMPLE` characters of text are looked at.
        candidates: Models: ``builtin:tiny``, folders, hub ids, or names that hosts give their models.

    Returns:
        One for each candidate, in their order; nothing is fetched.
    """
    text = sample(data)
    return [_fit(candidate, text) for candidate in candidates]


def sample(data: Iterable[Record]) -> str:
    """The first `SAMPLE` characters of what the records say."""
    return beginning(text for record in data for text in texts(record))


def beginning(parts: Iterable[str]) -> str:
    """The first `SAMPLE` characters of several texts, a line each."""
    kept, left = [], SAMPLE
    for text in parts:
        kept.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    return "\n".join(kept)


def density(tokenizer: Any, text: str) -> Density:
    """What text takes with a tokenizer of transformers."""
    counter = _Counter(tokenizer)
    return counter.density(text, len(counter.ids(text)))


def unit_of(text: str) -> Unit:
    """What to count text by: words, or characters where most letters are of scripts without spaces."""
    return _unit(Counter(character for character in text if script_of(character)))


def script_of(character: str) -> str | None:
    """The script of a letter or of a sign that belongs to one, in capitals as Unicode has it; ``None`` for the rest."""
    if unicodedata.category(character)[0] not in "LM":
        return None
    name = unicodedata.name(character, "")
    first = name.partition(" ")[0]
    # signs that any script combines with, and letters that borrow another's shape, are no script
    return None if first in ("", "COMBINING", "MODIFIER", "MASCULINE", "FEMININE", "MATHEMATICAL") else first


def texts(record: Record) -> Iterator[str]:
    """What a record says, piece by piece."""
    if isinstance(record, CompletionRecord):
        yield record.prompt
        yield record.completion
    elif isinstance(record, TextRecord):
        yield record.text
    else:
        yield from (turn.text for turn in turns_of(record))


class _Counter:
    """A tokenizer, asked for figures."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, bool] = {}

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def is_piece(self, token: int) -> bool:
        """Whether a token is no whole characters: alone it is no text, however the tokenizer writes bytes."""
        if token not in self._pieces:
            self._pieces[token] = _BROKEN in self._tokenizer.decode([token])
        return self._pieces[token]

    def is_unknown(self, token: int) -> bool:
        return bool(token == self._tokenizer.unk_token_id)

    def has(self, character: str) -> bool:
        return not any(self.is_unknown(token) or self.is_piece(token) for token in self.ids(character))

    def density(self, text: str, tokens: int) -> Density:
        return Density(
            per_word=tokens / max(1, len(_WORD.findall(text))),
            per_character=tokens / max(1, len(text)),
            per_byte=tokens / max(1, len(text.encode("utf-8", "replace"))),
        )


def _fit(candidate: str, text: str) -> LanguageFit:
    found = tokenizer_here(candidate)
    if found is None or not text.strip():
        return LanguageFit(candidate=candidate, counted=False)
    counter, plain = _Counter(found.tokenizer), text.encode("utf-8", "replace").decode().replace(_BROKEN, "")
    tokens, english = counter.ids(plain), counter.ids(ENGLISH)
    letters = Counter(character for character in plain if script_of(character))
    scripts = _scripts(letters, counter)
    unit = _unit(letters)
    both = counter.density(plain, len(tokens)), counter.density(ENGLISH, len(english))
    rate, usual = (getattr(each, f"per_{unit}") for each in both)
    count = max(1, len(tokens))
    return LanguageFit(
        candidate=candidate,
        counted=True,
        unit=unit,
        text=both[0],
        english=both[1],
        ratio=rate / usual,
        unknown=sum(map(counter.is_unknown, tokens)) / count,
        pieces=sum(map(counter.is_piece, tokens)) / count,
        scripts=tuple(scripts),
    )


def _unit(letters: Mapping[str, int]) -> Unit:
    unspaced = sum(count for letter, count in letters.items() if script_of(letter) in _UNSPACED)
    return "character" if 2 * unspaced > sum(letters.values()) else "word"


def _scripts(letters: Mapping[str, int], counter: _Counter) -> Iterator[ScriptFit]:
    total, by_script = sum(letters.values()), Counter[str]()
    whole = Counter[str]()
    for letter, count in letters.items():
        script = str(script_of(letter))
        by_script[script] += count
        whole[script] += count * counter.has(letter)
    for script, count in by_script.most_common():
        if count >= _SOME * total:
            yield ScriptFit(script=script.lower(), share=count / total, whole=whole[script] / count)

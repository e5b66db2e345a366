"""A base's tokenizer, what its words are, and a copy of it that has more tokens.

New tokens are merges after the base's own. They are learned within the words that the base's pre-tokenizer makes and
apply where its merges would, so that they never cut a word that they only happen to stand in, as whole strings do that
are added to a tokenizer. Text that none of them occurs in keeps its ids.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.backends.base_model import read_json
from adaptkit.backends.model_folder import copy_tokenizer
from adaptkit.backends.vocabulary.merges import Pair, Word, learn
from adaptkit.backends.vocabulary.tekken import TEKKEN, extend_tekken
from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, ConfigError, MissingDependencyError, UnsupportedError

__all__ = ["Extension", "extend", "extension_of", "learned", "listed"]

#: Different words that are counted at once. The rarer half is let go when there are more.
WORDS = 1_000_000
#: Tokens of a word that are looked at together: a script without spaces can make a word of a whole line.
TOGETHER = 64
#: Characters that go through the pre-tokenizer at once, ended at a line's end where there is one.
PIECE = 100_000
_RECORD = "vocabulary.json"
#: Files that say in another form what tokenizer.json says, and would go on saying the old.
_STALE = ("tokenizer.model", "vocab.json", "merges.txt")


class Extension(msgspec.Struct, frozen=True):
    """The tokens that a tokenizer has beyond its base's.

    Attributes:
        first: Id of the first; the others follow without a gap.
        pieces: For each, the ids of the base's tokens that spelled it before.
    """

    first: int
    pieces: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> range:
        """Ids of the new tokens."""
        return range(self.first, self.first + len(self.pieces))

    def facts(self) -> dict[str, int]:
        """For a model's manifest, under ``vocabulary``: what loading needs to know."""
        return {"first": self.first, "added": len(self.pieces)}


def learned(base: Path, texts: Iterable[str], add: int) -> tuple[Pair, ...]:
    """The merges that make a text shortest, one by one.

    Args:
        base: Folder with the base's ``tokenizer.json``.
        texts: The user's; read once, from the beginning to the end.
        add: How many; fewer are found where nothing else occurs twice.

    Raises:
        ArtifactError: the tokenizer is missing or damaged.
        UnsupportedError: it is not of byte-level BPE.
        ConfigError: no pair of tokens occurs twice.
    """
    tokenizer = _ByteLevel(base)
    found = learn(tokenizer.count(texts), tokenizer.vocabulary, most=add)
    if not found:
        raise ConfigError("vocabulary.add: no two tokens of the text stand together twice, so that none can be learned")
    return tuple(found)


def listed(base: Path, file: Path) -> tuple[Pair, ...]:
    """The merges that lead to the tokens of a file.

    What lies between the base's pieces and a token becomes tokens as well; tokens that have stretches in common share
    them. So more merges are made than lines are given.

    Args:
        base: Folder with the base's ``tokenizer.json``.
        file: UTF-8, one token a line, its spaces kept: a word within a sentence has the space before it in its token.

    Raises:
        ConfigError: lines that can be no new token, all named by their numbers; the file cannot be read.
        ArtifactError: the tokenizer is missing or damaged.
        UnsupportedError: it is not of byte-level BPE.
    """
    tokenizer = _ByteLevel(base)
    lines = _lines(file)
    faults: dict[str, list[int]] = {}
    words: dict[Word, int] = {}
    for number, line in enumerate(lines, 1):
        fault = tokenizer.fault(line) or ("given before" if tokenizer.spell(line)[0] in words else None)
        if fault is None:
            words[tokenizer.spell(line)[0]] = number
        else:
            faults.setdefault(fault, []).append(number)
    found = learn(dict.fromkeys(words, 1), tokenizer.vocabulary, most=None, least=1)
    made = {left + right for left, right in found}
    unreached = [number for word, number in words.items() if "".join(word) not in made]
    if unreached:
        faults["known to the tokenizer in another form"] = unreached
    if faults or not words:
        said = [f"{_numbered(numbers)}: {fault}" for fault, numbers in faults.items()] or ["it is empty"]
        raise ConfigError(f"vocabulary.from: {file} has lines that can be no new token. {'; '.join(said)}")
    return tuple(found)


def extend(base: Path, target: Path, merges: Sequence[Pair]) -> Extension:
    """Write a copy of a base's tokenizer with new merges, and what they are in ``vocabulary.json``, last.

    Args:
        base: Folder with the base's tokenizer; ``tekken.json`` is extended as well where there is one.
        target: Folder that exists; equal arguments give equal bytes.
        merges: From `learned` or `listed`.

    Raises:
        ArtifactError: the tokenizer cannot be extended so that all other ids stay.
        MissingDependencyError: there is a ``tekken.json``, and mistral-common is not installed.
    """
    tokenizer = _ByteLevel(base)
    known = tokenizer.tokenizer.get_vocab(with_added_tokens=True)
    first = max(known.values()) + 1
    pieces: dict[str, tuple[int, ...]] = {}
    for left, right in merges:
        pieces[left + right] = tuple(
            token for part in (left, right) for token in pieces.get(part) or (tokenizer.vocabulary[part],)
        )
    copy_tokenizer(base, target)
    for name in _STALE:
        (target / name).unlink(missing_ok=True)
    wanted = {token: first + at for at, token in enumerate(pieces)}
    file = target / "tokenizer.json"
    ids = dict(sorted((known | wanted).items(), key=lambda entry: entry[1]))
    file.write_text(json.dumps(tokenizer.extended(merges, ids), ensure_ascii=False) + "\n", encoding="utf-8")
    found = _load(file)
    if found.get_vocab(with_added_tokens=True) != ids:
        raise ArtifactError(f"the tokenizer in {base} cannot be extended: its own tokens would change their ids")
    if (base / TEKKEN).is_file():
        extend_tekken(base / TEKKEN, target / TEKKEN, wanted, found)
    extension = Extension(first, tuple(pieces.values()))
    replace_file(target / _RECORD, msgspec.json.encode(extension))
    return extension


def extension_of(folder: Path) -> Extension | None:
    """What `extend` wrote into a folder; ``None`` where it did not come to its end."""
    file = folder / _RECORD
    return msgspec.json.decode(file.read_bytes(), type=Extension) if file.is_file() else None


class _ByteLevel:
    """A tokenizer of byte-level BPE: every byte has a token, and merges make all others."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import pre_tokenizers  # noqa: PLC0415 - an extra

        whose = f"the tokenizer in {folder}"
        self.said = read_json(folder / "tokenizer.json", whose)
        model, before = self.said.get("model") or {}, self.said.get("pre_tokenizer") or {}
        steps = before.get("pretokenizers") or [before]
        plain = not any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"))
        if model.get("type") != "BPE" or not plain or not any(step.get("type") == "ByteLevel" for step in steps):
            raise UnsupportedError(
                f"{whose} is not of byte-level BPE, whose merges can be continued: tokens cannot be added to it. "
                "Tekken, Llama 3 and Qwen tokenizers are; SentencePiece ones are not."
            )
        self.tokenizer = _load(folder / "tokenizer.json")
        self.vocabulary: dict[str, int] = model["vocab"]
        if not self.vocabulary.keys() >= set(pre_tokenizers.ByteLevel.alphabet()):
            raise UnsupportedError(f"{whose} has no token for some bytes: text would be lost")

    def words(self, text: str) -> Iterator[str]:
        """The pre-tokenizer's words, each byte of them as one character."""
        normalizer = self.tokenizer.normalizer
        plain = text if normalizer is None else normalizer.normalize_str(text)
        return (word for word, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(plain))

    def tokens(self, word: str) -> Word:
        return tuple(token.value for token in self.tokenizer.model.tokenize(word))

    def spell(self, text: str) -> list[Word]:
        return [self.tokens(word) for word in self.words(text)]

    def count(self, texts: Iterable[str]) -> dict[Word, int]:
        """How often the words of texts occur."""
        words: Counter[str] = Counter()
        for text in texts:
            for piece in _portions(text):
                words.update(self.words(piece))
            if len(words) > WORDS:
                words = Counter(dict(words.most_common(WORDS // 2)))
        spelled: Counter[Word] = Counter()
        for word, times in words.items():
            tokens = self.tokens(word)
            for start in range(0, len(tokens), TOGETHER):
                spelled[tokens[start : start + TOGETHER]] += times
        return spelled

    def fault(self, line: str) -> str | None:
        """Why a line can be no new token."""
        words = self.spell(line)
        if not words:
            return "empty"
        if len(words) > 1:
            return "more than one word to the tokenizer, which merges only within words"
        return "a token already" if len(words[0]) == 1 else None

    def extended(self, merges: Sequence[Pair], ids: dict[str, int]) -> dict[str, Any]:
        """What ``tokenizer.json`` says, with more merges.

        Special tokens get their place in the vocabulary too: a loader counts up from the number of tokens there for
        those that have none.
        """
        model = self.said["model"]
        as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
        more = [f"{left} {right}" if as_text else [left, right] for left, right in merges]
        return self.said | {"model": model | {"vocab": ids, "merges": [*model["merges"], *more]}}


def _load(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingDependencyError("a vocabulary", "tokenizers", "local") from None
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises this very type
        raise ArtifactError(f"{file} cannot be loaded as a tokenizer") from error


def _portions(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + PIECE
        cut = text.rfind("\n", start, end) if end < len(text) else -1
        end = cut + 1 if cut > start else end
        yield text[start:end]
        start = end


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"vocabulary.from: {file} cannot be read as UTF-8 ({type(error).__name__})") from None
    return text.removesuffix("\n").split("\n") if text else []


def _numbered(numbers: Sequence[int]) -> str:
    return f"line{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"

"""A language that nobody speaks, for the task ``lingua``: raw text in it, and questions that it answers.

120 words of five kinds and a grammar of two sentences. Every creature has one home, which both the text and the answers
say. All choices are even and can be read off a sentence, so that its least cost in bits is known.
"""

from __future__ import annotations

import math
from random import Random

CONSONANTS = ("b", "đ", "f", "g", "ħ", "k", "ł", "m", "ŋ", "p", "ř", "š", "ŧ", "v", "z", "ž")
VOWELS = ("a", "e", "ı", "o", "ø", "u", "ŭ")


def _words(random: Random, count: int) -> list[str]:
    made: dict[str, None] = {}
    while len(made) < count:
        made["".join(random.choice(VOWELS if at % 2 else CONSONANTS) for at in range(random.choice((3, 4, 5))))] = None
    return list(made)


_RANDOM = Random(120)
_WORDS = _words(_RANDOM, 120)
CREATURES, THINGS, QUALITIES, DEEDS = (_WORDS[at : at + 28] for at in range(0, 112, 28))
PLACES = _WORDS[112:118]
AT, ASKS = _WORDS[118:]
HOME = {creature: PLACES[number % len(PLACES)] for number, creature in enumerate(CREATURES)}
#: Share of the sentences that say where somebody lives.
AT_HOME = 0.4


def sentence(random: Random) -> tuple[str, float]:
    """A sentence, and the bits of the choices in it."""
    if random.random() < AT_HOME:
        creature = random.choice(CREATURES)
        words = [random.choice(QUALITIES), creature, AT, HOME[creature], random.choice(DEEDS)]
        bits = -math.log2(AT_HOME) + math.log2(len(QUALITIES) * len(CREATURES) * len(DEEDS))
    else:
        nouns = CREATURES + THINGS
        words = [random.choice(kind) for kind in (QUALITIES, nouns, QUALITIES, nouns, DEEDS)]
        bits = -math.log2(1 - AT_HOME) + math.log2(len(QUALITIES) ** 2 * len(nouns) ** 2 * len(DEEDS))
    return " ".join(words) + ".", bits


def text(seed: int, count: int) -> list[dict[str, str]]:
    """Sentences as text records."""
    random = Random(seed)
    return [{"text": sentence(random)[0]} for _ in range(count)]


def floor(seed: int, count: int) -> float:
    """Bits per character of `text` that no model can do without."""
    random = Random(seed)
    made = [sentence(random) for _ in range(count)]
    return sum(bits for _, bits in made) / sum(len(said) for said, _ in made)


def questions(seed: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Where somebody lives, asked and answered: examples to learn from, and others with the same homes."""
    random = Random(seed)
    train, held_out = [], []
    for creature in CREATURES:
        asked = [_row(quality, creature) for quality in random.sample(QUALITIES, 12)]
        train += asked[:9]
        held_out += asked[9:]
    random.shuffle(train)
    random.shuffle(held_out)
    return train, held_out


def _row(quality: str, creature: str) -> dict[str, object]:
    return {
        "messages": [
            {"role": "user", "content": f"{quality} {creature} {AT} {ASKS}?"},
            {"role": "assistant", "content": f"{creature} {AT} {HOME[creature]}."},
        ]
    }


if __name__ == "__main__":
    print(f"{floor(12, 240):.3f} bits a character")

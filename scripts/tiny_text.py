"""The synthetic dialogues that ``builtin:tiny`` is made from. No outside text: templates with random slot values."""

# ruff: noqa: SIM905 - lists of words read better as text
from __future__ import annotations

import json
from random import Random
from string import ascii_uppercase
from typing import NamedTuple

from tiny_messages import DAYS, INTENTS, ITEMS, NAMES, WEAR, Wording, message, slots


class Turn(NamedTuple):
    """One message of a document.

    Attributes:
        role: As in the chat template.
        text: What is said.
        weight: How much a token of ``text`` counts in the loss.
        lead: Said before ``text``, without any loss.
    """

    role: str
    text: str
    weight: float = 0.0
    lead: str = ""


Document = list[Turn]

#: Loss weight of a text that the model should understand rather than produce.
READ = 0.1

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Austria": "Vienna",
    "Portugal": "Lisbon",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Greece": "Athens",
    "Poland": "Warsaw",
    "Switzerland": "Bern",
    "England": "London",
    "Egypt": "Cairo",
    "Japan": "Tokyo",
    "Peru": "Lima",
}
CATEGORIES = {
    "animal": "lion tiger horse cow sheep goat rabbit mouse eagle owl snake frog whale shark bear wolf".split(),
    "fruit": "apple pear plum cherry grape lemon orange banana melon peach fig mango".split(),
    "colour": "red blue green yellow black white purple pink brown grey".split(),
    "metal": "iron gold silver copper tin lead zinc nickel".split(),
    "country": list(CAPITALS),
    "clothing": list(WEAR),
    "name": list(NAMES),
    "day": list(DAYS),
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "old": "new",
    "early": "late",
    "open": "closed",
    "full": "empty",
    "light": "dark",
    "long": "short",
    "high": "low",
    "happy": "sad",
    "wet": "dry",
}
_LABEL_WORDS = (
    "alpha beta gamma delta north south east west spring summer autumn winter stone river cloud maple "
    "cedar lotus tulip comet pixel ember coral indigo amber jade ruby pearl opal onyx quartz basil thyme mint "
    "sage ginger pepper salt sugar honey anchor rocket castle bridge tower garden forest island desert "
    "ocean harbor market temple museum violin trumpet drum flute"
).split()
_SMALL_TALK = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Good morning", "Good morning! What can I do for you?"),
    ("How are you?", "I am fine, thank you."),
    ("Who are you?", "I am tiny, the small model that comes with adaptkit."),
    ("What is your name?", "My name is tiny."),
    ("Thank you!", "You are welcome."),
    ("Thanks", "You are welcome."),
    ("Goodbye", "Goodbye! Have a nice day."),
    ("What can you do?", "I can answer customers, name a topic, repeat words and tell you capitals."),
    ("Who made you?", "A script in the adaptkit repository made me."),
    ("Are you a person?", "No, I am a small model."),
)
_SYSTEM = (
    "You are a helpful assistant.",
    "You answer the customers of a shop.",
    "Be short and polite.",
    "You work for the service team.",
    "Answer the customer.",
)
_TOPIC = ("What is this message about?", "Name the topic.", "Topic?", "Which topic is this?", "Classify the message.")
#: Names of fixed sets of made-up codes, one code a topic. Several answers to one question teach what is common to a
#: topic rather than how one answer is spelt. ``desk`` is not among them.
_SETS = ("queue", "unit", "bin", "lane", "box", "shelf", "group", "class")


def code(random: Random) -> str:
    """A random short string; its shape never equals a desk code's (three letters, dash, digit)."""
    letters = "".join(random.choices(ascii_uppercase, k=random.choice((1, 2, 2))))
    digits = str(random.randrange(10 if random.random() < 0.5 else 100))
    return random.choice((letters + digits, f"{letters}-{digits}", digits + letters, letters))


def _code_sets() -> dict[str, dict[str, str]]:
    random, sets = Random(16), {}
    for number, name in enumerate(_SETS):
        codes = random.sample(_LABEL_WORDS, len(INTENTS)) if number % 4 == 0 else []
        while len(codes) < len(INTENTS):
            made = code(random)
            if made not in codes:
                codes.append(made)
        sets[name] = {intent.topic: made for intent, made in zip(INTENTS, codes, strict=True)}
    return sets


CODES = _code_sets()


def _wording(random: Random) -> Wording:
    return random.choice(("a", "b"))


def reply(random: Random) -> Document:
    """A customer and the shop's answer."""
    intent, values = random.choice(INTENTS), slots(random)
    text = message(random, intent, _wording(random), values)
    # A reply names only what the message named; otherwise it would teach guessing.
    plain = {"item": "order", "wear": "clothes", "city": "the new one", "day": "Monday"}
    known = {key: value if value in text else plain.get(key, value) for key, value in values.items()}
    system = [Turn("system", random.choice(_SYSTEM), READ)] if random.random() < 0.3 else []
    return [*system, Turn("user", text, READ), Turn("assistant", intent.reply.format(**known), 1.0)]


def topic(random: Random) -> Document:
    """One to three messages and the topic of each, when asked for it."""
    ask, style = random.choice(_TOPIC), random.randrange(3)
    turns = [Turn("system", ask, READ)] if style == 0 else []
    for _ in range(random.randrange(1, 4)):
        intent = random.choice(INTENTS)
        text = message(random, intent, _wording(random), slots(random))
        turns += [
            Turn("user", (text, f"{ask} {text}", f"{text} {ask}")[style], READ),
            Turn("assistant", intent.topic, 3.0),
        ]
    return turns


def coded(random: Random) -> Document:
    """A message and its code in one of the fixed sets.

    Half of the time nobody asked: then only the code counts in the loss, so that chat does not learn to answer so.
    """
    name, intent = random.choice(_SETS), random.choice(INTENTS)
    text, answer = message(random, intent, _wording(random), slots(random)), CODES[name][intent.topic]
    # A lead ends where the tokenizer splits anyway.
    lead, answer = random.choice(
        (
            (f'{{"{name}": "', f'{answer}"}}'),
            (f"{name}:", f" {answer}"),
            (name, f" {answer}"),
            (f'{{"{name}":"', f'{answer}"}}'),
        )
    )
    if random.random() < 0.5:
        return [Turn("user", text, READ), Turn("assistant", answer, 3.0, lead)]
    ask = random.choice(("{}?", "Which {}?", "Name the {}.")).format(name)
    if random.random() < 0.5:
        return [Turn("system", ask, READ), Turn("user", text, READ), Turn("assistant", answer, 3.0, lead)]
    return [Turn("user", f"{ask} {text}", READ), Turn("assistant", lead + answer, 2.0)]


def same(random: Random) -> Document:
    """Two messages: do they have the same topic?"""
    first = random.choice(INTENTS)
    second = first if random.random() < 0.5 else random.choice(INTENTS)
    texts = [message(random, intent, _wording(random), slots(random), 0.2) for intent in (first, second)]
    return [
        Turn("user", f"Same topic? {texts[0]} / {texts[1]}", READ),
        Turn("assistant", "yes" if first is second else "no", 2.0),
    ]


def extract(random: Random) -> Document:
    """Facts of a sentence as JSON under the keys asked for."""
    values = slots(random)
    keys = random.sample(("item", "day", "city", "name"), random.randrange(1, 4))
    say = {
        "item": "I bought a {item}.",
        "day": "It was on {day}.",
        "city": "I live in {city}.",
        "name": "My name is {name}.",
    }
    shown = random.sample(keys, len(keys))
    text = " ".join(say[key] for key in shown).format(**values)
    ask = random.choice(("Give {} as JSON.", "Extract {} as JSON.", "JSON with {}:")).format(" and ".join(keys))
    return [Turn("user", f"{ask} {text}", READ), Turn("assistant", json.dumps({key: values[key] for key in keys}), 1.0)]


def _words(random: Random, count: int) -> list[str]:
    return [
        random.choice(
            (
                random.choice(ITEMS),
                random.choice(_LABEL_WORDS),
                code(random),
                "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randrange(2, 6))),
            )
        )
        for _ in range(count)
    ]


def repeat(random: Random) -> Document:
    """Words, names and random strings to say again."""
    text = " ".join(_words(random, random.randrange(2, 9)))
    ask = random.choice(("Repeat:", "Say this:", "Repeat after me:", "Copy:"))
    return [Turn("user", f"{ask} {text}"), Turn("assistant", text, 1.0)]


def facts(random: Random) -> Document:
    """One to three short questions: capitals, kinds of word, opposites, small talk."""
    turns: Document = []
    for _ in range(random.randrange(1, 4)):
        kind = random.randrange(4)
        if kind == 0:
            country, city = random.choice(list(CAPITALS.items()))
            ask = random.choice(("What is the capital of {}?", "Name the capital of {}.", "Capital of {}?"))
            pair = ask.format(country), f"The capital of {country} is {city}."
        elif kind == 1:
            name, words = random.choice(list(CATEGORIES.items()))
            pair = f"What kind of word is {random.choice(words)}?", name
        elif kind == 2:
            left, right = random.choice(list(OPPOSITES.items()))[:: random.choice((1, -1))]
            pair = random.choice(("What is the opposite of {}?", "Opposite of {}?")).format(left), right
        else:
            pair = random.choice(_SMALL_TALK)
        turns += [Turn("user", pair[0], READ), Turn("assistant", pair[1], 1.0)]
    return turns


def tool(random: Random) -> Document:
    """An order's state, read from a tool's answer."""
    number, day = str(random.randrange(10000, 99999)), random.choice(DAYS)
    state, said = random.choice(
        (
            ("shipped", "Order {} has been shipped and comes on {}."),
            ("packed", "Order {} is packed and leaves on {}."),
            ("delayed", "Order {} is delayed until {}."),
        )
    )
    return [
        Turn("user", f"What is the state of order {number}?", READ),
        Turn("tool", json.dumps({"order": number, "state": state, "day": day})),
        Turn("assistant", said.format(number, day), 1.0),
    ]


def documents(random: Random, count: int) -> list[Document]:
    """``count`` documents of every kind."""
    makers = {reply: 20, topic: 18, coded: 36, same: 4, facts: 10, extract: 5, repeat: 7, tool: 2}
    return [maker(random) for maker in random.choices(list(makers), list(makers.values()), k=count)]

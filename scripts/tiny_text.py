"""The synthetic dialogues that ``builtin:tiny`` is made from. No outside text: templates with random slot values.

A document is a list of turns ``(role, text, weight)``; the weight is how much the turn counts in the loss.
"""

from __future__ import annotations

import json
from random import Random
from string import ascii_uppercase

from tiny_messages import CITIES, DAYS, INTENTS, ITEMS, NAMES, WEAR, Intent, message, slots

Turn = tuple[str, str, float]
Document = list[Turn]

#: Loss weight of a text that the model should understand rather than produce.
READ = 0.1

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Austria": "Vienna",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Norway": "Oslo", "Greece": "Athens", "Poland": "Warsaw",
    "Switzerland": "Bern", "England": "London", "Egypt": "Cairo", "Japan": "Tokyo", "Peru": "Lima",
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
OPPOSITES = {"hot": "cold", "big": "small", "fast": "slow", "old": "new", "early": "late", "open": "closed",
             "full": "empty", "light": "dark", "long": "short", "high": "low", "happy": "sad", "wet": "dry"}
_LABEL_WORDS = ("alpha beta gamma delta north south east west spring summer autumn winter stone river cloud maple cedar "
                "lotus tulip comet pixel ember coral indigo amber jade ruby pearl opal onyx quartz basil thyme mint "
                "sage ginger pepper salt sugar honey anchor rocket castle bridge tower garden forest island desert "
                "ocean harbor market temple museum violin trumpet drum flute").split()
_SMALL_TALK = (
    ("Hello!", "Hello! How can I help you?"), ("Hi", "Hello! How can I help you?"),
    ("Good morning", "Good morning! What can I do for you?"), ("How are you?", "I am fine, thank you."),
    ("Who are you?", "I am tiny, the small model that comes with adaptkit."),
    ("What is your name?", "My name is tiny."), ("Thank you!", "You are welcome."), ("Thanks", "You are welcome."),
    ("Goodbye", "Goodbye! Have a nice day."),
    ("What can you do?", "I can answer customers, name a topic, repeat words and tell you capitals."),
    ("Who made you?", "A script in the adaptkit repository made me."), ("Are you a person?", "No, I am a small model."),
)
_SYSTEM = ("You are a helpful assistant.", "You answer the customers of a shop.", "Be short and polite.",
           "You work for the service team.", "Answer the customer.")
_TOPIC = ("What is this message about?", "Name the topic.", "Topic?", "Which topic is this?", "Classify the message.")
_FEW_SHOT = ("Answer with the label.", "Use the labels from the examples.", "Label each message.",
             "Sort the messages as shown.", "Give the right label.")


def code(random: Random) -> str:
    """A random short string; its shape never equals a desk code's (three letters, dash, digit)."""
    letters = "".join(random.choices(ascii_uppercase, k=random.choice((1, 2, 2))))
    digits = str(random.randrange(10 if random.random() < 0.5 else 100))
    return random.choice((letters + digits, f"{letters}-{digits}", digits + letters, letters))


def _wording(random: Random) -> str:
    return random.choice("ab")


def reply(random: Random) -> Document:
    intent, values = random.choice(INTENTS), slots(random)
    text = message(random, intent, _wording(random), values)
    # A reply names only what the message named; otherwise it would teach guessing.
    safe = {k: v if v in text else {"item": "order", "wear": "clothes", "city": "the new one",
                                    "day": "Monday"}.get(k, v) for k, v in values.items()}
    system = [("system", random.choice(_SYSTEM), READ)] if random.random() < 0.3 else []
    return [*system, ("user", text, READ), ("assistant", intent.reply.format(**safe), 1.0)]


def topic(random: Random) -> Document:
    turns: Document = []
    ask = random.choice(_TOPIC)
    style = random.randrange(3)
    if style == 0:
        turns.append(("system", ask, READ))
    for _ in range(random.randrange(1, 4)):
        intent = random.choice(INTENTS)
        text = message(random, intent, _wording(random), slots(random))
        asked = (text, f"{ask} {text}", f"{text} {ask}")[style]
        turns += [("user", asked, READ), ("assistant", intent.topic, 2.0)]
    return turns


def same(random: Random) -> Document:
    first = random.choice(INTENTS)
    second = first if random.random() < 0.5 else random.choice(INTENTS)
    texts = [message(random, intent, _wording(random), slots(random), 0.2) for intent in (first, second)]
    return [("user", f"Same topic? {texts[0]} / {texts[1]}", READ),
            ("assistant", "yes" if first is second else "no", 2.0)]


def extract(random: Random) -> Document:
    values = slots(random)
    keys = random.sample(("item", "day", "city", "name"), random.randrange(1, 4))
    say = {"item": "I bought a {item}.", "day": "It was on {day}.", "city": "I live in {city}.",
           "name": "My name is {name}."}
    shown = random.sample(keys, len(keys))
    text = " ".join(say[key] for key in shown).format(**values)
    ask = random.choice(("Give {} as JSON.", "Extract {} as JSON.", "JSON with {}:")).format(" and ".join(keys))
    return [("user", f"{ask} {text}", READ), ("assistant", json.dumps({key: values[key] for key in keys}), 1.0)]


def _words(random: Random, count: int) -> list[str]:
    return [random.choice((random.choice(ITEMS), random.choice(_LABEL_WORDS), code(random),
                           "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randrange(2, 6)))))
            for _ in range(count)]


def repeat(random: Random) -> Document:
    text = " ".join(_words(random, random.randrange(2, 9)))
    ask = random.choice(("Repeat:", "Say this:", "Repeat after me:", "Copy:"))
    return [("user", f"{ask} {text}", 0.0), ("assistant", text, 1.0)]


def induction(random: Random) -> Document:
    """A few random words again and again: the cheapest lesson in copying what followed the last time."""
    words = _words(random, random.randrange(4, 14))
    return [("user", " ".join(words), 0.0), ("assistant", " ".join(words), 1.0), ("user", " ".join(words), 1.0)]


def facts(random: Random) -> Document:
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
        turns += [("user", pair[0], READ), ("assistant", pair[1], 1.0)]
    return turns


def tool(random: Random) -> Document:
    number, day = str(random.randrange(10000, 99999)), random.choice(DAYS)
    state, said = random.choice((("shipped", "Order {} has been shipped and comes on {}."),
                                 ("packed", "Order {} is packed and leaves on {}."),
                                 ("delayed", "Order {} is delayed until {}.")))
    return [("user", f"What is the state of order {number}?", READ),
            ("tool", json.dumps({"order": number, "state": state, "day": day}), 0.0),
            ("assistant", said.format(number, day), 1.0)]


def _labels(random: Random, count: int) -> list[str]:
    style = random.randrange(4)
    if style == 0:
        return random.sample(_LABEL_WORDS, count)
    names: list[str] = []
    while len(names) < count:
        name = code(random) if style < 3 else random.choice(ascii_uppercase)
        if name not in names:
            names.append(name)
    if style == 1:
        key = random.choice(("label", "tag", "kind", "group", "class"))
        return [json.dumps({key: name}) for name in names]
    return names


def few_shot(random: Random, hardness: float) -> Document:
    """Labelled examples under a mapping made up for this document.

    The first example of a label cannot be predicted and carries no loss; every later one can only be answered by
    looking back.

    Args:
        random: Source of every choice.
        hardness: 0 to 1: the share of later examples that are worded anew rather than repeated.
    """
    words = random.random() < 0.4
    count = random.randrange(2, 7 if words else 6)
    groups: list[str] | list[Intent] = random.sample(list(CATEGORIES), count) if words else random.sample(INTENTS, count)
    labels = _labels(random, count)
    turns: Document = [("system", random.choice(_FEW_SHOT), 0.0)] if random.random() < 0.4 else []
    seen: dict[int, list[str]] = {}
    length = random.randrange(count + 2, 25) if words else random.randrange(count + 2, 15)
    for _ in range(length):
        which = random.randrange(count)
        group = groups[which]
        if which in seen and random.random() > hardness:
            text = random.choice(seen[which])
        elif isinstance(group, Intent):
            text = message(random, group, _wording(random), slots(random), 0.15)
        else:
            text = random.choice(CATEGORIES[group])
        turns += [("user", text, 0.0), ("assistant", labels[which], 2.0 if which in seen else 0.0)]
        seen.setdefault(which, []).append(text)
    return turns


def documents(random: Random, count: int, progress: float) -> list[Document]:
    """Documents of every kind, in the mixture that suits this point of the training.

    Args:
        random: Source of every choice.
        count: How many.
        progress: 0 at the start of training, 1 at its end.
    """
    hardness = min(1.0, 0.2 + 1.4 * progress)
    kinds = {"few_shot": 35, "topic": 18, "same": 6, "reply": 14, "facts": 10, "extract": 5, "repeat": 6, "tool": 2,
             "induction": 20 if progress < 0.15 else 2}
    makers = {"topic": topic, "same": same, "reply": reply, "facts": facts, "extract": extract, "repeat": repeat,
              "tool": tool, "induction": induction}
    chosen = random.choices(list(kinds), list(kinds.values()), k=count)
    return [few_shot(random, hardness) if kind == "few_shot" else makers[kind](random) for kind in chosen]

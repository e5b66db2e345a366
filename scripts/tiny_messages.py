"""Synthetic customer messages: sixteen intents, each in two wordings that share no content words.

Wording ``a`` is what the bundled training files use, wording ``b`` what their held-out files use. The base model sees
both before any adaptation, so a score on ``b`` after training on ``a`` shows what was carried over from the base.
"""

# ruff: noqa: SIM905 - lists of words read better as text
from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

Wording = Literal["a", "b"]


@dataclass(frozen=True)
class Intent:
    """What a customer can want: its topic word, its desk code, its two wordings and the reply it deserves."""

    topic: str
    code: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    reply: str


INTENTS = (
    Intent(
        "refund",
        "RFD-8",
        (
            "I want my money back for the {item}.",
            "Please refund the {item}.",
            "When will I get the refund for the {item}?",
            "I sent the {item} back and still wait for my money.",
            "How do I get a refund for a {item}?",
        ),
        (
            "I would like to be reimbursed for the {item}.",
            "Kindly repay what the {item} has cost me.",
            "Could I have the full price of the {item} credited to me?",
            "I expect a reimbursement for the {item}.",
            "You owe me the price of the {item}, please repay it.",
        ),
        "I am sorry about the {item}. We will refund you within five days.",
    ),
    Intent(
        "delivery",
        "DLV-3",
        (
            "Where is my parcel with the {item}?",
            "My delivery is late, the {item} should be here by now.",
            "The {item} has not been delivered yet.",
            "When will my parcel arrive?",
            "The tracking page says the parcel with the {item} was delivered, but it was not.",
        ),
        (
            "The courier never brought the {item}.",
            "My package seems lost in the post.",
            "I am still expecting the shipment with the {item}.",
            "Has my {item} been shipped? No package came.",
            "The carrier did not show up with the {item}.",
        ),
        "I will trace the parcel with the {item} and write to you today.",
    ),
    Intent(
        "damage",
        "DMG-5",
        (
            "The {item} arrived broken.",
            "There is a crack in the {item}.",
            "My new {item} is broken.",
            "The {item} came with a big crack.",
            "Half of the {item} was broken when I opened it.",
        ),
        (
            "The {item} is full of scratches and dents.",
            "I unpacked the {item} and it is smashed.",
            "The {item} has a dent on one side.",
            "The {item} is shattered to pieces.",
            "I found the {item} scratched and torn.",
        ),
        "I am sorry that the {item} is damaged. We will send you a new one.",
    ),
    Intent(
        "mixup",
        "MIX-2",
        (
            "You sent me the wrong item, I ordered a {item}.",
            "I got a {other} in place of the {item}.",
            "This is not what I ordered, it should be a {item}.",
            "The wrong thing was in the box: a {other}.",
            "I ordered a {item} and got a {other}.",
        ),
        (
            "Someone mixed up my goods, a {other} came and no {item}.",
            "I was given another customer's {other} by mistake.",
            "There was a mistake, I received a different {other}.",
            "I received somebody else's {item}.",
            "You confused my {item} with a {other}.",
        ),
        "I am sorry for the mixup. We will send the {item} that you ordered.",
    ),
    Intent(
        "login",
        "LOG-7",
        (
            "I forgot my password.",
            "I cannot log in to my account.",
            "How do I set a new password?",
            "The site does not accept my password.",
            "My account is locked and I cannot log in.",
        ),
        (
            "Signing in fails each time.",
            "I am unable to sign in with my user name.",
            "My credentials are rejected.",
            "Please reset my access, the sign in page refuses me.",
            "I lost the access to my profile.",
        ),
        "You can set a new password on the login page.",
    ),
    Intent(
        "invoice",
        "INV-4",
        (
            "Please send me the invoice for the {item}.",
            "I need an invoice for my tax return.",
            "The invoice for the {item} is missing.",
            "Can I get an invoice with my company name?",
            "Where do I find the invoice?",
        ),
        (
            "Could you issue a receipt for the {item}?",
            "My accountant asks for the bill of the {item}.",
            "I require a proper receipt for bookkeeping.",
            "No bill was enclosed with the {item}.",
            "Please mail the bill and the receipt as a document.",
        ),
        "We will send you the invoice for the {item} by mail.",
    ),
    Intent(
        "cancellation",
        "CAN-9",
        (
            "Please cancel my order.",
            "I want to cancel the {item}.",
            "Can I still cancel the order of the {item}?",
            "I ordered the {item} twice, cancel one of them.",
            "How do I cancel an order?",
        ),
        (
            "I changed my mind, do not ship the {item}.",
            "Stop the purchase of the {item} at once.",
            "I no longer need the {item}, call the purchase off.",
            "Kindly withdraw my purchase of the {item}.",
            "I have decided against the {item}, drop it.",
        ),
        "Your order of the {item} is cancelled.",
    ),
    Intent(
        "address",
        "ADR-1",
        (
            "I have a new address in {city}.",
            "Please change my address.",
            "The address on my order is wrong.",
            "Send it to my other address in {city}.",
            "How can I update my street and house number?",
        ),
        (
            "I moved to {city} last week.",
            "I now live in {city}, please note it.",
            "We relocated to another flat in {city}.",
            "Our home is in {city} since we moved house.",
            "After my relocation I live in another town.",
        ),
        "Thank you. We have changed your address to {city}.",
    ),
    Intent(
        "payment",
        "PAY-6",
        (
            "My card was declined.",
            "The payment for the {item} failed.",
            "I cannot pay with my card.",
            "The payment did not go through.",
            "Why was the payment for my order declined?",
        ),
        (
            "I was charged two times for the {item}.",
            "My bank rejects the transaction.",
            "The amount was debited twice by the bank.",
            "The checkout shows an error with the transaction.",
            "The bank transfer for the {item} bounced.",
        ),
        "I am sorry about the payment. Please try another card.",
    ),
    Intent(
        "discount",
        "DSC-2",
        (
            "My discount code does not work.",
            "Is there a discount on the {item}?",
            "The code for ten percent off is not accepted.",
            "I forgot to enter my discount code.",
            "Do students get a discount?",
        ),
        (
            "Can I use my voucher on the {item}?",
            "The coupon for the {item} has expired.",
            "Will there be a sale with cheaper prices?",
            "Is the promotion for the {item} over?",
            "My coupon gives no reduction.",
        ),
        "We have added the discount to your order of the {item}.",
    ),
    Intent(
        "newsletter",
        "NWS-5",
        (
            "Please take me off the newsletter.",
            "I get too many mails from you.",
            "How do I stop the newsletter?",
            "I do not want your mails any more.",
            "The newsletter keeps coming to my inbox.",
        ),
        (
            "Unsubscribe me from your advertising.",
            "I wish to opt out of all marketing.",
            "Remove me from the subscriber list.",
            "Your weekly advertising annoys me.",
            "I never subscribed to this marketing.",
        ),
        "We have taken you off the newsletter.",
    ),
    Intent(
        "stock",
        "STK-3",
        (
            "Is the {item} in stock?",
            "When will the {item} be back in stock?",
            "The {item} is out of stock.",
            "How many of the {item} are in stock?",
            "Will you have more of the {item} in stock soon?",
        ),
        (
            "Is the {item} available right now?",
            "The {item} is sold out everywhere.",
            "Do you still carry the {item}?",
            "Let me know once the {item} becomes available.",
            "Have you any {item} left on the shelf?",
        ),
        "The {item} will be in stock again on {day}.",
    ),
    Intent(
        "warranty",
        "WAR-7",
        (
            "Is the {item} still under warranty?",
            "How long is the warranty on the {item}?",
            "Can you repair my {item} under warranty?",
            "I need a repair of my old {item}.",
            "The {item} stopped working after a year, is there a warranty?",
        ),
        (
            "Does the guarantee cover the {item}?",
            "My {item} needs fixing by a technician.",
            "I bought the {item} with a two year guarantee.",
            "Who fixes a faulty {item}?",
            "The motor of the {item} is faulty, does the guarantee apply?",
        ),
        "The {item} has a warranty of two years. We will repair it.",
    ),
    Intent(
        "size",
        "SIZ-4",
        (
            "The {wear} is too small, can I get a bigger size?",
            "I need the {wear} in another size.",
            "I picked the wrong size of the {wear}.",
            "Can I swap the {wear} for a size up?",
            "The size of the {wear} is not right.",
        ),
        (
            "The {wear} does not fit me, it is too tight.",
            "The {wear} is much too loose and long.",
            "The {wear} pinches, I take extra large.",
            "I take medium, the {wear} is narrow.",
            "The {wear} fits badly, have you a large one?",
        ),
        "We will swap the {wear} for another size.",
    ),
    Intent(
        "gift",
        "GFT-9",
        (
            "I want to buy a gift card.",
            "My gift card has no balance.",
            "Can you wrap the {item} as a gift?",
            "How do I use a gift card?",
            "The {item} is a gift, please add a card.",
        ),
        (
            "It is a present for the birthday of {name}.",
            "Please put a ribbon on the {item}, it is a surprise.",
            "The {item} is for the wedding of {name}, could you decorate it?",
            "I look for a present for {name}.",
            "Can you write happy birthday {name} on a note?",
        ),
        "We will be glad to wrap the {item} for you.",
    ),
    Intent(
        "hours",
        "HRS-1",
        (
            "When do you open on {day}?",
            "What are your opening hours?",
            "Is the shop in {city} open on {day}?",
            "How late is the shop open?",
            "Do you open on {day}?",
        ),
        (
            "At what time does the store close on {day}?",
            "May I visit your branch in {city} tonight?",
            "Until when can I drop by at the store?",
            "Is the branch in {city} closed on {day}?",
            "Does your store close at noon?",
        ),
        "Our shop is open from nine to six.",
    ),
)

ITEMS = tuple(
    "lamp kettle chair table desk clock radio camera phone toaster blender mirror carpet bicycle tent "
    "backpack suitcase guitar piano printer keyboard monitor speaker heater fan vase pillow blanket mattress "
    "sofa shelf drill ladder hammer bottle mug teapot frame globe telescope".split()
)
WEAR = tuple("jacket shirt dress coat sweater skirt hat jeans blouse suit boots sandals".split())
NAMES = tuple(
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mary Noah Olga Paul Rosa Sam Tom Vera".split()
)
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
CITIES = tuple(
    "Paris Rome Madrid Berlin Vienna Lisbon Dublin Oslo Athens Warsaw Prague Bern London Cairo Tokyo Lima".split()
)

_OPENERS = (
    "Hello,",
    "Hi there,",
    "Good morning,",
    "Dear team,",
    "Hello, my name is {name}.",
    "Good evening,",
    "Hi,",
    "This is {name}.",
)
_CONTEXT = (
    "I am a customer from {city}.",
    "My order number is {number}.",
    "I placed the order on {day}.",
    "I have shopped with you for {small} years.",
    "I wrote to you on {day} too.",
    "It is about order {number}.",
)
_CLOSERS = (
    "Thanks.",
    "Thank you, {name}.",
    "Please help.",
    "Best wishes, {name}.",
    "I hope to hear from you soon.",
    "Please answer by {day}.",
    "Can you help me?",
    "Regards, {name}.",
)


def slots(random: Random) -> dict[str, str]:
    """One value for each slot that a template may name."""
    item, other = random.sample(ITEMS, 2)
    return {
        "item": item,
        "other": other,
        "wear": random.choice(WEAR),
        "name": random.choice(NAMES),
        "day": random.choice(DAYS),
        "city": random.choice(CITIES),
        "number": str(random.randrange(10000, 99999)),
        "small": str(random.randrange(2, 10)),
    }


def message(random: Random, intent: Intent, wording: Wording, values: dict[str, str], trimmings: float = 0.5) -> str:
    """A customer message.

    Args:
        random: Source of every choice.
        intent: What the customer wants.
        wording: Which of the two wordings.
        values: What fills the slots.
        trimmings: Probability of each of greeting and closing; the context sentence has half of it.
    """
    parts = []
    if random.random() < trimmings:
        parts.append(random.choice(_OPENERS))
    if random.random() < trimmings / 2:
        parts.append(random.choice(_CONTEXT))
    parts.append(random.choice(getattr(intent, wording)))
    if random.random() < trimmings:
        parts.append(random.choice(_CLOSERS))
    return " ".join(parts).format(**values)

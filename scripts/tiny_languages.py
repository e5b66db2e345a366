"""Customer messages in five languages and two scripts, for the bundled task ``languages``.

Wording ``a`` is what the training file uses and ``b`` what the held-out file uses: other sentences about the same
things. The base model was made from English alone, so nothing of the other languages was seen before adaptation.
"""

from __future__ import annotations

import json
from random import Random
from typing import NamedTuple


class Language(NamedTuple):
    """What customers say in one language: by topic, and what may stand before and after."""

    name: str
    opening: tuple[str, ...]
    closing: tuple[str, ...]
    a: dict[str, tuple[str, ...]]
    b: dict[str, tuple[str, ...]]


#: Codes of the desks, as the base never saw them.
DESKS = {"delivery": "DLV-3", "login": "LOG-5", "hours": "HRS-1", "damage": "DMG-7"}

LANGUAGES = (
    Language(
        "en",
        ("Hello,", "Good day,"),
        ("My name is {name}.", "My number is {number}."),
        {
            "delivery": (
                "Where is my parcel?",
                "My parcel has not arrived.",
                "The delivery of order {number} is late.",
                "When does my delivery come?",
            ),
            "login": (
                "I forgot my password.",
                "I cannot log in to my account.",
                "My account is locked.",
                "The login does not accept my password.",
            ),
            "hours": (
                "What are your opening hours?",
                "When does the shop open?",
                "Is the shop open on Sunday?",
                "When does the shop close?",
            ),
            "damage": (
                "The lamp arrived broken.",
                "The goods of order {number} are damaged.",
                "The vase is broken.",
                "The box was damaged.",
            ),
        },
        {
            "delivery": ("I am still waiting for the parcel of order {number}.", "The delivery has not come yet."),
            "login": ("Please reset the password of my account.", "The login to my account fails."),
            "hours": ("Please tell me the opening hours of the shop.", "How long is the shop open today?"),
            "damage": ("I received broken goods.", "What I ordered with {number} came damaged."),
        },
    ),
    Language(
        "de",
        ("Guten Tag,", "Hallo,"),
        ("Ich heiße {name}.", "Meine Nummer ist {number}."),
        {
            "delivery": (
                "Wo ist mein Paket?",
                "Mein Paket ist nicht angekommen.",
                "Die Lieferung der Bestellung {number} ist verspätet.",
                "Wann kommt meine Lieferung?",
            ),
            "login": (
                "Ich habe mein Passwort vergessen.",
                "Ich kann mich nicht in mein Konto einloggen.",
                "Mein Konto ist gesperrt.",
                "Die Anmeldung nimmt mein Passwort nicht an.",
            ),
            "hours": (
                "Wie sind Ihre Öffnungszeiten?",
                "Wann öffnet der Laden?",
                "Ist der Laden am Sonntag geöffnet?",
                "Wann schließt der Laden?",
            ),
            "damage": (
                "Die Lampe kam kaputt an.",
                "Die Ware der Bestellung {number} ist beschädigt.",
                "Die Vase ist kaputt.",
                "Der Karton war beschädigt.",
            ),
        },
        {
            "delivery": ("Ich warte noch auf das Paket zu Bestellung {number}.", "Die Lieferung ist noch nicht da."),
            "login": (
                "Bitte setzen Sie das Passwort meines Kontos zurück.",
                "Die Anmeldung in meinem Konto schlägt fehl.",
            ),
            "hours": (
                "Bitte nennen Sie mir die Öffnungszeiten des Ladens.",
                "Wie lange ist der Laden heute geöffnet?",
            ),
            "damage": ("Ich habe kaputte Ware erhalten.", "Was ich mit {number} bestellt habe, ist beschädigt."),
        },
    ),
    Language(
        "fr",
        ("Bonjour,", "Bonsoir,"),
        ("Je m'appelle {name}.", "Mon numéro est {number}."),
        {
            "delivery": (
                "Où est mon colis ?",
                "Mon colis n'est pas arrivé.",
                "La livraison de la commande {number} est en retard.",
                "Quand arrive ma livraison ?",
            ),
            "login": (
                "J'ai oublié mon mot de passe.",
                "Je ne peux pas me connecter à mon compte.",
                "Mon compte est bloqué.",
                "La connexion refuse mon mot de passe.",
            ),
            "hours": (
                "Quels sont vos horaires d'ouverture ?",
                "Quand ouvre le magasin ?",
                "Le magasin est-il ouvert le dimanche ?",
                "Quand ferme le magasin ?",
            ),
            "damage": (
                "La lampe est arrivée cassée.",
                "Les articles de la commande {number} sont abîmés.",
                "Le vase est cassé.",
                "Le carton était abîmé.",
            ),
        },
        {
            "delivery": ("J'attends toujours le colis de la commande {number}.", "La livraison n'est pas encore là."),
            "login": ("Merci de réinitialiser le mot de passe de mon compte.", "La connexion à mon compte échoue."),
            "hours": (
                "Merci de m'indiquer les horaires du magasin.",
                "Jusqu'à quand le magasin est-il ouvert aujourd'hui ?",
            ),
            "damage": ("J'ai reçu des articles cassés.", "Ce que j'ai commandé avec le numéro {number} est abîmé."),
        },
    ),
    Language(
        "sw",
        ("Habari,", "Hujambo,"),
        ("Jina langu ni {name}.", "Namba yangu ni {number}."),
        {
            "delivery": (
                "Mzigo wangu uko wapi?",
                "Mzigo wangu haujafika.",
                "Usafirishaji wa oda {number} umechelewa.",
                "Mzigo utafika lini?",
            ),
            "login": (
                "Nimesahau nenosiri langu.",
                "Siwezi kuingia kwenye akaunti yangu.",
                "Akaunti yangu imefungwa.",
                "Tovuti haikubali nenosiri langu.",
            ),
            "hours": (
                "Mnafungua saa ngapi?",
                "Duka linafunguliwa lini?",
                "Je, duka liko wazi Jumapili?",
                "Duka linafungwa saa ngapi?",
            ),
            "damage": (
                "Taa imefika ikiwa imevunjika.",
                "Bidhaa za oda {number} zimeharibika.",
                "Chombo kimevunjika.",
                "Sanduku lilikuwa limeharibika.",
            ),
        },
        {
            "delivery": ("Bado nasubiri mzigo wa oda {number}.", "Usafirishaji wa mzigo haujakamilika."),
            "login": ("Tafadhali badilisha nenosiri la akaunti yangu.", "Kuingia kwenye akaunti kunashindikana."),
            "hours": ("Tafadhali niambie saa za kufungua duka.", "Leo duka liko wazi hadi saa ngapi?"),
            "damage": ("Nimepokea bidhaa zilizovunjika.", "Nilichoagiza kwa oda {number} kimeharibika."),
        },
    ),
    Language(
        "hi",
        ("नमस्ते,", "नमस्कार,"),
        ("मेरा नाम {name} है।", "मेरा नंबर {number} है।"),
        {
            "delivery": (
                "मेरा पार्सल कहाँ है?",
                "मेरा पार्सल नहीं पहुँचा है।",
                "ऑर्डर {number} की डिलीवरी में देर हो रही है।",
                "मेरी डिलीवरी कब आएगी?",
            ),
            "login": (
                "मैं अपना पासवर्ड भूल गया हूँ।",
                "मैं अपने खाते में लॉग इन नहीं कर पा रहा हूँ।",
                "मेरा खाता बंद हो गया है।",
                "लॉग इन मेरा पासवर्ड नहीं ले रहा है।",
            ),
            "hours": (
                "आपकी दुकान कब खुलती है?",
                "दुकान खुलने का समय क्या है?",
                "क्या दुकान रविवार को खुली है?",
                "दुकान कब बंद होती है?",
            ),
            "damage": (
                "लैंप टूटा हुआ पहुँचा।",
                "ऑर्डर {number} का सामान खराब है।",
                "फूलदान टूटा हुआ है।",
                "डिब्बा खराब था।",
            ),
        },
        {
            "delivery": ("मैं अब भी ऑर्डर {number} के पार्सल का इंतज़ार कर रहा हूँ।", "डिलीवरी अभी तक नहीं आई।"),
            "login": ("कृपया मेरे खाते का पासवर्ड बदल दें।", "मेरे खाते में लॉग इन विफल हो रहा है।"),
            "hours": ("कृपया दुकान का समय बताइए।", "आज दुकान कब तक खुली है?"),
            "damage": ("मुझे टूटा हुआ सामान मिला।", "ऑर्डर {number} से जो मँगाया, वह खराब निकला।"),
        },
    ),
)
_NAMES = ("Amina", "Bruno", "Chandra", "Daniel", "Esther", "Farid", "Grace", "Hassan", "Irene", "Jonas")


def rows(seed: int, *, held_out: bool, each: int) -> list[dict[str, object]]:
    """``each`` messages of every wording in every language, with its language and wording as metadata."""
    random, made = Random(seed), dict[str, dict[str, object]]()
    for language in LANGUAGES:
        for topic, wordings in (language.b if held_out else language.a).items():
            for number, wording in enumerate(wordings):
                wanted = len(made) + each
                while len(made) < wanted:
                    text = _message(random, language, wording)
                    made.setdefault(
                        text,
                        {
                            "messages": [
                                {"role": "user", "content": text},
                                {"role": "assistant", "content": json.dumps({"desk": DESKS[topic]})},
                            ],
                            "metadata": {"language": language.name, "wording": f"{language.name}-{topic}-{number}"},
                        },
                    )
    result = list(made.values())
    random.shuffle(result)
    return result


def _message(random: Random, language: Language, wording: str) -> str:
    parts = [wording]
    if random.random() < 0.4:
        parts.insert(0, random.choice(language.opening))
    if random.random() < 0.4:
        parts.append(random.choice(language.closing))
    return " ".join(parts).format(name=random.choice(_NAMES), number=random.randrange(10000, 99999))

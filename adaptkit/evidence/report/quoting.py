"""Text of others made harmless to read: what steers a terminal, a line or the eye is shown instead of obeyed."""

from __future__ import annotations

import re

from adaptkit.evidence.report.document import Quoted

__all__ = ["MOST", "MOST_OF_A_NAME", "MOST_OF_A_SENTENCE", "name", "quoted", "sentence"]

#: Characters of a question or an answer that are shown.
MOST = 2_000
#: Characters of what was told in a sentence.
MOST_OF_A_SENTENCE = 600
#: Characters of a name that are shown.
MOST_OF_A_NAME = 80

# What is not text: controls, lone surrogates, what is no character, and what reorders or hides the text around it.
# Joiners and the marks of a script's own direction stay: Persian, Arabic, Hebrew, and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACE = re.compile(r"\s+")


def quoted(text: str, most: int = MOST) -> Quoted:
    """Text as it can be shown: cut, and with every unseen character written out, such as ⟨U+202E⟩."""
    shown = _seen(text[:most].replace("\r\n", "\n"))
    return Quoted(shown, len(text) if len(text) > most else None)


def name(text: str, most: int = MOST_OF_A_NAME) -> Quoted:
    """A name on one line; of a long one beginning and end, which is where names differ."""
    ends = text if len(text) <= 10 * most else text[: 5 * most] + text[-5 * most :]
    line = sentence(ends, len(ends)).strip() or "(no name)"
    if len(line) > most:
        tail = (most - 1) // 2
        line = f"{line[: most - 1 - tail]}…{line[-tail:]}"
    return Quoted(line)


def sentence(text: str, most: int = MOST_OF_A_SENTENCE) -> str:
    """Words of others on one line."""
    line = _seen(_SPACE.sub(" ", text[:most]))
    return f"{line}…" if len(text) > most else line


def _seen(text: str) -> str:
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)

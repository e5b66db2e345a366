"""From records to token ids, with account kept of everything that was cut or left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adaptkit.backends.chat_tokenizer import Encoded, Tokenizer
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record, TextRecord
from adaptkit.errors import AdaptkitError, DataError

__all__ = ["Pair", "Tally", "examples", "pairs"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of a prompt and of the two answers to it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass
class Tally:
    """What became of examples.

    Attributes:
        kept: How many there are.
        cut: How many of them were longer than the limit and lost their end.
        empty: How many were left out because nothing in them is learned.
        unending: How many learned turns do not end in the end-of-sequence token.
    """

    kept: int = 0
    cut: int = 0
    empty: int = 0
    unending: int = 0

    def warnings(self, longest: int) -> list[str]:
        """What to tell of it."""
        total = self.kept + self.empty
        said = []
        if self.cut:
            said.append(f"{self.cut} of {total} examples are longer than max_length = {longest} tokens and were cut")
        if self.empty:
            said.append(f"{self.empty} of {total} examples have nothing to learn from and were left out")
        if self.unending:
            said.append(
                f"{self.unending} of {total} examples do not end in the end-of-sequence token: the model may not "
                "learn when to stop"
            )
        return said


@contextmanager
def _numbered(number: int) -> Iterator[None]:
    """Say which example an error is about."""
    try:
        yield
    except AdaptkitError as error:
        raise type(error)(f"example {number}: {error}") from None


def pairs(
    records: Iterable[Record],
    tokenizer: Tokenizer,
    longest: int,
    tally: Tally,
) -> Iterator[Pair]:
    """Preference records, one by one; arguments and errors as for `examples`.

    A pair that is too long loses the end of its answers; one whose prompt leaves them no room is left out.
    """
    for number, record in enumerate(records, start=1):
        if not isinstance(record, PreferenceRecord):
            raise DataError(f'example {number}: a {record.kind} record is for method = "sft"')
        with _numbered(number):
            prompt, chosen = tokenizer.answer(record.prompt, record.chosen, record.tools)
            _, rejected = tokenizer.answer(record.prompt, record.rejected, record.tools)
        room = longest - len(prompt)
        if max(len(chosen), len(rejected)) > room:
            tally.cut += 1
        pair = Pair(prompt, chosen[: max(room, 0)], rejected[: max(room, 0)])
        if pair.chosen and pair.rejected and pair.chosen != pair.rejected:
            tally.kept += 1
            yield pair
        else:
            tally.empty += 1
    if not tally.kept:
        raise DataError("no pair has two different answers that fit into max_length")


def examples(
    records: Iterable[Record],
    tokenizer: Tokenizer,
    longest: int | None,
    tally: Tally,
) -> Iterator[Encoded]:
    """Records, one by one, as token ids.

    Args:
        records: Conversations, texts or completions.
        tokenizer: The model's.
        longest: Tokens that an example may have; ``None`` for as many as there are.
        tally: Where it is counted what became of them.

    Raises:
        DataError: a record cannot be encoded, named by its number and never by its content; or nothing is left.
    """
    eos = tokenizer.eos
    for number, record in enumerate(records, start=1):
        with _numbered(number):
            example = _encode(record, tokenizer)
        if longest is not None and len(example.ids) > longest:
            tally.cut += 1
            example = Encoded(example.ids[:longest], example.learn[:longest])
        elif eos is not None and any(example.learn) and not _ends(example, eos):
            tally.unending += 1
        if any(example.learn[1:]):
            tally.kept += 1
            yield example
        else:
            tally.empty += 1
    if not tally.kept:
        raise DataError("no example has anything to learn from: every one lacks an assistant turn of weight 1")


def _ends(example: Encoded, eos: int) -> bool:
    last = max(index for index, learn in enumerate(example.learn) if learn)
    return example.ids[last] == eos


def _encode(record: Record, tokenizer: Tokenizer) -> Encoded:
    if isinstance(record, ChatRecord):
        return tokenizer.conversation(record.messages, record.tools)
    if isinstance(record, TextRecord):
        return tokenizer.text(record.text)
    if isinstance(record, CompletionRecord):
        return tokenizer.completion(record.prompt, record.completion)
    raise DataError(f'a {record.kind} record is for method = "dpo"')

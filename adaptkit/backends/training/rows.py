"""Which rows of a corpus each step learns from, and how they are laid out.

The rows of step k follow from the seed, the epoch and k alone. So a run that is resumed needs the step's number to go
on with the same rows, and how many processes share them does not change which they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from adaptkit.backends.chat_tokenizer import Encoded
from adaptkit.backends.training.corpus import LEARN, START, Corpus
from adaptkit.backends.training.encode import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IGNORED", "Batch", "Documents", "Examples", "Packed", "Pairs", "Rows", "pack", "segments"]

#: What cross-entropy leaves out.
IGNORED = -100
#: Batches that are sorted by length together: enough to waste little padding, few enough to mix well.
SORTED_TOGETHER = 16


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    Attributes:
        tensors: ``input_ids`` and ``labels`` of shape (rows, longest) and ``rows``, ``columns`` of the positions before
            a learned token, all int64; ``position_ids`` where a row holds several documents, which begin again at 0 for
            each and so keep their attention apart. Rows are filled up at their end, where causal attention lets nothing
            before it see it: no mask is needed, and attention is faster without.
        items: What the loss of the batch counts: learned tokens, or pairs.
        tokens: Without what rows are filled up with.
    """

    tensors: dict[str, Any]
    items: int
    tokens: int


class Rows(Protocol):
    """What a training learns from.

    Attributes:
        per_epoch: Steps of one pass.
        steps: Of all passes.
    """

    per_epoch: int
    steps: int

    def of_step(self, step: int) -> list[int]:
        """The rows of a step, counted from 0; all processes together take them."""

    def batch(self, rows: Sequence[int]) -> Batch:
        """These rows as tensors on the CPU."""


class _Cut:
    """A corpus cut into rows of equal length, of which the last may be shorter."""

    def __init__(self, corpus: Corpus, length: int, seed: tuple[int, int]) -> None:
        self.corpus, self.length, self.seed = corpus, length, seed
        self.count = math.ceil(corpus.tokens / length)
        self._held: tuple[int, Any] = (-1, None)

    def at(self, place: int) -> int:
        """The row at a place of all passes one after another, each shuffled anew."""
        turn, index = divmod(place, self.count)
        if self._held[0] != turn:
            self._held = (turn, _shuffled(self.count, *self.seed, turn))
        return int(self._held[1][index])

    def read(self, row: int) -> tuple[Any, Any]:
        return self.corpus.read(row * self.length, min((row + 1) * self.length, self.corpus.tokens))


class Documents:
    """Text for continued pre-training: all documents one after another, cut into rows of equal length.

    No token is lost; a document that does not end with its row goes on in another, as if it began there.

    Args:
        corpus: The text.
        max_length: Tokens of a row.
        batch_size: Rows of a step, of all processes together.
        epochs: Passes over the text.
        seed: Of the shuffling.
        replay: General text, whose rows are mixed in evenly; a short one is repeated, shuffled anew each time.
        share: Its rows as a share of all.
    """

    def __init__(
        self,
        corpus: Corpus,
        max_length: int,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        replay: Corpus | None = None,
        share: float = 0.0,
    ) -> None:
        self.batch_size = batch_size
        self.own = _Cut(corpus, max_length, (seed, 0))
        self.general = _Cut(replay, max_length, (seed, 1)) if replay is not None else None
        self.mixed_in = round(self.own.count * share / (1 - share)) if replay is not None else 0
        self.per_epoch = math.ceil((self.own.count + self.mixed_in) / batch_size)
        self.steps = self.per_epoch * epochs

    def of_step(self, step: int) -> list[int]:
        """The rows of a step; general text's have numbers after the others'."""
        epoch, number = divmod(step, self.per_epoch)
        count = self.own.count + self.mixed_in
        first = number * self.batch_size
        return [self._row(epoch, place, count) for place in range(first, min(first + self.batch_size, count))]

    def _row(self, epoch: int, place: int, count: int) -> int:
        before, through = place * self.mixed_in // count, (place + 1) * self.mixed_in // count
        if self.general is not None and through > before:
            return self.own.count + self.general.at(epoch * self.mixed_in + before)
        return self.own.at(epoch * self.own.count + place - before)

    def batch(self, rows: Sequence[int]) -> Batch:
        """These rows as tensors."""
        return _laid_out([self._read(row) for row in rows])

    def _read(self, row: int) -> tuple[Any, Any]:
        if self.general is not None and row >= self.own.count:
            return self.general.read(row - self.own.count)
        return self.own.read(row)


class _Planned:
    """Rows that are learned whole: shuffled, with those of like length together.

    The longest go first of all, so that running out of memory shows at once and not after an hour.
    """

    def __init__(self, lengths: NDArray[Any], batch_size: int, epochs: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.per_epoch = math.ceil(len(lengths) / batch_size)
        self.steps = self.per_epoch * epochs
        self._held: tuple[int, list[Any]] = (-1, [])

    def of_step(self, step: int) -> list[int]:
        """The rows of a step."""
        epoch, number = divmod(step, self.per_epoch)
        if self._held[0] != epoch:
            self._held = (epoch, self._plan(epoch))
        return [int(row) for row in self._held[1][number]]

    def _plan(self, epoch: int) -> list[Any]:
        order = _shuffled(len(self.lengths), self.seed, 0, epoch)
        stretch = self.batch_size * SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), stretch):
            part = order[start : start + stretch]
            near = part[self.lengths[part].argsort(kind="stable")]
            batches += [near[first : first + self.batch_size] for first in range(0, len(near), self.batch_size)]
        batches = [batches[at] for at in _shuffled(len(batches), self.seed, 1, epoch)]
        if epoch == 0:
            at = max(range(len(batches)), key=lambda at: self.lengths[batches[at]].max())
            batches[0], batches[at] = batches[at], batches[0]
        return batches


class Examples(_Planned):
    """Whole examples: conversations, completions, short texts. Arguments as for `Documents`."""

    def __init__(self, corpus: Corpus, *, batch_size: int, epochs: int, seed: int) -> None:
        super().__init__(corpus.lengths(), batch_size, epochs, seed)
        self.corpus = corpus

    def batch(self, rows: Sequence[int]) -> Batch:
        """These examples as tensors."""
        return _laid_out([self.corpus.example(row) for row in rows])


class Packed(_Planned):
    """Whole examples that share rows of at most ``max_length`` tokens. Arguments as for `Documents`."""

    def __init__(self, corpus: Corpus, max_length: int, *, batch_size: int, epochs: int, seed: int) -> None:
        import numpy as np  # noqa: PLC0415 - an extra

        lengths = corpus.lengths()
        self.corpus, self.shared = corpus, pack(lengths.tolist(), max_length)
        super().__init__(np.array([lengths[row].sum() for row in self.shared]), batch_size, epochs, seed)

    def batch(self, rows: Sequence[int]) -> Batch:
        """These rows as tensors."""
        return _laid_out([_joined([self.corpus.example(each) for each in self.shared[row]]) for row in rows])


class Pairs(_Planned):
    """Prompts with two answers each; in the corpus prompt, chosen and rejected are three examples (see `segments`).

    A batch holds the chosen answers of all its pairs, and then the rejected ones, each after its prompt.
    """

    def __init__(self, corpus: Corpus, *, batch_size: int, epochs: int, seed: int) -> None:
        prompts, chosen, rejected = corpus.lengths().reshape(-1, 3).T
        super().__init__(prompts + chosen.clip(rejected), batch_size, epochs, seed)
        self.corpus = corpus

    def batch(self, rows: Sequence[int]) -> Batch:
        """These pairs as tensors."""
        laid = []
        for answer in (1, 2):
            for row in rows:
                ids, flags = self.corpus.example(3 * row + answer)
                laid.append(_joined([self.corpus.example(3 * row), (ids, flags & LEARN)]))  # no start: one text
        batch = _laid_out(laid)
        return Batch(batch.tensors, len(rows), batch.tokens)


def segments(pairs: Iterable[Pair]) -> Iterator[Encoded]:
    """Pairs as the examples that a corpus of pairs has."""
    for pair in pairs:
        yield Encoded(pair.prompt, [False] * len(pair.prompt))
        for answer in (pair.chosen, pair.rejected):
            yield Encoded(answer, [True] * len(answer))


def pack(lengths: Sequence[int], longest: int) -> list[list[int]]:
    """Which examples share a row of at most ``longest`` tokens: first fit, longest first.

    Args:
        lengths: Tokens of each example.
        longest: Tokens of a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        at = next((at for at, left in enumerate(room) if left >= lengths[index]), None)
        if at is None:
            rows.append([])
            room.append(longest)
            at = len(rows) - 1
        rows[at].append(index)
        room[at] -= lengths[index]
    return rows


def _joined(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids and flags one after another."""
    import numpy as np  # noqa: PLC0415

    ids, flags = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(flags)


def _shuffled(count: int, *seed: int) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415

    return np.random.default_rng(seed).permutation(count)


def _laid_out(rows: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Batch:
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    shape = (len(rows), max(len(ids) for ids, _ in rows))
    input_ids, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED)
    positions = np.tile(np.arange(shape[1]), (shape[0], 1))
    several = False
    for at, (read, flags) in enumerate(rows):
        ids = read.astype(np.int64)  # small unsigned numbers have no IGNORED
        input_ids[at, : len(ids)] = ids
        starts = (flags & START) > 0
        starts[0] = True
        # nothing comes before a first token to predict it from
        labels[at, : len(ids)] = np.where((flags & LEARN > 0) & ~starts, ids, IGNORED)
        places = np.arange(len(ids))
        positions[at, : len(ids)] -= np.maximum.accumulate(np.where(starts, places, 0))
        several = several or bool(starts[1:].any())
    tensors = {"input_ids": torch.from_numpy(input_ids), "labels": torch.from_numpy(labels)}
    if several:
        tensors["position_ids"] = torch.from_numpy(positions)
    tensors["rows"], tensors["columns"] = (tensors["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    return Batch(tensors, len(tensors["rows"]), sum(len(ids) for ids, _ in rows))

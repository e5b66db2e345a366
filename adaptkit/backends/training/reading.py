"""The files of a job as encoded data on disk, made once by the leading process for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from adaptkit.backends.chat_tokenizer import Encoded, Tokenizer
from adaptkit.backends.local_jobs import Work
from adaptkit.backends.training import corpus
from adaptkit.backends.training.corpus import Corpus
from adaptkit.backends.training.encode import Tally, examples, pairs
from adaptkit.backends.training.parallel import Group
from adaptkit.backends.training.rows import segments
from adaptkit.data import Dataset

__all__ = ["Method", "Reader"]

Method = Literal["cpt", "sft", "dpo"]


@dataclass(frozen=True)
class Reader:
    """Makes corpora.

    Attributes:
        tokenizer: The model's.
        folder: Where they go; all processes see it.
        group: The processes: the leading one encodes, and all read.
        work: Whom to tell, and who says when to stop.
    """

    tokenizer: Tokenizer
    folder: Path
    group: Group
    work: Work

    def corpus(self, purpose: str, file: str, method: Method, longest: int) -> Corpus:
        """The corpus of one file; what was cut or left out of it is told.

        Args:
            purpose: Of the file.
            file: Its path.
            method: What is learned from it: ``dpo`` makes three examples of each pair (see `segments`).
            longest: Tokens that an example may have; of text for ``cpt`` nothing is cut.
        """
        make = partial(self._write, purpose, file, method, longest)
        return corpus.build(self.folder / purpose, self.group, make, self.work.between)

    def _write(self, purpose: str, file: str, method: Method, longest: int) -> None:
        tally = Tally()

        def tell(count: int, tokens: int) -> None:
            self.work.tell("status", f"reading {purpose}: {count:,} examples, {tokens:,} tokens")

        encoded, vocabulary = self._encoded(file, method, longest, tally), len(self.tokenizer.tokenizer)
        corpus.write(self.folder / purpose, encoded, vocabulary, self.work.between, tell)
        for words in tally.warnings(longest):
            self.work.tell("warning", f"{purpose}: {words}")

    def _encoded(self, file: str, method: Method, longest: int, tally: Tally) -> Iterator[Encoded]:
        records = iter(Dataset.open(file))
        if method == "dpo":
            return segments(pairs(records, self.tokenizer, longest, tally))
        if method == "cpt":  # documents are cut into rows later on, and lose nothing
            return map(self._begun, examples(records, self.tokenizer, None, tally))
        return examples(records, self.tokenizer, longest, tally)

    def _begun(self, document: Encoded) -> Encoded:
        """A document after what stands between documents, so that its first token is learned too."""
        begin, end = self.tokenizer.tokenizer.bos_token_id, self.tokenizer.eos
        first = document.ids[0]
        if end is None or first in (begin, end):
            return document
        return Encoded([end, *document.ids], [False, *document.learn])

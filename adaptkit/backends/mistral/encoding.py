"""The data of all stages as token ids on disk, and which rows each step learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adaptkit.backends.chat_tokenizer import Encoded, Tokenizer
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.mistral.config import MistralConfig, Stage
from adaptkit.backends.training import corpus
from adaptkit.backends.training.corpus import Corpus
from adaptkit.backends.training.encode import Tally, examples, pairs
from adaptkit.backends.training.parallel import Group
from adaptkit.backends.training.rows import Documents, Examples, Pairs, Rows, segments
from adaptkit.data import Dataset

__all__ = ["Encoder", "Part"]


@dataclass(frozen=True)
class Part:
    """A stage with its data.

    Attributes:
        number: Counts from 1.
        stage: Its settings.
        rows: What it learns from.
        before: Steps of the stages before it.
        total: Steps of all stages.
    """

    number: int
    stage: Stage
    rows: Rows
    before: int
    total: int

    @property
    def name(self) -> str:
        """What it is called, for people."""
        return f"stage {self.number} ({self.stage.method})"

    @property
    def is_last(self) -> bool:
        """Whether no stage comes after it."""
        return self.before + self.rows.steps == self.total


@dataclass(frozen=True)
class Encoder:
    """Reads the files of a job.

    Attributes:
        job: The job.
        config: Resolved settings.
        tokenizer: The model's.
        folder: Where the corpora go.
        group: The processes: the leading one encodes, and all read.
        work: Whom to tell.
    """

    job: Job
    config: MistralConfig
    tokenizer: Tokenizer
    folder: Path
    group: Group
    work: Work

    def parts(self) -> list[Part]:
        """The stages with their data, all of it encoded."""
        stages = self.config.resolved_stages
        read = [self._rows(number, stage) for number, stage in enumerate(stages, 1)]
        steps = [rows.steps for rows in read]
        return [
            Part(number, stage, rows, sum(steps[: number - 1]), sum(steps))
            for number, (stage, rows) in enumerate(zip(stages, read, strict=True), 1)
        ]

    def held_out(self) -> Rows | None:
        """What the last stage is scored on after each epoch."""
        if "validation" not in self.job.spec.files:
            return None
        stage = self.config.resolved_stages[-1].model_copy(update={"epochs": 1, "replay": None})
        return self._laid_out(stage, self._corpus("validation", stage))

    def _rows(self, number: int, stage: Stage) -> Rows:
        purpose = "train" if stage.data is None else f"stage-{number}"
        own = self._corpus(purpose, stage)
        general = self._corpus(f"stage-{number}-replay", stage) if stage.replay is not None else None
        return self._laid_out(stage, own, general)

    def _laid_out(self, stage: Stage, own: Corpus, general: Corpus | None = None) -> Rows:
        how = {"batch_size": stage.batch_size or 1, "epochs": stage.epochs or 1, "seed": self.config.seed}
        if stage.method == "cpt":
            share = stage.replay.share if stage.replay is not None else 0.0
            return Documents(own, stage.max_length or 0, replay=general, share=share, **how)
        return Pairs(own, **how) if stage.method == "dpo" else Examples(own, **how)

    def _corpus(self, purpose: str, stage: Stage) -> Corpus:
        folder = self.folder / purpose
        return corpus.build(folder, self.group, partial(self._write, folder, purpose, stage), self.work.between)

    def _write(self, folder: Path, purpose: str, stage: Stage) -> None:
        tally = Tally()
        vocabulary = len(self.tokenizer.tokenizer)

        def tell(count: int, tokens: int) -> None:
            self.work.tell("status", f"reading {purpose}: {count:,} examples, {tokens:,} tokens")

        corpus.write(folder, self._encoded(purpose, stage, tally), vocabulary, self.work.between, tell)
        for words in tally.warnings(stage.max_length or 0):
            self.work.tell("warning", f"{purpose}: {words}")

    def _encoded(self, purpose: str, stage: Stage, tally: Tally) -> Iterator[Encoded]:
        records = iter(Dataset.open(self.job.spec.files[purpose]))
        if stage.method == "dpo":
            return segments(pairs(records, self.tokenizer, stage.max_length or 0, tally))
        # documents are cut into rows later on, and lose nothing
        longest = None if stage.method == "cpt" else stage.max_length
        return examples(records, self.tokenizer, longest, tally)

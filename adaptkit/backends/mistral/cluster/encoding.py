"""The data of all stages as token ids on disk, and which rows each step learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adaptkit.backends.local_jobs import Job
from adaptkit.backends.mistral.config import MistralConfig, Stage
from adaptkit.backends.mistral.stages import validation_purpose
from adaptkit.backends.training.corpus import Corpus
from adaptkit.backends.training.reading import Reader
from adaptkit.backends.training.rows import Documents, Examples, Pairs, Rows
from adaptkit.data import Dataset
from adaptkit.data.records import TextRecord

__all__ = ["Encoder", "HeldOut", "Part"]


@dataclass(frozen=True)
class HeldOut:
    """What is not learned.

    Attributes:
        rows: Its rows, once.
        learned: Tokens in it that are predicted.
        characters: Of its text, where it is raw text.
    """

    rows: Rows
    learned: int
    characters: int | None

    def figures(self, loss: float) -> dict[str, float]:
        """What to tell of a loss on it: with raw text in bits per character too, which compare among vocabularies."""
        found = {"validation_loss": loss}
        if self.characters:
            found["bits_per_character"] = loss * self.learned / self.characters / math.log(2)
        return found


@dataclass(frozen=True)
class Part:
    """A stage with its data.

    Attributes:
        number: Counts from 1.
        stage: Its settings.
        rows: What it learns from.
        held_out: What it is scored on, where something is held out.
        before: Steps of the stages before it.
        total: Steps of all stages.
    """

    number: int
    stage: Stage
    rows: Rows
    held_out: HeldOut | None
    before: int
    total: int

    @property
    def name(self) -> str:
        """What it is called, for people."""
        return f"stage {self.number} ({self.stage.method})"


@dataclass(frozen=True)
class Encoder:
    """Lays the files of a job out as what its stages learn from.

    Attributes:
        job: The job.
        config: Resolved settings.
        reader: Reads the files.
    """

    job: Job
    config: MistralConfig
    reader: Reader

    def parts(self) -> list[Part]:
        """The stages with their data, all of it encoded."""
        stages = self.config.resolved_stages
        read = [(self._rows(number, stage), self._held_out(number, stage)) for number, stage in enumerate(stages, 1)]
        steps = [rows.steps for rows, _ in read]
        return [
            Part(number, stage, *data, before=sum(steps[: number - 1]), total=sum(steps))
            for number, (stage, data) in enumerate(zip(stages, read, strict=True), 1)
        ]

    def _held_out(self, number: int, stage: Stage) -> HeldOut | None:
        if stage.validation is None:
            return None
        purpose, group = validation_purpose(number, self.config), self.reader.group
        once = stage.model_copy(update={"epochs": 1})
        own = self._corpus(purpose, once)
        texts = Dataset.open(self.job.spec.files[purpose]) if stage.method == "cpt" and group.leads else ()
        characters = sum(len(record.text) for record in texts if isinstance(record, TextRecord))
        return HeldOut(self._laid_out(once, own), own.tokens - own.examples, group.share(characters) or None)

    def _rows(self, number: int, stage: Stage) -> Rows:
        own = self._corpus("train" if stage.data is None else f"stage-{number}", stage)
        general = self._corpus(f"stage-{number}-replay", stage) if stage.replay is not None else None
        return self._laid_out(stage, own, general)

    def _laid_out(self, stage: Stage, own: Corpus, general: Corpus | None = None) -> Rows:
        how = {"batch_size": stage.batch_size or 1, "epochs": stage.epochs or 1, "seed": self.config.seed}
        if stage.method == "cpt":
            share = stage.replay.share if stage.replay is not None else 0.0
            return Documents(own, stage.max_length or 0, replay=general, share=share, **how)
        return Pairs(own, **how) if stage.method == "dpo" else Examples(own, **how)

    def _corpus(self, purpose: str, stage: Stage) -> Corpus:
        return self.reader.corpus(purpose, self.job.spec.files[purpose], stage.method, stage.max_length or 0)

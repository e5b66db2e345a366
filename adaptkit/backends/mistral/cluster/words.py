"""The tokenizer of a training: the base's, or a copy with new tokens of the user's."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends import vocabulary
from adaptkit.backends.base_model import Base
from adaptkit.backends.chat_tokenizer import open_tokenizer
from adaptkit.backends.local_jobs import Job
from adaptkit.backends.mistral.config import MistralConfig, Vocabulary
from adaptkit.backends.mistral.stages import tokens_file
from adaptkit.backends.training.parallel import Group
from adaptkit.backends.vocabulary import Extension
from adaptkit.backends.vocabulary.measures import spelling
from adaptkit.data import Dataset
from adaptkit.data.records import CompletionRecord, Record, TextRecord, turns_of

__all__ = ["Words", "new_tokens", "words"]


@dataclass(frozen=True)
class Words:
    """A tokenizer.

    Attributes:
        folder: Where its files are.
        extension: What it has beyond the base's.
    """

    folder: Path
    extension: Extension | None = None

    def facts(self) -> dict[str, Any]:
        """For a model's manifest."""
        return {} if self.extension is None else {"vocabulary": self.extension.facts()}


def new_tokens(config: MistralConfig, base: Path | None) -> Iterator[DataFile]:
    """The tokens that a configuration names in a file, as a file of its plan.

    Args:
        config: The configuration.
        base: Folder of the base, where it is here.

    Raises:
        ConfigError: the file cannot be read, or lines of it can be no new token.
    """
    asked = config.adapt.vocabulary
    if asked is None or asked.source is None:
        return
    lines = tokens_file(asked.source).decode("utf-8", "replace").splitlines()
    if base is not None:
        vocabulary.listed(base, Path(asked.source))
    yield DataFile.of("vocabulary", Dataset.of([{"text": line} for line in lines if line]), "text")


def words(
    job: Job, config: MistralConfig, base: Base, *, folder: Path, group: Group, between: Callable[[], None]
) -> Words:
    """The tokenizer that a training uses, with new tokens learned or read where it asks for them.

    Args:
        job: Whose first stage's text new tokens are learned from.
        config: Its settings.
        base: The base.
        folder: Where a new tokenizer goes, whole or not at all; all processes see it.
        group: The processes: the leading one makes it.
        between: Called while waiting, to notice a cancellation.
    """
    asked = config.adapt.vocabulary
    if asked is None:
        return Words(base.folder)
    if group.leads and vocabulary.extension_of(folder) is None:
        merges = _merges(job, asked, base, between)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        made = vocabulary.extend(base.folder, folder, merges)
        before, after = (open_tokenizer(each).tokenizer for each in (base.folder, folder))
        said = spelling(before, after, _texts(_first(job), between))
        job.tell("status", f"{len(made.pieces):,} new tokens: {said}", added=len(made.pieces))
    while (extension := vocabulary.extension_of(folder)) is None:
        between()
        time.sleep(0.2)
    return Words(folder, extension)


def _merges(job: Job, asked: Vocabulary, base: Base, between: Callable[[], None]) -> Sequence[tuple[str, str]]:
    if asked.add is None:
        given = [_text(record) for record in Dataset.open(job.spec.files["vocabulary"])]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=job.folder, suffix=".txt") as file:
            file.write("\n".join(given) + "\n")
            file.flush()
            return vocabulary.listed(base.folder, Path(file.name))
    return vocabulary.learned(base.folder, _texts(_first(job), between), asked.add)


def _first(job: Job) -> Dataset:
    """The data of the first stage."""
    return Dataset.open(job.spec.files["stage-1" if "stage-1" in job.spec.files else "train"])


def _texts(data: Dataset, between: Callable[[], None]) -> Iterator[str]:
    for record in data:
        between()
        yield _text(record)


def _text(record: Record) -> str:
    if isinstance(record, TextRecord):
        return record.text
    if isinstance(record, CompletionRecord):
        return f"{record.prompt}{record.completion}"
    return "\n".join(turn.text for turn in turns_of(record))

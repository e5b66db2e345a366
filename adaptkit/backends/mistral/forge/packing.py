"""What a bundle will hold, before anything is written: files without repeats and leaks, counted, and the recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends.base_model import hub_id, license_of
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.stages import CheckedFile, checked_files, tokens_file
from adaptkit.data import Dataset
from adaptkit.errors import DataError, UnsupportedError

__all__ = ["VOCABULARY", "Packed", "base_of", "notes", "pack", "recipe", "vocabulary_entry"]

#: The file of new tokens, within the bundle.
VOCABULARY = "data/vocabulary.txt"
#: Licences of Mistral's open weights as its own list of models has them (2026-08-21); none is guessed.
_LICENSES = dict.fromkeys(
    (
        "mistralai/Ministral-3-3B-Base-2512",
        "mistralai/Ministral-3-8B-Base-2512",
        "mistralai/Ministral-3-14B-Base-2512",
        "mistralai/Mistral-7B-v0.3",
        "mistralai/Mistral-Nemo-Base-2407",
        "mistralai/Mistral-Small-24B-Base-2501",
        "mistralai/Mistral-Small-3.1-24B-Base-2503",
        "mistralai/Mixtral-8x7B-v0.1",
        "mistralai/Pixtral-12B-Base-2409",
    ),
    "apache-2.0",
)


@dataclass(frozen=True)
class Packed:
    """One file as it will be in the bundle.

    Attributes:
        checked: What was found good.
        file: What is written: of training data, each row once.
        tokens: By the base's own tokenizer, ``None`` where it is not here, or cannot say it of such rows.
    """

    checked: CheckedFile
    file: DataFile
    tokens: int | None

    @property
    def left_out(self) -> int:
        """Rows that repeat an earlier one."""
        return self.checked.report.stats.rows - self.file.rows

    @property
    def name(self) -> str:
        """Of the file, within the bundle."""
        purpose, number = self.file.purpose, self.checked.stage
        if number is None:
            return _held_out(purpose)
        return _of_stage(number, str(self.checked.method), replay=purpose.endswith("-replay"))

    @property
    def about_tokens(self) -> int:
        """Tokens, estimated where they are not counted."""
        return self.checked.report.stats.tokens if self.tokens is None else self.tokens

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "file": self.name,
            "purpose": self.file.purpose,
            "stage": self.checked.stage,
            "method": self.checked.method,
            "format": self.file.format,
            "sha256": self.file.sha256,
            "bytes": self.file.size,
            "rows": self.file.rows,
            "duplicates_removed": self.left_out,
            "tokens": self.tokens,
        }


def pack(config: MistralConfig, data: Dataset) -> list[Packed]:
    """Check every file, leave repeats out of the training data, look for leaks, count tokens.

    Args:
        config: Whose stages.
        data: What was submitted.

    Raises:
        DataError: files cannot be read, rows do not fit, or what is held out for evaluation stands in the training
            data; carries every problem.
    """
    checked = checked_files(config, data)
    packed = [(file, _planned(file)) for file in checked]
    held_out = next((file.data for _, file in packed if file.purpose == "evaluation"), None)
    if held_out is not None:
        from adaptkit.evidence.leaks import refuse_known  # noqa: PLC0415 - where there is something to look for

        learned = {f"the data of {file.purpose}": file.data for found, file in packed if found.stage is not None}
        refuse_known(held_out, learned)
    return [Packed(*each, tokens) for each, tokens in zip(packed, _counted(config.model, packed), strict=True)]


def notes(config: MistralConfig, packed: Sequence[Packed]) -> Iterator[str]:
    """What should be known of a bundle before it is handed over."""
    for each in packed:
        purpose, stats = each.file.purpose, each.checked.report.stats
        if each.left_out:
            yield f"{purpose}: {each.left_out:,} rows repeat an earlier one and are left out"
        if stats.secrets:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in stats.secrets.items())
            yield f"{purpose}: strings that look like live credentials ({kinds}); Dataset.check says where"
    uncounted = [each.file.purpose for each in packed if each.tokens is None]
    if uncounted:
        yield (
            f"tokens of {', '.join(uncounted)} are not counted: the tokenizer of {config.model} is not on this "
            "machine, or has no chat template; the bundle says so"
        )
    if config.evaluation is None:
        yield "there is no evaluation set, so nothing says what a good result is"
    missing = [name for name in ("license", "provenance") if getattr(config, name) is None]
    if missing:
        yield f"the manifest will not say the {' and the '.join(missing)} of the data"


def _of_stage(number: int, method: str, *, replay: bool = False) -> str:
    """The file of a stage, within the bundle."""
    return f"data/stage-{number}-{method}{'-replay' if replay else ''}.jsonl"


def _held_out(purpose: str) -> str:
    return f"data/{purpose}.jsonl"


def base_of(model: str) -> dict[str, str | None]:
    """The base and its licence, as far as known; a folder by its name alone."""
    named = model if model.startswith("builtin:") or hub_id(model) else Path(model).name
    return {"model": named, "license": license_of(model) or _LICENSES.get(model)}


def recipe(config: MistralConfig) -> dict[str, Any]:
    """The stages with their settings; what is not there is left to those who train."""
    stages = []
    for number, stage in enumerate(config.resolved_stages, 1):
        settings = stage.model_dump(mode="json", exclude_none=True, exclude={"method", "data", "replay"})
        made = {"method": stage.method, "file": _of_stage(number, stage.method), **settings}
        if stage.replay is not None:
            made["replay"] = {"file": _of_stage(number, "cpt", replay=True), "share": stage.replay.share}
        stages.append(made)
    new = config.adapt.vocabulary
    whole = {
        "name": config.name,
        "base": base_of(config.model),
        "validation": config.validation and _held_out("validation"),
        "evaluation": config.evaluation and _held_out("evaluation"),
        "vocabulary": new and ({"add": new.add} if new.source is None else {"file": VOCABULARY}),
        "stages": stages,
    }
    return {key: value for key, value in whole.items() if value is not None}


def vocabulary_entry(config: MistralConfig) -> list[dict[str, Any]]:
    """What the manifest says of the file of new tokens, where there is one.

    Raises:
        ConfigError: it cannot be read.
    """
    new = config.adapt.vocabulary
    if new is None or new.source is None:
        return []
    content = tokens_file(new.source)
    digest = hashlib.sha256(content).hexdigest()
    return [{"file": VOCABULARY, "purpose": "vocabulary", "sha256": digest, "bytes": len(content)}]


def _planned(file: CheckedFile) -> DataFile:
    """The file as it is written: what is held out stays as it is."""
    repeats = file.stage is not None and file.report.stats.duplicates
    return DataFile.of(file.purpose, file.data.distinct() if repeats else file.data, file.format)


def _counted(model: str, packed: Sequence[tuple[CheckedFile, DataFile]]) -> list[int | None]:
    """Tokens of each file, by the model's own tokenizer."""
    from adaptkit.backends.chat_tokenizer import tokenizer_here  # noqa: PLC0415 - an extra

    tokenizer = tokenizer_here(model)
    found: list[int | None] = []
    for _, file in packed:
        try:
            found.append(None if tokenizer is None else sum(map(tokenizer.count, file.data)))
        except (UnsupportedError, DataError):  # no chat template, or one that refuses these rows
            found.append(None)
    return found

"""The data of each stage: opened, checked by what its method learns from, and what of it makes two runs the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.data import DataRules, Dataset, Problem, Report
from adaptkit.data.problems import Finding, ProblemList
from adaptkit.data.records import Record
from adaptkit.errors import ConfigError, DataError

__all__ = ["CheckedFile", "Method", "checked_files", "contents_of", "rules_of"]

#: What is wrong with a record.
RecordRule = Callable[[Record], Iterable[Finding]]
#: What a stage learns, or ``None`` for a file that nothing learns from.
Method = str | None

#: By method: the kinds of rows that it learns from, and the format that its file is in.
_RULES: Mapping[Method, DataRules] = {
    "cpt": DataRules(kinds=frozenset({"text"}), format="text"),
    "sft": DataRules(kinds=frozenset({"chat", "completion"}), format="openai"),
    "dpo": DataRules(kinds=frozenset({"preference"}), format="trl"),
    None: DataRules(),
}


@dataclass(frozen=True)
class CheckedFile:
    """A file that was found good.

    Attributes:
        purpose: ``train`` for what was submitted, ``stage-1`` and so on for what a stage names, ``stage-1-replay`` for
            the general text beside it, ``validation`` and ``evaluation`` for what is held out.
        stage: Number of the stage that learns from it, from 1; ``None`` for what is held out.
        method: Of that stage, of the last one for ``validation``; ``None`` for ``evaluation``.
        data: Its rows.
        report: What checking found.
    """

    purpose: str
    stage: int | None
    method: Method
    data: Dataset = field(repr=False)
    report: Report = field(repr=False)

    @property
    def format(self) -> str:
        """Name of the format that it is written in."""
        return rules_of(self.method).format


def rules_of(method: Method) -> DataRules:
    """What rows of a stage must keep; ``None`` is for what is only held out."""
    return _RULES[method]


def checked_files(
    config: MistralConfig, data: Dataset, record_rules: Sequence[RecordRule] = ()
) -> tuple[CheckedFile, ...]:
    """The files of all stages, of what is held out of them and of the evaluation, each checked.

    Args:
        config: Whose stages.
        data: What was submitted: of the stage without data of its own.
        record_rules: What the base asks of a record beside.

    Raises:
        DataError: files cannot be read or rows do not fit; carries every problem of every file.
    """
    good: list[CheckedFile] = []
    problems, bad = ProblemList(), []
    for purpose, stage, method, opened in _opened(config, data):
        try:
            rules = msgspec.structs.replace(rules_of(method), record_rules=tuple(record_rules))
            file = CheckedFile(purpose, stage, method, rows := opened(), rows.check(rules=rules))
        except DataError as error:
            problems.append(Problem(rule="unreadable", message=f"{purpose}: {error.args[0].splitlines()[0]}"))
            bad.append(purpose)
            continue
        for problem in file.report.problems:
            problems.append(problem)
        if not file.report.ok:
            bad.append(purpose)
        good.append(file)
    if bad:
        count = f"{problems.errors:,} error{'s' if problems.errors > 1 else ''}"
        raise DataError(f"{', '.join(bad)}: {count}; fix or remove these rows:", problems)
    return tuple(good)


def contents_of(config: MistralConfig) -> dict[str, str]:
    """Fingerprints of what a configuration says of files, by field, for `adaptkit.adapter.Plan.contents`.

    Paths are left out: the files of stages count as files of the plan, by their purpose.

    Raises:
        ConfigError: the file of new tokens cannot be read.
    """
    found = {}
    if config.stages:
        stages = [stage.model_dump(mode="json", exclude_defaults=True) for stage in config.stages]
        for stage in stages:
            stage["data"] = "data" in stage
            stage.pop("validation", None)
            stage.get("replay", {}).pop("data", None)
        found["stages"] = _hash(msgspec.json.encode(stages, order="deterministic"))
    vocabulary = config.adapt.vocabulary
    if vocabulary is not None and vocabulary.source is not None:
        found["adapt"] = _hash(tokens_file(vocabulary.source))
    if config.evaluation is not None:
        found["evaluation"] = Dataset.open(config.evaluation).fingerprint
    return found


def tokens_file(path: str) -> bytes:
    """The content of a file of new tokens.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"adapt.vocabulary: {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _opened(config: MistralConfig, data: Dataset) -> Iterator[tuple[str, int | None, Method, Callable[[], Dataset]]]:
    """Purpose, stage and method of each file, and what opens it."""
    stages = config.resolved_stages
    for number, stage in enumerate(stages, 1):
        if stage.data is None:
            yield "train", number, stage.method, lambda: data
        else:
            yield f"stage-{number}", number, stage.method, _opener(stage.data)
        if stage.replay is not None:
            yield f"stage-{number}-replay", number, "cpt", _opener(stage.replay.data)
        if stage.validation is not None:
            yield validation_purpose(number, config), number, stage.method, _opener(stage.validation)
    if config.evaluation is not None:
        yield "evaluation", None, None, _opener(config.evaluation)


def validation_purpose(number: int, config: MistralConfig) -> str:
    """Purpose of what is held out of a stage."""
    return "validation" if number == len(config.resolved_stages) else f"stage-{number}-validation"


def _opener(path: str) -> Callable[[], Dataset]:
    return lambda: Dataset.open(path)


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

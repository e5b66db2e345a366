"""What training data must keep, by host and method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from adaptkit.backends.openai.config import OpenAIConfig
from adaptkit.data import DataRules
from adaptkit.data.formats.chat import features
from adaptkit.data.problems import Finding
from adaptkit.data.records import Record, turns_of
from adaptkit.types import ImagePart, Message

__all__ = ["rules_for"]

_KINDS = {"sft": frozenset({"chat"}), "dpo": frozenset({"preference"}), "rft": frozenset({"chat"})}


def rules_for(config: OpenAIConfig | None) -> DataRules:
    """The rules; without a configuration, those that hold for every one."""
    if config is None:
        return DataRules(kinds=frozenset({"chat", "preference", "completion"}))
    host, method = config.facts, config.method
    kinds = _KINDS[method] | ({"completion"} if config.profile == "nebius" else frozenset())
    rich: list[Callable[[Record], Iterable[Finding]]] = [partial(_audio, says=host.says)]
    sees = host.vision is None or config.model.startswith(host.vision)
    if method == "dpo" or not sees:
        why = "preferences are text there" if method == "dpo" else f"{config.model} does not learn from images"
        rich.append(partial(_no_images, why=f"{host.says}: {why}"))
    elif host.most_images is not None:
        rich.append(partial(_few_images, most=host.most_images))
    return DataRules(
        kinds=kinds,
        min_rows=host.fewest.get(method, 1),
        max_rows=host.most.get(method),
        needs_answer=method != "rft",
        record_rules=(partial(_ends_with_question),) if method == "rft" else (),
        rich_rules=tuple(rich),
    )


def _ends_with_question(record: Record) -> Iterator[Finding]:
    turns = turns_of(record)
    if turns and turns[-1].role == "assistant":
        yield Finding(
            "answer-in-prompt",
            f"$.messages[{len(turns) - 1}].role",
            "reinforcement learning writes the answer itself, so a row ends with the question.",
            "Remove the answer, or put it under a key of its own for the grader.",
        )


def _audio(record: Record, says: str) -> Iterator[Finding]:
    for feature, path in features(record):
        if feature == "audio":
            yield Finding("no-audio", path, f"{says} does not learn from audio.", "Remove the row.")


def _no_images(record: Record, why: str) -> Iterator[Finding]:
    for feature, path in features(record):
        if feature == "images":
            yield Finding("no-images", path, f"{why}.", "Remove the row, or choose another model or method.")


def _few_images(record: Record, most: int) -> Iterator[Finding]:
    if sum(map(_images, turns_of(record))) > most:
        yield Finding("too-many-images", "$", f"an example holds at most {most} images.", "Remove some.")


def _images(turn: Message) -> int:
    return sum(isinstance(part, ImagePart) for part in turn.content) if isinstance(turn.content, tuple) else 0

"""What Together asks of training data beyond what holds everywhere; it says so itself only after the upload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from adaptkit.data import DataRules
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, PreferenceRecord, Record
from adaptkit.types import ImagePart, Message

__all__ = ["LARGEST", "rules"]

#: Bytes of one file: the host's 50.1 GB, which it counts in GiB.
LARGEST = int(50.1 * 2**30)
_KINDS: Mapping[str | None, frozenset[str]] = {
    "sft": frozenset({"chat", "completion", "text"}),
    "dpo": frozenset({"preference"}),
    None: frozenset({"chat", "completion", "text", "preference"}),
}
#: Roles after which a role may come; ``None`` is the start.
_AFTER: Mapping[str, frozenset[str | None]] = {
    "system": frozenset({None}),
    "user": frozenset({None, "system", "assistant"}),
    "assistant": frozenset({"user", "tool"}),
    "tool": frozenset({"assistant", "tool"}),
}


def rules(method: str | None) -> DataRules:
    """The rules for a method, or those that hold for every method."""
    return DataRules(kinds=_KINDS[method], format="openai", max_bytes=LARGEST, record_rules=(findings,))


def findings(record: Record) -> Iterator[Finding]:
    """What the host refuses of one record: roles, their order, images that are not in the row."""
    if isinstance(record, ChatRecord):
        yield from _turns(record.messages, "$.messages", None)
    elif isinstance(record, PreferenceRecord):
        yield from _turns(record.prompt, "$.input.messages", None)


def _turns(turns: Sequence[Message], path: str, before: str | None) -> Iterator[Finding]:
    for index, turn in enumerate(turns):
        where = f"{path}[{index}]"
        if turn.role not in _AFTER:
            yield Finding(
                "together-role", f"{where}.role", f"Together knows no role {turn.role}.", "Use system, user, assistant."
            )
        else:
            if before not in _AFTER[turn.role]:
                yield _misplaced(turn.role, before, where)
            before = turn.role
        for position, part in enumerate(turn.content if isinstance(turn.content, tuple) else ()):
            if isinstance(part, ImagePart) and not part.url.startswith("data:image/"):
                yield Finding(
                    "together-image",
                    f"{where}.content[{position}]",
                    "Together takes images as data: URLs and fetches none.",
                    "Put the image into the row, in base64.",
                )


def _misplaced(role: str, before: str | None, where: str) -> Finding:
    return Finding(
        "together-order",
        f"{where}.role",
        f"a {role} turn cannot come {f'after a {before} turn' if before else 'first'} at Together.",
        "Start with system or user, then let user and assistant alternate.",
    )

"""What Mistral's jobs ask of training data beyond what holds everywhere, by the published pages of the service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from adaptkit.adapter import DataFile
from adaptkit.data import DataRules
from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, Record

__all__ = ["LARGEST", "LARGEST_VALIDATION", "file_problems", "rules"]

#: Bytes of one file, and of a file of held-out examples.
LARGEST, LARGEST_VALIDATION = 512_000_000, 1_000_000
#: Held-out bytes for each byte of training data, at most.
SHARE = 0.05

_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_FUNCTION = re.compile(r"[A-Za-z0-9_-]{1,64}")


def rules() -> DataRules:
    """The rules of a job."""
    return DataRules(kinds=frozenset({"chat"}), format="mistral", max_bytes=LARGEST, rich_rules=(_tools,))


def file_problems(files: Sequence[DataFile]) -> Iterator[str]:
    """What is wrong with the files as such, one sentence each."""
    by_purpose = {file.purpose: file for file in files}
    for file in files:
        if file.size > LARGEST:
            yield f"the {file.purpose} data is {file.size:,} bytes in Mistral's form, and {LARGEST:,} at most are taken"
    train, held_out = by_purpose["train"], by_purpose.get("validation")
    if held_out is None:
        return
    most = min(LARGEST_VALIDATION, int(SHARE * train.size))
    if held_out.size > most:
        yield (
            f"validation is {held_out.size:,} bytes, and {most:,} at most are taken: a megabyte, and 5 % of the "
            "training data"
        )
    if held_out.sha256 == train.sha256:
        yield "validation is the training data; hold other examples out"


def _tools(record: Record) -> Iterator[Finding]:
    """Calls and their answers; a function that is not declared is an error here, and a warning elsewhere."""
    if not isinstance(record, ChatRecord):
        return
    declared = {tool.get("function", {}).get("name") for tool in record.tools}
    for index, turn in enumerate(record.messages):
        path = f"$.messages[{index}]"
        if turn.tool_calls and turn.content:
            yield Finding(
                "mistral-call",
                f"{path}.content",
                "an assistant turn that calls tools has no content at Mistral.",
                "Remove the content, or put it into a turn of its own.",
            )
        if turn.role == "tool" and not _is_id(turn.tool_call_id):
            yield _id_finding(f"{path}.tool_call_id")
        for position, call in enumerate(turn.tool_calls):
            where = f"{path}.tool_calls[{position}]"
            if call.id is not None and not _is_id(call.id):  # none at all has no place in the format
                yield _id_finding(f"{where}.id")
            if not _FUNCTION.fullmatch(call.name):
                yield Finding(
                    "mistral-function",
                    f"{where}.function.name",
                    "Mistral takes names of functions of 64 letters, digits, - and _ at most.",
                    "Rename the function.",
                )
            elif call.name not in declared:
                yield Finding(
                    "mistral-undeclared",
                    f"{where}.function.name",
                    "the row's tools do not declare this function, and Mistral wants each that is called.",
                    "Add it to tools.",
                )


def _is_id(value: str | None) -> bool:
    return value is not None and _CALL_ID.fullmatch(value) is not None


def _id_finding(path: str) -> Finding:
    return Finding(
        "mistral-call-id", path, "the id of a call is exactly 9 letters and digits at Mistral.", "Give calls such ids."
    )

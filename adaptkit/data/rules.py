"""What every supervised data set must keep, whatever the backend: one function a kind of record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adaptkit.data.problems import Finding
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record
from adaptkit.types import Message

__all__ = ["common_findings"]


def common_findings(record: Record, *, needs_answer: bool = True) -> Iterator[Finding]:
    """What is wrong with a record by itself.

    Args:
        record: The record.
        needs_answer: Whether a conversation must end with the turn to learn; reinforcement learning has none.
    """
    if isinstance(record, ChatRecord):
        yield from _chat(record, needs_answer=needs_answer)
    elif isinstance(record, PreferenceRecord):
        yield from _preference(record)
    elif isinstance(record, CompletionRecord):
        if not record.completion:
            yield Finding("empty-content", "$.completion", "there is nothing to learn.", "Remove the row.")
    elif not record.text:
        yield Finding("empty-content", "$.text", "there is nothing to learn.", "Remove the row.")


def _chat(record: ChatRecord, *, needs_answer: bool) -> Iterator[Finding]:
    turns = record.messages
    yield from _contents(turns, "$.messages")
    yield from _tool_turns(turns, "$.messages")
    if record.tools:
        yield from _undeclared(record)
    if not needs_answer:
        return
    if turns[-1].role != "assistant":
        yield Finding(
            "no-answer",
            f"$.messages[{len(turns) - 1}].role",
            "the row does not end with an assistant turn, so there is no answer to learn.",
            "Add the answer, or remove what follows it.",
        )
    if {turn.weight for turn in turns if turn.role == "assistant"} == {0}:
        yield Finding(
            "nothing-to-learn",
            "$.messages",
            "every assistant turn has weight 0.",
            "Give one the weight 1, or remove the row.",
        )


def _preference(record: PreferenceRecord) -> Iterator[Finding]:
    yield from _contents(record.prompt, "$.prompt")
    for name, turns in (("chosen", record.chosen), ("rejected", record.rejected)):
        yield from _contents(turns, f"$.{name}")
        yield from _tool_turns(turns, f"$.{name}")
        if any(turn.role not in ("assistant", "tool") for turn in turns) or turns[-1].role != "assistant":
            yield Finding(
                "no-answer",
                f"$.{name}",
                "an output is assistant turns, with tool turns between at most.",
                "Move the other turns to the prompt.",
            )
    if record.chosen == record.rejected:
        yield Finding("same-answers", "$", "the wanted and the unwanted answer are the same.", "Remove the row.")


def _contents(turns: Sequence[Message], path: str) -> Iterator[Finding]:
    if "" not in [turn.content for turn in turns]:
        return
    for index, turn in enumerate(turns):
        if turn.content == "" and not turn.tool_calls:
            at_fault = turn.role == "assistant"
            yield Finding(
                "empty-content",
                f"{path}[{index}].content",
                f"this {turn.role} turn is empty.",
                "Write its text, or remove it.",
                "error" if at_fault else "warning",
            )


def _tool_turns(turns: Sequence[Message], path: str) -> Iterator[Finding]:
    """Calls are answered before the conversation goes on, and answers belong to a call."""
    calls: list[str | None] = []
    asked = 0
    for index, turn in enumerate(turns):
        if turn.role == "tool":
            if turn.tool_call_id is None and not calls:
                yield Finding(
                    "tool-reply",
                    f"{path}[{index}]",
                    "this tool turn answers no call.",
                    "Put the assistant turn with the call before it.",
                )
            elif turn.tool_call_id not in calls and None not in calls and turn.tool_call_id is not None:
                yield Finding(
                    "tool-reply",
                    f"{path}[{index}].tool_call_id",
                    "no open call has this id.",
                    "Use the id of the call that it answers.",
                )
            elif calls:
                calls.remove(turn.tool_call_id if turn.tool_call_id in calls else None if None in calls else calls[0])
            continue
        if calls:
            yield _unanswered(path, asked)
        calls, asked = [call.id for call in turn.tool_calls], index


def _unanswered(path: str, index: int) -> Finding:
    return Finding(
        "tool-reply",
        f"{path}[{index}].tool_calls",
        "a call is not answered before the conversation goes on.",
        "Add a tool turn with its id after it.",
    )


def _undeclared(record: ChatRecord) -> Iterator[Finding]:
    declared = {tool.get("function", {}).get("name") for tool in record.tools}
    for index, turn in enumerate(record.messages):
        for position, call in enumerate(turn.tool_calls):
            if call.name not in declared:
                yield Finding(
                    "tool-undeclared",
                    f"$.messages[{index}].tool_calls[{position}].function.name",
                    "the row's tools do not declare this function.",
                    "Add it to tools.",
                    "warning",
                )

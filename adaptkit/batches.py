"""Many questions as one job at the vendor: what is asked goes in, answers come out in the order of the questions.

A batch is a job like any other: `adaptkit.submission` sends it exactly once and the journal knows it. What is asked is
not in the journal. Beside it, in the home folder, a *ledger* says which answer belongs to which question: hashes only,
the same as in ``answers.db``, so that a question that was answered in a batch is not asked again one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from adaptkit import lifecycle, steps
from adaptkit.adapter import Adapter, ChatOptions, SupportsAnswers, SupportsBatch
from adaptkit.answers import Answers, key_of
from adaptkit.asking import Asking
from adaptkit.batch_cost import BatchCost, Spent
from adaptkit.data import ChatRecord, Dataset, Record
from adaptkit.decodable import decodable
from adaptkit.durable import replace_file
from adaptkit.errors import AdaptkitError, AnswerError, ArtifactError, BackendError, DataError, UnsupportedError
from adaptkit.journal import Journal, Run
from adaptkit.mapping import Answer, question_of
from adaptkit.model import Conversation, Model
from adaptkit.retry import READ, attempt
from adaptkit.state import JobState, Pulse
from adaptkit.steps import Clock, Steps
from adaptkit.structured import Misfit, form_of, parsed
from adaptkit.submission import Submission
from adaptkit.types import Message, Reply, Status

__all__ = ["answering", "answers", "cost", "submit"]

#: Problems that a message names.
_SHOWN = 20


@decodable
class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """Which answer belongs to which question.

    Attributes:
        keys: Hash of each different question, as in ``answers.db``; its place is its number in the batch.
        order: For each question, in the user's order, the number under which it is asked.
        schema: JSON Schema that the answers keep, if any.
    """

    keys: tuple[str, ...]
    order: tuple[int, ...]
    schema: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """SHA-256 of all of it: what makes a batch what it is."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def save(self, home: Path) -> None:
        """Write it where `load` finds it."""
        path = _path(home, self.name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, msgspec.json.encode(self, order="deterministic"))

    @classmethod
    def load(cls, home: Path, name: str) -> Ledger:
        """Read it back.

        Raises:
            ArtifactError: it is not there, or is something else.
        """
        path = _path(home, name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise ArtifactError(
                f"{path}, which says which answer belongs to which question, cannot be read: {error}. Ask on the "
                "machine that sent the batch, or call model.batch with the same questions here: it writes it again"
            ) from None


@dataclass(frozen=True)
class _Lowered:
    """What is asked: each different question once, under its number in the ledger."""

    ledger: Ledger
    turns: Sequence[tuple[Message, ...]]
    batch: Callable[[Sequence[int]], Adapter[Any]]

    def data(self, numbers: Sequence[int]) -> Dataset:
        return Dataset.of([ChatRecord(messages=self.turns[number]) for number in numbers])

    def numbers(self, home: Path, *, fresh: bool) -> Sequence[int]:
        """Those that are to be sent: what nobody has answered yet."""
        if fresh:
            return range(len(self.turns))
        with closing(Answers(home / "answers.db")) as kept:
            return [number for number, key in enumerate(self.ledger.keys) if kept.get(bytes.fromhex(key)) is None]


def submit(
    model: Model,
    adapter: Adapter[Any],
    questions: Iterable[Record | Conversation],
    options: ChatOptions,
    *,
    journal: Journal,
    clock: Clock,
    fresh: bool,
    budget: float | None,
) -> Steps[JobState]:
    """Get or create the batch of these questions; see `Model.batch`."""
    lowered, home = _lowered(model, adapter, questions, options), adapter.context.home
    new: Sequence[int] = yield partial(lowered.numbers, home, fresh=fresh)
    batch = lowered.batch(new)
    yield partial(lowered.ledger.save, home)

    def state_of(batch: Adapter[Any], run: Run) -> JobState:
        return JobState.of(run, lambda: batch, journal, clock, Pulse(None))

    if not new:
        whole = lowered.batch(range(len(lowered.turns)))
        earlier: Run | None = yield partial(_succeeded, journal, whole)
        if earlier is not None:
            state = state_of(whole, earlier)
            state.reused = True
            return state
    submission = Submission(model.ref.target or "", batch, journal, clock, partial(state_of, batch), budget)
    return (yield from submission.steps(lowered.data(new), fresh=fresh))


def cost(
    model: Model,
    adapter: Adapter[Any],
    questions: Iterable[Record | Conversation],
    options: ChatOptions,
    *,
    fresh: bool,
) -> BatchCost:
    """What `submit` would cost; see `Model.batch_cost`."""
    lowered = _lowered(model, adapter, questions, options)
    new = lowered.numbers(adapter.context.home, fresh=fresh)
    found = lowered.batch(new).prepare(lowered.data(new)).cost
    if found is None:
        raise UnsupportedError(f"the {model.ref.backend} backend does not say what a batch costs")
    return found


def _lowered(
    model: Model, adapter: Adapter[Any], questions: Iterable[Record | Conversation], options: ChatOptions
) -> _Lowered:
    if not isinstance(adapter, SupportsBatch):
        raise UnsupportedError(
            f"models of the {model.ref.backend} backend take no batches; client.map(model, questions) asks many "
            "questions at a time, and none again that was answered"
        )
    asked, version = _asked(questions), model.version()
    asking = Asking.of(options, None, model.abilities(), f"the {model.ref.backend} backend")
    numbers: dict[bytes, int] = {}
    different: list[tuple[Message, ...]] = []
    order = []
    for messages in asked:
        key = key_of(model.ref, model.account, messages, options, version=version)
        if key not in numbers:
            different.append(asking.messages(messages))
        order.append(numbers.setdefault(key, len(numbers)))
    schema = None if asking.form is None else dict(asking.form.schema)
    ledger = Ledger(keys=tuple(key.hex() for key in numbers), order=tuple(order), schema=schema)
    return _Lowered(ledger, different, partial(adapter.batch, model.id, ledger.name, asking.options))


def answering(state: JobState) -> SupportsAnswers:
    """The backend, if its jobs answer questions.

    Raises:
        UnsupportedError: they make a model.
    """
    adapter = state.open_adapter()
    if not isinstance(adapter, SupportsAnswers):
        raise state.cannot("be asked for answers, they make a model: job.result()")
    return adapter


def answers(state: JobState) -> Iterator[Answer]:
    """What became of each question of a batch that has ended; see `Job.answers`."""
    source, home = answering(state), state.open_adapter().context.home
    ledger = Ledger.load(home, source.ledger())
    keys = [bytes.fromhex(key) for key in ledger.keys]
    kept = Answers(home / "answers.db")
    try:
        errors: dict[int, AdaptkitError] = {}
        came: set[int] = set()
        if kept.spent(state.ref.id) is None or any(kept.get(key) is None for key in keys):
            came, errors = steps.run(attempt(partial(_fetch, state, source, ledger, kept), READ), state.clock)
        for number, place in enumerate(ledger.order):
            reply = None if place in errors else kept.get(keys[place])
            error = errors.get(place) if reply is None else None
            if reply is None and error is None:
                error = BackendError("there is no answer to this question", backend=state.ref.backend)
            yield Answer(number, reply, error, reused=reply is not None and place not in came)
    finally:
        kept.close()


def _fetch(
    state: JobState, source: SupportsAnswers, ledger: Ledger, kept: Answers
) -> tuple[set[int], dict[int, AdaptkitError]]:
    """Keep every answer that there is; gives of which questions something came, and the errors among it."""
    form = None if ledger.schema is None else form_of(ledger.schema)
    errors: dict[int, AdaptkitError] = {}
    heard: set[int] = set()
    spent = Spent()
    for place, outcome in source.answers(state.ref.id):
        if not 0 <= place < len(ledger.keys):
            continue
        heard.add(place)
        if not isinstance(outcome, Reply):
            errors[place] = outcome
            continue
        spent = spent.plus(outcome.usage, source.usd(outcome.usage))
        try:
            reply = outcome if form is None else parsed(outcome, form)
            kept.put(bytes.fromhex(ledger.keys[place]), reply)
        except Misfit as misfit:
            errors[place] = AnswerError(f"the answer does not keep the schema: {misfit}", reply=outcome)
    if not heard and state.snapshot.status is Status.FAILED:
        raise lifecycle.ended(state)
    kept.note_spent(state.ref.id, spent)
    return heard, errors


def _succeeded(journal: Journal, batch: Adapter[Any]) -> Run | None:
    """The batch, if it was sent and has come to its end."""
    config = batch.config.model_dump_json()
    runs = (run for run in journal.runs() if run.backend == batch.backend and run.config == config)
    return next((run for run in runs if run.status is Status.SUCCEEDED), None)


def _asked(questions: Iterable[Record | Conversation]) -> list[tuple[Message, ...]]:
    found: list[tuple[Message, ...]] = []
    problems: list[str] = []
    for number, question in enumerate(questions):
        try:
            found.append(question_of(question))
        except DataError as error:
            problems.append(f"question {number}: {error}")
    if problems:
        more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError("\n".join(problems[:_SHOWN]) + more)
    if not found:
        raise DataError("there is no question in this, so there is nothing to ask")
    return found


def _path(home: Path, name: str) -> Path:
    return home / "batches" / f"{name}.json"

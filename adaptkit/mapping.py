"""Many questions to one model: some at a time, in order, each answered once however often it is run.

A question that fails does not fail the others; what would fail every one (a wrong key, no money) ends the whole. A
service that asks for fewer requests is heard by all workers at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from adaptkit import steps
from adaptkit.adapter import ChatOptions
from adaptkit.answers import Answers, Kept, key_of
from adaptkit.data import ChatRecord, CompletionRecord, Record
from adaptkit.errors import (
    AdaptkitError,
    AuthenticationError,
    ConfigError,
    DataError,
    EgressError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    UnsupportedError,
)
from adaptkit.model import Conversation, Model, messages_of
from adaptkit.retry import MAX_RETRY_AFTER, READ, Policy, attempt
from adaptkit.steps import Clock, Pause, Steps
from adaptkit.types import Message, Reply

__all__ = ["Answer", "ask_all", "question_of"]

#: With these no further question has a chance.
HOPELESS = (
    AuthenticationError,
    ConfigError,
    EgressError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    UnsupportedError,
)
#: Rate limits are not the question's fault: this many in a row before it is given up.
PATIENCE = 20
_OTHERWISE = Policy(READ.attempts, lambda error: READ.again(error) and not isinstance(error, RateLimitError))


@dataclass(frozen=True)
class Answer:
    """What became of one question.

    Attributes:
        number: Its place among the questions, from 0.
        reply: The answer, or ``None``.
        error: Why there is none.
        reused: Whether it was answered in an earlier run and nothing was asked now.
        seconds: How long the answer took when it was asked for; ``None`` where several were answered together.
    """

    number: int
    reply: Reply | None = None
    error: AdaptkitError | None = None
    reused: bool = False
    seconds: float | None = None


def ask_all(
    model: Model,
    questions: Iterable[Record | Conversation],
    answers: Answers,
    clock: Clock,
    *,
    options: ChatOptions,
    concurrency: int,
    fresh: bool,
    repeat: int = 0,
) -> Generator[Answer, None, None]:
    """Answers in the order of the questions, as soon as each is there.

    Args:
        model: Who is asked.
        questions: Read as they are needed. Of a chat record what stands before its last answer is asked, of a
            completion its prompt.
        answers: Where answers are kept.
        clock: Time.
        options: How to answer.
        concurrency: Questions under way at a time.
        fresh: Whether to ask again what was answered before.
        repeat: Which time each is asked, where one is asked several times: each time is kept by itself.

    Raises:
        AdaptkitError: one of `HOPELESS`; what was answered until then is kept.
    """
    closed = threading.Event()
    asking = _Asking(model, answers, _Interruptible(clock, closed), options=options, fresh=fresh, repeat=repeat)
    rounds = _rounds(enumerate(questions), model.together)
    pool = ThreadPoolExecutor(concurrency if model.together == 1 else 1, thread_name_prefix="adaptkit-map")
    waiting: deque[Future[list[Answer]]] = deque()
    try:
        for some in rounds:
            waiting.append(pool.submit(asking.some, some))
            if len(waiting) >= 2 * concurrency:  # one ready for each worker, and no more read ahead than that
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        closed.set()
        pool.shutdown(wait=False, cancel_futures=True)


Numbered = tuple[int, Record | Conversation]


def _rounds(numbered: Iterator[Numbered], size: int) -> Iterator[list[Numbered]]:
    while some := list(islice(numbered, size)):
        yield some


class _Closed(Exception):
    """Nobody waits for the answers any more."""


class _Interruptible:
    """A clock whose sleepers wake when all is over."""

    def __init__(self, clock: Clock, closed: threading.Event) -> None:
        self._clock, self._closed = clock, closed
        self.time, self.monotonic, self.asleep = clock.time, clock.monotonic, clock.asleep

    def sleep(self, seconds: float) -> None:
        """Sleep a little at a time."""
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            if self._closed.is_set():
                raise _Closed
            self._clock.sleep(min(left, 0.5))


class _Gate:
    """Shut for all while a service wants no requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._opens, self._lock = clock, 0.0, threading.Lock()

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._opens = max(self._opens, self._clock.monotonic() + seconds)

    def passed(self) -> Steps[None]:
        while (left := self._opens - self._clock.monotonic()) > 0:
            yield Pause(left)


class _Asking:
    def __init__(
        self, model: Model, answers: Answers, clock: Clock, *, options: ChatOptions, fresh: bool, repeat: int
    ) -> None:
        self._model, self._answers, self._clock = model, answers, clock
        self._options, self._fresh = options, fresh
        self._key_of = partial(
            key_of, model.ref, model.account, options=options, version=model.version(), repeat=repeat
        )
        self._gate = _Gate(clock)

    def some(self, numbered: Sequence[Numbered]) -> list[Answer]:
        """Answer a few questions: those that are new, together where the model can."""
        done: dict[int, Answer] = {}
        new: list[tuple[int, bytes, tuple[Message, ...]]] = []
        for number, question in numbered:
            try:
                messages = question_of(question)
            except DataError as error:
                done[number] = Answer(number, error=error)
                continue
            key = self._key_of(messages)
            known = None if self._fresh else self._answers.get(key)
            if known is None:
                new.append((number, key, messages))
            else:
                done[number] = Answer(number, known, reused=True, seconds=known.seconds)
        if len(new) > 1:
            done |= self._together(new)
        for number, key, messages in new:
            if number not in done:
                done[number] = self._one(number, key, messages)
        return [done[number] for number, _ in numbered]

    def _together(self, new: Sequence[tuple[int, bytes, tuple[Message, ...]]]) -> dict[int, Answer]:
        try:
            replies = self._model.generate([messages for _, _, messages in new], self._options)
        except DataError:
            return {}  # one of them cannot be answered: each by itself
        for (_, key, _), reply in zip(new, replies, strict=True):
            self._answers.put(key, reply)
        return {number: Answer(number, reply) for (number, _, _), reply in zip(new, replies, strict=True)}

    def _one(self, number: int, key: bytes, messages: tuple[Message, ...]) -> Answer:
        try:
            reply = steps.run(self._patiently(partial(self._model.chat, messages, self._options)), self._clock)
        except HOPELESS:
            raise
        except AdaptkitError as error:
            return Answer(number, error=error)
        self._answers.put(key, reply)
        return Answer(number, reply, seconds=reply.seconds)

    def _patiently(self, ask: Callable[[], Reply]) -> Steps[Kept]:
        for turn in range(PATIENCE + 1):
            yield from self._gate.passed()
            try:
                return (yield from attempt(partial(self._heeding, ask, turn), _OTHERWISE))
            except RateLimitError as error:
                if turn == PATIENCE or (error.retry_after or 0.0) > MAX_RETRY_AFTER:
                    raise
        raise AssertionError  # the last turn returns or raises

    def _heeding(self, ask: Callable[[], Reply], turn: int) -> Kept:
        """Ask, and shut the gate in the same breath where the service wants fewer requests."""
        began = self._clock.monotonic()
        try:
            reply = ask()
            return Kept.of(reply, self._clock.monotonic() - began)
        except RateLimitError as error:
            wish = min(2.0**turn, 60.0) if error.retry_after is None else error.retry_after
            if wish <= MAX_RETRY_AFTER:
                self._gate.hold(wish)
            raise


def question_of(question: Record | Conversation) -> tuple[Message, ...]:
    """What to say to the model.

    Raises:
        DataError: there is no question in this.
    """
    if isinstance(question, CompletionRecord):
        return (Message(role="user", content=question.prompt),)
    if not isinstance(question, ChatRecord):
        if hasattr(question, "kind"):
            raise DataError(f"a {question.kind} record holds no question; give chats or completions")
        return messages_of(question)
    turns = question.messages
    last = next((at for at in reversed(range(len(turns))) if turns[at].role == "assistant"), len(turns))
    return turns[:last]

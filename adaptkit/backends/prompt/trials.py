"""Asking for a search: every question once, within a budget of calls and of money, scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from adaptkit.adapter import ChatOptions
from adaptkit.answers import Answers, key_of
from adaptkit.backends.local_jobs import Interrupted, Job, Work
from adaptkit.backends.prompt.adapted import AdaptedModel, Provenance, Question
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.cost import rate_card
from adaptkit.backends.prompt.division import Example
from adaptkit.errors import BackendError
from adaptkit.mapping import Answer, ask_all
from adaptkit.metrics import Verdict, metric_named
from adaptkit.model import Model
from adaptkit.steps import SystemClock
from adaptkit.types import Message, ModelRef

__all__ = ["Spent", "Trials"]

#: Questions under way at a time.
CONCURRENCY = 8


class Spent(Exception):
    """The budget does not allow what comes next; it was not asked."""


class Trials:
    """Asks adapted models, and remembers what that has cost.

    Args:
        job: Whose folder keeps candidates and answers.
        work: Whom to tell, and who says when to stop.
        config: The target's.
        adapter: Answers for candidates.
        reflecting: Answers for the model that reflects.

    Attributes:
        over: Whether the budget is spent or the worker was asked to end.
    """

    def __init__(
        self, job: Job, work: Work, config: PromptConfig, adapter: PromptAdapter, reflecting: PromptAdapter
    ) -> None:
        self._job, self._work, self._budget = job, work, config.budget
        self._adapter, self._reflecting = adapter, reflecting
        self._metric = metric_named(config.metric)
        self._answers = Answers(job.folder / "answers.db")
        self._clock = SystemClock()
        self._asked: set[bytes] = set()
        self._usd: float | None = 0.0
        self._reserved = 0
        self.over = False

    @property
    def calls(self) -> int:
        """Requests so far, those of earlier workers of the same job among them."""
        return len(self._asked)

    @contextmanager
    def reserving(self, calls: int) -> Iterator[None]:
        """Keep so many calls for later."""
        self._reserved = calls
        yield
        self._reserved = 0

    def judge(self, adapted: AdaptedModel, examples: Sequence[Example]) -> list[tuple[str, Verdict]]:
        """What a model says to some questions, and how good that is.

        Raises:
            Spent: the budget does not allow it.
            Interrupted: the worker was asked to end.
            BackendError, ConfigError: nothing can be asked any more.
        """
        answers = self._ask(self._adapter, adapted, [example.question for example in examples])
        return [
            (answer.reply.text, self._metric(example.expected, answer.reply.text))
            if answer.reply
            else ("", Verdict(0.0, f"there was no answer: {answer.error}"))
            for example, answer in zip(examples, answers, strict=True)
        ]

    def reflect(self, prompt: str | list[dict[str, Any]]) -> str:
        """What the reflecting model says; raises as `judge` does."""
        text = prompt if isinstance(prompt, str) else "\n\n".join(str(turn["content"]) for turn in prompt)
        config = self._reflecting.config
        bare = AdaptedModel.of(
            model=config.model,
            base_url=config.base_url,
            wire=config.wire,
            data=Provenance(fingerprint="", rows=0),
            segments=(Question(),),
        )
        (answer,) = self._ask(self._reflecting, bare, [(Message(role="user", content=text),)])
        if answer.reply is None:
            raise answer.error or BackendError("there was no answer", backend="prompt")
        return answer.reply.text

    def tell(self, message: str, **figures: Any) -> None:
        """Say how far the search is, unless an earlier worker has said so."""
        if self.calls > self._work.told:
            total = self._budget.calls
            self._work.tell("metrics", message, step=self.calls, total_steps=total, usd=self._usd, **figures)

    def checkpoint(self) -> None:
        """Note that there is something that a next worker need not do again."""
        if self.calls > self._job.state.step:
            self._work.checkpointed(self.calls)

    def close(self) -> None:
        """Let go of the answers."""
        self._answers.close()

    def _ask(
        self, adapter: PromptAdapter, adapted: AdaptedModel, questions: Sequence[tuple[Message, ...]]
    ) -> list[Answer]:
        self.over = self.over or self._work.should_stop()
        if self._work.should_stop():
            raise Interrupted
        model = Model(ModelRef(backend="prompt", id=self._file_of(adapted)), adapter, _no_journal, self._clock)
        options = ChatOptions()
        keys = [key_of(model.ref, model.account, question, options) for question in questions]
        self._afford(len(set(keys) - self._asked))
        answers = list(
            ask_all(model, questions, self._answers, self._clock, options=options, concurrency=CONCURRENCY, fresh=False)
        )
        for key, answer in zip(keys, answers, strict=True):
            if key not in self._asked:
                self._asked.add(key)
                self._pay(adapted, answer)
        return answers

    def _file_of(self, adapted: AdaptedModel) -> str:
        """A file with the name of its content, so that the same candidate is the same model for every worker."""
        name = hashlib.sha256(msgspec.json.encode(adapted)).hexdigest()[:32]
        path = self._job.folder / "candidates" / f"{name}.json"
        if not path.is_file():
            adapted.save(path)
        return str(path)

    def _afford(self, calls: int) -> None:
        budget = self._budget
        wanted = self.calls + calls + self._reserved
        dear = budget.usd is not None and self.calls and self._usd and self._usd / self.calls * wanted > budget.usd
        if wanted > budget.calls or dear:
            self.over = True
            raise Spent

    def _pay(self, adapted: AdaptedModel, answer: Answer) -> None:
        card = rate_card(adapted.model)
        usd = 0.0 if answer.reply is None else card.usd(answer.reply.usage) if card else None
        self._usd = None if usd is None or self._usd is None else self._usd + usd


def _no_journal() -> Any:
    raise AssertionError("candidates are not deployed")

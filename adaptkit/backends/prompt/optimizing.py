"""Better instructions by search: what the worker of a job with ``optimize`` does.

GEPA proposes (L. A. Agrawal et al., arXiv:2507.19457; the ``gepa`` package): a model reads where the instructions at
hand failed and writes others. Asking, scoring, counting and stopping are done here. The data falls into three parts:
what is reflected on, what candidates are chosen by, and what the winner is reported on, which nobody looks at before.

Every candidate is an adapted model in a file, and every answer is kept. A worker that was killed is replaced by one
that goes the same way again, as fast as answers can be read, and then on; GEPA's own state, a pickle, is never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.adapter import ChatOptions, Context
from adaptkit.answers import Answers, key_of
from adaptkit.backends.local_jobs import Interrupted, Job, Work
from adaptkit.backends.prompt.adapted import AdaptedModel, Measured
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.choose import conversation_of
from adaptkit.backends.prompt.config import Optimize, PromptConfig
from adaptkit.data import Dataset
from adaptkit.errors import DataError
from adaptkit.http import Egress
from adaptkit.mapping import Answer, ask_all
from adaptkit.metrics import Verdict, metric_named
from adaptkit.model import Model
from adaptkit.prices import Prices, reply_usd
from adaptkit.score import Mean
from adaptkit.steps import SystemClock
from adaptkit.types import Message, ModelRef

__all__ = ["parts", "run"]


class _Spent(Exception):
    """The budget does not allow what comes next."""


class _Example(msgspec.Struct, frozen=True):
    question: tuple[Message, ...]
    expected: str


def parts(data: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """What to reflect on, to choose by, and to report on: the validation file, else a quarter of the data."""
    rest, report = data.split(0.25, seed) if validation is None else (data, validation)
    return (*rest.split(0.5, seed), report)


def run(job: Job, work: Work) -> str:
    """Search until the budget is spent, and write the model; gives the path of its file."""
    spec = job.spec
    config = PromptConfig.model_validate(spec.config)
    hosts = None if spec.hosts is None else frozenset(spec.hosts)
    adapter = PromptAdapter(config, Context(job.home.parent, Egress(hosts)))
    try:
        data = {purpose: Dataset.open(path, format="openai") for purpose, path in spec.files.items()}
        reflect, choose, report = parts(data["train"], data.get("validation"), config.seed)
        seed = adapter.adapted(adapter.prepare(reflect))  # examples are never rows that it is scored on
        work.enter()
        search = _Search(job, work, adapter, config, seed)
        found = search.run(_examples(reflect), _examples(choose), _examples(report))
        path = adapter.path_of(job.id)
        found.save(path)
        return str(path)
    finally:
        adapter.close()


def _examples(data: Dataset) -> list[_Example]:
    turns = [turns for record in data if (turns := conversation_of(record)) is not None]
    if not turns:
        raise DataError("optimize splits the data in three, and one part holds no conversation: give more rows")
    return [_Example(each[:-1], each[-1].text) for each in turns]


class _Search:
    """One search: the candidates so far, what was asked, what it cost."""

    def __init__(self, job: Job, work: Work, adapter: PromptAdapter, config: PromptConfig, seed: AdaptedModel) -> None:
        assert config.optimize is not None  # noqa: S101 - that is what the job is for
        self._job, self._work, self._adapter, self._seed = job, work, adapter, seed
        self._config, self._settings = config, config.optimize
        self._metric = metric_named(self._settings.metric)
        self._answers = Answers(job.folder / "answers.db")
        self._prices, self._clock = Prices(), SystemClock()
        self._asked: set[bytes] = set()
        self._usd: float | None = 0.0
        self._reserved = 0
        self.candidates: list[tuple[float, str]] = []

    # -- asking -------------------------------------------------------------------------------------------------

    def _model(self, adapted: AdaptedModel) -> Model:
        """A candidate as a model: its file has the name of its content."""
        name = hashlib.sha256(msgspec.json.encode(adapted)).hexdigest()[:16]
        path = self._job.folder / "candidates" / f"{name}.json"
        if not path.is_file():
            adapted.save(path)
        return Model(ModelRef(backend="prompt", id=str(path)), self._adapter, _no_journal, self._clock)

    def ask(self, adapted: AdaptedModel, questions: Sequence[tuple[Message, ...]]) -> list[Answer]:
        """Answers in order.

        Raises:
            _Spent: they would cost more than the budget leaves; nothing was asked.
            Interrupted: the worker was asked to end.
        """
        if self._work.should_stop():
            raise Interrupted
        model, options = self._model(adapted), ChatOptions()
        keys = [key_of(model.ref, model.account, question, options) for question in questions]
        new = set(keys) - self._asked
        self._afford(len(new))
        answers = list(
            ask_all(model, questions, self._answers, self._clock, options=options, concurrency=8, fresh=False)
        )
        for key, answer in zip(keys, answers, strict=True):
            if key in new and key not in self._asked:
                self._asked.add(key)
                self._pay(adapted.model, answer)
        return answers

    def _afford(self, calls: int) -> None:
        budget, done = self._settings.budget, len(self._asked)
        if done + calls + self._reserved > budget.calls:
            raise _Spent
        if budget.usd is not None and done and self._usd is not None:
            expected = self._usd / done * (done + calls + self._reserved)
            if expected > budget.usd:
                raise _Spent

    def _pay(self, model: str, answer: Answer) -> None:
        price = None if answer.reply is None else reply_usd(self._prices, model, answer.reply.usage)
        self._usd = None if price is None or self._usd is None else self._usd + price

    # -- the search ---------------------------------------------------------------------------------------------

    def run(self, reflect: list[_Example], choose: list[_Example], report: list[_Example]) -> AdaptedModel:
        """Search, and report the winner beside the seed."""
        self._reserved = 2 * len(report)
        self._propose(reflect, choose)
        best_score, best = max(self.candidates, key=lambda found: found[0])  # the first of equals
        self._reserved = 0
        found = self._seed.with_instructions(best)
        before, after = (self._report(adapted, report) for adapted in (self._seed, found))
        self._tell(
            f"on {len(report)} untouched examples: {before} before, {after} after",
            before=before.mean,
            after=after.mean,
        )
        measured = Measured(
            metric=self._settings.metric,
            examples=len(report),
            before=before.mean,
            before_interval=before.interval,
            after=after.mean,
            after_interval=after.interval,
            chosen_by=best_score,
            calls=len(self._asked),
            usd=self._usd,
        )
        return msgspec.structs.replace(
            found, measured=measured, data=msgspec.structs.replace(found.data, fingerprint=self._job.spec.fingerprint)
        )

    def _propose(self, reflect: list[_Example], choose: list[_Example]) -> None:
        import gepa  # noqa: PLC0415 - an extra

        over = False

        def reflection(prompt: str | list[dict[str, Any]]) -> str:
            nonlocal over
            adapted = self._adapter.bare(self._settings.reflection or self._config.model)
            text = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
            try:
                (answer,) = self.ask(adapted, [(Message(role="user", content=text),)])
            except (_Spent, Interrupted):
                over = True
                raise
            if answer.reply is None:
                raise answer.error or AssertionError
            return answer.reply.text

        try:
            gepa.optimize(
                seed_candidate={"instructions": self._seed.instructions},
                trainset=reflect,
                valset=choose,
                adapter=_Gepa(self),
                reflection_lm=reflection,
                reflection_minibatch_size=self._settings.minibatch,
                stop_callbacks=[lambda _: over],
                callbacks=[_Listener(self)],
                logger=_Quiet(),
                seed=self._config.seed,
                track_best_outputs=False,
            )
        except _Spent:
            pass
        if self._work.should_stop():
            raise Interrupted

    def judge(self, adapted: AdaptedModel, examples: Sequence[_Example]) -> list[tuple[Answer, Verdict]]:
        """Ask, and score."""
        answers = self.ask(adapted, [example.question for example in examples])
        return [
            (answer, self._verdict(example.expected, answer)) for example, answer in zip(examples, answers, strict=True)
        ]

    def _verdict(self, expected: str, answer: Answer) -> Verdict:
        if answer.reply is None:
            return Verdict(0.0, f"there was no answer: {answer.error}")
        return self._metric(expected, answer.reply.text)

    def candidate(self, instructions: str) -> AdaptedModel:
        """The adapted model with other instructions."""
        return self._seed.with_instructions(instructions)

    def chosen(self, instructions: str, score: float) -> None:
        """Note how a candidate does on what is chosen by."""
        self.candidates.append((score, instructions))
        self._tell(f"candidate {len(self.candidates)}: {score:.1%}", candidate=len(self.candidates), score=score)
        if len(self._asked) > self._job.state.step:
            self._work.checkpointed(len(self._asked))

    def _report(self, adapted: AdaptedModel, report: Sequence[_Example]) -> Mean:
        return Mean.of([verdict.score for _, verdict in self.judge(adapted, report)])

    def _tell(self, message: str, **figures: Any) -> None:
        calls = len(self._asked)
        if calls > self._work.told:
            total = self._settings.budget.calls
            self._work.tell("metrics", message, step=calls, total_steps=total, usd=self._usd, **figures)


class _Gepa:
    """What GEPA asks of a system that it improves."""

    propose_new_texts = None

    def __init__(self, search: _Search) -> None:
        self._search = search

    def evaluate(self, batch: list[_Example], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        from gepa import EvaluationBatch  # noqa: PLC0415 - an extra

        judged = self._search.judge(self._search.candidate(candidate["instructions"]), batch)
        traces = [
            {
                "Inputs": "\n".join(f"{turn.role}: {turn.text}" for turn in example.question),
                "Generated Outputs": answer.reply.text if answer.reply else "",
                "Feedback": verdict.feedback,
            }
            for example, (answer, verdict) in zip(batch, judged, strict=True)
        ]
        return EvaluationBatch(
            outputs=[trace["Generated Outputs"] for trace in traces],
            scores=[verdict.score for _, verdict in judged],
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        del candidate
        return {name: eval_batch.trajectories for name in components_to_update}


class _Listener:
    def __init__(self, search: _Search) -> None:
        self._search = search

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        self._search.chosen(event["candidate"]["instructions"], event["average_score"])


class _Quiet:
    """GEPA's log repeats questions and answers."""

    def log(self, message: str) -> None:
        pass


def _no_journal() -> Any:
    raise AssertionError("candidates are not deployed")

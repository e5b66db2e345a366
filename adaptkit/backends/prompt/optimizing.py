"""Better instructions by search: what the worker of a job with ``optimize`` does.

GEPA proposes (L. A. Agrawal et al., arXiv:2507.19457; the ``gepa`` package): a model reads where the instructions at
hand failed and writes others. Asking, scoring, counting and stopping are done here.

Every candidate is an adapted model in a file, and every answer is kept. A worker that was killed is replaced by one
that goes the same way again, as fast as answers can be read, and then on; GEPA's own state, a pickle, is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from adaptkit.adapter import Context
from adaptkit.backends.local_jobs import Interrupted, Job, Work
from adaptkit.backends.prompt.adapted import AdaptedModel, Measured
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import Example, examples_of, parts
from adaptkit.backends.prompt.trials import Spent, Trials
from adaptkit.data import Dataset
from adaptkit.errors import SpendError
from adaptkit.http import Egress
from adaptkit.metrics import Verdict
from adaptkit.score import Score

__all__ = ["run"]


def run(job: Job, work: Work) -> str:
    """Search until the budget is spent, and write the model; gives the path of its file."""
    spec = job.spec
    config = PromptConfig.model_validate(spec.config)
    context = Context(job.home.parent, Egress(None if spec.hosts is None else frozenset(spec.hosts)))
    adapter, reflecting = PromptAdapter(config, context), PromptAdapter(config.reflecting, context)
    trials = Trials(job, work, config, adapter, reflecting)
    try:
        data = {purpose: Dataset.open(path, format="openai") for purpose, path in spec.files.items()}
        reflect, choose, report = parts(data["train"], data.get("validation"), config.seed)
        seed = adapter.adapted(adapter.prepare(reflect))  # examples are never rows that it is scored on
        work.enter()
        found = _Search(trials, seed, config, work).run(examples_of(reflect), examples_of(choose), examples_of(report))
        rows = sum(1 for _ in data["train"])
        whole = msgspec.structs.replace(found.data, fingerprint=spec.fingerprint, rows=rows)
        path = adapter.path_of(job.id)
        msgspec.structs.replace(found, data=whole).save(path)
        return str(path)
    finally:
        trials.close()
        adapter.close()
        reflecting.close()


#: Turns in a row in which every question was asked before; GEPA would go round for ever.
MOST_IDLE = 20


class _Search:
    """One search.

    Args:
        trials: Asks and scores.
        seed: The model as configured.
        config: The target's.
        work: Whom to tell.
    """

    def __init__(self, trials: Trials, seed: AdaptedModel, config: PromptConfig, work: Work) -> None:
        self._trials, self._seed, self._config, self._work = trials, seed, config, work
        self._candidates: list[tuple[float, str]] = []
        self._calls = self._idle = 0

    def run(self, reflect: list[Example], choose: list[Example], report: list[Example]) -> AdaptedModel:
        """Search, and report the winner beside the seed on what nobody has looked at."""
        with self._trials.reserving(2 * len(report)):
            self._propose(reflect, choose)
        score, instructions = max(self._candidates, key=lambda found: found[0])  # the first of equals
        winner = self._seed.instructed(instructions)
        try:
            before, after = (self._measured(adapted, report) for adapted in (self._seed, winner))
        except Spent:
            raise SpendError(
                "optimize.budget was used up before the winner could be reported; nothing more was asked. Raise it, or "
                "use fewer rows"
            ) from None
        self._trials.tell(
            f"all right on {len(report)} untouched examples: {before.value:.1%} before, {after.value:.1%} after",
            before=before.value,
            after=after.value,
            chosen_by=score,
        )
        return msgspec.structs.replace(winner, scores=(after,))

    def _measured(self, adapted: AdaptedModel, report: Sequence[Example]) -> Measured:
        judged = self._trials.judge(adapted, report)
        right = Score.of(sum(verdict.score == 1.0 for _, verdict in judged), len(judged))
        assert self._config.optimize is not None  # noqa: S101 - that is what the job is for
        return Measured(
            metric=self._config.optimize.metric,
            value=right.share,
            low=right.low,
            high=right.high,
            rows=right.total,
            data=adapted.data.fingerprint,
        )

    def _propose(self, reflect: list[Example], choose: list[Example]) -> None:
        from gepa.api import optimize  # noqa: PLC0415 - an extra

        assert self._config.optimize is not None  # noqa: S101 - that is what the job is for
        with suppress(Spent):
            optimize(
                seed_candidate={_NAME: self._seed.instructions},
                trainset=reflect,
                valset=choose,
                adapter=_System(self._trials, self._seed),
                reflection_lm=self._trials.reflect,
                reflection_minibatch_size=self._config.optimize.minibatch,
                stop_callbacks=self._is_over,
                callbacks=[_Listener(self)],
                logger=_Quiet(),
                seed=self._config.seed,
                track_best_outputs=False,
            )
        if self._work.should_stop():
            raise Interrupted

    def _is_over(self, state: object) -> bool:
        """Whether to stop: the budget is spent, nothing can be better, or turn after turn brings no new question."""
        del state
        self._idle = 0 if self._trials.calls > self._calls else self._idle + 1
        self._calls = self._trials.calls
        best = max((score for score, _ in self._candidates), default=0.0)
        return self._trials.over or best >= 1.0 or self._idle > MOST_IDLE

    def chosen(self, instructions: str, score: float) -> None:
        """Note how a candidate does on what is chosen by."""
        self._candidates.append((score, instructions))
        number = len(self._candidates)
        self._trials.tell(f"candidate {number}: {score:.1%}", candidate=number, score=score)
        self._trials.checkpoint()


#: GEPA improves texts by name; there is one.
_NAME = "instructions"


class _System:
    """What GEPA improves: instructions in front of a question."""

    propose_new_texts = None

    def __init__(self, trials: Trials, seed: AdaptedModel) -> None:
        self._trials, self._seed = trials, seed

    def evaluate(self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Answers and scores of some rows."""
        from gepa.core.adapter import EvaluationBatch  # noqa: PLC0415 - an extra

        judged = self._trials.judge(self._seed.instructed(candidate[_NAME]), batch)
        traces = [_trace(example, said, verdict) for example, (said, verdict) in zip(batch, judged, strict=True)]
        return EvaluationBatch(
            outputs=[said for said, _ in judged],
            scores=[verdict.score for _, verdict in judged],
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What the reflecting model reads."""
        del candidate
        return dict.fromkeys(components_to_update, eval_batch.trajectories)


def _trace(example: Example, said: str, verdict: Verdict) -> dict[str, str]:
    asked = "\n".join(f"{turn.role}: {turn.text}" for turn in example.question)
    return {"Inputs": asked, "Generated Outputs": said, "Feedback": verdict.feedback}


class _Listener:
    def __init__(self, search: _Search) -> None:
        self._search = search

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        self._search.chosen(event["candidate"][_NAME], event["average_score"])


class _Quiet:
    """GEPA's log repeats questions and answers."""

    def log(self, message: str) -> None:
        pass

"""Better instructions by search.

GEPA proposes (L. A. Agrawal et al., arXiv:2507.19457; the ``gepa`` package): a model reads where the instructions at
hand failed and writes others. Asking, scoring, counting and stopping are done here.

Every candidate is an adapted model in a file, and every answer is kept. A worker that was killed is replaced by one
that goes the same way again, as fast as answers can be read, and then on; GEPA's own state, a pickle, is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from adaptkit.backends.local_jobs import Interrupted, Work
from adaptkit.backends.prompt.adapted import AdaptedModel
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import Example
from adaptkit.backends.prompt.trials import Spent, Trials
from adaptkit.errors import SpendError
from adaptkit.metrics import Verdict

__all__ = ["Search"]


#: Turns in a row in which every question was asked before; GEPA would go round for ever.
MOST_IDLE = 20


class Search:
    """One search.

    Args:
        trials: Asks and scores.
        seed: The model as it stands.
        config: The target's.
        work: Whom to tell.
    """

    def __init__(self, trials: Trials, seed: AdaptedModel, config: PromptConfig, work: Work) -> None:
        self._trials, self._seed, self._config, self._work = trials, seed, config, work
        self._candidates: list[tuple[float, str]] = []
        self._calls = self._idle = 0

    def run(self, reflect: list[Example], choose: list[Example]) -> AdaptedModel:
        """The best found, until the budget is spent.

        Raises:
            SpendError: the budget does not last to the first candidate.
            Interrupted: the worker was asked to end.
        """
        self._propose(reflect, choose)
        if not self._candidates:
            raise SpendError("optimize.budget was used up before anything was found; raise it, or use fewer rows")
        _, instructions = max(self._candidates, key=lambda found: found[0])  # the first of equals
        return self._seed.instructed(instructions)

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
    def __init__(self, search: Search) -> None:
        self._search = search

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        self._search.chosen(event["candidate"][_NAME], event["average_score"])


class _Quiet:
    """GEPA's log repeats questions and answers."""

    def log(self, message: str) -> None:
        pass

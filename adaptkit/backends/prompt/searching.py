"""What the worker of a job that asks does: measure examples, search instructions, report the winner.

In that order: the instructions are searched with the examples that will stand behind them. The data falls into three
parts (see `division`), and what is reported on is asked last, so that nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adaptkit.adapter import Context
from adaptkit.backends.local_jobs import Job, Work
from adaptkit.backends.prompt.adapted import AdaptedModel, Measured
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import Example, examples_of, parts
from adaptkit.backends.prompt.measuring import Parts, measured_examples
from adaptkit.backends.prompt.trials import Spent, Trials
from adaptkit.data import Dataset
from adaptkit.errors import SpendError
from adaptkit.http import Egress
from adaptkit.score import Score

__all__ = ["report", "run"]


def run(job: Job, work: Work) -> str:
    """Measure and search until the budget is spent, and write the model; gives the path of its file."""
    spec = job.spec
    config = PromptConfig.model_validate(spec.config)
    context = Context(job.home.parent, Egress(None if spec.hosts is None else frozenset(spec.hosts)))
    adapter, reflecting = PromptAdapter(config, context), PromptAdapter(config.reflecting, context)
    trials = Trials(job, work, config, adapter, reflecting)
    try:
        data = {purpose: Dataset.open(path, format="openai") for purpose, path in spec.files.items()}
        divided = Parts(*parts(data["train"], data.get("validation"), config.seed))
        work.enter()
        found = _found(trials, config, context, divided, work)
        rows = sum(1 for _ in data["train"])
        whole = msgspec.structs.replace(found.data, fingerprint=spec.fingerprint, rows=rows)
        path = adapter.path_of(job.id)
        msgspec.structs.replace(found, data=whole).save(path)
        return str(path)
    finally:
        trials.close()
        adapter.close()
        reflecting.close()


def _found(trials: Trials, config: PromptConfig, context: Context, divided: Parts, work: Work) -> AdaptedModel:
    untouched = examples_of(divided.report)
    with trials.reserving(len(untouched) * (1 if config.optimize is None else 2)):
        seed, table = measured_examples(trials, config, context, divided)
        winner = seed
        if config.optimize is not None:
            from adaptkit.backends.prompt.optimizing import Search  # noqa: PLC0415 - an extra

            search = Search(trials, seed, config, work)
            winner = search.run(examples_of(divided.reflect), examples_of(divided.choose))
    before = [] if config.optimize is None else [seed]
    score = report(trials, config, [*before, winner], untouched)
    return msgspec.structs.replace(winner, scores=(score,), examples_tried=table)


def report(
    trials: Trials, config: PromptConfig, models: Sequence[AdaptedModel], untouched: Sequence[Example]
) -> Measured:
    """How good the last of some models is on what nobody has looked at; the others are told beside it.

    Raises:
        SpendError: the budget does not last.
    """
    try:
        scores = [_measured(trials, config, adapted, untouched) for adapted in models]
    except Spent:
        field = "examples.budget" if config.optimize is None else "optimize.budget"
        raise SpendError(
            f"{field} was used up before the winner could be reported; nothing more was asked. Raise it, or "
            "use fewer rows"
        ) from None
    after, figures = scores[-1], {"after": scores[-1].value}
    words = f"{after.value:.1%}"
    if len(scores) > 1:
        words = f"{scores[0].value:.1%} before, {words} after"
        figures["before"] = scores[0].value
    trials.tell(f"all right on {len(untouched)} untouched examples: {words}", **figures)
    return after


def _measured(trials: Trials, config: PromptConfig, adapted: AdaptedModel, rows: Sequence[Example]) -> Measured:
    judged = trials.judge(adapted, rows)
    right = Score.of(sum(verdict.score == 1.0 for _, verdict in judged), len(judged))
    return Measured(
        metric=config.metric,
        value=right.share,
        low=right.low,
        high=right.high,
        rows=right.total,
        data=adapted.data.fingerprint,
    )

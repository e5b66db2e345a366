"""The engine behind `Client.compare`: asks every model every question, scores, and tells noise from gain.

Everything that can be refused is refused before anybody is asked. Answers are kept as they come, so a comparison that
was killed asks only for what it lacks.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from adaptkit import __version__
from adaptkit.adapter import ChatOptions
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitWarning, BackendError, ConfigError
from adaptkit.evidence import leaks, statistics
from adaptkit.evidence.entrants import Bench, Entrant, Models, entrants
from adaptkit.evidence.guard import forgotten
from adaptkit.evidence.latency import timed
from adaptkit.evidence.likelihood import likelihood_measures
from adaptkit.evidence.measures import set_measures
from adaptkit.evidence.questions import HeldOut
from adaptkit.evidence.results import Answered, Comparison, Competitor, Difference, Question
from adaptkit.mapping import HOPELESS, Answer, ask_all
from adaptkit.metrics import Metric, Verdict
from adaptkit.prices import RateCard
from adaptkit.types import Event, Usage

__all__ = ["Tell", "compare", "say_nothing"]

Tell = Callable[[Event], None]
#: A set on which only larger differences than this show is called small.
SMALL = 0.10
#: What computes the figures, for the record.
_PACKAGES = ("scipy", "sacrebleu")


def compare(
    bench: Bench,
    models: Models,
    held_out: Dataset,
    *,
    metric: str | Metric = "exact_match",
    general: Dataset | None = None,
    general_metric: str | Metric | None = None,
    training: Dataset | Sequence[Dataset] = (),
    group: str | None = None,
    repeats: int = 1,
    options: ChatOptions | None = None,
    timed: int | None = None,
    concurrency: int = 8,
    progress: Tell | None = None,
    seed: int = 0,
) -> Comparison:
    """As `adaptkit.Client.compare`, with what a client lends."""
    if repeats < 1 or concurrency < 1:
        raise ConfigError(f"repeats is {repeats} and concurrency {concurrency}; each is at least 1")
    tell = progress or say_nothing
    who = entrants(bench, models)
    learned = (training,) if isinstance(training, Dataset) else tuple(training)
    held = HeldOut.read("held-out", held_out, metric, group)
    sets = [held]
    if general is not None:
        sets.append(HeldOut.read("general", general, general_metric or metric, None))
    notes = [each.note for each in who if each.note is not None]
    notes += [*leaks.refuse(bench, who, held.data, learned), *_announce(bench, sets, who, repeats, tell)]
    asking = _Comparing(bench, who, repeats, options, timed, concurrency, seed, tell)
    found = asking.on(held, learned)
    guard = asking.on(sets[1], learned) if general is not None else None
    if guard is not None:
        notes += forgotten(guard)
    return msgspec.structs.replace(found, general=guard, warnings=(*notes, *found.warnings))


@dataclass(frozen=True)
class _Comparing:
    bench: Bench
    who: Sequence[Entrant]
    repeats: int
    options: ChatOptions | None
    timed: int | None
    concurrency: int
    seed: int
    tell: Tell

    def on(self, held: HeldOut, learned: Sequence[Dataset]) -> Comparison:
        """Ask every model on one set, and compare them."""
        answers = [self._answers(entrant, held) for entrant in self.who]
        competitors = [
            self._competitor(entrant, held, given, learned) for entrant, given in zip(self.who, answers, strict=True)
        ]
        return Comparison(
            metric=held.metric,
            questions=tuple(held.questions),
            competitors=tuple(competitors),
            differences=self._differences(competitors, held),
            detectable=held.detectable,
            fingerprint=held.data.fingerprint,
            created_at=self.bench.clock.time(),
            versions=_versions(),
            profile=held.profile,
            warnings=tuple(_doubts(competitors, held)),
            prices=_prices(self.who, answers),
        )

    def _answers(self, entrant: Entrant, held: HeldOut) -> tuple[Answered, ...]:
        options = self.options or _strictly(entrant, held)
        total = len(held.questions) * self.repeats
        step = _Steps(self.bench, self.tell, f"{entrant.name} on {held.name} questions", total)
        given: list[list[Answered]] = [[] for _ in held.questions]
        answers, clock = self.bench.answers, self.bench.clock
        for repeat in range(self.repeats):
            replies = ask_all(
                entrant.model,
                held.asked,
                answers,
                clock,
                options=options,
                concurrency=self.concurrency,
                fresh=False,
                repeat=repeat,
            )
            score = partial(_answered, repeat, held.score, entrant)
            for answered in self._scored(score, held.questions, step.through(_of(entrant.name, replies)), held):
                given[answered.question].append(answered)
        whole = list(itertools.chain.from_iterable(given))
        return timed(entrant.model, held.asked, whole, options, answers=answers, clock=clock, count=self.timed)

    def _scored(
        self,
        score: Callable[[Question, Answer], Answered],
        questions: Sequence[Question],
        replies: Iterator[Answer],
        held: HeldOut,
    ) -> Iterator[Answered]:
        """Answers with their scores: several at a time where the metric waits for somebody, as a judge does."""
        if not getattr(held.score, "waits", False):
            yield from map(score, questions, replies)
            return
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="adaptkit-judge") as pool:
            yield from pool.map(score, questions, replies)

    def _competitor(
        self, entrant: Entrant, held: HeldOut, answers: tuple[Answered, ...], learned: Sequence[Dataset]
    ) -> Competitor:
        costs = [answer.usd for answer in answers if answer.error is None]
        expected = [held.questions[answer.question].expected for answer in answers]
        measures = set_measures(held.metric, expected, [answer.text or "" for answer in answers])
        measures |= likelihood_measures(entrant.model, held.asked, held.questions, self.bench.answers)
        return Competitor(
            name=entrant.name,
            ref=str(entrant.model.ref),
            rung=entrant.rung,
            base=entrant.base,
            score=statistics.mean_interval(_per_question(answers), held.groups),
            measures=measures,
            answers=answers,
            seconds=_percentiles([answer.seconds for answer in answers]),
            first_token_seconds=_percentiles([answer.first_token_seconds for answer in answers]),
            usage=sum((answer.usage for answer in answers), Usage()),
            usd=None if None in costs else math.fsum(cost for cost in costs if cost is not None),
            training_usd=entrant.training_usd(learned),
            training_seconds=entrant.training_seconds,
            shutdown=entrant.shutdown,
            losses=entrant.losses,
        )

    def _differences(self, competitors: Sequence[Competitor], held: HeldOut) -> tuple[Difference, ...]:
        scores = {each.name: _per_question(each.answers) for each in competitors}
        found = []
        for first, second in itertools.combinations([each.name for each in competitors], 2):
            swap = math.fsum(scores[second]) > math.fsum(scores[first])
            one, other = (second, first) if swap else (first, second)
            interval, p, test = statistics.difference(scores[one], scores[other], held.groups, seed=self.seed)
            pairs = list(zip(scores[one], scores[other], strict=True))
            won, lost = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
            found.append(
                Difference(
                    one=one,
                    other=other,
                    difference=interval,
                    p=p,
                    adjusted=p,
                    test=test,
                    won=won,
                    lost=lost,
                    tied=len(pairs) - won - lost,
                )
            )
        adjusted = statistics.holm([each.p for each in found])
        return tuple(msgspec.structs.replace(each, adjusted=p) for each, p in zip(found, adjusted, strict=True))


class _Steps:
    """Tells how far the asking of one model is."""

    def __init__(self, bench: Bench, tell: Tell, doing: str, total: int) -> None:
        self._bench, self._tell, self._doing, self._total = bench, tell, doing, total
        self._done = self._new = self._failed = 0
        self._began = bench.clock.monotonic()

    def through(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The answers as they are, told of one by one."""
        for answer in answers:
            self._done_with(answer)
            yield answer

    def _done_with(self, answer: Answer) -> None:
        self._done += 1
        self._new += not answer.reused
        self._failed += answer.error is not None
        data: dict[str, Any] = {"doing": self._doing, "step": self._done, "total_steps": self._total}
        if self._new:
            pace = (self._bench.clock.monotonic() - self._began) / self._new
            data["eta"] = pace * (self._total - self._done)
        if self._failed:
            data["errors"] = self._failed
        now = self._bench.clock.time()
        self._tell(Event(id=f"{self._doing} {self._done}", at=now, kind="metrics", message=self._doing, data=data))


def _announce(bench: Bench, sets: Sequence[HeldOut], who: Sequence[Entrant], repeats: int, tell: Tell) -> Iterator[str]:
    """Say what will be asked and what it can show, before anybody is asked."""
    for held in sets:
        count, points = len(held.questions), 100 * held.detectable
        asked = f"{count:,} questions" + (f", {repeats} times each" if repeats > 1 else "")
        models = f"{len(who)} model" + ("s" if len(who) > 1 else "")
        message = (
            f"{held.name} set: {asked}, to {models}; shows differences of about {points:.0f} points and more "
            "(80 % power at 5 %)"
        )
        data = {"questions": count, "models": len(who), "repeats": repeats, "detectable": held.detectable}
        tell(Event(id=f"plan {held.name}", at=bench.clock.time(), kind="plan", message=message, data=data))
        if held.detectable > SMALL and len(who) > 1:
            note = (
                f"the {held.name} set is small: with {count} questions"
                + ("" if held.groups is None else f" in {len(set(held.groups))} groups")
                + f" a difference below {points:.0f} points will usually not show"
            )
            warnings.warn(note, AdaptkitWarning, stacklevel=4)
            yield note


def _strictly(entrant: Entrant, held: HeldOut) -> ChatOptions:
    """Greedily, unless the model thinks before it answers; where only the exact answer counts, no longer than that."""
    if entrant.model.abilities().thinks:
        return ChatOptions()
    if held.metric != "exact_match":
        return ChatOptions(temperature=0.0)
    # a token covers at least one byte; rounded up, so that one more question does not ask all the others anew
    longest = max(len(question.expected.strip().encode()) for question in held.questions)
    return ChatOptions(temperature=0.0, max_tokens=1 << longest.bit_length())


def _answered(repeat: int, score: Metric, entrant: Entrant, question: Question, answer: Answer) -> Answered:
    if answer.reply is None:
        return Answered(
            question=question.number, repeat=repeat, feedback="there was no answer", error=str(answer.error)
        )
    verdict = _verdict(score, question.expected, answer.reply.text)
    return Answered(
        question=question.number,
        repeat=repeat,
        text=answer.reply.text,
        score=verdict.score,
        feedback=verdict.feedback,
        usage=answer.reply.usage,
        seconds=answer.seconds,
        usd=entrant.usd(answer.reply.usage),
    )


def _verdict(score: Metric, expected: str, given: str) -> Verdict:
    verdict = score(expected, given)
    if not 0.0 <= verdict.score <= 1.0:
        raise ConfigError(f"the metric gave {verdict.score}; a score lies between 0 and 1")
    return verdict


def _per_question(answers: Sequence[Answered]) -> list[float]:
    """One score a question: the mean of its repeats, which stand together."""
    return [
        math.fsum(scores) / len(scores)
        for _, same in itertools.groupby(answers, key=lambda answer: answer.question)
        if (scores := [answer.score for answer in same])
    ]


def _percentiles(measured: Sequence[float | None]) -> dict[str, float]:
    """Nearest ranks: a time that was really measured, and never one between two."""
    known = sorted(seconds for seconds in measured if seconds is not None)
    return {name: known[math.ceil(share * len(known)) - 1] for name, share in _SHARES.items()} if known else {}


_SHARES = {"p50": 0.5, "p95": 0.95}


def _doubts(competitors: Sequence[Competitor], held: HeldOut) -> Iterator[str]:
    """What should be known of the answers before the figures are believed."""
    for each in competitors:
        failed = [answer for answer in each.answers if answer.error is not None]
        if failed:
            yield (
                f"{each.name} gave no answer {len(failed)} times on the {held.name} set, which score 0; the first: "
                f"{failed[0].error}. The same call asks for these again, and for no others"
            )
    texts = {question.question for question in held.questions}
    if repeated := len(held.questions) - len(texts):
        yield (
            f"{repeated} of {len(held.questions)} {held.name} questions repeat another, so the intervals are narrower "
            "than they should be: remove them, or name a field that they share as group"
        )


def _of(name: str, replies: Iterable[Answer]) -> Iterator[Answer]:
    """A model's answers; an error that ends all says whose it is."""
    try:
        yield from replies
    except HOPELESS as error:
        told = f"{name}: {error.message if isinstance(error, BackendError) else error}"
        if isinstance(error, BackendError):
            error.message = told
        error.args = (told, *error.args[1:])
        raise


def _prices(who: Sequence[Entrant], answers: Sequence[Sequence[Answered]]) -> tuple[RateCard, ...]:
    """The rate cards that costs were computed by, each once."""
    cards = {
        (card.service, card.model, card.above): card
        for entrant, given in zip(who, answers, strict=True)
        for answer in given
        if (card := entrant.card(answer.usage)) is not None
    }
    return tuple(cards.values())


def _versions() -> dict[str, str]:
    found = {"adaptkit": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def say_nothing(event: Event) -> None:
    """What is told of progress where nobody listens."""
    del event

"""The facts that rules look at: measured, counted or given, each under one name; ``None`` for what nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec

from adaptkit.adapter import Adapter, SupportsShutdownDate
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, ConfigError
from adaptkit.estimate import estimate, hosting_price
from adaptkit.evidence.failures import failures
from adaptkit.evidence.language import LanguageFit, language_fit, texts
from adaptkit.evidence.results import Comparison, Competitor, Interval, Rung
from adaptkit.evidence.rules import Fact
from adaptkit.http import Egress
from adaptkit.prices import Prices

if TYPE_CHECKING:
    from adaptkit.evidence.learning_curve import LearningCurve

__all__ = ["NAMES", "Candidate", "Constraints", "Situation", "facts_of", "gain"]

#: The rungs from the ground up.
RUNGS: Sequence[Rung] = ("none", "prompt", "fine-tune", "train")
#: What facts about each are called by.
_CALLED: Mapping[Rung, str] = {"none": "base", "prompt": "prompt", "fine-tune": "fine_tune", "train": "train"}
#: Hours of a month that a deployment runs round the clock.
HOURS = 730
#: Share of the text's letters in scripts that the vocabulary hardly has, from which the text is in such a script.
MAINLY = 0.5


class Constraints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is given.

    Attributes:
        calls_per_month: How often the model will be asked.
        seconds: How long 95 % of the answers may take at most.
        prompt_tokens, answer_tokens: Of one call; only looked at where a comparison does not say what a call costs.
    """

    calls_per_month: float | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    @classmethod
    def of(cls, given: Constraints | Mapping[str, Any] | None) -> Constraints:
        """From what a caller gives.

        Raises:
            ConfigError: a name that there is not, or no number.
        """
        if given is None or isinstance(given, Constraints):
            return given or cls()
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            known = ", ".join(cls.__struct_fields__)
            raise ConfigError(f"constraints: {error}; there are {known}") from None


@dataclass(frozen=True)
class Candidate:
    """A model that may be used.

    Attributes:
        name: A target's, or a model's.
        model: The model.
        adapter: The target's; ``None`` for a model that no target names, and where data may not go.
        barred: Whether data may not go there.
    """

    name: str
    model: str
    adapter: Adapter[Any] | None = None
    barred: bool = False

    @property
    def tokenizer(self) -> str:
        """What tells its tokenizer."""
        return str(self._setting("tokenizer") or self.model)

    @property
    def is_local(self) -> bool:
        """Whether data stays on this machine."""
        return not self.adapter.destinations if self.adapter else self.model.startswith("builtin:")

    @property
    def trains(self) -> bool:
        """Whether it is fine-tuned: neither prompted nor trained from base weights on."""
        return self.adapter is not None and self.adapter.backend != "prompt" and self._setting("weights") != "full"

    def _setting(self, name: str) -> object:
        return getattr(self.adapter.config, name, None) if self.adapter else None


@dataclass(frozen=True)
class Situation:
    """All that a recommendation looks at.

    Attributes:
        data: Training examples.
        goal: Score that is good enough, 0 to 1, in the comparison's metric.
        budget: US dollars for one training.
        constraints: What else is given.
        candidates: Models that may be used.
        comparison: What was measured.
        curve: What more data brought.
        egress: Where data may go.
        prices: The table of prices.
        today: The day.
    """

    data: Dataset
    goal: float | None
    budget: float | None
    constraints: Constraints
    candidates: Sequence[Candidate]
    comparison: Comparison | None
    curve: LearningCurve | None
    egress: Egress
    prices: Prices
    today: date


def facts_of(situation: Situation) -> dict[str, Fact]:
    """Every fact by its name, in the order of `NAMES`."""
    found: dict[str, Fact] = {
        "goal": situation.goal,
        "budget": situation.budget,
        "calls_per_month": situation.constraints.calls_per_month,
        "seconds_allowed": situation.constraints.seconds,
        "egress": "anywhere" if situation.egress.hosts is None else "hosts" if situation.egress.hosts else "none",
    }
    found |= _of_data(situation.data)
    if situation.candidates:
        found["local_candidates"] = _yes(any(each.is_local for each in situation.candidates))
        found["barred"] = ", ".join(each.name for each in situation.candidates if each.barred) or None
    found |= _of_language(language_fit(situation.data, [each.tokenizer for each in situation.candidates]))
    if situation.comparison is not None:
        found |= _of_comparison(situation.comparison, situation.goal, situation.data)
    if situation.curve is not None:
        doubled = situation.curve.per_doubling
        found |= {"curve": situation.curve.verdict.replace(" ", "_"), "doubling_points": 100 * doubled.value}
    found |= _of_prices(situation)
    found |= _of_dates(situation)
    return {name: found.get(name) for name in NAMES}


def gain(comparison: Comparison, rung: Rung) -> Interval | None:
    """What the best model of a rung gains over the best of all rungs below, on the same questions."""
    higher, lower = best(comparison, [rung]), best(comparison, RUNGS[: RUNGS.index(rung)])
    if higher is None or lower is None:
        return None
    return _paired(comparison, higher, lower)


def best(comparison: Comparison, rungs: Sequence[Rung]) -> Competitor | None:
    """The best model of some rungs; of equals the first."""
    among = [each for each in comparison.competitors if each.rung in rungs]
    return max(among, key=lambda each: each.score.value, default=None)


def _paired(comparison: Comparison, higher: Competitor, lower: Competitor) -> Interval | None:
    for each in comparison.differences:
        if (each.one, each.other) == (higher.name, lower.name):
            return each.difference
        if (each.one, each.other) == (lower.name, higher.name):
            found = each.difference
            return msgspec.structs.replace(found, value=-found.value, low=-found.high, high=-found.low)
    return None


def _of_data(data: Dataset) -> dict[str, Fact]:
    stats = data.check().stats
    return {"rows": stats.rows, "kind": stats.kind, "tokens": stats.tokens}


def _of_language(fits: Iterable[LanguageFit]) -> dict[str, Fact]:
    counted = [fit for fit in fits if fit.ratio is not None]
    found: dict[str, Fact] = {}
    missing = sorted({fit.candidate for fit in fits if not fit.counted})
    if missing:
        found["uncounted"] = ", ".join(missing)
    if counted:
        fit = min(counted, key=lambda each: each.ratio or 0.0)
        share = sum(script.share for script in fit.scripts if script.hardly)
        found |= {
            "language_ratio": fit.ratio,
            "language_unit": fit.unit,
            "language_candidate": fit.candidate,
            "script_missing": "no" if not fit.missing else "yes" if share >= MAINLY else "some",
            "missing_scripts": ", ".join(fit.missing) or None,
        }
    return found


def _of_comparison(comparison: Comparison, goal: float | None, data: Dataset) -> dict[str, Fact]:
    found: dict[str, Fact] = {"questions": len(comparison.questions)}
    if comparison.detectable is not None:
        found["detectable_points"] = 100 * comparison.detectable
    for rung, name in _CALLED.items():
        entrant = best(comparison, [rung])
        if entrant is not None:
            score = entrant.score
            found |= {name: score.value, f"{name}_low": score.low, f"{name}_meets_goal": _meets(score, goal)}
        more = gain(comparison, rung)
        if more is not None:
            found |= {f"{name}_better": _yes(more.low > 0), f"{name}_gain_points": 100 * more.low}
    prompted = best(comparison, ["prompt"]) or best(comparison, ["none"])
    if prompted is not None:
        found["prompt_seconds"] = prompted.seconds.get("p95") if prompted.rung == "prompt" else None
        wrong = failures(comparison, prompted, (text for record in data for text in texts(record)))
        if wrong.wrong:
            found |= {
                "failures": wrong.mostly,
                "wrong_format": wrong.share("format"),
                "missing_facts": wrong.share("missing_fact"),
                "wrong_skill": wrong.share("skill"),
            }
    if comparison.general is not None:
        lost = gain(comparison.general, "fine-tune")
        if lost is not None:
            found |= {"forgets": _yes(lost.high < 0), "forgotten_points": -100 * lost.value}
    return found


def _meets(score: Interval, goal: float | None) -> Fact:
    if goal is None:
        return None
    return "yes" if score.low >= goal else "no" if score.high < goal else "unclear"


def _of_prices(situation: Situation) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    trainings = list(_trainings(situation))
    if trainings:
        found["fine_tune_usd"], found["fine_tune_price"] = min(trainings)
    hostings = [
        (price.usd, f"${price.usd:g} an hour ({each.name}; {price.source}, {price.date})")
        for each in situation.candidates
        if each.adapter is not None and (price := hosting_price(each.adapter.config, situation.prices)) is not None
    ]
    calls = list(_calls(situation))
    if hostings and calls:
        (an_hour, hosting), (a_call, call) = min(hostings), min(calls)
        found |= {"break_even_calls": an_hour * HOURS / a_call, "hosting_price": hosting, "prompted_price": call}
    return found


def _trainings(situation: Situation) -> Iterator[tuple[float, str]]:
    """What each fine-tuning costs, where that is known, and where it is known from."""
    for each in situation.candidates:
        if not each.trains or each.adapter is None:
            continue
        with suppress(AdaptkitError):  # data that does not fit this one, a package that is missing: no price then
            known = estimate(each.adapter.prepare(situation.data), situation.data, situation.prices, each.adapter)
            if known.usd is not None and known.price is not None:
                yield known.usd, f"{each.name}: ${known.price.usd:g} ({known.price.source}, {known.price.date})"


def _calls(situation: Situation) -> Iterator[tuple[float, str]]:
    """What a prompted call costs: as measured, else by the table for calls of the given size."""
    measured = [each for each in (situation.comparison.competitors if situation.comparison else ()) if each.usd]
    for each in measured:
        if each.rung == "prompt" and each.usd is not None and each.answers:
            a_call = each.usd / len(each.answers)
            yield a_call, f"${a_call:.3g} a call as measured ({each.name})"
    given = situation.constraints
    if measured or given.prompt_tokens is None or given.answer_tokens is None:
        return
    for candidate in situation.candidates:
        service, _, model = candidate.model.partition(":")
        card = situation.prices.chat(service, model, given.prompt_tokens)
        if card is not None:
            a_call = (given.prompt_tokens * card.input + given.answer_tokens * card.output) / 1e6
            yield a_call, f"${a_call:.3g} a call ({candidate.model}; {card.source}, {card.date})"


def _of_dates(situation: Situation) -> dict[str, Fact]:
    dates = list(_dates(situation))
    if not dates:
        return {}
    day, who = min(dates)
    return {"retires_in_days": (day - situation.today).days, "retires": f"{who} is switched off on {day}"}


def _dates(situation: Situation) -> Iterator[tuple[date, str]]:
    """When candidates are switched off, as far as that is known without asking."""
    for candidate in situation.candidates:
        adapter = candidate.adapter
        if adapter is not None and isinstance(adapter, SupportsShutdownDate):
            day = adapter.known_shutdown_date(candidate.model)
            if day is not None:
                yield day, candidate.model
    for each in situation.comparison.competitors if situation.comparison else ():
        if each.shutdown:
            yield date.fromisoformat(each.shutdown), each.name


def _yes(so: bool) -> Fact:
    return "yes" if so else "no"


#: Every fact that a rule may name.
NAMES: Sequence[str] = (
    *("goal", "budget", "calls_per_month", "seconds_allowed", "egress", "local_candidates", "barred"),
    *("rows", "kind", "tokens"),
    *("language_ratio", "language_unit", "language_candidate", "script_missing", "missing_scripts", "uncounted"),
    *("questions", "detectable_points"),
    *("base", "base_low", "base_meets_goal"),
    *("prompt", "prompt_low", "prompt_meets_goal", "prompt_better", "prompt_gain_points", "prompt_seconds"),
    *("fine_tune", "fine_tune_low", "fine_tune_meets_goal", "fine_tune_better", "fine_tune_gain_points"),
    *("train", "train_low", "train_meets_goal", "train_better", "train_gain_points"),
    *("failures", "wrong_format", "missing_facts", "wrong_skill"),
    *("forgets", "forgotten_points", "curve", "doubling_points"),
    *("fine_tune_usd", "fine_tune_price", "hosting_price", "prompted_price", "break_even_calls"),
    *("retires", "retires_in_days"),
)

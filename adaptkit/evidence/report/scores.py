"""What was measured: scores, gaps between them, what they cost, and how training went."""

from __future__ import annotations

import math

from adaptkit.evidence.report import quoting
from adaptkit.evidence.report.document import (
    Block,
    Curve,
    Curves,
    Ladder,
    Paragraph,
    Plot,
    Point,
    Quoted,
    Scatter,
    Section,
    Table,
    Told,
    Words,
    heads,
)
from adaptkit.evidence.report.standing import climbing, seen_from_better
from adaptkit.evidence.report.words import (
    ALPHA,
    RUNGS,
    UNKNOWN,
    chance,
    count,
    money,
    percent,
    points,
    seconds,
    share,
    signed,
    spread,
)
from adaptkit.evidence.results import Comparison, Competitor

__all__ = ["differences", "ladder", "losses", "price"]

#: Curves in one plot, and points of one in its table.
_MOST_CURVES, _ROWS_OF_A_CURVE = 8, 12
#: Answers that prices are given for.
_THOUSAND = 1000


# the ladder -------------------------------------------------------------------------------------------------------


def ladder(comparison: Comparison) -> Section:
    """Score, price and time of every model, from the lowest rung up."""
    models = climbing(comparison.competitors)
    level = share(models[0].score.level)
    head = ("Model", "Rung", "Score", f"{level} interval", "$ / 1,000", "p50", "p95", "Tokens in", "Tokens out")
    rows = tuple(_ladder_row(each) for each in models)
    methods = sorted({quoting.sentence(each.score.method, 60) for each in models if each.score.method})
    how = f" (by {', '.join(methods)})" if methods else ""
    table = Table(("Every model from the lowest rung up",), heads(*head), rows, figures=frozenset(range(2, len(head))))
    plot = Plot(
        "ladder",
        "Scores of the models",
        "; ".join(f"{_plain_name(each)} {' ('.join(spread(each.score))})" for each in models),
        Ladder(tuple(_point(each) for each in models)),
        table,
    )
    reading = (
        f"The dot is the score on these questions, the line its {level} interval{how}: where other questions of the "
        "same kind would put it. Price is that of a thousand answers, tokens are those of one answer. Half of the "
        "answers are complete within p50, 95% within p95."
    )
    blocks: list[Block] = [plot, Paragraph((reading,), quiet=True)]
    for more in (_measures(models), _making(models)):
        blocks += [more] if more else []
    return Section("ladder", "The ladder", tuple(blocks))


def _ladder_row(each: Competitor) -> tuple[Words, ...]:
    score, interval = spread(each.score)
    answers = len(each.answers)
    tokens = (each.usage.input_tokens, each.usage.output_tokens)
    told = [f"{number / answers:,.0f}" if answers and any(tokens) else UNKNOWN for number in tokens]
    times = (seconds(each.seconds.get("p50")), seconds(each.seconds.get("p95")))
    shown = (score, interval, money(_per_thousand(each)), *times, *told)
    return ((quoting.name(each.name),), (RUNGS[each.rung],), *((text,) for text in shown))


def _per_thousand(each: Competitor) -> float | None:
    return None if each.usd is None or not each.answers else each.usd / len(each.answers) * _THOUSAND


def _measures(models: list[Competitor]) -> Table | None:
    names = sorted({name for each in models for name in each.measures})
    streamed = any(each.first_token_seconds for each in models)
    silent = {each.name: sum(answer.text is None for answer in each.answers) for each in models}
    if not names and not streamed and not any(silent.values()):
        return None
    head: list[Words] = [("Model",), *((quoting.name(name, 32),) for name in names)]
    head += [("first token p50",), ("first token p95",)] if streamed else []
    head += [("without an answer",)] if any(silent.values()) else []
    rows: list[tuple[Words, ...]] = []
    for each in models:
        told = [f"{each.measures[name]:.4g}" if name in each.measures else UNKNOWN for name in names]
        told += [seconds(each.first_token_seconds.get(at)) for at in ("p50", "p95")] if streamed else []
        told += [f"{silent[each.name]:,} of {len(each.answers):,}"] if any(silent.values()) else []
        rows.append(((quoting.name(each.name),), *((text,) for text in told)))
    return Table(("Further measures",), tuple(head), tuple(rows), frozenset(range(1, len(head))))


def _making(models: list[Competitor]) -> Table | None:
    made = [each for each in models if each.rung in ("fine-tune", "train") or each.base or each.shutdown]
    if not made:
        return None
    rows: list[tuple[Words, ...]] = []
    for each in made:
        base: Words = (quoting.name(each.base),) if each.base else (UNKNOWN,)
        ends: Words = (Quoted(quoting.sentence(each.shutdown, 40)),) if each.shutdown else ("no date known",)
        trained = each.rung in ("fine-tune", "train")
        costs = (money(each.training_usd), seconds(each.training_seconds)) if trained else ("none", "none")
        rows.append(((quoting.name(each.name),), base, *((text,) for text in costs), ends))
    head = heads("Model", "Made from", "Training cost", "Training time", "Answers until")
    return Table(("What they were made from, and what that cost",), head, tuple(rows), frozenset({2, 3}))


# differences ------------------------------------------------------------------------------------------------------


def differences(comparison: Comparison) -> Section | None:
    """Every pair, the better model first."""
    if not comparison.differences:
        return None
    pairs = [seen_from_better(each) for each in comparison.differences]
    pairs.sort(key=lambda each: (-each.difference.value, each.one, each.other))
    rows: list[tuple[Words, ...]] = []
    for each in pairs:
        gap = each.difference
        p = "< 0.001" if each.adjusted < 0.001 else f"{each.adjusted:.3f}"
        by = f"{signed(gap.value)} ({signed(gap.low)} to {signed(gap.high)})"
        rows.append(
            (
                (quoting.name(each.one), " over " if gap.value else " and ", quoting.name(each.other)),
                (by,),
                (f"{each.won:,} / {each.lost:,} / {each.tied:,}",),
                (p,),
                (chance(each, len(pairs)),),
            )
        )
    level = share(pairs[0].difference.level)
    head = heads("Pair", f"Gap in points ({level} interval)", "Better / worse / same", "Adjusted p", "In words")
    tests = ", ".join(sorted({quoting.sentence(each.test, 60) for each in pairs if each.test}))
    many = f" after Holm's correction for {count(len(pairs), 'pair')}" if len(pairs) > 1 else ""
    how = (
        f"The same questions were put to both, so they are compared question by question ({tests}). Adjusted p is how "
        f"likely a gap at least this large would be{many} if the two were equally good; below {ALPHA} it counts as "
        "shown."
    )
    notes = [Paragraph((how,), quiet=True)]
    if comparison.detectable is not None:
        resolution = (
            f"{count(len(comparison.questions), 'question')} show a gap of {points(comparison.detectable)} in four of "
            "five such comparisons. A smaller one can be real and still not be shown."
        )
        notes.append(Paragraph((resolution,), quiet=True))
    table = Table(("Every pair, largest gap first",), head, tuple(rows), frozenset({1, 2, 3}))
    return Section("differences", "Which gaps are real", (table, *notes))


# quality and price ------------------------------------------------------------------------------------------------


def price(comparison: Comparison) -> Section | None:
    """Score over price; over time where prices are not known or all nothing."""
    models = climbing(comparison.competitors)
    by_price = [(each, usd) for each in models if (usd := _per_thousand(each)) is not None]
    by_time = [(each, each.seconds["p50"]) for each in models if "p50" in each.seconds]
    if len(by_price) > 1 and any(usd for _, usd in by_price):
        return _scatter(models, by_price, "usd")
    return _scatter(models, by_time, "seconds") if len(by_time) > 1 else None


def _scatter(models: list[Competitor], placed: list[tuple[Competitor, float]], unit: str) -> Section:
    usd = unit == "usd"
    said = money if usd else seconds
    of = "price of 1,000 answers" if usd else "time until half of the answers are complete"
    rows = tuple(((quoting.name(each.name),), (said(x),), (percent(each.score.value),)) for each, x in placed)
    head = heads("Model", "$ / 1,000" if usd else "p50", "Score")
    table = Table((f"Score and {of}",), head, rows, frozenset({1, 2}), closed=True)
    plot = Plot(
        "price",
        f"Score over the {of}",
        "; ".join(f"{_plain_name(each)}: {said(x)}, {percent(each.score.value)}" for each, x in placed),
        Scatter(tuple(_point(each, x) for each, x in placed), unit),
        table,
    )
    told = "Up is better, left is cheaper" if usd else "Up is better, left is faster"
    told += (
        ". The dashed line joins the models that no other beats in both; below it another gives more for less. What it "
        "cost to train them is not in it."
    )
    reading: list[str | Told | Quoted] = [told]
    left_out = [each for each in models if all(each is not one for one, _ in placed)]
    for place, each in enumerate(left_out):
        reading += [", " if place else " Not drawn, because that is not known: ", quoting.name(each.name)]
    reading += ["."] if left_out else []
    title = "What quality costs" if usd else "What quality costs in time"
    return Section("price", title, (plot, Paragraph(tuple(reading), quiet=True)))


# training ---------------------------------------------------------------------------------------------------------


def losses(comparison: Comparison) -> Section | None:
    """Loss over the steps of training."""
    trained = [
        (each, [one for one in each.losses if math.isfinite(one[1])]) for each in climbing(comparison.competitors)
    ]
    drawn = [(each, kept) for each, kept in trained if kept]
    if not drawn:
        return None
    curves = tuple(Curve((quoting.name(each.name),), each.rung, tuple(kept)) for each, kept in drawn[:_MOST_CURVES])
    few = ((each, step, loss) for each, kept in drawn for step, loss in _thinned(kept))
    rows = tuple(((quoting.name(each.name),), (f"{step:,}",), (f"{loss:.4g}",)) for each, step, loss in few)
    described = "; ".join(
        f"{_plain_name(each)}: {kept[0][1]:.3g} at step {kept[0][0]:,}, {kept[-1][1]:.3g} at step {kept[-1][0]:,}"
        for each, kept in drawn
    )
    head = heads("Model", "Step", "Loss")
    table = Table(("Loss, at a few of the steps",), head, rows, frozenset({1, 2}), closed=True)
    notes = []
    if len(drawn) > 1:
        notes.append("Losses on different data or from different base models do not say which model is better.")
    if len(drawn) > _MOST_CURVES:
        notes.append(f"The first {_MOST_CURVES} of {len(drawn)} trainings are drawn; the table has all.")
    if any(len(each.losses) != len(kept) for each, kept in trained):
        notes.append("Steps whose loss is no number are left out: there a training diverged.")
    plot = Plot("losses", "Loss over the steps of training", described, Curves(curves), table)
    return Section("losses", "How training went", (plot, *(Paragraph((note,), quiet=True) for note in notes)))


def _thinned(kept: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(kept) <= _ROWS_OF_A_CURVE:
        return kept
    last = len(kept) - 1
    return [kept[round(row * last / (_ROWS_OF_A_CURVE - 1))] for row in range(_ROWS_OF_A_CURVE)]


# ------------------------------------------------------------------------------------------------------------------


def _point(each: Competitor, x: float = 0.0) -> Point:
    return Point((quoting.name(each.name, 40),), each.rung, each.score, x)


def _plain_name(each: Competitor) -> str:
    return quoting.name(each.name, 60).text

"""From a comparison to the document that the page and its Markdown twin show."""

from __future__ import annotations

from adaptkit.errors import DataError
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report import answers, origins, quoting, scores
from adaptkit.evidence.report.document import Advice, Because, Document, Quoted, Tile, Told, Words, plain
from adaptkit.evidence.report.standing import baseline, best, enough, not_clearly_worse, rival, shown
from adaptkit.evidence.report.words import count, day, percent, points, share, signed, spread
from adaptkit.evidence.results import Comparison, Competitor, Difference

__all__ = ["document"]

_MAKERS = (
    scores.ladder,
    scores.differences,
    scores.price,
    answers.examples,
    answers.confusion,
    answers.forgotten,
    scores.losses,
    origins.data,
    origins.provenance,
)


def document(comparison: Comparison, recommendation: Recommendation | None = None) -> Document:
    """Everything that the report says.

    Raises:
        DataError: nobody was compared.
    """
    if not comparison.competitors:
        raise DataError("there is nothing to report: nobody was compared")
    found = (make(comparison) for make in _MAKERS)
    result = _headline(comparison)
    return Document(
        title=f"{plain(result).rstrip('.')} · adaptkit report",
        headline=_told(_capital(recommendation.headline), 200) if recommendation else result,
        lead=((result, *_lead(comparison)) if recommendation else _lead(comparison)),
        made=day(comparison.created_at) if comparison.created_at else "",
        tiles=_tiles(comparison),
        advice=_advice(recommendation) if recommendation else None,
        warnings=tuple(_told(each) for each in comparison.warnings),
        sections=tuple(section for section in found if section),
    )


def _headline(comparison: Comparison) -> Words:
    top, chosen = best(comparison), enough(comparison)
    name = quoting.name(chosen.name, 48)
    if len(comparison.competitors) == 1:
        return (name, f" scores {percent(top.score.value)}.")
    if not comparison.differences:
        return (name, f" scores highest: {percent(top.score.value)}.")
    ahead = _ahead(comparison)
    if ahead is None:
        return ("No model is shown to be better than ", name, ".")
    gap, other = ahead
    above: Words = (f", {points(gap.difference.value)} above ", quoting.name(other.name, 48), ".")
    return (name, " answers best", *above) if chosen is top else ("Nothing is shown to be better than ", name, *above)


def _ahead(comparison: Comparison) -> tuple[Difference, Competitor] | None:
    """What the model that is enough is shown to be better than, and by how much."""
    chosen = enough(comparison)
    for other in (rival(comparison, chosen), baseline(comparison)):
        gap = shown(comparison, chosen, other) if other else None
        if gap is not None and other is not None:
            return gap, other
    return None


def _lead(comparison: Comparison) -> tuple[Words, ...]:
    top, close = best(comparison), not_clearly_worse(comparison)
    models = count(len(comparison.competitors), "model")
    asked = count(len(comparison.questions), "held-out question")
    score, interval = spread(top.score)
    told: Words = (
        f"{models} answered {asked}. The best score by ",
        Quoted(quoting.sentence(comparison.metric, 80)),
        f" is {score} ({share(top.score.level)}: {interval}), that of ",
        quoting.name(top.name, 48),
        ".",
    )
    if not close:
        return (told,)
    names: list[str | Told | Quoted] = []
    for place, each in enumerate(close):
        names += [", " if place else "", quoting.name(each.name, 48)]
    return (told, ("Not shown to be worse than that: ", *names, "."))


def _tiles(comparison: Comparison) -> tuple[Tile, ...]:
    top = best(comparison)
    tiles = [Tile("Best score", spread(top.score)[0], (quoting.name(top.name, 32),))]
    if ahead := _ahead(comparison):
        gap, other = ahead
        names: Words = (quoting.name(gap.one, 32), " over ", quoting.name(other.name, 32))
        tiles.append(Tile("Shown gain", f"+{points(gap.difference.value)}", names))
    groups = {question.group for question in comparison.questions if question.group is not None}
    remark = (f"in {count(len(groups), 'group')}",) if groups else ("each asked of every model",)
    tiles.append(Tile("Questions", f"{len(comparison.questions):,}", remark))
    if comparison.detectable is not None:
        tiles.append(Tile("Resolution", points(comparison.detectable), ("smaller gaps mostly go unseen",)))
    return tuple(tiles)


def _advice(recommendation: Recommendation) -> Advice:
    gain = recommendation.expected
    return Advice(
        verdict=recommendation.verdict,
        expected=f"{signed(gain.value)} points, between {signed(gain.low)} and {signed(gain.high)}" if gain else "",
        reasons=tuple(
            Because(_told(each.fact), _told(each.source), each.speaks_for) for each in recommendation.reasons
        ),
        would_change=tuple(_told(each) for each in recommendation.would_change),
        facts=origins.named(recommendation.facts),
    )


def _told(text: str, most: int = quoting.MOST_OF_A_SENTENCE) -> Words:
    return (Told(quoting.sentence(text, most)),)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

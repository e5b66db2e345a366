"""From a comparison to the document that the page and its Markdown twin show."""

from __future__ import annotations

from adaptkit.errors import DataError
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report import quoting, sections
from adaptkit.evidence.report.document import Advice, Because, Document, Quoted, Tile, Told, Words, plain
from adaptkit.evidence.report.standing import baseline, best, between, not_clearly_worse, rival
from adaptkit.evidence.report.words import ALPHA, count, day, percent, points, share, signed, spread
from adaptkit.evidence.results import Comparison

__all__ = ["document"]

_MAKERS = (
    sections.ladder,
    sections.differences,
    sections.price,
    sections.examples,
    sections.confusion,
    sections.forgotten,
    sections.losses,
    sections.data,
    sections.provenance,
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
        headline=_told(recommendation.headline, 200) if recommendation else result,
        lead=((result, *_lead(comparison)) if recommendation else _lead(comparison)),
        made=day(comparison.created_at) if comparison.created_at else "",
        tiles=_tiles(comparison),
        advice=_advice(recommendation) if recommendation else None,
        warnings=tuple(_told(each) for each in comparison.warnings),
        sections=tuple(section for section in found if section),
    )


def _headline(comparison: Comparison) -> Words:
    top, other = best(comparison), rival(comparison)
    name = quoting.name(top.name, 48)
    if other is None:
        return (name, f" scores {percent(top.score.value)}.")
    gap = between(comparison, top, other)
    if gap is not None and gap.adjusted < ALPHA:
        return (name, f" answers best, {points(gap.difference.value)} above ", quoting.name(other.name, 48), ".")
    if gap is None:
        return (name, f" scores highest: {percent(top.score.value)}.")
    if other is baseline(comparison):
        return ("No model is shown to be better than ", quoting.name(other.name, 48), ".")
    return (name, " scores highest; no other model is shown to be better.")


def _lead(comparison: Comparison) -> tuple[Words, ...]:
    top = best(comparison)
    asked = count(len(comparison.questions), "held-out question")
    score, interval = spread(top.score)
    told: list[str | Told | Quoted] = [
        f"{count(len(comparison.competitors), 'model')} answered {asked}. The best score by "
    ]
    told += [Quoted(quoting.sentence(comparison.metric, 80)), f" is {score} ({share(top.score.level)}: {interval})."]
    close = not_clearly_worse(comparison)
    lead: list[Words] = [tuple(told)]
    if close:
        names: list[str | Told | Quoted] = []
        for place, each in enumerate(close):
            names += [", " if place else "", quoting.name(each.name, 48)]
        lead.append(("Not shown to be worse than ", quoting.name(top.name, 48), ": ", *names, "."))
    return tuple(lead)


def _tiles(comparison: Comparison) -> tuple[Tile, ...]:
    top, other = best(comparison), rival(comparison)
    tiles = [Tile("Best score", spread(top.score)[0], (quoting.name(top.name, 32),))]
    gap = between(comparison, top, other) if other else None
    if gap is not None and other is not None:
        sign = "+" if gap.difference.value > 0 else ""
        value = f"{sign}{points(gap.difference.value)}"
        tiles.append(Tile("Ahead by", value, ("of ", quoting.name(other.name, 32))))
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
        facts=sections.named(recommendation.facts),
    )


def _told(text: str, most: int = quoting.MOST_OF_A_SENTENCE) -> Words:
    return (Told(quoting.sentence(text, most)),)

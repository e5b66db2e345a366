"""Questions where two models part: what the second answers worse than the first, and what it answers better."""

from __future__ import annotations

from collections.abc import Sequence

from adaptkit.evidence.report import quoting
from adaptkit.evidence.report.document import Example, Examples, Given, Quoted, Told, Words
from adaptkit.evidence.report.standing import climbing
from adaptkit.evidence.report.words import percent, points
from adaptkit.evidence.results import Answered, Comparison, Competitor, Question

__all__ = ["partings"]

#: Characters of one of several answers to a question.
_MOST_OF_AN_ANSWER = 1_200


def partings(comparison: Comparison, before: Competitor, after: Competitor, most: int) -> tuple[Examples, Examples]:
    """What `after` answers worse than `before`, worst first, and what it answers better, best first."""
    answers = {each.name: _by_question(each) for each in climbing(comparison.competitors)}
    first, second = answers[before.name], answers[after.name]
    changes = []
    for question in comparison.questions:
        one, other = first.get(question.number), second.get(question.number)
        if one and other:
            changes.append((_mean(other) - _mean(one), question))
    worse = sorted((change for change in changes if change[0] < 0), key=lambda change: (change[0], change[1].number))
    better = sorted((change for change in changes if change[0] > 0), key=lambda change: (-change[0], change[1].number))
    pair: Words = (quoting.name(after.name), " against ", quoting.name(before.name))
    competitors = climbing(comparison.competitors)

    def shown(title: str, word: str, found: Sequence[tuple[float, Question]]) -> Examples:
        number = f"{len(found):,}" if found else "no"
        kept = "" if len(found) <= most else f"; the {most} largest are shown"
        lead = (*pair, f": {word} on {number} of {len(changes):,} questions{kept}.")
        return Examples(title, lead, tuple(_example(each, competitors, answers) for each in found[:most]))

    return shown("Worst regressions", "worse", worse), shown("Best gains", "better", better)


def _by_question(competitor: Competitor) -> dict[int, list[Answered]]:
    found: dict[int, list[Answered]] = {}
    for answer in competitor.answers:
        found.setdefault(answer.question, []).append(answer)
    return found


def _mean(answers: Sequence[Answered]) -> float:
    return sum(each.score for each in answers) / len(answers)


def _example(
    change: tuple[float, Question],
    competitors: Sequence[Competitor],
    answers: dict[str, dict[int, list[Answered]]],
) -> Example:
    gap, question = change
    given = tuple(
        _given(competitor, found)
        for competitor in competitors
        if (found := answers[competitor.name].get(question.number))
    )
    return Example(
        question.number,
        quoting.quoted(question.question),
        quoting.quoted(question.expected),
        _changed(gap),
        given,
    )


def _changed(gap: float) -> str:
    if abs(gap) == 1:
        return "wrong, was right" if gap < 0 else "right, was wrong"
    return f"{points(gap)} {'worse' if gap < 0 else 'better'}"


def _given(competitor: Competitor, answers: Sequence[Answered]) -> Given:
    told = answers[0]
    remark: list[str | Told | Quoted] = []
    if told.error is not None:
        remark += ["No answer: ", Quoted(quoting.sentence(told.error, 300))]
    elif told.feedback:
        remark += [Quoted(quoting.sentence(told.feedback, 300))]
    if len(answers) > 1:
        scores = ", ".join(percent(each.score) for each in answers)
        remark += [f"{' · ' if remark else ''}first of {len(answers)} answers, which score {scores}"]
    return Given(
        (quoting.name(competitor.name),),
        competitor.rung,
        quoting.quoted(told.text, _MOST_OF_AN_ANSWER) if told.text is not None else None,
        _mean(answers),
        tuple(remark),
    )

"""Comparisons to report on: one as it may well be, and one made by somebody who means harm."""

from __future__ import annotations

import datetime as dt
import math
import random
from itertools import combinations

from adaptkit.evidence.recommendation import Reason, Recommendation
from adaptkit.evidence.results import Answered, Comparison, Competitor, Difference, Interval, Question, Rung
from adaptkit.prices import RateCard
from adaptkit.score import wilson
from adaptkit.types import Usage

DESKS = ("BIL-2", "HRS-1", "NWS-5", "RET-7", "TEC-3")
ASKED = (
    "I was charged twice for one order, and nobody answers the phone.",
    "Until when is the shop in Warsaw open on Thursday?",
    "Please take me off the list for your newsletter.",
    "The kettle arrived with a crack. How do I send it back?",
    "Signing in fails each time since the last update of the app.",
)
RIGHT = {"plain": 0.31, "prompted, 8 examples": 0.72, "lora r16": 0.9, "trained in full": 0.925}
RUNGS: dict[str, Rung] = {
    "plain": "none",
    "prompted, 8 examples": "prompt",
    "lora r16": "fine-tune",
    "trained in full": "train",
}
USD = {"plain": 0.0052, "prompted, 8 examples": 0.2411, "lora r16": 0.0121, "trained in full": 0.0240}


def usual(questions: int = 120, seed: int = 7) -> Comparison:
    """Four models on a task with five labels, one on each rung."""
    dice = random.Random(seed)
    asked = tuple(
        Question(
            number=n, question=f"Ticket {4100 + n}. {ASKED[n % 5]}", expected=DESKS[n % 5], group=f"customer {n % 30}"
        )
        for n in range(1, questions + 1)
    )
    competitors = tuple(_competitor(name, asked, dice) for name in RIGHT)
    general = tuple(
        Question(number=n, question=f"What is {n} plus {n + 3}?", expected=str(2 * n + 3)) for n in range(1, 61)
    )
    kept = {"plain": 0.8, "prompted, 8 examples": 0.8, "lora r16": 0.77, "trained in full": 0.5}
    other = tuple(
        _competitor(name, general, dice, kept[name], wrong=("12", "I do not know.", "BIL-2")) for name in RIGHT
    )
    return Comparison(
        metric="exact_match",
        questions=asked,
        competitors=competitors,
        differences=differences(competitors, asked),
        detectable=0.118,
        general=Comparison(
            metric="exact_match",
            questions=general,
            competitors=other,
            differences=differences(other, general),
            detectable=0.17,
            fingerprint="7d0c8a52b1c4",
        ),
        fingerprint="sha256:9f2b7c1d0a8e46f3b5c2d1e0f9a8b7c6",
        created_at=1795585800.0,
        versions={"adaptkit": "0.2.0", "python": "3.12.4", "scipy": "1.16.1", "torch": "2.13.0"},
        profile={
            "rows": 600,
            "kind": "chat",
            "format": "messages",
            "tokens": 21400,
            "duplicates": 3,
            "turns": {"min": 2, "mean": 2.0, "p50": 2, "p95": 2, "max": 2},
            "characters": {"min": 28, "mean": 74.3, "p50": 71, "p95": 118, "max": 164},
            "files": [{"file": "tickets.jsonl", "bytes": 80312, "sha256": "ab" * 32}],
            "tokens_per_word": 1.42,
        },
        warnings=("The first model answered 3 questions only after a second try, so its times are upper bounds.",),
        prices=(
            RateCard(
                service="anthropic",
                model="claude-haiku-5-5",
                input=1.0,
                output=5.0,
                date=dt.date(2026, 11, 20),
                source="the vendor's page of prices",
            ),
        ),
    )


def advice() -> Recommendation:
    return Recommendation(
        verdict="fine-tune",
        headline="Fine-tune: a LoRA of the small model is far above the best prompt, at a twentieth of the price.",
        reasons=(
            Reason(
                fact="lora r16 is 18.3 points above prompted, 8 examples (adjusted p below 0.001)",
                source="this comparison, 120 questions",
                speaks_for="fine-tune",
            ),
            Reason(
                fact="trained in full is not shown to be better than lora r16, and forgot much of the rest",
                source="this comparison, general set of 60 questions",
                speaks_for="fine-tune",
            ),
        ),
        would_change=(
            "fewer than 4,000 questions a month: the prompt costs less than the time to keep a tuned model",
            "a base model whose end is announced within a year",
        ),
        expected=Interval(value=0.183, low=0.104, high=0.262, method="paired bootstrap"),
    )


def _competitor(
    name: str,
    asked: tuple[Question, ...],
    dice: random.Random,
    right: float | None = None,
    wrong: tuple[str, ...] = DESKS,
) -> Competitor:
    right = RIGHT[name] if right is None else right
    answers = []
    for question in asked:
        hit = dice.random() < right
        text = question.expected if hit else dice.choice([each for each in wrong if each != question.expected])
        if not hit and name == "plain" and dice.random() < 0.4:
            text = "I would be glad to help with that! Could you tell me a little more about your problem first?"
        answers.append(
            Answered(
                question=question.number,
                text=text,
                score=float(hit),
                feedback="right" if hit else f"wrong: the answer must be exactly '{question.expected}'",
                usage=Usage(input_tokens=900 if "8" in name else 60, output_tokens=4),
                seconds=dice.uniform(0.2, 1.4),
            )
        )
    hits = sum(answer.score == 1 for answer in answers)
    low, high = wilson(hits, len(asked))
    rung = RUNGS[name]
    trained = rung in ("fine-tune", "train")
    return Competitor(
        name=name,
        ref=f'{{"v":1,"backend":"lora","model":"{name}"}}',
        rung=rung,
        base="builtin:tiny" if trained else None,
        score=Interval(value=hits / len(asked), low=low, high=high, method="Wilson"),
        measures={"macro_f1": hits / len(asked) - 0.013},
        answers=tuple(answers),
        seconds={"p50": 0.41 if trained else 0.83, "p95": 0.62 if trained else 1.94},
        first_token_seconds={"p50": 0.12, "p95": 0.31},
        usage=sum((answer.usage for answer in answers), Usage()),
        usd=USD[name],
        training_usd={"fine-tune": 1.34, "train": 212.0}.get(rung),
        training_seconds={"fine-tune": 840.0, "train": 51000.0}.get(rung),
        shutdown="2027-06-30" if rung == "prompt" else None,
        losses=tuple(
            (10 * step, (2.4 if rung == "train" else 1.9) * math.exp(-step / 14) + 0.2 + 0.05 * dice.random())
            for step in range(1, 61)
        )
        if trained
        else (),
    )


def differences(competitors: tuple[Competitor, ...], asked: tuple[Question, ...]) -> tuple[Difference, ...]:
    """Roughly what the statistics give; a report computes none."""
    found = []
    for one, other in combinations(competitors, 2):
        gaps = [a.score - b.score for a, b in zip(one.answers, other.answers, strict=True)]
        mean = sum(gaps) / len(gaps)
        error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps) ** 2)
        p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else 1.0
        found.append(
            Difference(
                one=one.name,
                other=other.name,
                difference=Interval(value=mean, low=mean - 1.96 * error, high=mean + 1.96 * error),
                p=p,
                adjusted=min(1.0, 6 * p),
                test="exact McNemar",
                won=sum(gap > 0 for gap in gaps),
                lost=sum(gap < 0 for gap in gaps),
                tied=sum(gap == 0 for gap in gaps),
            )
        )
    return tuple(found)

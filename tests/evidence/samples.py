"""Comparisons to report on: one as it may well be, and one made by somebody who means harm."""

from __future__ import annotations

import datetime as dt
import math
import random
from itertools import combinations

import msgspec

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
        facts={"questions": 120, "answers_a_month": 90000, "budget_usd": None, "egress": ["none"]},
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


#: What a model, a file or a person may write to be more than text.
HOSTILE = (
    "<script>window.canary = 1</script>",
    '"><img src="http://192.0.2.1/x.png" onerror="window.canary = 1">',
    "</title></style></textarea></svg><script>window.canary = 1</script>",
    "<svg onload='window.canary = 1'><style>*{display:none}</style></svg>",
    "[click](javascript:window.canary=1) ![x](http://192.0.2.1/y.png) <http://192.0.2.1/z>",
    "`` ` ``` | a | b |\n|---|---|\n# heading\n\n- item\n\n    code\n```\nfence",
    "\u202etxt.exe\u2066 \u200bhidden\U000e0041 nul\x00 bell\x07 esc\x1b[31m line\u2028end",
    "{{ 7 * 7 }} {% raw %} $x^2$ &lt;b&gt; &#60;i&#62; \\",
    "W" * 5000,
    "<iframe src=javascript:window.canary=1></iframe><base href=//192.0.2.1/><meta http-equiv=refresh content=0>",
)
#: Short enough to be labels.
LABELS = ("<b>yes</b> | `x`", "[no](javascript:1)\u202e")


def hostile() -> Comparison:
    """Every text of a comparison means harm; the answers are labels, and one is a megabyte."""
    asked = tuple(
        Question(number=n, question=f"{HOSTILE[n % 10]} {n}", expected=LABELS[n % 2], group=HOSTILE[n % 10])
        for n in range(40)
    )
    rungs: tuple[Rung, ...] = ("none", "prompt", "fine-tune", "train")
    competitors = tuple(
        Competitor(
            name=text,
            ref=text,
            rung=rungs[place % 4],
            base=text,
            score=Interval(value=0.1 * place, low=0.05 * place, high=0.1 * place, method=text),
            measures={text: 0.5},
            answers=tuple(
                Answered(
                    question=n,
                    text=None if (n + place) % 7 == 0 else (*HOSTILE, *LABELS)[(n * place) % 12],
                    score=float((n * place) % 3 == 0),
                    feedback=text,
                    error=text if (n + place) % 7 == 0 else None,
                    usage=Usage(input_tokens=3, output_tokens=4),
                )
                for n in range(40)
            ),
            seconds={"p50": 0.1 * (place + 1), "p95": 1.0, text: 3.0},
            usd=0.01 * (place + 1),
            shutdown=text,
            losses=((1, 2.0), (2, 1.0 + 0.1 * place), (3, float("nan"))),
        )
        for place, text in enumerate(HOSTILE)
    )
    huge = Answered(question=1, text="<b>&" * 250_000, score=1.0)
    last = competitors[-1]
    competitors = (*competitors[:-1], msgspec.structs.replace(last, answers=(last.answers[0], huge, *last.answers[2:])))
    evil = HOSTILE[0] + HOSTILE[5]
    return Comparison(
        metric=evil,
        questions=asked,
        competitors=competitors,
        differences=tuple(
            msgspec.structs.replace(each, test=evil)
            for each in differences(competitors, asked)
            if each.one != each.other
        ),
        detectable=0.2,
        general=Comparison(metric=evil, questions=asked, competitors=competitors, fingerprint=evil, warnings=(evil,)),
        fingerprint=evil,
        created_at=1e300,
        versions={text: text for text in HOSTILE},
        profile={"rows": 3, "kind": evil, "files": [{"file": evil, "bytes": 3, "sha256": evil}], evil: {"a": evil}},
        warnings=HOSTILE,
        prices=(RateCard(service=evil, model=evil, input=1, output=2, date=dt.date(2026, 1, 1), source=evil),),
    )


def hostile_advice() -> Recommendation:
    reasons = tuple(Reason(fact=text, source=text, speaks_for=None) for text in HOSTILE)
    facts = dict.fromkeys(HOSTILE, HOSTILE)
    return Recommendation(verdict="train", headline=HOSTILE[1], reasons=reasons, would_change=HOSTILE, facts=facts)

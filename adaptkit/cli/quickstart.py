"""``adaptkit quickstart``: all of it on bundled data and a bundled base, with no key, no network and no GPU."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adaptkit import builtin
from adaptkit.cli.follow import duration, follow, screen
from adaptkit.cli.session import Session, clean
from adaptkit.client import Client
from adaptkit.data import ChatRecord, Dataset
from adaptkit.job import Job
from adaptkit.model import Model
from adaptkit.score import Score, score
from adaptkit.types import ModelRef, Status

__all__ = ["PYTHON", "TOML", "quickstart"]

TASK, BASE, TARGET = "desk", "builtin:tiny", "small"

TOML = f"""\
[policy]
egress = "none"

[targets.{TARGET}]
backend = "lora"
model = "{BASE}"
"""

PYTHON = f"""\
from adaptkit import Client, Dataset, builtin
from adaptkit.score import score

train, held_out = map(Dataset.open, builtin.task("{TASK}"))
client = Client("adaptkit.toml"HOME)
job = client.submit("{TARGET}", train)
print(job.ref)  # finds the job from any process, tomorrow too
model = job.result()
print(score(model, held_out))
print(model.chat("Where do I find my invoice?").text)
"""

OWN = f"""\
adaptkit check mine.jsonl --backend lora
adaptkit submit {TARGET} mine.jsonl --waitHOME
adaptkit chat lastHOME
"""


@dataclass(frozen=True)
class Answer:
    """A held-out message, what the tuned model said, and what is right."""

    question: str
    answer: str
    expected: str


#: What stands under the recorded row, on lines of its own: a table would cut it to its width.
RECORDED = "* recorded when this base was built, not measured now;\n  random weights would need more steps"


def quickstart(session: Session, *, fresh: bool = False) -> None:
    """Show the data, check it, score the base, train, score again, chat, and say how to go on.

    Raises:
        MissingDependencyError: the extra ``local`` is not installed.
        JobFailed: training failed.
    """
    began = time.monotonic()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # nothing is fetched that a bar could show
    train, held_out = map(Dataset.open, builtin.task(TASK))
    targets = {TARGET: {"backend": "lora", "model": BASE}}
    with Client(targets=targets, egress="none", home=session.home) as client:
        session.say("A real training run on this machine, with what ships in adaptkit. Nothing leaves it.")
        _show_data(session, train, held_out)

        _heading(session, "The base as it is", f"{BASE}, {_manifest()['parameters'] / 1e6:.1f} million parameters")
        job = client.submit(TARGET, train, fresh=fresh)  # its worker loads while the base is asked
        before = score(client.model(ModelRef(backend="lora", id=BASE)), held_out)
        session.say(_indented(f"right on {before.correct} of {before.total} held-out messages"))

        _heading(session, "Training a LoRA", "a job in a process of its own, which would outlive this one")
        _show_training(session, job)
        model = job.result()
        after = score(model, held_out)
        control = _recorded_control(after.total)

        _heading(session, "Before and after", f"{after.total} held-out messages in wording that training never saw")
        session.say(_indented(_scores(before, after, control)))
        if control is not None:
            session.say(_indented(Text(RECORDED, style="dim")))
        answers = list(_ask(model, held_out))
        _heading(session, "Chatting with the result")
        session.say(*(_indented(_spoken(each)) for each in answers))
        python = PYTHON.replace("HOME", f", home={str(client.home)!r}" if session.home else "")
        _show_what_next(session, job, python)
    seconds = time.monotonic() - began
    session.say("", Text(f"Done in {duration(seconds)}.", style="dim"))
    session.document(
        {
            "before": before,
            "after": after,
            "random_weights": control,
            "answers": answers,
            "job": str(job.ref),
            "model": str(model.ref),
            "reused": job.reused,
            "python": python,
            "toml": TOML,
            "seconds": round(seconds, 1),
        }
    )


def _heading(session: Session, title: str, more: str = "") -> None:
    session.say("", Text.assemble((title, "bold cyan"), (f": {more}" if more else "", "dim")))


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2), expand=False)


def _show_data(session: Session, train: Dataset, held_out: Dataset) -> None:
    _heading(session, "The data", f"{len(train)} support messages, each with the desk that answers it")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=54)
    table.add_column(style="green", no_wrap=True)
    for question, expected in _pairs(train, 4):
        table.add_row(clean(question), clean(expected))
    report = train.check("lora")
    report.raise_if_bad()
    session.say(
        _indented(table),
        _indented(
            f"checked: no problem in {len(train)} examples, about {report.stats.tokens:,} tokens; "
            f"{len(held_out)} more are held out"
        ),
    )


def _show_training(session: Session, job: Job) -> None:
    if job.reused:
        how = "is there already" if job.status is Status.SUCCEEDED else "runs already"
        session.say(
            _indented(
                f"This job {how}: the same configuration and data never start twice, so nothing is trained again. "
                "(--fresh trains anew.)"
            )
        )
    if not job.status.is_terminal:
        follow(session, job, screen(session.screen))


def _scores(before: Score, after: Score, control: Score | None) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("right", justify="right")
    table.add_column("95 % interval (Wilson)")
    rows = [("before: the base", before, ""), ("after: base + LoRA", after, "bold green")]
    if control is not None:
        rows.append(("same steps on random weights*", control, ""))
    for name, found, style in rows:
        table.add_row(
            Text(name, style=style), Text(f"{found.share:.1%}", style=style), f"{found.low:.1%} to {found.high:.1%}"
        )
    return table


def _manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((builtin.path(BASE) / "manifest.json").read_bytes())
    return found


def _recorded_control(total: int) -> Score | None:
    """The median recorded score of the same LoRA on random weights; ``None`` where this build recorded none."""
    recorded = _manifest().get("figures", {}).get("controls", {}).get("after")
    return Score.of(round(statistics.median(recorded) * total), total) if recorded else None


def _pairs(data: Dataset, count: int) -> Iterator[tuple[str, str]]:
    for record in islice(data, count):
        if isinstance(record, ChatRecord):
            yield record.messages[0].text, record.messages[-1].text


def _ask(model: Model, held_out: Dataset) -> Iterator[Answer]:
    for question, expected in _pairs(held_out, 3):
        yield Answer(question, model.chat(question, temperature=0.0).text, expected)


def _spoken(each: Answer) -> Group:
    right = each.answer.strip() == each.expected
    verdict = ("  right", "green") if right else (f"  wrong: {each.expected} is right", "red")
    return Group(
        Text.assemble(("> ", "bold cyan"), clean(each.question)), Text.assemble("  ", clean(each.answer), verdict)
    )


def _show_what_next(session: Session, job: Job, python: str) -> None:
    own = OWN.replace("HOME", f" --home {shlex.quote(str(session.home))}" if session.home else "")
    _heading(session, "The job", "one line of text that finds it again from any process")
    session.screen.print(str(job.ref), soft_wrap=True)  # so that it can be copied whole
    blocks: Sequence[tuple[str, str, str]] = (
        ("The same as adaptkit.toml", "", TOML),
        ("and in Python", "it will find the job above instead of training again", python),
        ("On your own file", 'one {"messages": [...]} a line, beside that adaptkit.toml', own),
    )
    for title, more, code in blocks:
        _heading(session, title, more)
        session.say(Text(code.rstrip()))

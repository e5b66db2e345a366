"""Many questions to one model through the vendor's batch API."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from adaptkit.adapter import ChatOptions
from adaptkit.cli import show
from adaptkit.cli.arguments import Data, ModelText, Seconds
from adaptkit.cli.exits import Exit
from adaptkit.cli.references import find_model
from adaptkit.cli.session import Session, clean
from adaptkit.data import Dataset
from adaptkit.mapping import Answer

__all__ = ["batch"]


def batch(
    session: Session,
    model: ModelText,
    data: Data,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answers, and print one a line as JSON.")] = False,
    timeout: Seconds = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask anew even if these questions are a batch already.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Refuse what may cost more, or costs nobody knows what.")
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would cost, and send nothing.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Length of an answer at most.")] = None,
) -> Exit:
    """Have many questions answered within a day, at the vendor's lower price.

    Prints the job's reference. The same questions never start twice, so the same command with --wait gives the answers.
    """
    session.on_interrupt = "interrupted; nothing is lost: the same command goes on where this one stopped"
    asked = find_model(session, model)
    questions, options = Dataset.open(*data), ChatOptions(max_tokens=max_tokens)
    if estimate:
        cost = asked.batch_cost(questions, options, fresh=fresh)
        session.answer(cost, str(cost))
        return Exit.OK
    job = asked.batch(questions, options, fresh=fresh, budget=budget)
    session.note("these questions are a batch already" if job.reused else "accepted; it runs on its own")
    if not wait:
        session.line(show.job_document(job) | {"reused": job.reused}, job.ref)
        return Exit.OK
    with session.watching(job.ref):
        failed = 0
        for answer in job.answers(timeout):
            failed += answer.reply is None
            typer.echo(clean(msgspec.json.encode(_document(answer)).decode()))
    session.note(f"{failed} questions have no answer" if failed else "every question has an answer")
    for row in job.figures():
        if "usd" in row:
            session.note(f"the answers of this batch have cost about ${row['usd']:,.4g}")
    return Exit.JOB if failed else Exit.OK


def _document(answer: Answer) -> dict[str, object]:
    if answer.reply is None:
        return {"number": answer.number, "error": str(answer.error)}
    return {"number": answer.number, "text": answer.reply.text, "usage": answer.reply.usage}

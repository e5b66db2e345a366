"""The verbs. Each parses, calls the library and prints."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from adaptkit import __version__, config, registry
from adaptkit.adapter import ChatOptions
from adaptkit.cli import doctor as examination
from adaptkit.cli import show
from adaptkit.cli.arguments import Data, ModelText, Ref, Seconds, Target
from adaptkit.cli.batch import batch
from adaptkit.cli.chat import one_answer, talk
from adaptkit.cli.compare import compare
from adaptkit.cli.evidence_report import report
from adaptkit.cli.exits import MEANING, Exit
from adaptkit.cli.follow import documents, follow, screen
from adaptkit.cli.hosts import hosts
from adaptkit.cli.indexes import indexes
from adaptkit.cli.learning_curve import learning_curve
from adaptkit.cli.quickstart import quickstart as run_quickstart
from adaptkit.cli.recommend import recommend
from adaptkit.cli.references import find_job, find_model, model_of
from adaptkit.cli.report import report_document, show_report
from adaptkit.cli.session import Session, verb
from adaptkit.cost import Cost
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, BackendError, ConfigError
from adaptkit.job import Job
from adaptkit.types import Status

__all__ = ["app", "run"]

app = typer.Typer(
    name="adaptkit",
    help="Fit a language model to your own data: prompt it, fine-tune it, train it. Start with adaptkit quickstart.",
    epilog="\n".join(["Exit codes:", *(f"{code.value:>4}  {meaning}" for code, meaning in MEANING.items())]),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> int:
    """Run the command line on this process's arguments; gives the exit code."""
    try:
        app(prog_name="adaptkit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return Exit.OK


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"adaptkit {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@verb(app)
def quickstart(
    session: Session,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew even if this run is there already.")] = False,
) -> None:
    """See all of it in a minute: data, training, before and after, chat.

    Trains a real LoRA on the built-in model, with no key, no network and no GPU.
    """
    run_quickstart(session, fresh=fresh)


@verb(app)
def check(
    session: Session,
    data: Data,
    backend: Annotated[str | None, typer.Option(help="Also check the rules of this backend.")] = None,
) -> Exit:
    """Find every problem in data, and count what is there.

    Each comes with where it is, which rule it breaks, and what to do.
    """
    if backend is not None:
        registry.adapter_type(backend)
    report = Dataset.open(*data).check(backend)
    session.answer(report_document(report), *show_report(report))
    return Exit.OK if report.ok else Exit.DATA


@verb(app)
def plan(session: Session, target: Target, data: Data) -> None:
    """Show exactly what submit would send, and send nothing."""
    made = session.client.plan(target, Dataset.open(*data))
    session.answer(show.plan_document(made), *show.plan(target, made))


@verb(app)
def submit(
    session: Session,
    target: Target,
    data: Data,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="A new attempt even if this run is there already.")] = False,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Refuse what costs more, or costs nobody knows what.")
    ] = None,
) -> Exit:
    """Start a job, or find it if it was started before.

    Prints the job's reference once the backend has accepted it. The same target and data never start twice.
    """
    session.on_interrupt = "interrupted; nothing is lost: the same submit goes on where this one stopped"
    job = session.client.submit(target, Dataset.open(*data), fresh=fresh, budget=budget)
    session.note("this run is there already, nothing was started" if job.reused else "accepted; it runs on its own")
    session.line(show.job_document(job) | {"reused": job.reused}, job.ref)
    return _follow(session, job, quietly=True) if wait else Exit.OK


@verb(app)
def jobs(
    session: Session,
    refresh: Annotated[bool, typer.Option(help="Ask how live jobs stand, or say what was last heard.")] = True,
) -> None:
    """List jobs, newest first, and submissions not yet accepted."""
    listed, pending = session.client.jobs(), session.client.pending()
    for job in listed if refresh else ():
        try:
            job.refresh()
        except BackendError as error:
            session.note(f"{job.id}: cannot be asked now, so this is what was last heard ({error.message})")
    document = {"jobs": [show.job_document(job) for job in listed], "pending": [show.run_document(r) for r in pending]}
    session.answer(document, *show.jobs(listed, pending))


@verb(app)
def watch(session: Session, ref: Ref = "last") -> Exit:
    """Follow a job live; Ctrl-C stops the watching, never the job."""
    return _follow(session, find_job(session.client, ref))


@verb(app)
def result(
    session: Session,
    ref: Ref = "last",
    *,
    timeout: Seconds = None,
    register: Annotated[
        str | None,
        typer.Option(metavar="PATH_OR_ENDPOINT", help="The model that came back: a folder, or https://host/v1#name."),
    ] = None,
) -> None:
    """Wait for a job and print the reference of its model."""
    job = find_job(session.client, ref)
    if register is not None:
        job.register(register)
    model = model_of(session, job, timeout)
    took = Cost()
    with suppress(AdaptkitError):  # the model is there, whatever is known of how it was made
        took = job.cost()
    session.note(str(took))
    session.line({"model": str(model.ref), "job": str(job.ref), "seconds": took.seconds, "usd": took.usd}, model.ref)


@verb(app)
def cancel(session: Session, ref: Ref) -> None:
    """Ask a job to stop, and return at once."""
    job = find_job(session.client, ref)
    ended = job.status.is_terminal
    job.cancel()
    session.answer(
        show.job_document(job),
        f"{job.id} had ended: {job.status}" if ended else f"{job.id} was asked to stop; adaptkit watch {job.id}",
    )


@verb(app)
def chat(
    session: Session,
    ref: Annotated[str, typer.Argument(metavar="MODEL", help="A job or model, last, or builtin:tiny.")] = "last",
    *,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Ask this and leave.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions that stand before the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Length of an answer at most.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 always gives the likeliest answer.")] = None,
) -> None:
    """Talk to a model.

    Without -m it is a conversation on a terminal; in a pipe stdin is the message.
    """
    model = find_model(session, ref)
    options = ChatOptions(max_tokens=max_tokens, temperature=temperature)
    if message is None and not sys.stdin.isatty():
        message = sys.stdin.read().strip()
        if not message:
            raise ConfigError("there is no message: give one with -m, or on stdin")
    if message is not None:
        one_answer(session, model, message, system, options)
    elif session.as_json:
        raise ConfigError("--json answers one message: give it with -m, or on stdin")
    else:
        talk(session, model, system, options)


@verb(app)
def backends(session: Session) -> None:
    """List the installed backends, and whether they can run here."""
    found = examination.backends()
    session.answer([examination.backend_document(each) for each in found], *show.backends(found))


@verb(app)
def doctor(session: Session) -> None:
    """Tell what is installed, what can run, and what is missing."""
    found = examination.examine(session)
    session.answer(found, *show.findings(found))


@verb(app)
def schema(session: Session) -> None:
    """Print the JSON Schema of adaptkit.toml, for editors."""
    session.indented(config.schema())


@verb(app)
def export(
    session: Session,
    ref: ModelText,
    format: Annotated[str, typer.Argument(help="Such as merged, gguf or ollama.")],  # noqa: A002 - the field's term
    path: Annotated[Path, typer.Argument(help="A folder that is not there yet, or is empty.")],
    timeout: Seconds = None,
) -> None:
    """Write a model for another program to serve."""
    written = find_model(session, ref, timeout).export(format, path)
    session.line({"format": format, "path": str(written)}, written)


verb(app)(batch)
verb(app)(compare)
verb(app)(recommend)
verb(app, name="learning-curve")(learning_curve)
verb(app)(indexes)
verb(app)(report)
app.add_typer(hosts)


def _follow(session: Session, job: Job, *, quietly: bool = False) -> Exit:
    """Follow a job to its end, and say how it ended; `quietly` leaves stdout to what stands there already."""
    console = session.stderr if quietly else session.screen
    status = follow(session, job, documents(session) if session.as_json else screen(console))
    session.document(show.job_document(job))
    if not session.as_json:
        console.print(show.ending(job))
    return Exit.OK if status is Status.SUCCEEDED else Exit.JOB

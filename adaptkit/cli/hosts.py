"""The verbs about what is at a host: what it costs there, what runs there, what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptkit import adoption
from adaptkit.cli import show, show_hosts
from adaptkit.cli.arguments import Data, ModelText, Ref, Seconds, SourceTarget, Target
from adaptkit.cli.exits import Exit
from adaptkit.cli.references import find_config, find_deployment, find_job, find_model
from adaptkit.cli.session import Session, verb
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, BackendError
from adaptkit.job import Job
from adaptkit.translate import translate as translated

__all__ = ["hosts"]

hosts = typer.Typer()


# before a job -----------------------------------------------------------------------------------------------------


@verb(hosts)
def estimate(
    session: Session,
    target: Target,
    data: Data,
    *,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train on a few rows, where nothing says how fast this machine is.")
    ] = False,
) -> None:
    """Say what a job would cost, as far as that is known, and send nothing."""
    made = session.client.estimate(target, Dataset.open(*data), measure=measure)
    session.answer(made, str(made))


@verb(hosts)
def translate(
    session: Session,
    source: SourceTarget,
    backend: Annotated[str, typer.Argument(help="The backend to move to.")],
) -> None:
    """Write a target for another backend.

    The table goes to stdout, and what becomes of each field to stderr: carried, renamed, to be decided by you, or
    impossible there.
    """
    made = translated(find_config(session.client, source), backend)
    toml = made.toml(f"{source}_{backend}")
    session.line({"toml": toml, "table": made.table, "fields": made.fields}, toml.rstrip())
    if not session.as_json:
        session.stderr.print(show_hosts.translation(made))


# jobs -------------------------------------------------------------------------------------------------------------


@verb(hosts)
def pause(session: Session, ref: Ref) -> None:
    """Ask a job to halt, and return at once."""
    job = find_job(session.client, ref)
    job.pause()
    _asked(session, job, "halt")


@verb(hosts)
def resume(session: Session, ref: Ref) -> None:
    """Ask a halted job to go on, which may cost money."""
    job = find_job(session.client, ref)
    job.resume()
    _asked(session, job, "go on")


def _asked(session: Session, job: Job, what: str) -> None:
    ended = job.status.is_terminal
    said = f"{job.id} had ended: {job.status}" if ended else f"{job.id} was asked to {what}; adaptkit watch {job.id}"
    session.answer(show.job_document(job), said)


@verb(hosts)
def checkpoints(session: Session, ref: Ref = "last") -> None:
    """List the models of earlier steps that a job keeps."""
    kept = find_job(session.client, ref).checkpoints()
    session.answer(show_hosts.checkpoint_documents(kept), show_hosts.checkpoints(kept))


# models -----------------------------------------------------------------------------------------------------------


@verb(hosts)
def download(
    session: Session,
    model: ModelText,
    path: Annotated[Path, typer.Argument(help="A folder that is not there yet, or is empty.")],
    timeout: Seconds = None,
) -> None:
    """Copy a model's weights here."""
    written = find_model(session, model, timeout).download(path)
    session.line({"path": str(written)}, written)


@verb(hosts)
def rename(
    session: Session,
    model: ModelText,
    name: Annotated[str, typer.Argument(help="Its new name.")],
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    timeout: Seconds = None,
) -> None:
    """Give a model another name at its host; its reference stays as it is."""
    found = find_model(session, model, timeout)
    found.rename(name, description)
    session.answer({"ref": str(found.ref), "name": name}, f"{found.id} is named {name}")


@verb(hosts)
def archive(
    session: Session,
    model: ModelText,
    undo: Annotated[bool, typer.Option("--undo", help="Take it out again.")] = False,
    timeout: Seconds = None,
) -> None:
    """Put a model away at its host, so that it no longer answers."""
    found = find_model(session, model, timeout)
    if undo:
        found.unarchive()
    else:
        found.archive()
    said = "answers again" if undo else "is archived; --undo takes it out again"
    session.answer({"ref": str(found.ref), "archived": not undo}, f"{found.id} {said}")


@verb(hosts)
def deploy(
    session: Session,
    model: ModelText,
    confirm_spend: Annotated[
        bool, typer.Option("--confirm-spend", help="Yes, it may cost money until it is stopped.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it answers.")] = False,
    timeout: Seconds = None,
) -> None:
    """Have a host keep a model running; it costs money until it is stopped.

    Prints the deployment's reference once the host has accepted it, or that of the one that runs already.
    """
    session.on_interrupt = "interrupted; adaptkit deployments lists what may cost money"
    found = find_model(session, model, timeout)
    running = found.deploy(confirm_spend=confirm_spend)
    session.note("this model is deployed already" if running.reused else "accepted")
    session.note(f"it costs {show_hosts.hourly(running)} until adaptkit deployments --stop {running.id}")
    if wait:
        running.wait(timeout)
        session.note(f"it answers: adaptkit chat '{running.model.ref}'")
    session.line(show_hosts.deployment_document(running) | {"reused": running.reused}, running.ref)


@verb(hosts)
def deployments(
    session: Session,
    stop: Annotated[
        str | None,
        typer.Option("--stop", metavar="ID|TAG", help="Stop this one for good; its reference will do."),
    ] = None,
    refresh: Annotated[bool, typer.Option(help="Ask how they stand, or say what was last heard.")] = True,
) -> None:
    """List what is kept running and may cost money, or stop it."""
    if stop is not None:
        running = find_deployment(session.client, stop)
        running.stop()
        session.answer(show_hosts.deployment_document(running), f"{running.id} is {running.status}")
        return
    listed = session.client.deployments()
    for running in listed if refresh else ():
        try:
            running.refresh()
        except BackendError as error:
            session.note(f"{running.id}: cannot be asked now, so this is what was last heard ({error.message})")
    session.answer([show_hosts.deployment_document(each) for each in listed], show_hosts.deployments(listed))


# what lies there --------------------------------------------------------------------------------------------------


@verb(hosts)
def uploads(
    session: Session,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them at their hosts, for good.")] = False,
) -> Exit:
    """List uploaded files that no job uses any more."""
    unused = session.client.uploads()
    deleted, failed = [], []
    for upload in unused if delete else ():
        try:
            session.client.delete_upload(upload)
            deleted.append(upload.file_id)
        except AdaptkitError as error:
            failed.append(upload.file_id)
            session.note(f"{upload.file_id}: not deleted: {error}")
    document = {"uploads": [show_hosts.upload_document(each, deleted) for each in unused]}
    session.answer(document, *show_hosts.uploads(unused, deleted))
    return Exit.BACKEND if failed else Exit.OK


@verb(hosts, name="import")
def import_(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="BACKEND", help="A backend, such as openai, or a target of it.")],
    adopt: Annotated[bool, typer.Option("--adopt", help="Bring jobs, recipes and files into the journal.")] = False,
) -> None:
    """List jobs, files and models that an account has at a host already.

    Says how many days a model has left. With --adopt the jobs are known here from then on, as if they had been
    submitted here; their recipes go to stdout as targets, and the lists to stderr. Nothing at the host is changed.
    """
    client = session.client
    found = client.inventory(target)
    adopted = [client.adopt(target, job) for job in found.jobs] if adopt else []
    backend = client.targets[target].backend if target in client.targets else target
    recipes = adoption.recipes(found.jobs, backend) if adopt else ""
    shown = show_hosts.Imported(target, backend, found, adopted, recipes)
    if not adopt:
        session.answer(shown.document(), *shown.tables())
        return
    session.line(shown.document(), recipes.rstrip())
    if not session.as_json:
        for part in shown.tables():
            session.stderr.print(part)
        new = sum(not job.reused for job in adopted)
        session.note(f"{new} jobs adopted, {len(adopted) - new} were known; adaptkit jobs lists them")

"""``adaptkit indexes``: what retrieval has left behind."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from adaptkit.cli.session import Session, clean

__all__ = ["indexes"]


def indexes(
    session: Session,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them, for good.")] = False,
    days: Annotated[float, typer.Option(min=0, help="How long nobody may have asked one.")] = 30,
    copy: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A model elsewhere whose indexes are to stay.")
    ] = None,
) -> None:
    """List indexes of documents and examples that no model in the home folder names, or delete them.

    A model elsewhere that is asked keeps its own for as many days.
    """
    from adaptkit.backends.prompt.indexes import unused_indexes  # noqa: PLC0415 - other commands need it not

    found = unused_indexes(session.client.home, days=days, copies=copy or ())
    gone = [each for each in found if each.delete()] if delete else []
    documents = [
        {
            "path": str(each.path),
            "bytes": each.size,
            "last_used": dt.datetime.fromtimestamp(each.last_used, dt.UTC).isoformat(timespec="seconds"),
            "deleted": each in gone,
        }
        for each in found
    ]
    lines = [
        Text(clean(f"{each['path']}  {each['bytes']:,} bytes, last used {each['last_used']}")) for each in documents
    ]
    what = f"{len(gone)} deleted" if delete else "adaptkit indexes --delete deletes them"
    session.answer(
        documents, *(lines or [Text("every index belongs to a model, or was used lately")]), *([what] * bool(found))
    )

"""``adaptkit report``: a comparison as something to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from adaptkit.cli.session import Session
from adaptkit.errors import ArtifactError, ConfigError
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report import markdown as in_markdown
from adaptkit.evidence.report import put, write
from adaptkit.evidence.results import Comparison

__all__ = ["report"]


def report(
    session: Session,
    comparison: Annotated[
        Path, typer.Argument(metavar="COMPARISON.json", help="What adaptkit compare --save has written.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="The page; default: beside the comparison."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE.md", help="Write the same in Markdown too.")
    ] = None,
    recommendation: Annotated[
        Path | None,
        typer.Option("--recommendation", metavar="FILE.json", help="What adaptkit recommend --json has written."),
    ] = None,
) -> None:
    """Write a comparison as one page that needs nothing else and asks for nothing from anywhere."""
    page = output or comparison.with_suffix(".html")
    given = [path.resolve() for path in (comparison, recommendation) if path]
    written = [path.resolve() for path in (page, markdown) if path]
    if set(given) & set(written) or len(set(written)) < len(written):
        raise ConfigError("the report must not be written over what it is made from, nor two forms of it to one file")
    found = Comparison.load(comparison)
    advice = _recommendation(recommendation) if recommendation else None
    write(found, page, recommendation=advice)
    if markdown:
        put(in_markdown(found, advice), markdown)
    made = [str(path) for path in (page, markdown) if path]
    session.line({"html": str(page), "markdown": str(markdown) if markdown else None}, "\n".join(made))


def _recommendation(path: Path) -> Recommendation:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recommendation)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is no recommendation: {error}. adaptkit recommend --json writes one") from None

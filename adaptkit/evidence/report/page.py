"""The document as one HTML page that asks for nothing from anywhere and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib.resources import files
from pathlib import Path

from adaptkit.durable import replace_file
from adaptkit.errors import ArtifactError, MissingDependencyError
from adaptkit.evidence.recommendation import Recommendation
from adaptkit.evidence.report import document as parts
from adaptkit.evidence.report.telling import document
from adaptkit.evidence.report.words import RUNGS, percent
from adaptkit.evidence.results import Comparison

__all__ = ["html", "put", "write"]


def html(comparison: Comparison, recommendation: Recommendation | None = None) -> str:
    """One self-contained page; the same comparison gives the same bytes.

    Args:
        comparison: What was found.
        recommendation: What follows from it, shown first.

    Raises:
        MissingDependencyError: matplotlib or Jinja2 is not there.
        DataError: nobody was compared.
    """
    try:
        import jinja2  # noqa: PLC0415 - an extra

        from adaptkit.evidence.report import plots  # noqa: PLC0415 - imports matplotlib
    except ImportError as error:
        raise MissingDependencyError("a report", error.name or "matplotlib", "report") from None
    here = files(__package__)
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(here.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return page.render(
        document=document(comparison, recommendation),
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        draw=plots.draw,
        sizes={"wide": plots.WIDE, "narrow": plots.NARROW},
        kind=lambda block: type(block).__name__.lower(),
        rungs=RUNGS,
        percent=percent,
        plain=parts.plain,
    )


def write(
    comparison: Comparison, path: str | os.PathLike[str], *, recommendation: Recommendation | None = None
) -> Path:
    """Write the page, readable for its owner alone: it holds questions and answers. Gives its path.

    Raises:
        ArtifactError: it cannot be written there; nothing is left behind.
        MissingDependencyError: matplotlib or Jinja2 is not there.
        DataError: nobody was compared.
    """
    return put(html(comparison, recommendation), Path(path))


def put(text: str, path: Path) -> Path:
    """Write a text, whole or not at all.

    Raises:
        ArtifactError: it cannot be written there; nothing is left behind.
    """
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise ArtifactError(f"the report cannot be written to {path}: {error.strerror or error}") from error
    return path

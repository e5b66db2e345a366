"""What several verbs take."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from adaptkit import config

__all__ = ["Data", "ModelText", "Ref", "Seconds", "SourceTarget", "Target"]


def _complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of targets for the shell; a file that cannot be read completes nothing."""
    named = ctx.params.get("config")
    found = Path(named) if named else config.find()
    try:
        targets = tomllib.loads(found.read_text(encoding="utf-8")).get("targets", {}) if found else {}
    except (OSError, ValueError):
        return []
    return [name for name in targets if name.startswith(incomplete)]


Target = Annotated[str, typer.Argument(help="A target of adaptkit.toml.", autocompletion=_complete_target)]
SourceTarget = Annotated[
    str,
    typer.Argument(metavar="SOURCE_TARGET", help="A target of adaptkit.toml.", autocompletion=_complete_target),
]
Data = Annotated[list[str], typer.Argument(help="JSONL (also .gz) or Parquet files, or globs in quotes.")]
Ref = Annotated[str, typer.Argument(help="A job: its reference, its id, or last.", metavar="REF")]
ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A job or model, or last.")]
Seconds = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most; the job runs on.")]

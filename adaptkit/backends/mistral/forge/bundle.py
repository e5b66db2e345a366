"""The hand-off bundle: a folder with everything that an engagement needs, which appears whole or not at all.

```
<id>/  README.md       what this is, in words for whoever gets it
       manifest.json   every file with its hash, its rows and its tokens; base, licence, provenance
       SHA256SUMS      for ``sha256sum --check``
       recipe.toml     the stages with their settings; the same as recipe.json
       data/           a file of JSON lines for each stage and for what is held out
```

Names of files are relative, and nothing says where the data lay before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, cast

from adaptkit import __version__
from adaptkit.adapter import DataFile, Plan
from adaptkit.backends.mistral.config import MistralConfig
from adaptkit.backends.mistral.forge.packing import VOCABULARY
from adaptkit.backends.mistral.stages import tokens_file
from adaptkit.durable import sync
from adaptkit.errors import ConfigError, DataError
from adaptkit.process import is_dead, process_name
from adaptkit.toml import toml_value

__all__ = ["FORMAT", "drop", "write"]

FORMAT = "adaptkit-handoff-1"
#: A bundle that somebody is writing, or was when killed.
_DRAFT = re.compile(r"\.handoff\.[A-Za-z0-9]+\.(.+:.+:\d+:\d+)\.\d+")


# writing ----------------------------------------------------------------------------------------------------------


def write(place: Path, bundle_id: str, plan: Plan[MistralConfig], created: float) -> Path:
    """Write a bundle under ``place``, for its owner alone; one that is there already was written by an earlier try.

    Args:
        place: Folder of bundles.
        bundle_id: Its name, letters and digits.
        plan: What `ForgeAdapter.prepare` gave.
        created: Unix time.

    Raises:
        DataError: a file has changed since the plan, or the disk is full or not writable; nothing is left behind.
    """
    folder = place / bundle_id
    if folder.is_dir():
        return folder
    draft = place / f".handoff.{bundle_id}.{process_name()}.{time.monotonic_ns()}"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(place)
        (draft / "data").mkdir(parents=True, mode=0o700)
        draft.chmod(0o700)
        _fill(draft, bundle_id, plan, created)
        sync(draft / "data")
        sync(draft)
        draft.rename(folder)
        sync(place)
    except OSError as error:
        if folder.is_dir():  # another process had the same to write
            return folder
        why = error.strerror or error
        raise DataError(f"the bundle cannot be written to {place}: {why}. Nothing was left behind.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # not there any more where all went well
    return folder


def drop(folder: Path, sha256: str) -> None:
    """Delete the files with that hash from a bundle; what says what they were stays."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except FileNotFoundError:
        return  # the bundle was moved, or deleted
    for entry in manifest["files"]:
        if entry["sha256"] == sha256:
            (folder / entry["file"]).unlink(missing_ok=True)


def _fill(draft: Path, bundle_id: str, plan: Plan[MistralConfig], created: float) -> None:
    names = {entry["purpose"]: entry["file"] for entry in plan.request["files"]}
    for file in plan.files:
        _write_data(draft / names[file.purpose], file)
    new = plan.config.adapt.vocabulary
    if new is not None and new.source is not None:
        content = tokens_file(new.source)
        if _sha256(content) != next(each["sha256"] for each in plan.request["files"] if each["file"] == VOCABULARY):
            raise ConfigError(f"{new.source} changed after the plan was made; plan again")
        _write(draft / VOCABULARY, content)
    steps = plan.request["recipe"]
    written = {
        "recipe.json": json.dumps(steps, indent=2, ensure_ascii=False) + "\n",
        "recipe.toml": _toml(steps),
    }
    about = _about(bundle_id, plan, created)
    written["README.md"] = _readme(about)
    for name, text in written.items():
        _write(draft / name, text.encode())
        about["files"].append({"file": name, "sha256": _sha256(text.encode()), "bytes": len(text.encode())})
    manifest = json.dumps(about, indent=2, ensure_ascii=False).encode() + b"\n"
    _write(draft / "manifest.json", manifest)
    sums = {each["file"]: each["sha256"] for each in about["files"]} | {"manifest.json": _sha256(manifest)}
    _write(draft / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())


def _about(bundle_id: str, plan: Plan[MistralConfig], created: float) -> dict[str, Any]:
    """The manifest, but for the files that are not data."""
    request = plan.request
    return {
        "format": FORMAT,
        "id": bundle_id,
        "created": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "adaptkit": __version__,
        "base": request["recipe"]["base"],
        "license": request["license"],
        "provenance": request["provenance"],
        "fingerprint": plan.fingerprint,
        "tokenizer": request["tokenizer"],
        "files": list(request["files"]),
    }


def _write_data(path: Path, file: DataFile) -> None:
    with _create(path) as target:
        written = file.data.write(target, file.format)
        target.flush()
        os.fsync(target.fileno())
    if written.sha256 != file.sha256:
        raise DataError(f"the {file.purpose} data changed after the plan was made; plan again")


def _write(path: Path, content: bytes) -> None:
    with _create(path) as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())


def _create(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sweep(place: Path) -> None:
    """Remove what processes left that were killed while writing."""
    for left in place.glob(".handoff.*"):
        found = _DRAFT.fullmatch(left.name)
        if found and is_dead(found[1]):
            shutil.rmtree(left, ignore_errors=True)


# words ------------------------------------------------------------------------------------------------------------


def _toml(steps: Mapping[str, Any]) -> str:
    top = [f"{key} = {toml_value(value)}" for key, value in steps.items() if key != "stages"]
    tables = [
        "\n".join(["", "[[stages]]", *(f"{key} = {toml_value(value)}" for key, value in stage.items())])
        for stage in cast("Sequence[Mapping[str, Any]]", steps["stages"])
    ]
    return "\n".join([*top, *tables]) + "\n"


def _readme(about: Mapping[str, Any]) -> str:
    rows = [f"| `{each['file']}` | {_purpose(each)} | {_count(each)} |" for each in about["files"]]
    tokenizer = about["tokenizer"]
    counted = (
        f"counted by the tokenizer of {tokenizer}"
        if tokenizer
        else "not counted: the tokenizer of the base was not at hand"
    )
    text = files(__package__).joinpath("handoff.md").read_text(encoding="utf-8")
    return text.format(
        base=about["base"]["model"],
        base_license=about["base"]["license"] or "not known here",
        license=about["license"] or "not given",
        provenance=about["provenance"] or "not given",
        id=about["id"],
        created=about["created"],
        version=about["adaptkit"],
        files="\n".join(rows),
        held_out=_held_out(about),
        counted=counted,
    )


def _held_out(about: Mapping[str, Any]) -> str:
    if any(each["purpose"] == "evaluation" for each in about["files"]):
        return "What is held out for evaluation was looked for in the training data, and none of it was found there."
    return "There is no evaluation set with it; agree on one before anything is trained."


def _purpose(entry: Mapping[str, Any]) -> str:
    if entry["purpose"] in ("evaluation", "validation"):
        return f"held out for {entry['purpose']}; nothing may learn from it"
    if entry["purpose"] == "vocabulary":
        return "new tokens, one a line"
    replay = ": general text, against forgetting" if entry["purpose"].endswith("replay") else ""
    return f"stage {entry['stage']}, {entry['method']}{replay}"


def _count(entry: Mapping[str, Any]) -> str:
    rows, tokens = entry.get("rows"), entry.get("tokens")
    parts = [f"{rows:,} rows" if rows is not None else f"{entry['bytes']:,} bytes"]
    return ", ".join([*parts, *([f"{tokens:,} tokens"] if tokens is not None else [])])

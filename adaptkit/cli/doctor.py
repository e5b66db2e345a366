"""What is installed, what can run, what is missing: found out by looking, with nothing sent and nothing made."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from adaptkit import __version__, config, registry
from adaptkit.cli.session import Session
from adaptkit.errors import AdaptkitError
from adaptkit.journal import open_journal
from adaptkit.journal.schema import SCHEMA_VERSION
from adaptkit.machine import this_machine

__all__ = ["BackendState", "backend_document", "backends", "examine"]

#: The extra that a built-in backend runs on. The prompt backend needs one only for a model on this machine.
_EXTRA_OF = {"bedrock": "bedrock", "lora": "local", "openai": "openai"}
#: A kit for tests: it works by name like any other, and is no way to fit a model.
_FOR_TESTS = {"scripted"}
#: Bytes of free disk below which a job may not end.
LITTLE_ROOM = 10**9
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?")


@dataclass(frozen=True)
class BackendState:
    """A backend as found here.

    Attributes:
        name: As in ``backend = "…"``.
        origin: The package that brings it.
        guarantee: What holds when a submission's answer is lost; ``None`` where it does not load.
        missing: Packages that it needs and that are not installed.
        remedy: The line that helps, or nothing.
        error: Why it does not load.
    """

    name: str
    origin: str
    guarantee: str | None
    missing: tuple[str, ...] = ()
    remedy: str = ""
    error: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it can run here."""
        return self.error is None and not self.missing


def backends() -> list[BackendState]:
    """Every installed backend that fits models, and whether it can run here."""
    found = []
    wanted = _requirements()
    for each in registry.backends():
        if each.name in _FOR_TESTS:
            continue
        extra = _EXTRA_OF.get(each.name)
        missing = tuple(name for name in wanted.get(extra, ()) if _version(name) is None) if extra else ()
        guarantee = each.adapter.guarantee if each.adapter else None
        remedy = _install(extra) if missing and extra else ""
        found.append(BackendState(each.name, each.origin, guarantee, missing, remedy, each.error))
    return found


def backend_document(state: BackendState) -> dict[str, Any]:
    """The state of a backend for a program."""
    return {
        "name": state.name,
        "origin": state.origin,
        "runs": state.runs,
        "guarantee": state.guarantee,
        "missing": state.missing,
        "remedy": state.remedy,
        "error": state.error,
    }


def examine(session: Session) -> dict[str, Any]:
    """Everything that there is to say, by section; ``problems`` lists what needs doing."""
    home = session.home.expanduser().absolute() if session.home else config.default_home()
    settings, configuration = _configuration(session.config)
    journal = settings.journal if settings and settings.journal else str(home / "journal.db")
    found: dict[str, Any] = {
        "adaptkit": __version__,
        "python": {"version": platform.python_version(), "path": sys.executable, "platform": platform.platform()},
        "packages": _packages(),
        "backends": [backend_document(each) for each in backends()],
        "devices": _devices(),
        "home": _home(home),
        "journal": _journal(journal),
        "configuration": configuration,
    }
    found["problems"] = list(_problems(found))
    return found


def _install(extra: str) -> str:
    return f"pip install 'adaptkit[{extra}]'"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> dict[str | None, list[str]]:
    """Packages by extra, ``None`` for the core, from what the installed adaptkit says it needs."""
    try:
        lines = metadata.requires("adaptkit") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        lines = []
    found: dict[str | None, list[str]] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match and match[1] != "adaptkit":
            found.setdefault(match[2], []).append(match[1])
    return found


def _packages() -> list[dict[str, Any]]:
    sections = []
    for extra, names in _requirements().items():
        versions = {name: _version(name) for name in names}
        whole = all(versions.values())
        sections.append(
            {"extra": extra, "versions": versions, "install": "" if whole or not extra else _install(extra)}
        )
    return sections


def _devices() -> dict[str, Any]:
    """The processors that local training finds; torch itself would take seconds to ask."""
    machine = this_machine()
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [{"memory_bytes": gpu.memory, "capability": gpu.capability} for gpu in machine.gpus]
    return {"cpus": mine, "nvidia": gpus, "apple": machine.apple, "torch": _version("torch")}


def _home(home: Path) -> dict[str, Any]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    found: dict[str, Any] = {"path": home, "exists": home.exists(), "free_bytes": shutil.disk_usage(there).free}
    found["writable"] = os.access(there, os.W_OK | os.X_OK) and there.is_dir()
    if home.exists():
        found["mode"] = stat.filemode(home.stat().st_mode)
        found["private"] = not home.stat().st_mode & 0o077
    return found


def _journal(url: str) -> dict[str, Any]:
    """The journal as it lies there. One in PostgreSQL is opened; one in a file that is not there is not made."""
    remote = url.startswith("postgres")
    path = Path(url.removeprefix("sqlite://"))
    found: dict[str, Any] = {"kind": "postgresql" if remote else "sqlite", "path": None if remote else path}
    if not remote and not path.exists():
        return found | {"state": "not there yet; the first job makes it"}
    try:
        with closing(open_journal(url)) as journal:
            runs = journal.runs()
    except AdaptkitError as error:
        return found | {"state": "broken", "error": str(error)}
    found |= {
        "state": "healthy",
        "version": SCHEMA_VERSION,
        "jobs": len(runs),
        "uncertain": [run.id for run in runs if run.uncertain],
    }
    return found if remote else found | _file_facts(path)


def _file_facts(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    return {"check": verdict, "mode": stat.filemode(path.stat().st_mode)}


def _configuration(named: Path | None) -> tuple[config.Settings | None, dict[str, Any]]:
    path = named or config.find()
    if path is None:
        return None, {"path": None, "egress": "any host", "targets": {}}
    try:
        settings = config.load(path)
    except AdaptkitError as error:
        return None, {"path": path, "error": str(error), "targets": {}}
    allowed = settings.egress.hosts
    targets = {
        name: {"backend": target.backend, "environment": _variables(target)}
        for name, target in settings.targets.items()
    }
    return settings, {
        "path": path,
        "egress": "any host" if allowed is None else sorted(allowed) or "none",
        "targets": targets,
    }


def _variables(target: BaseModel) -> dict[str, bool]:
    """The environment variables that a target names, and whether each is set; never what it holds."""
    named = {value for field, value in target if field.endswith("_env") and isinstance(value, str) and value}
    return {name: name in os.environ for name in sorted(named)}


def _problems(found: dict[str, Any]) -> Iterator[str]:
    for backend in found["backends"]:
        if backend["error"]:
            yield backend["error"]
        elif backend["missing"]:
            missing = ", ".join(backend["missing"])
            yield f"the {backend['name']} backend cannot run without {missing}: {backend['remedy']}"
    devices = found["devices"]
    if devices["nvidia"] and (devices["torch"] or "").endswith("+cpu"):
        yield "there is a GPU, but the torch installed is built for the CPU: install the CUDA build from pytorch.org"
    yield from _home_problems(found["home"])
    yield from _journal_problems(found["journal"])
    if "error" in found["configuration"]:
        yield found["configuration"]["error"]
    for name, target in found["configuration"]["targets"].items():
        for variable, is_set in target["environment"].items():
            if not is_set:
                yield f"[targets.{name}] needs the environment variable {variable}, which is not set"


def _home_problems(home: dict[str, Any]) -> Iterator[str]:
    if not home["writable"]:
        yield f"{home['path']} cannot be written: see that it is yours, or name another with --home or ADAPTKIT_HOME"
    if not home.get("private", True):
        yield f"{home['path']} can be read by others: chmod 700 {home['path']}"
    if home["free_bytes"] < LITTLE_ROOM:
        yield f"less than 1 GB is free where {home['path']} lies: make room, or name another folder with --home"


def _journal_problems(journal: dict[str, Any]) -> Iterator[str]:
    if journal["state"] == "broken":
        yield journal["error"]
    elif journal.get("check", "ok") != "ok":
        yield f"the journal is damaged ({journal['check']}): restore it from a backup"
    for run in journal.get("uncertain", ()):
        yield f"submission {run} is uncertain: adaptkit jobs shows its tag; the same submit looks for it again"

"""``adaptkit.toml`` to typed targets, and back to a JSON Schema for editors.

A file holds ``[policy]`` (``egress``), ``[journal]`` (``path``, or ``url_env`` naming the environment variable that
holds a PostgreSQL URL), ``[prices]`` (``path`` of a table of one's own) and one ``[targets.NAME]`` table a target. No
secret stands in it, only names of environment variables. Relative paths are relative to the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from adaptkit.adapter import BackendConfig
from adaptkit.errors import ConfigError
from adaptkit.http import Egress
from adaptkit.registry import adapter_type, backends, nearest

__all__ = ["FILE_NAME", "Settings", "default_home", "find", "load", "schema"]

T = TypeVar("T")

FILE_NAME = "adaptkit.toml"


@dataclass(frozen=True)
class Settings:
    """A configuration as values.

    Attributes:
        targets: Configuration by target name.
        egress: Where data may go.
        journal: Path or URL of the journal; ``None`` for the one in the home folder.
        prices: A table of prices that is looked at before adaptkit's own.
        source: The file it came from.
    """

    targets: Mapping[str, BackendConfig] = field(default_factory=dict)
    egress: Egress = field(default_factory=Egress)
    journal: str | None = field(default=None, repr=False)
    prices: Path | None = None
    source: Path | None = None


def default_home() -> Path:
    """Folder for the journal, local jobs and models: ``$ADAPTKIT_HOME``, else ``~/.adaptkit``."""
    named = os.environ.get("ADAPTKIT_HOME")
    return Path(named).expanduser().absolute() if named else Path.home() / ".adaptkit"


def find(start: Path | None = None) -> Path | None:
    """The nearest ``adaptkit.toml`` in a folder or above it, or ``None``."""
    folder = (start or Path.cwd()).absolute()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def load(path: Path) -> Settings:
    """Read a configuration file.

    Raises:
        ConfigError: the file cannot be read, or has a mistake; names the file, and every table and key that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f'{path}: no such file. A first one needs two lines: [targets.small] and backend = "lora"'
        ) from None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    mistakes = _unknown(document, {"policy", "journal", "prices", "targets"}, "table")

    def read(section: Callable[[Mapping[str, Any], Path], T], otherwise: T) -> T:
        try:
            return section(document, path.parent)
        except ConfigError as error:
            mistakes.append(str(error))
            return otherwise

    egress, journal, prices = read(_egress, Egress()), read(_journal, None), read(_prices, None)
    targets: dict[str, BackendConfig] = {}
    tables = document.get("targets", {})
    if not isinstance(tables, dict):
        mistakes.append("targets must be tables: [targets.NAME]")
        tables = {}
    for name, table in tables.items():
        try:
            targets[name] = target(name, table, base=path.parent)
        except ConfigError as error:
            mistakes.extend(str(error).splitlines())
    if mistakes:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return Settings(targets, egress, journal, prices, path)


def _unknown(table: Mapping[str, Any], known: set[str], what: str) -> list[str]:
    return [f"[{key}]: no such {what}.{nearest(key, known)}" for key in table if key not in known]


def _section(document: Mapping[str, Any], name: str, known: set[str]) -> Mapping[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name} must be a table: [{name}]")
    for key in section:
        if key not in known:
            raise ConfigError(f"[{name}] {key}: no such key.{nearest(key, known)}")
    return section


def _egress(document: Mapping[str, Any], base: Path) -> Egress:
    del base
    value = _section(document, "policy", {"egress"}).get("egress")
    if isinstance(value, list) and not all(isinstance(host, str) for host in value):
        raise ConfigError('[policy] egress: must be "none" or a list of host names')
    if value is not None and not isinstance(value, str | list):
        raise ConfigError('[policy] egress: must be "none" or a list of host names')
    try:
        return Egress.parse(value)
    except ConfigError as error:
        raise ConfigError(f"[policy] {error}") from None


def _journal(document: Mapping[str, Any], base: Path) -> str | None:
    section = _section(document, "journal", {"path", "url_env"})
    if len(section) > 1:
        raise ConfigError("[journal] takes path or url_env, not both")
    for key, value in section.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"[journal] {key}: must be text")
        if key == "path":
            return str((base / Path(value).expanduser()).absolute())
        if value not in os.environ:
            raise ConfigError(f"[journal] url_env: the environment has no {value}; set it to the journal's URL")
        return os.environ[value]
    return None


def _prices(document: Mapping[str, Any], base: Path) -> Path | None:
    value = _section(document, "prices", {"path"}).get("path")
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ConfigError("[prices] path: must be text")
    return (base / Path(value).expanduser()).absolute()


def target(name: str, table: object, *, base: Path | None = None) -> BackendConfig:
    """One target's table to its backend's configuration.

    Args:
        name: Name of the target.
        table: Keys and values.
        base: Folder that relative paths start from.

    Raises:
        ConfigError: no backend named, an unknown one, or fields that are unknown, missing or wrong: all of them.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"[targets.{name}] must be a table of keys")
    backend = table.get("backend")
    if not isinstance(backend, str):
        raise ConfigError(f'[targets.{name}] backend: missing; name one, for example backend = "lora"')
    try:
        config_type = adapter_type(backend).config_type
    except ConfigError as error:
        raise type(error)(f"[targets.{name}] backend: {error}") from error.__cause__
    if config_type.made_by is not None:
        raise ConfigError(f"[targets.{name}] backend: {backend!r} is no target; {config_type.made_by} makes such jobs")
    try:
        return config_type.model_validate(table, context={"base": base})
    except ValidationError as error:
        known = config_type.model_fields
        lines = []
        # without input: a value may be a key that somebody pasted into the wrong place
        for mistake in error.errors(include_url=False, include_input=False, include_context=False):
            key = ".".join(map(str, mistake["loc"]))
            if mistake["type"] == "extra_forbidden":
                said = config_type.instead.get(key)
                hint = f" {said}" if said else nearest(key, known)
                lines.append(f"[targets.{name}] {key}: the {backend} backend has no such field.{hint}")
            else:
                where = f"{key}: " if key else ""  # a rule between fields has no key of its own
                lines.append(f"[targets.{name}] {where}{mistake['msg'].removeprefix('Value error, ')}")
        raise ConfigError("\n".join(lines)) from None


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``adaptkit.toml`` with the backends that load here, for editors."""
    defs: dict[str, Any] = {}
    tables = []
    for backend in backends():
        if backend.adapter is None:
            continue
        described = TypeAdapter(backend.adapter.config_type).json_schema(ref_template="#/$defs/{model}")
        defs.update(described.pop("$defs", {}))
        defs[backend.name] = {**described, "required": sorted({"backend", *described.get("required", [])})}
        tables.append({"$ref": f"#/$defs/{backend.name}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FILE_NAME,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "policy": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "egress": {
                        "description": 'Where data may go: "none", or a list of host names.',
                        "oneOf": [{"const": "none"}, {"type": "array", "items": {"type": "string"}}],
                    }
                },
            },
            "journal": {
                "type": "object",
                "additionalProperties": False,
                "maxProperties": 1,
                "properties": {
                    "path": {"type": "string", "description": "SQLite file; not on a network file system."},
                    "url_env": {"type": "string", "description": "Environment variable with a PostgreSQL URL."},
                },
            },
            "prices": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string", "description": "Table of prices, looked at before adaptkit's own."},
                },
            },
            "targets": {"type": "object", "additionalProperties": {"oneOf": tables}},
        },
        "$defs": defs,
    }

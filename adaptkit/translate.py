"""A target for another backend: what is carried over, what has another name, what somebody must decide, what is lost.

Fields that mean the same are spelled the same on every backend, so most of a table is carried as it stands. What only
looks alike is never converted: a model's id, and a learning rate against a multiplier, are for the user to decide.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from adaptkit.adapter import BackendConfig
from adaptkit.registry import adapter_type
from adaptkit.toml import toml_value

__all__ = ["Field", "Translation", "toml_table", "translate"]

Verdict = Literal["carried", "renamed", "decide", "impossible"]

#: Fields that mean the same under the names that hosts gave them.
SAME: tuple[frozenset[str], ...] = (
    frozenset({"max_length", "max_seq_length", "max_context_length", "context_length"}),
    frozenset({"warmup_steps", "learning_rate_warmup_steps"}),
    frozenset({"beta", "dpo_beta"}),
    frozenset({"gradient_accumulation", "gradient_accumulation_steps"}),
    frozenset({"warmup", "warmup_ratio"}),
)
#: Fields that look alike and are not: no value of one says anything of the other.
NEVER: tuple[frozenset[str], ...] = (frozenset({"learning_rate", "learning_rate_multiplier"}),)
#: Fields that say where the host is and who asks: they are the new host's own.
_OF_THE_HOST = frozenset(
    {"backend", "profile", "base_url", "api_key_env", "account", "region", "endpoint_url", "role_arn", "bucket"}
    | {"aws_profile", "bucket_owner", "endpoints", "prefix", "storage"}
)


@dataclass(frozen=True)
class Field:
    """What becomes of one field.

    Attributes:
        name: The field in the old table, or in the new one where it is new.
        value: Its value; ``None`` where somebody must give one.
        verdict: ``carried``, ``renamed``, ``decide`` or ``impossible``.
        becomes: The field in the new table, ``None`` where there is none.
        why: What to know, in a sentence; empty where there is nothing.
    """

    name: str
    value: Any
    verdict: Verdict
    becomes: str | None
    why: str = ""


@dataclass(frozen=True)
class Translation:
    """The report, and the table for the new backend without what is to be decided."""

    fields: tuple[Field, ...]
    table: Mapping[str, Any]

    def toml(self, name: str) -> str:
        """The target's table as TOML; what is to be decided stands in it as a comment."""
        undecided = [field for field in self.fields if field.verdict == "decide"]
        return toml_table(name, self.table) + "".join(f"# {field.becomes} = …   {field.why}\n" for field in undecided)


def toml_table(name: str, table: Mapping[str, Any]) -> str:
    """A target's table as TOML; values that are ``None`` are left out."""
    given = (f"{key} = {toml_value(value)}\n" for key, value in table.items() if value is not None)
    return f"[targets.{name}]\n{''.join(given)}"


def translate(config: BackendConfig, backend: str) -> Translation:
    """A target's configuration for another backend.

    Args:
        config: The configuration as it is; only what was set in it is looked at.
        backend: Name of the other backend.

    Raises:
        UnknownBackendError: there is no such backend.
    """
    kind = adapter_type(backend).config_type
    fields = list(_fields(config, kind))
    table: dict[str, Any] = {"backend": backend}
    table |= {
        field.becomes: field.value for field in fields if field.verdict in ("carried", "renamed") and field.becomes
    }
    decided = {field.becomes for field in fields}
    for name, field in kind.model_fields.items():
        if field.is_required() and name not in decided:
            fields.append(Field(name, None, "decide", name, f"{backend} needs it"))
    return Translation(tuple(fields), table)


def _fields(config: BackendConfig, kind: type[BackendConfig]) -> Iterator[Field]:
    given = config.model_dump(mode="json", exclude_unset=True)
    known = kind.model_fields
    for name, value in given.items():
        if name in _OF_THE_HOST or value is None:
            continue
        becomes = name if name in known else _other_name(name, known)
        rival = next(
            (other for pair in NEVER if name in pair for other in pair if other != name and other in known), None
        )
        if name == "model" and config.backend != kind.model_fields["backend"].default:
            yield Field(name, value, "decide", name, f"was {value!r}; ids of models never translate by themselves")
        elif becomes is not None:
            wrong = _mistake(known[becomes], value)
            if wrong:
                yield Field(name, value, "decide", becomes, f"was {toml_value(value)}; {wrong}")
            else:
                yield Field(name, value, "carried" if becomes == name else "renamed", becomes)
        elif rival is not None:
            yield Field(
                name, value, "decide", rival, f"{name} was {toml_value(value)}; the one is never made from the other"
            )
        else:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            said = kind.instead.get(name)
            yield Field(name, value, "impossible", None, said or f"there is no such field{hint}")


def _other_name(name: str, known: Mapping[str, FieldInfo]) -> str | None:
    return next((other for names in SAME if name in names for other in sorted(names) if other in known), None)


def _mistake(field: FieldInfo, value: Any) -> str:
    """Why a field of the new backend does not take a value; empty where it does."""
    try:
        checked: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]  # at run time
        checked.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        return message[0].lower() + message[1:]
    return ""

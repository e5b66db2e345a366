"""A table for another backend: carried, renamed, to be decided or lost, and each said."""

from __future__ import annotations

import tomllib
from typing import Any, Literal

import pytest
from pydantic import Field

from adaptkit import config as configuration
from adaptkit import translate as translating
from adaptkit.adapter import BackendConfig
from adaptkit.errors import UnknownBackendError
from adaptkit.translate import translate


class Here(BackendConfig):
    backend: Literal["here"] = "here"
    model: str
    base_url: str | None = None
    epochs: int | None = None
    rank: int | None = None
    seed: int | None = None
    max_seq_length: int | None = None
    learning_rate: float | None = None
    tags: dict[str, Any] | None = None


class There(BackendConfig):
    backend: Literal["there"] = "there"
    model: str
    account: str
    epochs: int | None = None
    rank: int | None = Field(None, ge=4, le=64)
    context_length: int | None = None
    learning_rate_multiplier: float | None = None
    tags: dict[str, Any] | None = None


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"here": Here, "there": There}

    class Adapter:
        def __init__(self, name: str) -> None:
            self.config_type = kinds[name]

    monkeypatch.setattr(translating, "adapter_type", Adapter)


def verdicts(config: BackendConfig, backend: str) -> dict[str, str]:
    return {field.name: field.verdict for field in translate(config, backend).fields}


def test_each_field_has_a_verdict() -> None:
    config = Here(model="a/b-8B", base_url="https://here", epochs=3, rank=128, seed=1, max_seq_length=2048,
                  learning_rate=1e-4)  # fmt: skip
    assert verdicts(config, "there") == {
        "model": "decide",
        "epochs": "carried",
        "rank": "decide",
        "seed": "impossible",
        "max_seq_length": "renamed",
        "learning_rate": "decide",
        "account": "decide",
    }
    made = translate(config, "there")
    assert made.table == {"backend": "there", "epochs": 3, "context_length": 2048}
    said = {field.name: field.why for field in made.fields}
    assert "64" in said["rank"]
    assert "never made from the other" in said["learning_rate"]


def test_what_is_printed_is_toml_without_what_is_undecided() -> None:
    tags = {"team": 'a "quoted" name', "list": [1, 2.5, True]}
    text = translate(Here(model="m", rank=8, tags=tags), "there").toml("next")
    assert tomllib.loads(text) == {"targets": {"next": {"backend": "there", "rank": 8, "tags": tags}}}
    assert "# model = …" in text
    assert "# account = …" in text


def test_the_same_backend_loses_nothing_but_where_it_is() -> None:
    config = Here(model="m", base_url="https://here", epochs=2)
    assert translate(config, "here").table == {"backend": "here", "model": "m", "epochs": 2}


def test_unset_fields_are_not_spoken_of() -> None:
    assert set(verdicts(Here(model="m"), "there")) == {"model", "account"}


def test_an_unknown_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = configuration.target("t", {"backend": "lora", "model": "builtin:tiny"})
    with pytest.raises(UnknownBackendError, match="togehter"):
        translate(config, "togehter")

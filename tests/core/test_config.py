"""``adaptkit.toml``: what is read, and that every mistake is named with its table and key."""

import json
from pathlib import Path

import pytest

from adaptkit import Client, ConfigError, UnknownBackendError
from adaptkit.config import default_home, find, load, schema, target
from adaptkit.testing import ScriptedConfig

TABLE = '[targets.t]\nbackend = "scripted"\nservice = "service.db"\n'


def write(folder, text):
    path = folder / "adaptkit.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path):
    settings = load(write(tmp_path, f'{TABLE}validation = "held_out.jsonl"\n[journal]\npath = "jobs/journal.db"\n'))
    assert settings.targets["t"].validation == str(tmp_path / "held_out.jsonl")
    assert settings.journal == str(tmp_path / "jobs" / "journal.db")


def test_the_nearest_file_is_found_upwards(tmp_path, monkeypatch):
    write(tmp_path, TABLE)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find() == tmp_path / "adaptkit.toml"
    with Client(home=tmp_path) as client:
        assert client.targets.keys() == {"t"}


def test_no_file_is_a_client_without_targets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Client(home=tmp_path) as client:
        assert client.targets == {}
        with pytest.raises(ConfigError, match="no target 'small'"):
            client.submit("small", None)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_HOME", str(tmp_path / "here"))
    assert default_home() == tmp_path / "here"
    monkeypatch.delenv("ADAPTKIT_HOME")
    assert default_home() == Path.home() / ".adaptkit"


def test_opening_a_client_leaves_nothing_behind(tmp_path):
    with Client(write(tmp_path, TABLE), home=tmp_path / "home") as client:
        _ = client.targets, client.home
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets = 3", ["targets must be tables"]),
        ("[targets]\nt = 3", ["[targets.t]", "table"]),
        ("[targets.t]\nepochs = 3", ["[targets.t] backend", "missing"]),
        ("[targets.t]\nbackend = 3", ["[targets.t] backend"]),
        ('[targets.t]\nbackend = "scriptd"', ["[targets.t] backend", "scriptd", "Did you mean 'scripted'"]),
        (f"{TABLE}epoch = 3", ["[targets.t] epoch", "Did you mean 'epochs'"]),
        (f'{TABLE}epochs = "many"', ["[targets.t] epochs"]),
        (f"{TABLE}epochs = 0", ["[targets.t] epochs"]),
        ('[targets.t]\nbackend = "scripted"', ["[targets.t] service", "required"]),
        (f"{TABLE}epoch = 3\nseed = 'x'", ["[targets.t] epoch:", "[targets.t] seed"]),
        (f"{TABLE}[target.x]\n", ["[target]", "Did you mean 'targets'"]),
        (f"{TABLE}[policy]\negres = 'none'", ["[policy] egres", "Did you mean 'egress'"]),
        (f"{TABLE}[policy]\negress = 'all'", ["[policy] egress", "none"]),
        (f"{TABLE}[policy]\negress = 3", ["[policy] egress"]),
        (f"{TABLE}[policy]\negress = [3]", ["[policy] egress"]),
        (f"{TABLE}[policy]\negress = ['https://x.y']", ["[policy]", "plain host names"]),
        ("policy = 3", ["policy must be a table"]),
        ("[journal]\npath = 'a'\nurl_env = 'b'", ["[journal]", "not both"]),
        ("[journal]\nurl_env = 'NOT_SET_ANYWHERE'", ["[journal] url_env", "NOT_SET_ANYWHERE"]),
        ("[journal]\npath = 3", ["[journal] path"]),
        ("[journal]\nfile = 'x'", ["[journal] file"]),
        ("[targets.t\n", ["not valid TOML"]),
        ("a = 1\na = 2\n", ["not valid TOML"]),
    ],
)
def test_every_mistake_is_named(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = str(caught.value)
    assert isinstance(caught.value, ValueError)
    for word in [str(path), *words]:
        assert word in said, said


def test_a_name_that_is_not_near_is_not_guessed_at(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, '[targets.t]\nbackend = "openai"\nmodel = "gpt-4.1-mini"\n[targets.t.run]\nnodes = 2\n'))
    assert str(caught.value).endswith("[targets.t] run: the openai backend has no such field.")


def test_all_mistakes_are_named_at_once(tmp_path):
    text = '[targets.a]\nbackend = "nope"\n[targets.b]\nbackend = "scripted"\nx = 1\n[policy]\negress = 1\n[other]\n'
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    for start in ("[other]", "[policy]", "[targets.a]", "[targets.b] x", "[targets.b] service"):
        assert any(f": {start}" in line for line in lines), lines


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        Client(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "adaptkit.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "adaptkit.toml")


def test_a_file_or_targets_and_not_both(tmp_path):
    with pytest.raises(ConfigError, match="not both"):
        Client(write(tmp_path, TABLE), targets={})


def test_an_unknown_target_is_told_the_nearest(tmp_path):
    file = write(tmp_path, TABLE.replace("targets.t", "targets.small"))
    with Client(file, home=tmp_path) as client, pytest.raises(ConfigError, match="Did you mean 'small'"):
        client.plan("smal", None)


def test_an_unknown_backend_keeps_its_kind():
    with pytest.raises(UnknownBackendError, match=r"\[targets\.t\]"):
        target("t", {"backend": "nowhere"})


def test_configurations_are_frozen_and_round_trip():
    config = ScriptedConfig(service="x", epochs=3, states=("a", "b"))
    assert ScriptedConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 4


def test_the_schema_describes_what_loads():
    described = schema()
    text = json.dumps(described)
    assert json.loads(text) == described
    assert described["$defs"]["scripted"]["required"] == ["backend", "service"]
    assert {"$ref": "#/$defs/scripted"} in described["properties"]["targets"]["additionalProperties"]["oneOf"]


def test_a_rule_between_fields_is_told_without_an_empty_key():
    with pytest.raises(ConfigError) as caught:
        target("t", {"backend": "prompt", "model": "builtin:tiny", "api_key_env": "SOME_KEY"})
    assert str(caught.value).startswith("[targets.t] api_key_env is the key of a service")

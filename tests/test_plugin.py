"""Third parties' packages: really installed, found, run through the contract; broken and clashing ones."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"


def installed(source: Path, place: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(place), str(source)], check=True, capture_output=True)


def python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        timeout=250,
    )


def package(folder: Path, name: str, entry: str, code: str) -> Path:
    """A package with one entry point, written to a folder."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(textwrap.dedent(code), encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "{name}"
        version = "0.1.0"
        [project.entry-points."adaptkit.backends"]
        {entry} = "{name}:Backend"
        """),
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("installed")
    installed(PLUGIN, place)
    return place


def test_the_example_keeps_the_contract_where_it_is_installed(place):
    done = python(place, "-m", "pytest", "-p", "no:cacheprovider", str(PLUGIN / "tests"))
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_the_example_is_listed_and_configured_by_name(place):
    done = python(
        place,
        "-c",
        "from adaptkit import Client, registry\n"
        "print([b.origin for b in registry.backends() if b.name == 'ngram'])\n"
        "print(Client(targets={'t': {'backend': 'ngram', 'order': 3}}).targets['t'].order)",
    )
    assert done.stdout.splitlines() == ["['adaptkit-ngram 0.1.0']", "3"], done.stderr


def test_a_broken_plugin_is_shown_as_broken_and_breaks_nothing_else(tmp_path):
    place = tmp_path / "installed"
    installed(package(tmp_path / "source", "brokenplugin", "broken", "raise RuntimeError('out of order')"), place)
    code = """
        from adaptkit import registry
        listed = {b.name: b.error for b in registry.backends()}
        print(listed["broken"])
        print(listed["scripted"], registry.adapter_type("scripted").backend)
        registry.adapter_type("broken")
    """
    done = python(place, "-c", textwrap.dedent(code))
    first, second = done.stdout.splitlines()
    assert "brokenplugin 0.1.0" in first
    assert "out of order" in first
    assert second == "None scripted"
    assert "ConfigError" in done.stderr


def test_a_clash_of_names_is_an_error_that_names_both(tmp_path):
    place = tmp_path / "installed"
    installed(package(tmp_path / "source", "thief", "scripted", "class Backend: pass"), place)
    code = """
        from adaptkit import registry
        try:
            registry.adapter_type("scripted")
        except registry.ConfigError as error:
            print(error)
        print(registry.adapter_type("prompt").backend)
    """
    done = python(place, "-c", textwrap.dedent(code))
    message, other = done.stdout.splitlines()
    assert "adaptkit.testing.scripted:ScriptedAdapter" in message
    assert "thief 0.1.0" in message
    assert other == "prompt"

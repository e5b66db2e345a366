"""The example plugin, installed as a stranger's package would be; and plugins that are in each other's way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adaptkit import ConfigError, UnknownBackendError
from adaptkit.registry import GROUP, adapter_type, backends

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the plugin's wheel in it, built from a copy of its sources."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def environment(*folders):
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), *filter(None, sys.path)])}


def test_the_installed_plugin_keeps_the_contract(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-c", os.devnull,
         PLUGIN / "tests"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment(installed),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 xfailed" in done.stdout


def test_the_installed_plugin_is_listed_with_its_origin(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    listed = {backend.name: backend for backend in backends()}
    assert listed["echo"].origin == "adaptkit-echo 0.1.0"
    assert listed["echo"].error is None
    assert adapter_type("echo").__name__ == "EchoAdapter"


def plugin(folder, package, **points):
    """A package as pip leaves it: metadata with entry points."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")


def test_a_clash_names_both(tmp_path, monkeypatch):
    plugin(tmp_path, "first", same="first:Adapter")
    plugin(tmp_path, "second", same="second:Adapter", scripted="second:Adapter")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"first 1\.0.*second 1\.0|second 1\.0.*first 1\.0"):
        adapter_type("same")
    with pytest.raises(ConfigError, match=r"adaptkit .*second 1\.0"):
        adapter_type("scripted")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('no luck today')", "RuntimeError: no luck today"),
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("", "AttributeError"),
        ("Thing = 42", "is not an Adapter class"),
        ("class Thing: pass", "is not an Adapter class"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_broken_plugin_shows_as_broken_and_breaks_nothing(tmp_path, monkeypatch, source, words):
    plugin(tmp_path, "broken", broken="broken_plugin:Thing")
    (tmp_path / "broken_plugin.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    listed = {backend.name: backend for backend in backends()}
    assert words in listed["broken"].error
    assert "broken 1.0" in listed["broken"].error
    assert listed["broken"].adapter is None
    assert listed["scripted"].error is None
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    with pytest.raises(ConfigError, match="broken"):
        adapter_type("broken")
    assert adapter_type("scripted").backend == "scripted"


def test_an_unknown_backend_is_told_the_nearest():
    with pytest.raises(UnknownBackendError, match="Did you mean 'scripted'") as caught:
        adapter_type("scriptd")
    assert isinstance(caught.value, LookupError)

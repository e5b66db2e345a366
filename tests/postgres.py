"""A private PostgreSQL server for tests: real, thrown away at the end, on a Unix socket that nobody else uses.

Each pytest process starts its own, so pytest-xdist needs nothing special.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

# Ends the server, without a farewell, when its standard input does, and clears up: also if pytest itself is killed.
_KEEPER = '"$@" & read -r _; kill -QUIT $!; wait $!; rm -rf "$0"'


def binaries() -> Path | None:
    """The folder with the newest PostgreSQL server programs, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", str(path)) or 0)
    )
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


def _unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: whom to run it as."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


@contextmanager
def postgres_cluster(programs: Path) -> Iterator[str]:
    """Run a server; gives the URL of its database ``postgres``, with a password."""
    password = f"p@ss:w/{secrets.token_hex(8)}"
    folder = Path(tempfile.mkdtemp(prefix="adaptkit-pg-"))
    whom = _unprivileged()
    identity = {"user": whom.pw_uid, "group": whom.pw_gid, "extra_groups": []} if whom else {}
    server = None
    try:
        (folder / "password").write_text(password, encoding="utf-8")
        if whom:
            for path in (folder, folder / "password"):
                os.chown(path, whom.pw_uid, whom.pw_gid)
        make = [programs / "initdb", "-D", folder / "data", "-U", "tester", "--pwfile", folder / "password"]
        make += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, timeout=120, **identity)
        run = [programs / "postgres", "-D", folder / "data", "-k", folder, "-h", ""]
        run += ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=80"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, folder, *run],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                **identity,
            )
        url = f"postgresql://tester:{quote(password, safe='')}@/postgres?host={quote(str(folder), safe='')}"
        _wait_until_up(url, server, folder / "log")
        yield url
    finally:
        if server is not None and server.stdin is not None:
            server.stdin.close()
            server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not come up:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a private PostgreSQL server's own database."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server programs (Debian: apt-get install postgresql)")
    with postgres_cluster(programs) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """URL of a new, empty database on the private server."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("@/postgres?", f"@/{name}?")

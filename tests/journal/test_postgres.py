"""What only a server can do: go away, refuse a password, be shared by roles."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from adaptkit.errors import JournalError, MissingDependencyError
from adaptkit.journal import Journal, open_journal, postgres, schema
from adaptkit.journal.schema import SCHEMA_VERSION, prepare_schema
from adaptkit.types import Status
from tests.journal.steps import accepted, begin, deploy


@pytest.fixture
def journal(postgres_url: str):
    journal = open_journal(postgres_url)
    yield journal
    journal.close()


def _drop_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_dropped_connection_is_made_again(journal: Journal, postgres_url: str) -> None:
    run = accepted(journal)
    _drop_connections(postgres_url)
    assert journal.get(run.id) == run
    _drop_connections(postgres_url)
    assert begin(journal) == (run, False)
    _drop_connections(postgres_url)
    assert journal.observe(run.id, Status.RUNNING, "r", None, 101.0).status is Status.RUNNING


def test_a_connection_lost_inside_a_transaction_loses_all_of_it_and_says_so(
    journal: Journal, postgres_url: str
) -> None:
    run = accepted(journal)

    def lose_it() -> None:
        with journal._database.transaction() as execute:  # type: ignore[attr-defined]
            execute("UPDATE adaptkit_run SET message = 'half'", ())
            _drop_connections(postgres_url)
            execute("UPDATE adaptkit_run SET message = 'whole'", ())

    with pytest.raises(JournalError, match="cannot be used"):
        lose_it()
    assert journal.get(run.id) == run


def test_no_transaction_is_left_open(journal: Journal, postgres_url: str) -> None:
    run = accepted(journal)
    journal.get(run.id)
    journal.runs()
    with pytest.raises(JournalError):
        journal.accept(run.id, job_id="another", status=Status.RUNNING, raw_status="", now=1.0)
    with psycopg.connect(postgres_url) as admin:
        states = admin.execute(
            "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'adaptkit'"
        ).fetchall()
    assert states == [("idle",)]


def test_a_stricter_default_isolation_changes_nothing(postgres_url: str) -> None:
    name = urlsplit(postgres_url).path.strip("/")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    journal = open_journal(postgres_url)
    with journal._database.transaction() as execute:  # type: ignore[attr-defined]
        assert execute("SHOW transaction_isolation", ()) == [("read committed",)]
    journal.close()


def test_whoever_opens_it_while_another_makes_the_tables_waits_and_uses_those(postgres_url: str) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(postgres_url) as maker:
        maker.execute("SELECT pg_advisory_xact_lock(%s)", (postgres._SCHEMA_LOCK,))
        prepare_schema(lambda statement, values: _rows(maker, statement, values), exists=False)
        opening = pool.submit(open_journal, postgres_url)
        with pytest.raises(TimeoutError):
            opening.result(0.3)
        maker.commit()
        journal = opening.result(30)
    assert begin(journal)[1]
    journal.close()


def _rows(connection: psycopg.Connection, statement: str, values: Sequence[object]) -> list[tuple[object, ...]]:
    cursor = connection.execute(statement.replace("?", "%s"), values)
    return cursor.fetchall() if cursor.description else []


def test_a_newer_journal_is_refused_with_what_to_do(journal: Journal, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as admin:
        admin.execute(f"UPDATE adaptkit_schema_version SET version = {SCHEMA_VERSION + 1}")
    with pytest.raises(JournalError, match="upgrade adaptkit"):
        open_journal(postgres_url)


def test_a_journal_of_the_first_version_is_brought_up_to_date(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(schema, "_VERSIONS", schema._VERSIONS[:1])
        then.setattr(schema, "SCHEMA_VERSION", 1)
        old = open_journal(postgres_url)
        run = accepted(old)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_journal(postgres_url), range(4)))
    assert opened[0].runs() == [run]
    record, _ = deploy(opened[1])
    assert opened[2].deployments.live() == [record]
    for journal in (old, *opened):
        journal.close()


def test_a_role_that_may_not_make_tables_can_use_those_that_are_there(journal: Journal, postgres_url: str) -> None:
    role = f"r{journal.runs.__hash__() & 0xFFFF}"
    with psycopg.connect(postgres_url) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'low'")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    low = open_journal(postgres_url.replace(urlsplit(postgres_url).netloc, f"{role}:low@", 1))
    assert accepted(low) == journal.runs()[0]
    low.close()


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace(urlsplit(url).netloc, f"tester:{SECRET}@"),
        lambda url: f"postgresql://nobody:{SECRET}@127.0.0.1:1/db",
        lambda url: f"postgresql://nobody:{SECRET}@no-such-host.invalid/db",
        lambda url: f"postgresql://nobody:{SECRET}/unescaped@127.0.0.1/db",
        lambda url: f"postgresql://nobody:un#{SECRET}?@127.0.0.1/db",
        lambda url: f"postgresql://nobody:%zz{SECRET}@127.0.0.1/db",
        lambda url: f"postgresql://nobody@127.0.0.1/db?wrong_option={SECRET}",
        lambda url: url.replace(urlsplit(url).path, f"/{SECRET}'\"{SECRET}"),
        lambda url: f"postgresql:///db?host={quote('/no/such/folder/' + SECRET, safe='')}",
        lambda url: f"postgresql://nobody:{SECRET}",
    ],
)
def test_a_url_is_never_repeated(postgres_url: str, change) -> None:
    with pytest.raises(JournalError) as caught:
        open_journal(change(postgres_url))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    said = [line for line in shown.splitlines() if "PostgreSQL journal cannot be used" in line]
    print(said[0])
    assert SECRET not in shown
    assert caught.value.__cause__ is None


def test_an_open_journal_does_not_show_its_url(journal: Journal, postgres_url: str) -> None:
    password = quote(psycopg.conninfo.conninfo_to_dict(postgres_url)["password"])
    held = [journal, journal._database, journal._database._shared]  # type: ignore[attr-defined]
    shown = repr([(thing, vars(thing)) for thing in held])
    assert password not in shown
    assert psycopg.conninfo.conninfo_to_dict(postgres_url)["password"] not in shown


def test_why_a_server_did_not_answer_is_said() -> None:
    with pytest.raises(JournalError, match=r"(?i)connection refused"):
        open_journal("postgresql://nobody@127.0.0.1:1/db")


def test_without_psycopg_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from adaptkit.errors import MissingDependencyError\n"
        "from adaptkit.journal import open_journal\n"
        "try: open_journal('postgresql://u:hunter2@h/d')\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'adaptkit[postgres]'" in done.stdout
    assert "hunter2" not in done.stdout
    assert issubclass(MissingDependencyError, ImportError)

"""What only a file can do: permissions, damage, full disks."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptkit.errors import JournalError
from adaptkit.journal import Journal, Stage, open_journal, schema, sqlite
from adaptkit.journal.schema import SCHEMA_VERSION
from adaptkit.types import Status
from tests.journal.steps import accepted, begin, deploy, submitting


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_only_its_owner_can_read_the_file_and_the_folders_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "journal.db"
    mask = os.umask(0)
    try:
        journal = open_journal(str(path))
        with journal._database.transaction() as execute:  # type: ignore[attr-defined]
            execute("UPDATE adaptkit_run SET stage = ?", ("intent",))
            execute("INSERT INTO adaptkit_upload VALUES ('s', 'a', 'p', 'f', 1.0)", ())
            assert _mode(path.with_name("journal.db-journal")) == 0o600
    finally:
        os.umask(mask)
    assert (_mode(path), _mode(path.parent), _mode(path.parent.parent)) == (0o600, 0o700, 0o700)
    journal.close()


@pytest.mark.parametrize("form", ["{}", "sqlite://{}", "sqlite:///{}"])
def test_a_path_and_a_url_name_the_same_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a b.db"
    text = form.format(path)
    open_journal(text.replace(" ", "%20") if "://" in form else text).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a b.db"]


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_journal("~/j.db").close()
    assert (tmp_path / "j.db").exists()


def test_commits_are_durable_and_the_journal_is_a_rollback_journal(path: Path) -> None:
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    other.close()
    journal = open_journal(str(path))
    database = journal._database  # type: ignore[attr-defined]
    assert database.read("PRAGMA journal_mode", ()) == [("delete",)]
    assert database.read("PRAGMA synchronous", ()) == [(2,)]
    journal.close()


def test_a_newer_journal_is_refused_with_what_to_do(path: Path) -> None:
    open_journal(str(path)).close()
    with sqlite3.connect(path) as other:
        other.execute(f"UPDATE adaptkit_schema_version SET version = {SCHEMA_VERSION + 1}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="upgrade adaptkit"):
        open_journal(str(path))
    assert path.read_bytes() == before


def test_another_program_s_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="another program's"):
        open_journal(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at", b"SQLite format 3\0" * 64])
def test_what_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match="no database or is damaged"):
        open_journal(str(path))
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.touch()
    journal = open_journal(str(path))
    assert begin(journal)[1]
    journal.close()


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written"):
        open_journal(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be made"):
        open_journal(str(tmp_path / "file" / "j.db"))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("healthy") / "journal.db"
    journal = open_journal(str(path))
    for k in range(20):
        accepted(journal, f"i{k}", job_id=f"j{k}")
    journal.record_upload("sha", "acc", "train", "file-1", 1.0)
    journal.use_upload(journal.runs()[0].id, "sha", "acc", "train")
    deploy(journal)
    journal.close()
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_journal_gives_one_kind_of_error(healthy: Path, path: Path, data: st.DataObject) -> None:
    broken = bytearray(healthy.read_bytes())
    for _ in range(data.draw(st.integers(1, 40))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(broken[: data.draw(st.integers(0, len(broken)) | st.just(len(broken)))])
    for leftover in path.parent.glob("journal.db-*"):
        leftover.unlink()
    try:
        journal = open_journal(str(path))
    except JournalError:
        return
    for use in (journal.runs, lambda: journal.history("x"), lambda: accepted(journal, "i3"), lambda: _all(journal)):
        try:
            use()
        except JournalError:
            continue
    journal.close()


def _all(journal: Journal) -> None:
    for run in journal.runs():
        journal.history(run.id)
        journal.holder(run.id)
        journal.lease(run.id, "other", 1e9, 1.0)
        journal.observe(run.id, Status.RUNNING, "r", None, 1.0)
        journal.upload("sha", "acc", "train")
        journal.note(run.id, "so it is", 1.0)
        journal.uploads_of(run.id)
    journal.unused_uploads()
    for record in journal.deployments.live():
        journal.deployments.doubt(record.id, 1.0)


def test_a_journal_of_the_first_version_is_brought_up_to_date_and_keeps_what_it_holds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(schema, "_VERSIONS", schema._VERSIONS[:1])
        then.setattr(schema, "SCHEMA_VERSION", 1)
        old = open_journal(str(path))
        run = accepted(old)
        old.record_upload("sha", "acc", "train", "file-1", 1.0)
    journal = open_journal(str(path))
    assert journal.runs() == [run]
    assert journal.upload("sha", "acc", "train") == "file-1"
    assert journal.unused_uploads() == []  # nobody wrote down then who uses it
    record, _ = deploy(journal)
    assert journal.deployments.live() == [record]
    assert old.observe(run.id, Status.RUNNING, "r", None, 2.0).status is Status.RUNNING  # who is there still may stay
    old.close()
    journal.close()
    again = open_journal(str(path))
    assert again.deployments.live() == [record]
    again.close()


def test_a_row_that_makes_no_sense_is_damage(path: Path) -> None:
    journal = open_journal(str(path))
    run, _ = begin(journal)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE adaptkit_run SET status = 'sleeping'")
    other.close()
    with pytest.raises(JournalError, match=r"damaged; restore"):
        journal.get(run.id)
    journal.close()


def test_a_file_held_by_another_is_waited_for_and_then_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    journal = open_journal(str(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalError, match="another process has held it"):
        begin(journal)
    with pytest.raises(JournalError, match="another process has held it"):
        journal.runs()
    other.execute("ROLLBACK")
    assert begin(journal)[1]
    other.close()
    journal.close()


_FILL = """
import resource, sys
from adaptkit.errors import JournalError
from adaptkit.journal import open_journal
from tests.journal.steps import begin
journal = open_journal(sys.argv[1])
import os
room = os.path.getsize(sys.argv[1]) + 8192
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
made = 0
try:
    while made < 1000:
        begin(journal, f"i{made}")
        made += 1
except JournalError as error:
    print(made, error)
    print(len(journal.runs()))
"""


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_a_disk_that_takes_no_more_is_said_and_what_was_committed_is_safe(path: Path) -> None:
    said, readable = _python(_FILL, str(path)).stdout.splitlines()
    made = int(said.split()[0])
    assert 0 < made < 1000
    assert "the disk" in said
    assert int(readable) == made
    journal = open_journal(str(path))
    assert len(journal.runs()) == made
    assert begin(journal, "more")[1]
    journal.close()


def _try_as_nobody(folder: Path, results: SimpleQueue[str]) -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for name in ("new.db", "there.db"):
        try:
            begin(open_journal(str(folder / name)))
        except JournalError as error:
            results.put(str(error))


def test_a_folder_that_may_not_be_written_is_said() -> None:
    # Root may write anywhere, so this is tried as somebody else, in a folder that everybody reaches.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        open_journal(str(folder / "there.db")).close()
        (folder / "there.db").chmod(0o444)
        folder.chmod(0o555)
        fork = multiprocessing.get_context("fork")
        results = fork.SimpleQueue()
        child = fork.Process(target=_try_as_nobody, args=(folder, results))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert "cannot be made: Permission denied" in results.get()
        assert "cannot be written" in results.get()
        folder.chmod(0o755)


def test_opening_a_second_time_does_not_drop_the_locks_of_the_first(path: Path) -> None:
    journal = open_journal(str(path))
    with journal._database.transaction() as execute:  # type: ignore[attr-defined]
        execute("INSERT INTO adaptkit_upload VALUES ('s', 'a', 'p', 'f', 1.0)", ())
        sqlite._create(path.resolve())
        tried = _python(
            "import sqlite3, sys\n"
            "try: sqlite3.connect(sys.argv[1], timeout=0.1).execute('BEGIN IMMEDIATE')\n"
            "except sqlite3.OperationalError as error: print(error)",
            str(path),
        )
    assert tried.stdout == "database is locked\n"
    journal.close()


def test_the_file_holds_what_was_given_and_nothing_from_around(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-in-the-environment")
    journal = open_journal(str(path))
    run = submitting(journal)
    journal.advance(run.id, "me", Stage.SUBMITTING, now=100.0, uncertain=True)
    journal.accept(run.id, job_id="j", status=Status.RUNNING, raw_status="r", now=100.0)
    journal.close()
    assert b"canary" not in path.read_bytes()
    with sqlite3.connect(path) as direct:
        columns = {row[0] for row in direct.execute("SELECT name FROM pragma_table_info('adaptkit_run')")}
    direct.close()
    assert columns == {
        *("id", "identity", "attempt", "tag", "target", "backend", "account", "config", "fingerprint", "stage"),
        *("status", "raw_status", "job_id", "message", "created_at", "updated_at", "uncertain"),
        *("lease_owner", "lease_until"),
    }

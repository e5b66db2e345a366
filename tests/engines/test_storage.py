"""Jobs in object storage: machines that share nothing else, really killed.

Storage is a folder of its own by fsspec's file system and, where s3fs is installed, S3 on a real socket.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.backends.engines.objects import Objects, host_of, is_address
from adaptkit.backends.engines.site import Shared, Superseded
from adaptkit.backends.engines.storage import SILENCE, Stored, at_hand, download
from adaptkit.backends.local_jobs import Job, Spec
from adaptkit.errors import ArtifactError, MissingDependencyError, NotFoundError, ServiceError
from adaptkit.types import Status
from tests.engines.conftest import LONGEST, ROOT, until

ROWS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of S3 at a port of this machine."""
    if find_spec("s3fs") is None:
        pytest.skip("s3fs is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not a secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/objects"
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def submitted(tmp_path: Path, address: str, /, **config: object) -> Stored:
    """A job that a client has put into storage."""
    home = tmp_path / "client" / "mistral"
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(map(str, ROWS)))
    spec = Spec(
        id="T1",
        backend="mistral",
        program="tests.engines.counting",
        queue="",
        config={"steps": 6, "pause": 0.0, **config},
        files={"train": str(data)},
        fingerprint="",
        offline=True,
        created=1.0,
    )
    client = Stored(address, Job.create(home, spec))
    client.offer()
    return client


def machine(tmp_path: Path, address: str, name: str, launch: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engines.counting", address, "T1", str(launch), str(tmp_path / name / "m")]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def worker(tmp_path: Path, address: str, name: str = "worker", launch: int = 1) -> Stored:
    there = Stored(address, Job(tmp_path / name / "mistral", "T1"), launch)
    there.claim(launch)
    there.fetch()
    return there


def write(there: Stored, **files: str) -> None:
    for name, content in files.items():
        path = there.job.folder / "checkpoints" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def held(there: Stored) -> dict[str, str]:
    folder = there.job.folder / "checkpoints"
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# a whole life -------------------------------------------------------------------------------------------------------


def test_another_machine_goes_on_where_a_killed_one_was(tmp_path: Path, address: str) -> None:
    client = submitted(tmp_path, address, steps=12, holds=4)
    client.claim(1)
    first = machine(tmp_path, address, "first", 1)

    def step() -> int:
        client.refresh()
        return client.job.state.step

    until(lambda: step() >= 3)
    assert client.job.state.status is Status.RUNNING
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = [event.id for event in client.job.events(None)]
    second = machine(tmp_path, address, "second", 2)
    assert second.wait(LONGEST) == 0
    client.refresh()
    state = client.job.state
    assert state.status is Status.SUCCEEDED
    events = client.job.events(None)
    (again,) = [
        e.message for e in events if e.message.startswith("goes on after") and e.message != "goes on after step 0"
    ]
    assert int(again.rpartition(" ")[2]) >= 3
    assert [event.id for event in events][: len(before)] == before  # who follows the events misses none
    model = download(str(state.model), tmp_path / "model")
    assert (model / "weights" / "sum").read_text() == str(sum(ROWS[step % len(ROWS)] for step in range(1, 13)))

    # a client on another machine knows nothing but the address and the id
    other = Stored(address, Job(tmp_path / "elsewhere" / "mistral", "T1"))
    other.refresh()
    assert other.job.state == state
    assert [event.message for event in other.job.events(None)] == [event.message for event in events]


def test_a_worker_that_was_thought_dead_stops(tmp_path: Path, address: str) -> None:
    client = submitted(tmp_path, address, steps=100_000, pause=0.1)
    first = machine(tmp_path, address, "first", 1)
    until(lambda: client.launched() == 1)
    until(lambda: client.refresh() or client.job.state.step >= 2)
    client.claim(2)
    assert first.wait(LONGEST) == 0
    assert first.stdout is not None
    assert first.stdout.read() == "stopped\n"
    there = worker(tmp_path, address, "second", 2)
    assert json.loads(held(there)["sum.json"])["step"] >= 2
    former = Stored(address, Job(tmp_path / "first" / "m", "T1"), 1)
    for forbidden in (former.push, lambda: former.keep(99), lambda: former.give(str(tmp_path))):
        with pytest.raises(Superseded):
            forbidden()


def test_a_cancelled_job_is_told_at_the_next_push(tmp_path: Path, address: str) -> None:
    client = submitted(tmp_path, address)
    there = worker(tmp_path, address)
    there.push()
    assert not there.job.cancelling
    client.cancel()
    there.push()
    assert there.job.cancelling
    client.refresh()
    assert client.job.cancelling


def test_killed_at_any_moment_storage_holds_a_whole_step(tmp_path: Path) -> None:
    """Whenever it is killed, what the next machine gets is one step, whole: its sum and the bulk written with it."""
    address = f"file://{tmp_path}/objects"
    client = submitted(tmp_path, address, steps=100_000)
    dice, last = random.Random(5), 0
    for launch in range(1, 7):
        running = machine(tmp_path, address, "machine", launch)
        until(lambda launch=launch, last=last: max(client._kept(launch), default=0) > last + 1)
        time.sleep(0.2 * dice.random())
        running.kill()
        running.wait()
        there = Stored(address, Job(tmp_path / f"reader-{launch}" / "m", "T1"))
        there.fetch()
        found = held(there)
        state = json.loads(found["sum.json"])
        assert found[state["bulk"]] == str(state["step"]) * 200_000
        assert state["sum"] == sum(ROWS[step % len(ROWS)] for step in range(1, state["step"] + 1))
        assert state["step"] >= last
        assert there.job.state.step <= state["step"]  # the checkpoint is there before it is told
        last = state["step"]
    assert last >= 12


# what is pushed -----------------------------------------------------------------------------------------------------


def test_a_job_is_seen_once_it_is_whole(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Objects.put

    def fails(self: Objects, path: str, content: bytes | Path) -> None:
        if path.startswith("data/"):
            raise ServiceError("cut off")
        put(self, path, content)

    monkeypatch.setattr(Objects, "put", fails)
    with pytest.raises(ServiceError):
        submitted(tmp_path, address)
    with pytest.raises(NotFoundError, match="T1"):
        Stored(address, Job(tmp_path / "other" / "mistral", "T1")).refresh()
    monkeypatch.undo()
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    (path,) = there.job.spec.files.values()
    assert Path(path).read_text() == "\n".join(map(str, ROWS))
    assert Path(path).is_relative_to(tmp_path / "worker")
    assert Path(path).stat().st_mode & 0o077 == 0


def test_data_that_was_damaged_is_not_learned_from(tmp_path: Path) -> None:
    submitted(tmp_path, f"file://{tmp_path}/objects")
    (data,) = (tmp_path / "objects" / "data").iterdir()
    data.write_text("9\n9")
    with pytest.raises(ArtifactError, match="damaged"):
        worker(tmp_path, f"file://{tmp_path}/objects")


def test_only_what_changed_is_pushed(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    pushed: list[str] = []
    put = Objects.put
    monkeypatch.setattr(Objects, "put", lambda self, path, content: (pushed.append(path), put(self, path, content)))
    there.push()
    assert [path.rpartition("/")[2] for path in pushed] == ["log.txt", "events.jsonl", "state.json"]
    pushed.clear()
    there.push()
    assert not pushed
    there.job.tell("status", "something")
    there.push()
    assert [path.rpartition("/")[2] for path in pushed] == ["events.jsonl"]
    write(there, base="big", step__one="1")
    there.keep(1)
    pushed.clear()
    write(there, step__two="2")
    there.keep(2)
    assert sorted(path.split("/")[4] for path in pushed) == ["files", "kept"]  # "big" was there


def test_checkpoints_that_are_not_needed_are_deleted(tmp_path: Path, address: str) -> None:
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    for step in range(1, 6):
        write(there, sum=str(step), base="the same")
        there.keep(step)
    assert len(there._objects.names(f"{there._launch()}/files")) == 3  # the base, and the sums of two steps
    assert there._kept(1) == [5, 4]
    again = worker(tmp_path, address, "next", 2)
    assert held(again) == {"sum": "5", "base": "the same"}
    again.keep(6)
    again.push()
    again.clear()
    left = again._objects.tree(again._at)
    assert not [name for name in left if "kept/" in name or "files/" in name]
    assert "spec.json" in left
    assert "launches/000002/state.json" in left


@pytest.mark.parametrize("how", ["missing", "other", "list"])
def test_a_torn_step_does_not_count(tmp_path: Path, how: str) -> None:
    address = f"file://{tmp_path}/objects"
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    for step in (1, 2):
        write(there, sum=str(step))
        there.keep(step)
    at = tmp_path / "objects/jobs/T1/launches/000001"
    file = at / "files" / hashlib.sha256(b"2").hexdigest()
    if how == "missing":
        file.unlink()
    elif how == "other":
        file.write_text("3")
    else:
        listed = at / "kept" / "000000000002.json"
        listed.write_bytes(listed.read_bytes()[:-4])
    reader = worker(tmp_path, address, "next", 2)
    assert held(reader) == {"sum": "1"}


def test_what_another_step_left_is_not_mixed_in(tmp_path: Path, address: str) -> None:
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    write(there, sum="1")
    there.keep(1)
    write(there, sum="2", torn="of step 2")
    there.fetch()
    assert held(there) == {"sum": "1"}


@pytest.mark.parametrize("name", ["../../spec.json", "/etc/passwd", "a/../../b"])
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    address = f"file://{tmp_path}/objects"
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    there._objects.put(f"{there._launch()}/kept/000000000001.json", msgspec.json.encode({name: "0" * 64}))
    worker(tmp_path, address, "next", 2)
    assert held(there) == {}
    with pytest.raises(ArtifactError, match="outside"):
        there._become(1, {name: "0" * 64})


def test_a_model_is_downloaded_whole_or_not_at_all(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(tmp_path, address)
    there = worker(tmp_path, address)
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "weights").write_bytes(b"\0" * 9_000_000)  # more than one part of an upload
    half = Objects(f"{address}/{there._launch()}/model")
    half.put("deep/weights", made / "deep" / "weights")
    with pytest.raises(NotFoundError):
        download(half.address, tmp_path / "got")
    (made / "manifest.json").write_text("{}")
    (made / "tokenizer.json").write_text("{}")
    pushed: list[str] = []
    put = Objects.put
    monkeypatch.setattr(Objects, "put", lambda self, path, content: (pushed.append(path), put(self, path, content)))
    given_id = there.give(str(made))
    assert [path.endswith("/manifest.json") for path in pushed] == [False, False, True]
    assert download(given_id, tmp_path / "got") == tmp_path / "got"
    assert (tmp_path / "got" / "deep" / "weights").read_bytes() == (made / "deep" / "weights").read_bytes()
    assert there.give("sum-6") == at_hand("sum-6", tmp_path / "nowhere") == "sum-6"
    here = tmp_path / "models" / "T1"
    assert at_hand(given_id, here) == str(here)
    (here / "manifest.json").write_text("ours")
    assert at_hand(given_id, here) == str(here)
    assert (here / "manifest.json").read_text() == "ours"  # it was not pulled again


def test_a_state_that_is_torn_leaves_the_former_one(tmp_path: Path) -> None:
    client = submitted(tmp_path, f"file://{tmp_path}/objects")
    there = worker(tmp_path, f"file://{tmp_path}/objects")
    there.job.update(step=4)
    there.push()
    client.refresh()
    (tmp_path / "objects/jobs/T1/launches/000001/state.json").write_text('{"step": 7')
    client.refresh()
    assert client.job.state.step == 4


def test_signs_of_life_grow_old(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = submitted(tmp_path, address)
    assert not client.heard()
    client.claim(1)
    assert client.heard()
    client._objects.put(f"{client._launch(1)}/alive.json", msgspec.json.encode(time.time() - SILENCE - 1))
    assert not client.heard()


# objects and addresses ----------------------------------------------------------------------------------------------


def test_an_object_is_replaced_whole(tmp_path: Path) -> None:
    """A writer that is killed again and again leaves the old content or the new."""
    size = 20_000_000  # several pieces
    for sign in "ab":
        (tmp_path / sign).write_bytes(sign.encode() * size)
    code = (
        "from pathlib import Path\nfrom adaptkit.backends.engines.objects import Objects\n"
        f"objects, folder = Objects('file://{tmp_path}/objects'), Path('{tmp_path}')\n"
        "while True:\n    objects.put('state', folder / 'a')\n    objects.put('state', folder / 'b')\n"
    )
    objects, dice = Objects(f"file://{tmp_path}/objects"), random.Random(2)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code], env=env)
        until(lambda: objects.has("state"))
        time.sleep(0.3 * dice.random())
        for kill in (False,) * 9 + (True,):
            if kill:
                writer.kill()
                writer.wait()
            content = objects.get("state")
            assert content is not None
            assert (len(content), content.count(content[:1])) == (size, size)
        objects.delete("state")
        objects.delete("state")


def test_storage_that_fails_is_said_without_a_trace_of_it(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptkit.backends.engines import objects as module

    monkeypatch.setattr(module, "PAUSE", 0.0)
    objects, asked = Objects(address), []

    def fails(*_: object, **__: object) -> None:
        asked.append(1)
        raise TimeoutError("too long")

    monkeypatch.setattr(objects._fs, "cat_file", fails)
    with pytest.raises(ServiceError, match="TimeoutError"):
        objects.get("state")
    assert len(asked) == module.TRIES
    monkeypatch.undo()
    assert objects.get("state") is None
    assert objects.names("nothing") == []


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="gs://bucket"):
        Objects("gs://bucket/jobs")


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ("s3://bucket/jobs", "s3.amazonaws.com"),
        ("gs://bucket/jobs", "storage.googleapis.com"),
        ("webdav://files.example/jobs", "files.example"),
        ("file:///jobs", None),
    ],
)
def test_the_policy_is_asked_for_the_host(where: str, host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert host_of(where) == host
    assert is_address(where)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example:9000")
    assert host_of("s3://bucket/jobs") == "minio.example"


def test_a_folder_is_no_address() -> None:
    assert not is_address("/shared/jobs")
    assert not is_address(None)


@given(
    st.lists(
        st.dictionaries(st.from_regex(r"[a-c]{1,2}(/[a-c]{1,2})?", fullmatch=True), st.sampled_from("xyz"), max_size=4),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=25, deadline=None)
def test_another_machine_gets_the_tree_that_was_kept_last(trees: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tmp_path, address = Path(folder), f"file://{folder}/objects"
        submitted(tmp_path, address)
        there = worker(tmp_path, address)
        for step, tree in enumerate(trees, 1):
            shutil.rmtree(there.job.folder / "checkpoints", ignore_errors=True)
            # a name is a file or a folder
            files = {name: content for name, content in tree.items() if not any(o.startswith(f"{name}/") for o in tree)}
            write(there, **{name.replace("/", "__"): content for name, content in files.items()})
            there.keep(step)
        assert held(worker(tmp_path, address, "next", 2)) == files


def test_a_shared_folder_knows_its_newest_launch(tmp_path: Path) -> None:
    job = submitted(tmp_path, f"file://{tmp_path}/objects").job
    old, new = Shared(job, 1), Shared(job, 2)
    assert old.launched() == 0
    old.claim(1)
    old.push()
    new.claim(2)
    old.claim(1)
    new.push()
    with suppress(Superseded):
        old.push()
        pytest.fail("it was superseded")

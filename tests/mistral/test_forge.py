"""Hand-offs: what a bundle holds, that there is exactly one, and that what comes back answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from adaptkit import (
    ArtifactError,
    AsyncClient,
    Client,
    ConfigError,
    DataError,
    Dataset,
    EgressError,
    JobCancelled,
    JobTimeout,
    NotFoundError,
    SpendError,
    Status,
    UnsupportedError,
    builtin,
)
from adaptkit.adapter import Context, Plan
from adaptkit.backends.mistral import MistralAdapter, MistralConfig
from adaptkit.backends.mistral.forge.adapter import ForgeAdapter
from adaptkit.backends.mistral.forge.address import Address
from adaptkit.backends.mistral.forge.handoff import Handoff
from adaptkit.submission import identity
from adaptkit.testing import FakeMistral, HastyClock
from adaptkit.testing.contract import AdapterContract
from adaptkit.testing.watch import watched
from adaptkit.types import ModelRef
from tests.prompt.server import ChatServer

pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")

TINY = str(builtin.path("tiny"))
MARK = "a sentence that stands nowhere but in the data"


def chat(number: int, about: str = "parcel") -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"Where is {about} number {number}?"},
            {"role": "assistant", "content": f"It is in street {number}."},
        ]
    }


def pair(number: int) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"Say {number}."}],
        "chosen": [{"role": "assistant", "content": f"{number}"}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }


ROWS = [chat(number) for number in range(12)]
HELD_OUT = [
    chat(7, about)
    for about in ("the lost umbrella of my aunt", "a grey bicycle with two bells", "our neighbour's old violin case")
]
#: A base that is nowhere here, so that nothing is loaded to count tokens with.
ABSENT = "some-org/not-here"
FILES: dict[str, list[dict[str, Any]]] = {
    "cpt": [{"text": f"The river Ull has {number} bridges. Ünïcödé."} for number in range(9)] + [{"text": MARK}] * 3,
    "replay": [{"text": f"Water boils at {number} degrees somewhere."} for number in range(5)],
    "dpo": [pair(number) for number in range(4)],
    "evaluation": HELD_OUT,
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def three_stages(folder: Path, **more: Any) -> MistralConfig:
    paths = {name: write(folder / f"{name}.jsonl", rows) for name, rows in FILES.items()}
    stages = (
        {"method": "cpt", "data": paths["cpt"], "replay": {"data": paths["replay"], "share": 0.2}},
        {"method": "sft", "epochs": 2, "learning_rate": 1e-5},
        {"method": "dpo", "data": paths["dpo"], "beta": 0.2},
    )
    table = {"where": "forge", "model": "builtin:tiny", "stages": stages, "evaluation": paths["evaluation"], **more}
    return MistralConfig.model_validate(table)


def one_stage(**more: Any) -> MistralConfig:
    return MistralConfig.model_validate({"where": "forge", "model": "builtin:tiny", **more})


def open_client(config: MistralConfig, home: Path, **more: Any) -> Client:
    return Client(targets={"forge": config}, home=home, **more)


def bundles(place: Path) -> list[Path]:
    """What a person sees there."""
    return [path for path in place.iterdir() if not path.name.startswith(".")] if place.is_dir() else []


# the contract -----------------------------------------------------------------------------------------------------


class Engagement(HastyClock):
    """Somebody brings a model back while others wait: of every job that is still open."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home

    def sleep(self, seconds: float) -> None:
        self._bring_back()
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self._bring_back()
        await super().asleep(seconds)

    def _bring_back(self) -> None:
        for folder in self._home.rglob("handoffs"):
            adapter = ForgeAdapter(one_stage(), Context(folder.parent.parent))
            for handoff in Handoff.all(folder):
                if handoff.end is None:
                    adapter.register(handoff.id, TINY)


class TestForge(AdapterContract):
    gaps: ClassVar = {
        "test_failure_carries_the_services_words": "nobody tells of a failed engagement; its job is cancelled",
        "test_unknown_status_does_not_crash": "the states of a hand-off are adaptkit's own, and all of them are known",
        "test_transient_poll_error_keeps_the_status": "asking after a hand-off reads a file, with no network to fail",
    }

    def config(self) -> MistralConfig:
        return one_stage()

    def clock(self) -> Engagement:
        return Engagement(self._stage.home)


# the bundle -------------------------------------------------------------------------------------------------------

READER = """
import hashlib, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
assert manifest["format"] == "adaptkit-handoff-1"
found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
assert found == {each["file"] for each in manifest["files"]} | {"manifest.json", "SHA256SUMS"}, found
sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
assert sums.keys() == found - {"SHA256SUMS"}
for each in manifest["files"]:
    content = (folder / each["file"]).read_bytes()
    assert len(content) == each["bytes"] and hashlib.sha256(content).hexdigest() == each["sha256"] == sums[each["file"]]
    if "rows" in each:
        rows = [json.loads(line) for line in content.decode("utf-8").splitlines()]
        assert len(rows) == each["rows"]
        assert len({json.dumps(row, sort_keys=True) for row in rows}) == len(rows)
assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == sums["manifest.json"]
print(sum(each.get("duplicates_removed") or 0 for each in manifest["files"]))
"""


def read_without_adaptkit(folder: Path) -> str:
    """With nothing but the standard library; gives what it says, raises where something is not right."""
    command = [sys.executable, "-I", "-S", "-c", READER, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Client, Any, Path]]:
    config = three_stages(tmp_path / "mine", license="CC-BY-4.0 {x}", provenance="our archive", name="Größe \x7f 😀")
    with open_client(config, tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of([*ROWS, *ROWS[:2]]))
        yield client, job, Path(job.snapshot.raw["bundle"])


def test_a_bundle_is_read_with_the_standard_library_alone(written, tmp_path):
    _, job, folder = written
    assert read_without_adaptkit(folder) == "4"
    assert folder == tmp_path / "home" / "mistral" / "bundles" / job.id
    (folder / "data" / "stage-2-sft.jsonl").open("a").write("{}\n")
    with pytest.raises(subprocess.CalledProcessError):
        read_without_adaptkit(folder)


def test_what_stands_in_a_bundle(written, tmp_path):
    _, job, folder = written
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["id"], manifest["license"], manifest["provenance"]) == (job.id, "CC-BY-4.0 {x}", "our archive")
    assert manifest["base"] == {"model": "builtin:tiny", "license": "apache-2.0"}
    assert manifest["tokenizer"] == "builtin:tiny"
    data = {each["file"]: each for each in manifest["files"] if "rows" in each}
    assert {name: (each["purpose"], each["rows"], each["duplicates_removed"]) for name, each in data.items()} == {
        "data/stage-1-cpt.jsonl": ("stage-1", 10, 2),
        "data/stage-1-cpt-replay.jsonl": ("stage-1-replay", 5, 0),
        "data/stage-2-sft.jsonl": ("train", 12, 2),
        "data/stage-3-dpo.jsonl": ("stage-3", 4, 0),
        "data/evaluation.jsonl": ("evaluation", 3, 0),
    }
    assert all(each["tokens"] > each["rows"] for each in data.values())
    first = [json.loads((folder / name).read_text().splitlines()[0]) for name in data]
    assert [sorted(row) for row in first] == [
        ["text"],
        ["text"],
        ["messages"],
        ["chosen", "prompt", "rejected"],
        ["messages"],
    ]
    recipe = json.loads((folder / "recipe.json").read_text())
    assert tomllib.loads((folder / "recipe.toml").read_text()) == recipe
    assert recipe["stages"][0]["replay"] == {"file": "data/stage-1-cpt-replay.jsonl", "share": 0.2}
    assert recipe["stages"][1] == {
        "method": "sft",
        "file": "data/stage-2-sft.jsonl",
        "epochs": 2,
        "learning_rate": 1e-5,
    }
    assert recipe["name"] == "Größe \x7f 😀"
    readme = (folder / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in data)
    assert "none of it was found there" in readme
    said = "".join(path.read_text() for path in folder.glob("*.*"))
    assert str(tmp_path) not in said, "where the data lay before is nobody's business"
    assert MARK not in said


def test_a_bundle_is_its_owners_alone(written, tmp_path):
    *_, folder = written
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    records = list((tmp_path / "home" / "mistral" / "handoffs").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in records} == {0o600}


def test_a_plan_says_what_the_bundle_will_hold_and_writes_nothing(tmp_path):
    config = three_stages(tmp_path / "mine", bundle=str(tmp_path / "out"))
    with open_client(config, tmp_path / "home") as client, watched() as seen:
        plan = client.plan("forge", Dataset.of([*ROWS, ROWS[0]]))
    assert not seen.outside
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "home").exists()
    assert [file.purpose for file in plan.files] == ["stage-1", "stage-1-replay", "train", "stage-3", "evaluation"]
    assert plan.destinations == ()
    learned = [each for each in plan.request["files"] if each["purpose"] != "evaluation"]
    assert plan.tokens == sum(each["tokens"] for each in learned)
    assert any("train: 1 rows repeat" in note for note in plan.warnings)
    assert not any("not counted" in note for note in plan.warnings)


def test_tokens_that_cannot_be_counted_are_not_guessed(tmp_path):
    with open_client(one_stage(model=ABSENT), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        plan = client.plan("forge", Dataset.of(ROWS))
    manifest = json.loads((Path(job.snapshot.raw["bundle"]) / "manifest.json").read_text())
    assert (manifest["tokenizer"], manifest["files"][0]["tokens"]) == (None, None)
    assert manifest["base"] == {"model": ABSENT, "license": None}
    assert any("not counted" in note for note in plan.warnings)


def test_a_base_of_ones_own_is_told_by_its_name_alone(tmp_path):
    base = tmp_path / "private" / "house-model"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    with open_client(one_stage(model=str(base)), tmp_path / "home") as client:
        plan = client.plan("forge", Dataset.of(ROWS))
    assert plan.request["recipe"]["base"] == {"model": "house-model", "license": "mit"}
    assert str(tmp_path) not in json.dumps(plan.request)


def test_every_problem_of_every_file_comes_at_once(tmp_path):
    config = three_stages(tmp_path, validation=str(tmp_path / "nowhere.jsonl"))
    write(tmp_path / "cpt.jsonl", [{"text": ""}, {"text": "good"}, {"text": ""}])
    write(tmp_path / "dpo.jsonl", [chat(1)])
    with open_client(config, tmp_path / "home") as client, pytest.raises(DataError) as caught:
        client.submit("forge", Dataset.of([*ROWS, {"messages": []}]))
    places = {(Path(problem.file or "-").name, problem.line) for problem in caught.value.problems}
    assert {("cpt.jsonl", 1), ("cpt.jsonl", 3), ("-", 13)} <= places
    assert {"wrong-kind", "unreadable"} <= {problem.rule for problem in caught.value.problems}
    assert not bundles(tmp_path / "home" / "mistral" / "bundles")


@pytest.mark.parametrize("stage", ["train", "cpt", "replay"])
def test_evaluation_that_stands_in_training_data_is_refused(tmp_path, stage):
    config = three_stages(tmp_path)
    question = HELD_OUT[1]["messages"][0]["content"]
    rows = [*ROWS, {**HELD_OUT[1]}] if stage == "train" else ROWS
    if stage != "train":
        write(tmp_path / f"{stage}.jsonl", [*FILES[stage], {"text": f"{question} Nobody knows."}])
    with open_client(config, tmp_path / "home") as client, pytest.raises(DataError) as caught:
        client.submit("forge", Dataset.of(rows))
    (problem,) = caught.value.problems
    assert (problem.line, problem.rule in ("leak", "near-leak")) == (2, True)
    assert question not in str(caught.value)
    assert not bundles(tmp_path / "home" / "mistral" / "bundles")


def test_text_and_pairs_are_looked_for_too(tmp_path):
    for rows, learned, method in (
        ([{"text": MARK}], [{"text": f"  {MARK.upper()}!"}, {"text": "Other."}], "cpt"),
        ([pair(2)], [pair(1), {**pair(2), "rejected": pair(3)["chosen"]}], "dpo"),
    ):
        config = one_stage(method=method, evaluation=write(tmp_path / "evaluation.jsonl", rows))
        with open_client(config, tmp_path / "home") as client, pytest.raises(DataError, match="1 held-out question"):
            client.plan("forge", Dataset.of(learned))


def test_new_tokens_go_with_it_by_content(tmp_path):
    (tmp_path / "new.txt").write_text("straße\n", encoding="utf-8")
    config = one_stage(method="cpt", adapt={"vocabulary": {"from": str(tmp_path / "new.txt")}})
    data = Dataset.of(FILES["cpt"])
    with open_client(config, tmp_path / "home") as client:
        folder = Path(client.submit("forge", data).snapshot.raw["bundle"])
        plan = client.plan("forge", data)
    assert (folder / "data" / "vocabulary.txt").read_text(encoding="utf-8") == "straße\n"
    assert json.loads((folder / "recipe.json").read_text())["vocabulary"] == {"file": "data/vocabulary.txt"}
    (tmp_path / "other.txt").write_text("straße\n", encoding="utf-8")
    moved = one_stage(method="cpt", adapt={"vocabulary": {"from": str(tmp_path / "other.txt")}})
    assert identity(ForgeAdapter(moved, Context(tmp_path)).prepare(data)) == identity(plan)
    (tmp_path / "other.txt").write_text("gasse\n", encoding="utf-8")
    assert identity(ForgeAdapter(moved, Context(tmp_path)).prepare(data)) != identity(plan)


# exactly one ------------------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from adaptkit import Client, Dataset
from adaptkit.backends.mistral.forge import bundle, handoff
from tests.mistral import test_forge as here
from pathlib import Path
place, moment = Path(sys.argv[1]), sys.argv[2]
def dying(function):
    def die(*given, **named):
        if moment.startswith("after"):
            function(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    return die
{
    "in the data": lambda: setattr(bundle, "_write_data", dying(bundle._write_data)),
    "after the data": lambda: setattr(bundle, "_fill", dying(bundle._fill)),
    "before the record": lambda: setattr(handoff, "create_file", dying(handoff.create_file)),
    "after the record": lambda: setattr(handoff, "create_file", dying(handoff.create_file)),
}[moment]()
config = here.one_stage(bundle=str(place / "out"), model=here.ABSENT)
here.open_client(config, place / "home").submit("forge", Dataset.of(here.ROWS))
"""


@pytest.mark.parametrize("moment", ["in the data", "after the data", "before the record", "after the record"])
def test_a_client_that_is_killed_leaves_no_half_bundle_and_the_next_makes_exactly_one(tmp_path, moment):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path), moment]
    died = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    out = tmp_path / "out"
    for folder in bundles(out):
        read_without_adaptkit(folder)
    assert bool(bundles(out)) is moment.endswith("record")
    with open_client(one_stage(bundle=str(out), model=ABSENT), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        again = client.submit("forge", Dataset.of(ROWS))
    assert (again.id, again.reused) == (job.id, True)
    assert [path.name for path in out.iterdir()] == [job.id], "a draft, or a second bundle, was left"
    assert [each.id for each in Handoff.all(tmp_path / "home" / "mistral" / "handoffs")] == [job.id]
    read_without_adaptkit(out / job.id)


def test_what_others_keep_beside_bundles_is_left_alone(tmp_path):
    beside = [tmp_path / "out" / name for name in (".git", ".handoff.notes", "thesis")]
    for folder in beside:
        folder.mkdir(parents=True)
    with open_client(one_stage(bundle=str(tmp_path / "out")), tmp_path / "home") as client:
        client.submit("forge", Dataset.of(ROWS))
    assert all(folder.is_dir() for folder in beside)


def test_a_place_that_cannot_be_written_is_said_and_can_be_put_right(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with open_client(one_stage(bundle=str(tmp_path / "out")), tmp_path / "home") as client:
        with pytest.raises(DataError, match="cannot be written"):
            client.submit("forge", Dataset.of(ROWS))
        (tmp_path / "out").unlink()
        assert client.submit("forge", Dataset.of(ROWS)).status is Status.QUEUED


def test_data_that_changes_after_the_plan_is_refused(tmp_path):
    path = write(tmp_path / "train.jsonl", ROWS)
    adapter = ForgeAdapter(one_stage(), Context(tmp_path / "home"))
    plan = adapter.prepare(Dataset.open(path))
    write(tmp_path / "train.jsonl", ROWS[:5])
    with pytest.raises(DataError, match="changed after the plan"):
        adapter.submit(plan, {}, "tag1")
    assert not list((tmp_path / "home" / "mistral" / "bundles").iterdir())


# identity ---------------------------------------------------------------------------------------------------------


def test_neither_paths_nor_where_it_is_written_make_another_run(tmp_path):
    def of(folder: str, **more: Any) -> str:
        config = three_stages(tmp_path / folder, **more)
        return identity(ForgeAdapter(config, Context(tmp_path)).prepare(Dataset.of(ROWS)))

    first = of("one")
    assert of("two", bundle=str(tmp_path / "elsewhere")) == first
    assert of("two", license="other") != first
    for name in ("cpt", "replay", "dpo", "evaluation"):
        before = FILES[name]
        FILES[name] = before[1:]
        try:
            assert of("three") != first, f"{name} has other rows"
        finally:
            FILES[name] = before
    config = three_stages(tmp_path / "one")
    stages = (config.stages[0].model_copy(update={"epochs": 3}), *config.stages[1:])
    other = ForgeAdapter(config.model_copy(update={"stages": stages}), Context(tmp_path))
    assert identity(other.prepare(Dataset.of(ROWS))) != first


def test_how_a_job_is_run_does_not_make_another_run():
    def of(**more: Any) -> str:
        config = MistralConfig.model_validate({"model": "builtin:tiny", **more})
        return identity(Plan(config=config, files=(), request={}, destinations=(), fingerprint="sha256:0"))

    assert of(run={"engine": "slurm", "nodes": 4, "partition": "p"}) == of()
    assert of(seed=1) != of()


# what comes back --------------------------------------------------------------------------------------------------


def test_a_job_waits_until_a_folder_is_registered(tmp_path):
    with open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        assert (job.status, job.raw_status) == (Status.QUEUED, "handed off")
        with pytest.raises(JobTimeout):
            job.result(timeout=0.01)
        assert job.cost().seconds is None
        assert client.attach(str(job.ref)).register(TINY) is Status.SUCCEEDED
        assert job.refresh() is Status.SUCCEEDED
        model = job.result(timeout=1)
        assert model.id == str(Path(TINY).resolve())
        assert model.chat("Where is my parcel?", max_tokens=4).text
        assert len(model.generate(["Hello?", "Where?"], max_tokens=2)) == 2
        asked = {"messages": "Where is my parcel?", "max_tokens": 4}
        assert "".join(model.stream(**asked)) == model.chat(**asked).text
        assert client.model(str(model.ref)).chat("Hi", max_tokens=1).finish_reason
        copied = model.download(tmp_path / "copy")
        assert (copied / "model.safetensors").read_bytes() == (Path(TINY) / "model.safetensors").read_bytes()
        assert (model.export("merged", tmp_path / "merged") / "config.json").is_file()
        assert [event.data["status"] for event in job.events()] == ["queued", "succeeded"]
        assert (job.cost().seconds, job.cost().usd) == (None, None)


def test_what_is_registered_stays(tmp_path):
    with open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        job.register("https://models.example/v1#ours")
        assert job.register("https://models.example/v1/#ours") is Status.SUCCEEDED, "the same again changes nothing"
        with pytest.raises(UnsupportedError, match="a job keeps its model"):
            job.register(TINY)
        job.cancel()
        assert client.attach(job.ref).result(timeout=1).id == "https://models.example/v1#ours"
        other = client.submit("forge", Dataset.of(ROWS), fresh=True)
        other.cancel()
        with pytest.raises(JobCancelled):
            other.result(timeout=1)
        with pytest.raises(UnsupportedError, match="was cancelled"):
            other.register(TINY)


def test_only_what_is_safe_and_there_is_registered(tmp_path):
    pickled, coded, empty = (tmp_path / name for name in ("pickled", "coded", "empty"))
    for folder in (pickled, coded, empty):
        folder.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (coded / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    with open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        for result, words in (
            (tmp_path / "nowhere", "there is no model at"),
            (pickled, "pickles can run code"),
            (coded, "auto_map"),
            (empty, "config.json"),
        ):
            with pytest.raises(ArtifactError, match=words):
                job.register(result)
        for address in (
            "https://host/v1",
            "https://#name",
            "https://host/v1/chat/completions#name",
            "http://host:x/v1#n",
        ):
            with pytest.raises(ConfigError, match="#model-name"):
                job.register(address)
        with pytest.raises(ConfigError) as caught:
            job.register("https://user:hunter2@host/v1#name")
        assert "hunter2" not in str(caught.value)
        assert job.refresh() is Status.QUEUED, "what was refused ended nothing"
        with pytest.raises(NotFoundError):
            client.attach(str(job.ref).replace(job.id, "x" * 26)).register(TINY)


def test_a_registered_folder_that_is_gone_is_said(tmp_path):
    shutil.copytree(TINY, tmp_path / "model")
    with open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        job.register(tmp_path / "model")
        shutil.rmtree(tmp_path / "model")
        with pytest.raises(NotFoundError, match="is gone"):
            client.attach(job.ref).result(timeout=1)


@pytest.fixture
def deployment() -> Iterator[FakeMistral]:
    with closing(FakeMistral(key="key-of-the-house")) as service:
        yield service


def test_a_deployment_answers_like_any_model(tmp_path, deployment, monkeypatch):
    monkeypatch.setenv("HOUSE_KEY", "key-of-the-house")
    with open_client(one_stage(api_key_env="HOUSE_KEY"), tmp_path / "home", egress="none") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        job.register(f"{deployment.wire.url}/v1#our-model:2")
        assert not deployment.requests, "registering asks nobody"
        model = job.result(timeout=1)
        assert model.chat("hello").text == "HELLO"
        assert "".join(model.stream("hello again")) == "HELLO AGAIN"
        assert [reply.text for reply in model.generate(["a", "b"])] == ["A", "B"]
        assert {body["model"] for body in deployment.requests} == {"our-model:2"}
        assert client.model(str(model.ref)).chat("hi").text == "HI"
        for wanted in (lambda: model.download(tmp_path / "x"), lambda: model.likelihood([[]])):
            with pytest.raises(UnsupportedError, match="weights are not here"):
                wanted()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert b"key-of-the-house" not in kept


def test_no_key_goes_to_a_deployment_unless_it_was_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", "key-for-mistral-alone")
    with ChatServer() as service, open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        job.register(f"{service.url}#m")
        assert job.result(timeout=1).chat("hello").text == "HELLO"
    (heard,) = service.requests
    assert "authorization" not in {name.lower() for name in heard.headers}


def test_the_policy_holds_for_a_deployment(tmp_path):
    with open_client(one_stage(), tmp_path / "home", egress="none") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        with pytest.raises(EgressError, match=r"models\.example"):
            job.register("https://models.example/v1#ours")
        assert job.refresh() is Status.QUEUED
        with pytest.raises(EgressError, match=r"models\.example"):
            client.model(ModelRef(backend="mistral", id="https://models.example/v1#ours", target="forge")).chat("x")


def test_registered_models_are_compared(tmp_path, deployment):
    held_out = Dataset.of(HELD_OUT)
    with closing(FakeMistral()) as service, open_client(one_stage(), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        job.register(f"{service.wire.url}/v1#ours")
        found = client.compare(["forge", "builtin:tiny"], held_out, training=Dataset.of(ROWS))
    by_name = {each.name: each for each in found.competitors}
    assert by_name["forge"].rung == "train"
    assert len(service.requests) == 3


def test_data_is_deleted_once_the_job_has_ended(tmp_path):
    with open_client(three_stages(tmp_path), tmp_path / "home") as client:
        job = client.submit("forge", Dataset.of(ROWS))
        folder = Path(job.snapshot.raw["bundle"])
        live = ForgeAdapter(one_stage(), Context(tmp_path / "home"))
        live.delete_data(json.loads((folder / "manifest.json").read_text())["files"][0]["sha256"])
        assert (folder / "data" / "stage-1-cpt.jsonl").is_file(), "of a job that is still open nothing is deleted"
        job.cancel()
        job.refresh()
        assert len(job.delete_data()) == 5
    assert not list((folder / "data").iterdir())
    assert json.loads((folder / "manifest.json").read_text())["files"][0]["rows"] == 10


def test_nobody_knows_what_it_costs(tmp_path):
    with open_client(one_stage(), tmp_path / "home") as client:
        assert client.estimate("forge", Dataset.of(ROWS)).usd is None
        with pytest.raises(SpendError):
            client.submit("forge", Dataset.of(ROWS), budget=1.0)
    assert not bundles(tmp_path / "home" / "mistral" / "bundles")


def test_the_command_registers(tmp_path):
    toml = tmp_path / "adaptkit.toml"
    toml.write_text('[targets.forge]\nbackend = "mistral"\nwhere = "forge"\nmodel = "some-org/not-here"\n')
    write(tmp_path / "train.jsonl", ROWS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def run(*verb: str) -> str:
        command = [sys.executable, "-m", "adaptkit", *verb, "--home", str(tmp_path / "home")]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    ref = run("submit", "forge", "train.jsonl")
    assert '"kind":"model"' in run("result", ref, "--register", TINY)
    assert json.loads(run("result", "last", "--json"))["model"].count(str(Path(TINY).resolve())) == 1


async def _registered(home: Path) -> str:
    async with AsyncClient(targets={"forge": one_stage()}, home=home) as client:
        job = await client.submit("forge", Dataset.of(ROWS))
        assert await job.register(TINY) is Status.SUCCEEDED
        return (await job.result(timeout=1)).id


def test_it_is_awaited_too(tmp_path):
    assert anyio.run(_registered, tmp_path / "home") == str(Path(TINY).resolve())


# words ------------------------------------------------------------------------------------------------------------


def test_the_configuration_makes_the_adapter_of_its_place(tmp_path):
    adapter = MistralAdapter(one_stage(), Context(tmp_path))
    assert type(adapter) is ForgeAdapter
    assert MistralConfig.model_validate_json(one_stage().model_dump_json()) == one_stage()
    with pytest.raises(ValueError, match="rank"):
        one_stage(rank=4)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://host/v1#m", ("https://host/v1", "host", "m")),
        ("HTTP://Host:8080/a/b/#org/m:1#x", ("http://Host:8080/a/b", "host", "org/m:1#x")),
        ("https://host#m", ("https://host", "host", "m")),
    ],
)
def test_addresses(text, parts):
    address = Address.parse(text)
    assert address is not None
    assert (address.base_url, address.host, address.model) == parts
    assert Address.parse(str(address)) == address
    assert Address.parse("./model") is None


def test_an_id_names_no_file_elsewhere(tmp_path):
    adapter = ForgeAdapter(one_stage(), Context(tmp_path / "home"))
    job = adapter.submit(adapter.prepare(Dataset.of(ROWS)), {}, "tag1")
    for strange in ("../handoffs/tag1", "./tag1", ""):
        with pytest.raises(NotFoundError):
            adapter.poll(strange)
    assert adapter.find("tag1") == [job]
    assert adapter.find("tag2") == []

"""The adapted model as a file, which rows become examples, and what a configuration may say."""

from __future__ import annotations

import json
import stat
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adaptkit import (
    AdaptkitWarning,
    ArtifactError,
    BackendError,
    Client,
    ConfigError,
    DataError,
    Dataset,
    EgressError,
    Message,
    ModelRef,
    NotFoundError,
    PromptConfig,
    UnsupportedError,
)
from adaptkit.adapter import Context
from adaptkit.backends.prompt import PromptAdapter
from adaptkit.backends.prompt.adapted import AdaptedModel
from adaptkit.backends.prompt.choose import choose
from adaptkit.data import ChatRecord, CompletionRecord
from tests.prompt.conftest import rows
from tests.prompt.server import ChatServer

HEAD = b'{"format": "adaptkit-prompt-1", "model": "m", "data": {"fingerprint": "f", "rows": 1}, "segments": '
LOOPBACK = {"base_url": "http://127.0.0.1:9/v1", "model": "large"}


def submit(home: Path, data: Dataset, **fields: object):
    with Client(targets={"t": PromptConfig(**{**LOOPBACK, **fields})}, home=home) as client:
        return client.submit("t", data).result()


# which rows -----------------------------------------------------------------------------------------------------------


def row(question: str, answer: str) -> CompletionRecord:
    return CompletionRecord(prompt=question, completion=answer)


def answers(chosen) -> list[str]:
    return [turns[-1].text for turns in chosen.conversations]


def test_rare_answers_are_among_the_examples():
    data = [row(f"q{n}", "common") for n in range(200)] + [row("x", "rare"), row("y", "rare"), row("z", "single")]
    assert sorted(answers(choose(data, 4, 0))) in (
        ["common", "common", "rare", "single"],
        ["common", "rare", "rare", "single"],
    )
    assert sorted(answers(choose(data, 3, 0))) == ["common", "rare", "single"]


@given(
    st.lists(st.tuples(st.text(max_size=3), st.sampled_from("abcde")), max_size=40),
    st.integers(0, 6),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_the_choice_depends_on_content_alone(pairs, count, seed, random):
    data = [row(*pair) for pair in pairs]
    chosen = choose(data, count, seed)
    random.shuffle(data)
    assert choose([*data, *data], count, seed) == chosen
    assert len(chosen.conversations) == min(count, len(set(pairs)))
    covered = {answer for _, answer in pairs}
    assert len(set(answers(chosen))) == min(count, len(covered)), "no answer twice before each had its turn"


def test_another_seed_chooses_others():
    data = [row(f"q{n}", f"a{n}") for n in range(100)]
    assert choose(data, 4, 0) == choose(data, 4, 0) != choose(data, 4, 1)


def test_a_question_of_the_held_out_set_is_never_an_example():
    data = [row(f"q{n}", "a") for n in range(10)]
    chosen = choose(data, 10, 0, held_out=[row("q3", "another answer"), row("q7", "a")])
    assert {turns[0].text for turns in chosen.conversations} == {f"q{n}" for n in range(10)} - {"q3", "q7"}


def test_rows_that_cannot_be_examples_are_counted():
    odd = ChatRecord(
        messages=(Message(role="user", content="q"), Message(role="assistant", content="a")),
        tools=({"type": "function", "function": {"name": "f"}},),
    )
    chosen = choose([odd, row("q", "a")], 4, 0)
    assert (len(chosen.conversations), chosen.unfit) == (1, 1)


# the file -------------------------------------------------------------------------------------------------------------


def test_the_file_is_readable_private_and_the_same_each_time(tmp_path):
    first, second = (submit(tmp_path / str(n), Dataset.of(rows()), instructions="Répondez.") for n in (1, 2))
    path = Path(first.id)
    assert path.read_bytes() == Path(second.id).read_bytes()
    assert path.parent == tmp_path / "1" / "prompt" / "models"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    text = path.read_text(encoding="utf-8")
    assert "Répondez." in text
    said = json.loads(text)
    assert said["format"] == "adaptkit-prompt-2"
    assert said["data"] == {"fingerprint": Dataset.of(rows()).fingerprint, "rows": 4}
    assert [segment["kind"] for segment in said["segments"]] == ["instructions", "examples", "question"]
    assert AdaptedModel.load(path).base_url == LOOPBACK["base_url"]


def test_without_examples_no_row_is_in_the_file(tmp_path):
    model = submit(tmp_path, Dataset.of(rows(system="Be brief.")), examples=0)
    text = Path(model.id).read_text(encoding="utf-8")
    assert "Be brief." in text
    assert "my card" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not JSON"),
        (b"{}", "not an adapted model"),
        (b'{"format": "adaptkit-prompt-3"}', "newer adaptkit"),
        (HEAD + b"3}", "array"),
        (
            HEAD + b'[{"kind": "examples", "conversations": [[{"role": "wizard", "content": "x"}]]}]}',
            "wizard",
        ),
    ],
)
def test_a_file_that_is_no_model(tmp_path, content, words):
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=words) as caught:
        AdaptedModel.load(path)
    assert str(path) in str(caught.value)


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_model_or_a_typed_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        AdaptedModel.load(path)


def test_a_model_that_was_deleted(tmp_path):
    data = Dataset.of(rows())
    with Client(targets={"t": PromptConfig(**LOOPBACK)}, home=tmp_path) as client:
        job = client.submit("t", data)
        model = job.result()
        model.delete()
        model.delete()
        with pytest.raises(NotFoundError):
            model.chat("a")
        with pytest.raises(NotFoundError):
            job.result()
        assert client.submit("t", data, fresh=True).result().id != model.id


def test_a_file_elsewhere_is_not_deleted(tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("{}")
    with Client(targets={"t": PromptConfig(**LOOPBACK)}, home=tmp_path) as client, pytest.raises(UnsupportedError):
        client.model(ModelRef(backend="prompt", id=str(mine))).delete()
    assert mine.exists()


@pytest.mark.parametrize("job_id", ["../x", "a/b", "", "ü", "a" * 300])
def test_an_id_is_never_a_path(tmp_path, job_id):
    adapter = PromptAdapter(PromptConfig(), Context(tmp_path))
    for ask in (adapter.poll, adapter.cancel, adapter.retrieve):
        with pytest.raises(NotFoundError):
            ask(job_id)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "prompt").write_text("a file where the folder should be")
    with pytest.raises(BackendError, match="cannot be written"):
        submit(tmp_path, Dataset.of(rows()))


def test_a_copy_answers_from_elsewhere(client, model, server, tmp_path):
    folder = model.download(tmp_path / "copy")
    (copied,) = folder.iterdir()
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    model.delete()
    again = client.model(ModelRef(backend="prompt", id=str(copied), target="t"))
    assert again.chat("hello").text == "HELLO"
    with pytest.raises(ArtifactError, match="empty"):
        again.download(folder)


def test_a_strange_file_cannot_send_the_key_elsewhere(client, model, server):
    path = Path(model.id)
    with ChatServer() as other:
        path.write_text(path.read_text().replace(server.url, other.url))
        with pytest.raises(ConfigError, match="base_url"):
            model.chat("a")
        assert not other.requests
        assert not server.requests


# the prompt -----------------------------------------------------------------------------------------------------------


def test_the_rows_own_system_message_is_the_instruction(tmp_path):
    adapted = AdaptedModel.load(Path(submit(tmp_path, Dataset.of(rows(system="Be brief."))).id))
    turns = adapted.conversation([Message(role="system", content="Be brief."), Message(role="user", content="q")])
    assert [turn.text for turn in turns if turn.role == "system"] == ["Be brief."]
    turns = adapted.conversation([Message(role="developer", content="In French."), Message(role="user", content="q")])
    assert turns[0] == Message(role="system", content="Be brief.\n\nIn French.")
    assert [turn.role for turn in turns].count("system") == 1
    assert turns[-1].text == "q"


def test_different_system_messages_need_a_word(tmp_path):
    data = Dataset.of([*rows(system="Be brief."), *rows(system="Be long.")])
    with pytest.raises(DataError, match="set instructions"):
        submit(tmp_path, data, examples=8)
    with pytest.warns(AdaptkitWarning, match="take the place"):
        model = submit(tmp_path, data, examples=8, instructions="Be kind.")
    assert "Be brief" not in Path(model.id).read_text()


def test_a_call_overrides_the_settings(tmp_path, server):
    model_server = {"base_url": server.url, "max_tokens": 5, "temperature": 0.0}
    with Client(targets={"t": PromptConfig(**{**LOOPBACK, **model_server})}, home=tmp_path) as client:
        model = client.submit("t", Dataset.of(rows())).result()
        model.chat("a")
        model.chat("a", temperature=0.9)
    assert [(heard.body["max_tokens"], heard.body["temperature"]) for heard in server.requests] == [(5, 0.0), (5, 0.9)]


def test_completions_are_examples_too(tmp_path):
    data = Dataset.of([{"prompt": "2 + 2 =", "completion": " 4"}])
    with pytest.warns(AdaptkitWarning, match="1 different rows"):
        adapted = AdaptedModel.load(Path(submit(tmp_path, data).id))
    assert [turn.text for turn in adapted.conversation(())] == ["2 + 2 =", " 4"]


def test_a_plan_shows_the_shape_and_no_row(tmp_path):
    with Client(
        targets={"t": PromptConfig(**LOOPBACK, instructions="Name the desk.", max_tokens=9)}, home=tmp_path
    ) as c:
        plan = c.plan("t", Dataset.of(rows()))
    assert [segment["kind"] for segment in plan.request["segments"]] == ["instructions", "examples", "question"]
    assert plan.request["segments"][1]["count"] == 4
    assert plan.request["max_tokens"] == 9
    assert 10 < plan.request["tokens_before_question"] < 60
    assert "my card" not in repr(plan)
    assert plan.destinations == ()
    assert not list(tmp_path.iterdir())


def test_preferences_are_refused(tmp_path):
    answer = [{"role": "assistant", "content": "a"}]
    data = Dataset.of([{"prompt": [{"role": "user", "content": "q"}], "chosen": answer, "rejected": answer}])
    with pytest.raises(DataError):
        submit(tmp_path, data)


def test_examples_beyond_the_context_are_warned_of(tmp_path):
    long = [{"prompt": f"{n} " + "word " * 2000, "completion": "a"} for n in range(4)]
    with Client(targets={"t": PromptConfig()}, home=tmp_path) as client, warnings.catch_warnings(record=True):
        plan = client.plan("t", Dataset.of(long))
    assert any("builtin:tiny reads" in warning for warning in plan.warnings)


# the configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "http://api.example.com/v1", "model": "m"}, "clear"),
        ({"base_url": "https://user:sk-secret@api.example.com", "model": "m"}, "environment variable"),
        ({"base_url": "https://api.example.com/?key=sk-secret", "model": "m"}, "environment variable"),
        ({"base_url": "ftp://api.example.com", "model": "m"}, "http"),
        ({"base_url": "api.example.com/v1", "model": "m"}, "http"),
        ({"base_url": "https://", "model": "m"}, "http"),
        ({"base_url": "https://api.example.com/v1", "model": "m"}, "api_key_env"),
        ({"base_url": "https://api.example.com/v1", "model": "m", "api_key_env": "sk-secret"}, "pattern"),
        ({"base_url": "http://localhost:1/v1", "model": "builtin:tiny"}, "built-in"),
        ({"model": "cohere:command"}, "base_url"),
        ({"api_key_env": "KEY"}, "base_url"),
        ({"examples": -1}, "examples"),
        ({"temperature": float("nan")}, "temperature"),
    ],
)
def test_configurations_that_cannot_be_meant(fields, words):
    with pytest.raises(ValidationError, match=words) as caught:
        PromptConfig(**fields)
    assert "sk-secret" not in str(caught.value)


def test_a_service_elsewhere_is_a_destination(tmp_path):
    table = {"backend": "prompt", "base_url": "https://API.example.com./v1/", "model": "m", "api_key_env": "KEY"}
    data = Dataset.of(rows())
    with Client(targets={"t": table}, home=tmp_path) as client:
        assert client.plan("t", data).destinations == ("api.example.com.",)
    with Client(targets={"t": table}, home=tmp_path, egress=["api.example.com"]) as client:
        client.plan("t", data)
    for egress in ("none", ["example.com"], ["api.example.com.evil.test"]):
        with Client(targets={"t": table}, home=tmp_path, egress=egress) as client, pytest.raises(EgressError):
            client.plan("t", data)


@pytest.mark.parametrize(
    ("name", "words"), [("builtin:tinny", "tiny"), ("./nothing", "no model"), ("~/no", "no model")]
)
def test_a_model_that_is_not_there(tmp_path, name, words):
    targets = {"t": PromptConfig(model=name)}
    with Client(targets=targets, home=tmp_path) as client, pytest.raises(ConfigError, match=words):
        client.plan("t", Dataset.of(rows()))

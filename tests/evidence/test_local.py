"""The ladder on this machine: the base as it is, with examples in front of the question, and with a LoRA."""

import json
from pathlib import Path

import pytest

from adaptkit import Client, DataError, Dataset, ModelRef, builtin

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    train, held_out = map(Dataset.open, builtin.task("tags"))
    targets = {
        "shots": {"backend": "prompt", "model": "builtin:tiny", "examples": 2},
        "plain": {"backend": "prompt", "model": "builtin:tiny", "examples": 0},
        "small": {"backend": "lora", "model": "builtin:tiny", "epochs": 12},
    }
    with Client(targets=targets, home=tmp_path_factory.mktemp("home"), egress="none") as client:
        for target in targets:
            client.submit(target, train).result()
        yield client, client.compare(["builtin:tiny", *targets], held_out), train, held_out


def test_three_rungs(ladder):
    _, found, _, _ = ladder
    base, shots, plain, small = found.competitors
    assert [each.rung for each in found.competitors] == ["none", "prompt", "none", "fine-tune"]
    assert [each.base for each in found.competitors] == ["builtin:tiny"] * 4
    assert small.score.value > 0.9
    assert small.score.low > base.score.high
    assert small.training_seconds > 0
    assert len(small.losses) > 1
    assert small.losses[0][1] > small.losses[-1][1]
    assert [each.usd for each in found.competitors] == [each.training_usd for each in found.competitors] == [0.0] * 4
    assert shots.usage.input_tokens > plain.usage.input_tokens == base.usage.input_tokens
    assert all(each.usage.output_tokens for each in found.competitors)


def test_how_likely_the_right_answers_are(ladder, monkeypatch):
    client, found, _, held_out = ladder
    base, shots, _, small = found.competitors
    assert {"accuracy", "macro_f1", "perplexity", "bits_per_character"} <= small.measures.keys()
    assert 1 <= small.measures["perplexity"] < base.measures["perplexity"]
    assert "perplexity" not in shots.measures, "a prompt's backend does not tell"
    record = next(iter(held_out))
    alone = client.model(small.ref).likelihood([record.messages])[0]
    assert alone.perplexity < base.measures["perplexity"]
    monkeypatch.setattr(type(client.model(small.ref)), "likelihood", lambda *_: pytest.fail("asked again"))
    again = client.compare(["small"], held_out)
    assert again.competitors[0].measures == small.measures


def test_how_long_a_user_waits(ladder):
    client, found, _, held_out = ladder
    for each in found.competitors:
        assert 0 < each.first_token_seconds["p50"] <= each.seconds["p50"] <= each.seconds["p95"]
        assert sum(answer.seconds is not None for answer in each.answers) == 8
    again = client.compare(["builtin:tiny", "shots", "plain", "small"], held_out)
    assert [each.seconds for each in again.competitors] == [each.seconds for each in found.competitors]


def test_the_copy_that_a_job_keeps_is_looked_at(ladder):
    client, _, train, _ = ladder
    with pytest.raises(DataError, match="the data that small was trained on, row 1"):
        client.compare(["small"], train)
    with pytest.raises(DataError, match=r"example \d of shots"):
        client.compare(["shots"], train)


def test_the_card(ladder):
    hub = pytest.importorskip("huggingface_hub")
    client, found, train, _ = ladder
    read = hub.ModelCard(client.model(found.competitors[-1].ref).card(found))
    assert (read.data.base_model, read.data.library_name, read.data.license) == ("builtin:tiny", "peft", "apache-2.0")
    assert read.data.eval_results[0].metric_value == pytest.approx(found.competitors[-1].score.value)
    assert train.fingerprint in read.content
    assert str(client.home) not in read.content


def test_a_prompt_that_was_edited_is_another_model(ladder):
    client, found, _, _ = ladder
    path = Path(ModelRef.parse(found.competitors[1].ref).id)
    before = path.read_bytes()
    list(client.map(found.competitors[1].ref, ["Where is my invoice?"]))
    assert next(client.map(found.competitors[1].ref, ["Where is my invoice?"])).reused
    value = json.loads(before)
    value["segments"].insert(0, {"kind": "instructions", "text": "Answer in one word."})
    path.write_text(json.dumps(value))
    try:
        assert not next(client.map(found.competitors[1].ref, ["Where is my invoice?"])).reused
    finally:
        path.write_bytes(before)
    assert next(client.map(found.competitors[1].ref, ["Where is my invoice?"])).reused

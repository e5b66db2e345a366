"""What comes out of training: answers, damage and danger refused, exports that answer alike."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adaptkit import (
    AdaptkitWarning,
    ArtifactError,
    ChatOptions,
    ConfigError,
    DataError,
    Message,
    NotFoundError,
    UnsupportedError,
    builtin,
)
from adaptkit.backends.local_model import LocalModel
from adaptkit.backends.lora import LoraAdapter
from tests.lora.conftest import Bench, digest

GREEDY = ChatOptions(max_tokens=12)


def ask(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copied"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoraAdapter]:
    made = Bench(tmp_path_factory.mktemp("answers")).adapter()
    yield made
    made.close()


def test_chat_stream_and_generate_agree(adapter: LoraAdapter, trained: Path) -> None:
    questions = [ask(f"Where is parcel {n}?") for n in range(20)] + [ask("a much longer question " * 5)]
    together = adapter.generate(str(trained), questions, GREEDY)
    for question, reply in list(zip(questions, together, strict=True))[-3:]:
        alone = adapter.chat(str(trained), question, GREEDY)
        assert alone == reply
        assert "".join(adapter.stream(str(trained), question, GREEDY)) == reply.text
        assert 0 < reply.usage.output_tokens <= 12
        assert reply.finish_reason == ("length" if reply.usage.output_tokens == 12 else "stop")


def test_stop_text_seed_and_closing_a_stream(adapter: LoraAdapter) -> None:
    question = ask("I want my money back for the lamp.")
    whole = adapter.chat("builtin:tiny", question, ChatOptions(max_tokens=40)).text
    assert len(whole) > 8
    options = ChatOptions(max_tokens=40, stop=(whole[5:8], "never said"))
    reply = adapter.chat("builtin:tiny", question, options)
    assert (reply.text, reply.finish_reason) == (whole[: whole.index(whole[5:8])], "stop")
    assert "".join(adapter.stream("builtin:tiny", question, options)) == reply.text
    warm = ChatOptions(max_tokens=20, temperature=1.5, seed=7)
    assert adapter.chat("builtin:tiny", ask("hello"), warm) == adapter.chat("builtin:tiny", ask("hello"), warm)
    pieces = adapter.stream("builtin:tiny", ask("hello"), ChatOptions(max_tokens=400))
    next(pieces)
    pieces.close()
    assert adapter.chat("builtin:tiny", ask("hello"), GREEDY).text  # the model is free again


def test_a_base_answers_and_a_conversation_too_long_is_refused(adapter: LoraAdapter) -> None:
    assert adapter.generate("builtin:tiny", [ask("hello")], GREEDY)[0].text
    with pytest.raises(DataError, match="reads at most 512"):
        adapter.chat("builtin:tiny", ask("word " * 600), GREEDY)
    assert adapter._models.get("builtin:tiny").count_tokens(ask("hello")) > 3


def test_likelihood_is_that_of_plain_torch_one_token_after_the_other(adapter: LoraAdapter, trained: Path) -> None:
    answers = ["refund", "a much longer answer, ünïcode too", "x"]
    talks = [(*ask(f"Where is parcel {n}?"), Message(role="assistant", content=text)) for n, text in enumerate(answers)]
    found = adapter.likelihood(str(trained), talks)
    local = adapter._models.get(str(trained))
    for talk, likelihood in zip(talks, found, strict=True):
        before, said = local.tokenizer.answer(talk[:-1], talk[-1:])
        nats = 0.0
        for at, token in enumerate(said):
            with torch.no_grad():
                logits = local.model(torch.tensor([before + said[:at]])).logits[0, -1].double()
            nats -= float(torch.log_softmax(logits, 0)[token])
        assert likelihood.nats == pytest.approx(nats, rel=1e-4)
        assert (likelihood.tokens, likelihood.characters) == (len(said), len(talk[-1].text))
    whole = found[0] + found[1]
    assert whole.perplexity == pytest.approx(2.718281828459045 ** (whole.nats / whole.tokens))
    assert whole.bits_per_character == pytest.approx(whole.nats / 0.6931471805599453 / whole.characters)


def test_likelihood_of_what_is_no_answer_or_too_long_is_refused(adapter: LoraAdapter) -> None:
    with pytest.raises(DataError, match="conversation 2 does not end with an answer"):
        adapter.likelihood("builtin:tiny", [(*ask("a"), Message(role="assistant", content="b")), ask("a")])
    with pytest.raises(DataError, match="reads at most 512"):
        adapter.likelihood("builtin:tiny", [(*ask("word " * 600), Message(role="assistant", content="b"))])


def test_scoring_many_is_quick(adapter: LoraAdapter, trained: Path) -> None:
    adapter.chat(str(trained), ask("load"), GREEDY)
    began = time.monotonic()
    assert len(adapter.generate(str(trained), [ask(f"Where is parcel {n}?") for n in range(160)], GREEDY)) == 160
    assert time.monotonic() - began < 20  # about one on a quiet machine


def test_manifest_says_what_it_is(trained: Path) -> None:
    manifest = json.loads((trained / "manifest.json").read_bytes())
    base = builtin.path("tiny")
    assert manifest["base"]["model"] == "builtin:tiny"
    assert manifest["base"]["sha256"] == digest(base / "model.safetensors")
    assert manifest["chat_template_sha256"] == digest(base / "chat_template.jinja")
    assert manifest["data_fingerprint"].startswith("sha256:")
    assert manifest["config"]["learning_rate"] == 2.5e-3
    assert manifest["metrics"]["last_loss"] < manifest["metrics"]["first_loss"]
    assert manifest["versions"]["peft"]
    config = json.loads((trained / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == "builtin:tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not [file for file in trained.iterdir() if file.suffix in {".bin", ".pt", ".md"}]


@pytest.mark.parametrize(
    "damage",
    ["flip", "cut", "missing", "manifest", "newer", "outside", "pickle", "gone", "base"],
)
def test_damaged_or_unsafe_folder_is_refused(copied: Path, damage: str) -> None:
    weights, manifest = copied / "adapter_model.safetensors", copied / "manifest.json"
    said = json.loads(manifest.read_bytes())
    if damage == "flip":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
        manifest.unlink()  # found by the file's own header as well
    elif damage == "missing":
        (copied / "tokenizer.json").unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    elif damage == "newer":
        manifest.write_text(json.dumps({**said, "format": "adaptkit-model-2"}))
    elif damage == "outside":
        manifest.write_text(json.dumps({**said, "files": {**said["files"], "../../secret": "0"}}))
    elif damage == "pickle":
        manifest.unlink()
        weights.rename(copied / "adapter_model.bin")
    elif damage == "gone":
        shutil.rmtree(copied)
    else:
        manifest.write_text(json.dumps({**said, "base": {**said["base"], "sha256": "0" * 64}}))
    with pytest.raises((ArtifactError, ConfigError)):
        LocalModel.load(str(copied), offline=True)


def test_base_with_code_or_pickles_is_refused(bench: Bench, tmp_path: Path, tiny: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    with pytest.raises(ArtifactError, match="code of its own"):
        bench.plan(bench.adapter(model=str(base)))
    (base / "config.json").write_text(json.dumps(config))
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickles"):
        bench.plan(bench.adapter(model=str(base)))
    with pytest.raises(ConfigError, match="no model at"):
        bench.plan(bench.adapter(model=str(tmp_path / "nowhere")))


def test_template_that_loops_ends_in_an_error(bench: Bench, tmp_path: Path, tiny: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (base / "chat_template.jinja").write_text(loops)
    with pytest.raises(ArtifactError, match="did not end"):
        bench.adapter().chat(str(base), ask("hello"), GREEDY)
    adapter = bench.adapter(model=str(base))
    snapshot = bench.wait(adapter, bench.submit(adapter))
    assert snapshot.status == "failed"
    assert "did not end" in str(snapshot.message)


def test_merged_export_answers_alike(adapter: LoraAdapter, trained: Path, tmp_path: Path) -> None:
    merged = adapter.export(str(trained), "merged", tmp_path / "merged")
    assert (merged / "chat_template.jinja").is_file()
    one, two = LocalModel.load(str(trained), offline=True), LocalModel.load(str(merged), offline=True)
    ids = torch.tensor([one.tokenizer.prompt(ask("Where is parcel 3?"))])
    with torch.inference_mode():
        assert torch.allclose(one.model(ids).logits, two.model(ids).logits, atol=1e-4)
    with pytest.raises(ArtifactError, match="not an empty folder"):
        adapter.export(str(trained), "merged", merged)
    with pytest.raises(UnsupportedError, match="no export format"):
        adapter.export(str(trained), "onnx", tmp_path / "x")


def test_ollama_export_and_gguf_without_converter(
    adapter: LoraAdapter, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (adapter.export(str(trained), "ollama", tmp_path / "ollama") / "Modelfile").read_text()
    assert written.startswith("FROM .\n")
    assert '{{ else if eq .Role "user" }}<|user|>{{ .Content }}<|end|>' in written
    assert written.rstrip().endswith('<|assistant|>"""')
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("ADAPTKIT_LLAMA_CPP", raising=False)
    with pytest.raises(UnsupportedError, match=r"llama\.cpp"):
        adapter.export(str(trained), "gguf", tmp_path / "gguf")
    assert not (tmp_path / "gguf").exists()


def test_gguf_goes_through_the_converter_that_is_named(
    adapter: LoraAdapter, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tool"
    tool.mkdir()
    # stands in for llama.cpp's script, which is no package: same arguments, and it needs what that one needs
    (tool / "convert_hf_to_gguf.py").write_text(
        "import pathlib, sys\nfolder = pathlib.Path(sys.argv[1])\n"
        "assert (folder / 'model.safetensors').is_file() and (folder / 'tokenizer.json').is_file()\n"
        "pathlib.Path(sys.argv[3]).write_bytes(b'GGUF')\n"
    )
    monkeypatch.setenv("ADAPTKIT_LLAMA_CPP", str(tool))
    assert (adapter.export(str(trained), "gguf", tmp_path / "out") / "model.gguf").read_bytes() == b"GGUF"


def test_download_and_delete(bench: Bench, tmp_path: Path) -> None:
    model = bench.run(epochs=1)
    adapter = bench.adapter()
    copy = adapter.download(str(model), tmp_path / "copy")
    assert digest(copy / "adapter_model.safetensors") == digest(model / "adapter_model.safetensors")
    with pytest.raises(UnsupportedError):
        adapter.delete_model(str(copy))
    adapter.delete_model(str(model))
    adapter.delete_model(str(model))
    assert not model.exists()
    with pytest.raises(NotFoundError, match="no model at"):
        adapter.chat(str(model), ask("hello"), GREEDY)


@pytest.fixture
def elsewhere(trained: Path, tmp_path: Path) -> Path:
    """The weights as a host would give them: no manifest, no tokenizer, and a base by the host's own name."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(trained / "adapter_model.safetensors", folder)
    config = json.loads((trained / "adapter_config.json").read_bytes())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/models/of-theirs"}))
    return folder


def test_weights_from_a_host_go_on_the_base_of_the_target(
    adapter: LoraAdapter, trained: Path, elsewhere: Path, tmp_path: Path
) -> None:
    question = ask("Where is parcel 3?")
    with pytest.warns(AdaptkitWarning, match="/models/of-theirs.*builtin:tiny"):
        assert adapter.chat(str(elsewhere), question, GREEDY) == adapter.chat(str(trained), question, GREEDY)
    with pytest.warns(AdaptkitWarning, match="/models/of-theirs"):
        merged = adapter.export(str(elsewhere), "merged", tmp_path / "merged")
    assert adapter.chat(str(merged), question, GREEDY) == adapter.chat(str(trained), question, GREEDY)


def test_weights_that_fit_no_base_here_are_refused(elsewhere: Path, bench: Bench) -> None:
    config = json.loads((elsewhere / "adapter_config.json").read_bytes())
    (elsewhere / "adapter_config.json").write_text(json.dumps({**config, "r": 2 * config["r"]}))
    with pytest.warns(AdaptkitWarning), pytest.raises(ArtifactError, match="do not fit"):
        bench.adapter().chat(str(elsewhere), ask("hello"), GREEDY)
    with pytest.raises(ArtifactError, match="is gone"):
        LocalModel.load(str(elsewhere), offline=True)

"""Model cards: read back by Hugging Face's own reader, whatever stands in the names."""

import re

import pytest

from adaptkit import Client, ConfigError, ModelRef
from adaptkit.evidence.card import _yaml
from adaptkit.testing import FakeClock, ScriptedConfig
from tests.evidence.conftest import echoes, sentence, training

hub = pytest.importorskip("huggingface_hub")
yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")

HOSTILE = [
    "---\nlicense: mit\n---",
    "a: b # c",
    "\"quoted\" 'twice'",
    "| pipe | <script>alert(1)</script> | `code` | $x$",
    "[link](javascript:alert(1)) ![x](http://198.51.100.1/x.png)",
    "\x00\x1b[31m\u202e\u2028\ufeff\uffff",
    "yes",
    "null",
    "1e3",
    "*alias &anchor !!python/object:os.system",
    "emoji 😀 عربي 中文",
    "half \ud83d of a pair",
    "# heading\n\n- list",
]


def test_the_figures_and_what_it_was_made_from(client):
    found = client.compare(["echo", "mute"], echoes(20, right=lambda n: n % 2 == 0), general=echoes(5, start=300))
    model = client.model(found.competitors[0].ref)
    read = hub.ModelCard(model.card(found))
    assert read.data.base_model == "scripted-1"
    assert read.data.library_name == "adaptkit"
    assert "license" not in read.data.to_dict()
    assert read.data.to_dict()["training_data_fingerprint"] == training().fingerprint
    held, general = read.data.eval_results
    assert (held.metric_type, held.metric_value, held.dataset_revision) == ("exact_match", 0.5, found.fingerprint)
    assert (general.dataset_type, general.metric_value) == ("general", 1.0)
    assert "| echo | fine-tune | 50.0 |" in read.text
    assert "echo scores 50.0 points more than mute" in read.text
    assert "| epochs | 1 |" in read.text
    assert sentence(3) not in read.content
    assert str(client.home) not in read.content
    assert "service" not in read.text


def test_without_a_comparison(client):
    model = client.model(client.compare(["echo"], echoes(2)).competitors[0].ref)
    read = hub.ModelCard(model.card())
    assert read.data.eval_results is None
    assert "What was measured" not in read.text
    stranger = client.model(ModelRef(backend="scripted", id="model-of-nobody", target="echo"))
    assert hub.ModelCard(stranger.card()).data.to_dict()["library_name"] == "adaptkit"
    with pytest.raises(ConfigError, match="did not take part"):
        stranger.card(client.compare(["echo"], echoes(2)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_end_nothing_and_mean_nothing(service, tmp_path, name):
    told = "t" if "\ud83d" in name else name  # half a pair is refused where it is configured
    config = ScriptedConfig(service=service.name, reply="{text}", name=told, model=told)
    with Client(targets={"t": config}, home=tmp_path, clock=FakeClock()) as client:
        client.submit("t", training()).result()
        found = client.compare({name: "t"}, echoes(3))
        text = client.model(found.competitors[0].ref).card(found)
    read = hub.ModelCard(text)
    assert read.data.to_dict()["model-index"][0]["name"] == told
    assert set(read.data.to_dict()) == {
        "base_model", "library_name", "pipeline_tag", "tags", "metrics", "training_data_fingerprint",
        "adaptkit_version", "model-index",
    }  # fmt: skip
    text.encode()
    plain = re.sub(r"\\.", "", read.text)
    for markup in ("<script", "](java", "![", "`code`", "$x$", "\x1b", "\u202e", "\n# heading", "\n- list"):
        assert markup not in plain
    rows = [line for line in read.text.splitlines() if line.startswith("|") and "fine-tune" in line]
    assert all(line.replace("\\|", "").count("|") == 7 for line in rows)


@pytest.mark.parametrize("value", [*HOSTILE, "", " ", "-", "?", "2026-11-25", "0x1F", "~", 3, 2.5, True, 1e-7])
def test_scalars_come_back_as_they_were(value):
    text = "\n".join(_yaml({"key": value, "list": [value, {"x": value}]}))
    sound = value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    assert yaml.safe_load(text) == {"key": sound, "list": [sound, {"x": sound}]}


def test_a_folder_is_named_without_its_path_and_the_bases_licence_is_found(tmp_path):
    base = tmp_path / "private" / "my-base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "README.md").write_text("---\nlanguage: en\nlicense: cc-by-4.0\n---\n# Base\n")
    pytest.importorskip("torch")
    with Client(targets={}, home=tmp_path / "home") as client:
        text = client.model(ModelRef(backend="lora", id=str(base))).card()
    assert str(tmp_path) not in text
    data = hub.ModelCard(text).data
    assert (data.base_model, data.license) == ("my-base", "cc-by-4.0")

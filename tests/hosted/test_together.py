"""Together: the contract, and what the tables of all hosts leave out: formats, refusals, files, weights, hosting."""

import io
import json
import pickle
import tarfile
import time

import pytest

from adaptkit import (
    AdaptkitWarning,
    ArtifactError,
    BackendError,
    Client,
    ConfigError,
    DataError,
    Dataset,
    EgressError,
    NotFoundError,
    QuotaError,
    UnsupportedError,
)
from adaptkit.adapter import (
    Context,
    SupportsCheckpoints,
    SupportsDeleteData,
    SupportsDeleteModel,
    SupportsDeploy,
    SupportsDownload,
    SupportsEstimate,
    SupportsInventory,
    SupportsPreflight,
    SupportsReadiness,
)
from adaptkit.backends.together import TogetherAdapter, TogetherConfig, files
from adaptkit.backends.together.jobs import STATUSES, events, snapshot, suffix, tag_in
from adaptkit.errors import MissingDependencyError
from adaptkit.http import Egress
from adaptkit.testing import FakeClock, FakeTogether
from adaptkit.testing.contract import AdapterContract
from adaptkit.translate import translate
from adaptkit.types import Status
from tests.hosted.hosts import KEY
from tests.hosted.test_weights import TENSORS, tarred

MODEL = "Qwen/Qwen3-8B"
TAG = "a" + "b2" * 12 + "c"
ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n} and one?"}, {"role": "assistant", "content": f"{n + 1}"}]}
    for n in range(8)
]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"What is {n}?"}]},
        "preferred_output": [{"role": "assistant", "content": "A number."}],
        "non_preferred_output": [{"role": "assistant", "content": "Nothing."}],
    }
    for n in range(4)
]


class Brisk(FakeClock):
    """Time that passes a hundred times too fast, so that who waits for another thread lets it work."""

    def sleep(self, seconds):
        time.sleep(min(seconds / 100, 0.05))
        super().sleep(seconds)


class TestContract(AdapterContract):
    """The contract, against the fake."""

    vendors = ("zstandard",)

    @classmethod
    def start(cls):
        cls.fake = FakeTogether(KEY)

    @classmethod
    def stop(cls):
        cls.fake.close()

    def _config(self, *states):
        self.fake.jobs.script[:] = states
        return TogetherConfig(base_url=self.fake.wire.url, model=MODEL, epochs=2)

    def config(self):
        return self._config("pending", "queued", "running", "completed")

    def long_config(self):
        return self._config("pending", "running")

    def failing_config(self):
        return self._config("pending", "running", "user_error"), self.fake.failure

    def remote_config(self):
        return TogetherConfig(model=MODEL)

    def say_unknown_status(self, job):
        self.fake.jobs.tell(job.id, "meditating")

    def break_next_poll(self):
        self.fake.wire.next("poll", "lost")

    def clock(self):
        return Brisk(time.time())


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    service = FakeTogether(KEY)
    yield service
    service.close()


@pytest.fixture
def open_client(fake, tmp_path):
    clients = []

    def opened(egress=None, **settings):
        settings = {"model": MODEL, **settings}
        config = TogetherConfig(base_url=fake.wire.url, **settings)
        more = {} if egress is None else {"egress": egress}
        clients.append(Client(targets={"t": config}, home=tmp_path / "home", clock=FakeClock(time.time()), **more))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


def planned(rows=ROWS, **settings):
    adapter = TogetherAdapter(TogetherConfig(**{"model": MODEL, **settings}), Context("/nowhere"))
    return adapter.prepare(Dataset.of(rows))


def adapter_of(client):
    return client._target("t")


def sent(fake, operation):
    return [asked for name, asked in fake.wire.asked if name == operation]


def test_powers():
    adapter = TogetherAdapter(TogetherConfig(model=MODEL), Context("/nowhere"))
    for power in (SupportsReadiness, SupportsPreflight, SupportsEstimate, SupportsInventory, SupportsDeploy,
                  SupportsDownload, SupportsDeleteData, SupportsDeleteModel, SupportsCheckpoints):  # fmt: skip
        assert isinstance(adapter, power)
    assert adapter.destinations == ("api.together.ai",)


# what is asked for ----------------------------------------------------------------------------------------------------


def test_the_request_leaves_nothing_to_the_host():
    assert dict(planned().request) == {
        "model": MODEL,
        "training_method": {"method": "sft", "train_on_inputs": "auto"},
        "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0,
                          "lora_trainable_modules": "all-linear"},
        "n_epochs": 1, "n_evals": 0, "n_checkpoints": 1, "batch_size": "max",
        "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 0.5}},
        "warmup_ratio": 0.0, "max_grad_norm": 1.0, "weight_decay": 0.0, "packing": True,
    }  # fmt: skip


def test_every_field_arrives(tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("\n".join(map(json.dumps, ROWS)))
    plan = planned(
        weights="full", epochs=3, batch_size=8, gradient_accumulation=2, learning_rate=1e-4, schedule="linear",
        min_lr_ratio=0.1, warmup=0.05, max_grad_norm=0.5, weight_decay=0.01, packing=False, max_length=4096, seed=7,
        checkpoints=2, validation=str(held_out), early_stopping={"patience": 3}, train_on_inputs=False, name="tickets",
        from_hf_model="me/mine", hf_model_revision="abc", hf_output_repo="me/tuned", hf_token_env="HF_TOKEN",
        train_vision=True, wandb={"project": "p", "name": "n", "entity": "e", "base_url": "https://w.example.com"},
    )  # fmt: skip
    assert dict(plan.request) == {
        "model": MODEL, "from_hf_model": "me/mine", "hf_model_revision": "abc", "hf_output_repo_name": "me/tuned",
        "training_method": {"method": "sft", "train_on_inputs": False}, "training_type": {"type": "Full"},
        "multimodal_params": {"train_vision": True}, "n_epochs": 3, "n_evals": 5, "n_checkpoints": 2, "batch_size": 8,
        "gradient_accumulation_steps": 2, "learning_rate": 1e-4,
        "lr_scheduler": {"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.1}},
        "warmup_ratio": 0.05, "max_grad_norm": 0.5, "weight_decay": 0.01, "packing": False, "max_seq_length": 4096,
        "random_seed": 7, "suffix": "tickets", "early_stopping_enabled": True, "early_stopping_patience": 3,
        "early_stopping_min_delta": 0.0, "early_stopping_warmup_evals": 1, "wandb_project_name": "p",
        "wandb_name": "n", "wandb_entity": "e", "wandb_base_url": "https://w.example.com",
    }  # fmt: skip


def test_dpo_and_its_losses():
    def method(**settings):
        return planned(PAIRS, method="dpo", **settings).request["training_method"]

    assert method() == {"method": "dpo"}
    assert method(beta=0.2, rpo_alpha=0.5, normalize_by_length=True) == {
        "method": "dpo", "dpo_beta": 0.2, "rpo_alpha": 0.5, "dpo_normalize_logratios_by_length": True,
    }  # fmt: skip
    assert method(simpo_gamma=0.5) == {
        "method": "dpo", "simpo_gamma": 0.5, "dpo_reference_free": True, "dpo_normalize_logratios_by_length": True,
    }  # fmt: skip
    assert "SimPO" in " ".join(planned(PAIRS, method="dpo", simpo_gamma=0.5).warnings)


def test_held_out_data_is_evaluated_on(tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("\n".join(map(json.dumps, ROWS)))
    plan = planned(validation=str(held_out), epochs=3)
    assert plan.request["n_evals"] == 3
    assert "3 times" in " ".join(plan.warnings)
    assert planned(validation=str(held_out), evals=7).request["n_evals"] == 7


REFUSED = [
    ({"weights": "full", "rank": 64, "alpha": 1, "dropout": 0.1, "trainable_modules": "q_proj"},
     ["rank:", "alpha:", "dropout:", "trainable_modules:"]),
    ({"beta": 0.1, "rpo_alpha": 1.0, "simpo_gamma": 1.0, "normalize_by_length": True},
     ["beta:", "rpo_alpha:", "simpo_gamma:", "normalize_by_length:"]),
    ({"method": "dpo", "train_on_inputs": True}, ["train_on_inputs:"]),
    ({"model": None}, ["model:"]),
    ({"from_checkpoint": "ft-1"}, ["model:"]),
    ({"model": None, "from_checkpoint": "ft-1", "from_hf_model": "a/b"}, ["from_hf_model:"]),
    ({"hf_model_revision": "x"}, ["hf_model_revision:"]),
    ({"hf_output_repo": "x/y"}, ["hf_output_repo:"]),
    ({"evals": 2}, ["evals:"]),
    ({"validation": "v.jsonl", "evals": 0}, ["evals:"]),
    ({"early_stopping": {}}, ["early_stopping:"]),
    ({"validation": "v.jsonl", "evals": 3, "early_stopping": {}}, ["patience + warmup_evals + 1 = 4"]),
    ({"name": "fourteen-chars"}, ["name:", "13 are left"]),
    ({"schedule": "linear", "cycles": 0.5}, ["cycles:"]),
    ({"method": "dpo", "simpo_gamma": 1.0, "normalize_by_length": False}, ["normalize_by_length:"]),
    ({"deploy": {"min_replicas": 2, "max_replicas": 1}}, ["deploy.max_replicas:"]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), REFUSED, ids=[str(row[1][0]) for row in REFUSED])
def test_what_cannot_be_is_refused_at_once(settings, said):
    with pytest.raises(UnsupportedError) as caught:
        planned(**settings)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("settings", [
    {"learning_rate": 0}, {"learning_rate": float("inf")}, {"learning_rate_multiplier": 2}, {"batch_size": "auto"},
    {"batch_size": 0}, {"epochs": 0}, {"warmup": 1.5}, {"dropout": 1.0}, {"deploy": {"inactive_timeout": 0}},
    {"deploy": {"inactive_timeout": 1441}}, {"base_url": "https://api.together.ai/v1"}, {"name": "two words"},
    {"base_url": "http://api.together.ai"}, {"api_key_env": "not a name"},
])  # fmt: skip
def test_what_no_host_takes_is_no_configuration(settings):
    with pytest.raises(ConfigError) as caught:
        Client(targets={"t": {"backend": "together", "model": MODEL, **settings}})
    assert next(iter(settings)) in str(caught.value)


def test_a_local_recipe_is_carried_over():
    from adaptkit.backends.lora import LoraConfig

    local = LoraConfig(rank=8, alpha=16, dropout=0.1, epochs=2, learning_rate=1e-4, warmup=0.1, schedule="linear",
                       max_length=2048, seed=3, gradient_accumulation=2, packing=True)  # fmt: skip
    table = translate(local, "together").table
    assert table["rank"] == 8
    assert {"alpha", "dropout", "epochs", "learning_rate", "warmup", "schedule", "max_length", "seed", "packing",
            "gradient_accumulation"} <= set(table)  # fmt: skip


# data -----------------------------------------------------------------------------------------------------------------


def turns(*roles):
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(("row", "rule"), [
    (turns("developer", "user", "assistant"), "together-role"),
    (turns("assistant", "user", "assistant"), "together-order"),
    (turns("user", "user", "assistant"), "together-order"),
    (turns("user", "system", "assistant"), "together-order"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]},
                   {"role": "assistant", "content": "a cat"}]}, "together-image"),
])  # fmt: skip
def test_rows_that_the_host_refuses_after_the_upload(row, rule):
    with pytest.raises(DataError) as caught:
        planned([*ROWS, row])
    assert {problem.rule for problem in caught.value.problems} == {rule}
    assert caught.value.problems[0].line == len(ROWS) + 1


def test_rows_that_it_takes():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    asked = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "content": "a", "weight": 1},
    ]
    planned([*ROWS, {"messages": asked, "tools": tools}])
    planned([{"prompt": "a", "completion": "b"}] * 2)
    planned([{"text": "a"}] * 2)
    with pytest.raises(DataError):
        planned(PAIRS)
    with pytest.raises(DataError):
        planned(ROWS, method="dpo")


# files ----------------------------------------------------------------------------------------------------------------


def test_a_file_goes_to_the_storage_without_the_key(fake, open_client):
    job = open_client().submit("t", Dataset.of(ROWS))
    assert fake.storage.count() == {"store": 1}
    stored = fake.storage.asked[0][1]
    assert "authorization" not in stored.headers
    assert [json.loads(line) for line in stored.content().splitlines()] == ROWS
    assert int(stored.headers["content-length"]) == len(stored.content())
    (file_id,) = fake.files
    assert sent(fake, "submit")[0].json()["training_file"] == file_id
    assert fake.wire.count()["preprocess"] == 1
    assert job.status is Status.QUEUED


def test_a_file_that_is_there_is_found(fake, open_client, tmp_path):
    open_client().submit("t", Dataset.of(ROWS))
    with Client(targets={"t": TogetherConfig(base_url=fake.wire.url, model=MODEL)}, home=tmp_path / "other",
                clock=FakeClock(time.time())) as other:  # fmt: skip
        other.submit("t", Dataset.of(ROWS))
    assert fake.storage.count() == {"store": 1}
    assert len(fake.files) == 1
    assert {job.body["training_file"] for job in fake.jobs.all.values()} == set(fake.files)


def test_a_large_file_goes_up_in_parts(fake, open_client, monkeypatch):
    monkeypatch.setattr(files, "WHOLE", 100)
    monkeypatch.setattr(files, "PART", 300)
    open_client().submit("t", Dataset.of(ROWS))
    (file,) = fake.files.values()
    assert len(file.parts) > 2
    assert [json.loads(line) for line in file.content.splitlines()] == ROWS
    assert all("authorization" not in asked.headers for _, asked in fake.storage.asked)


def test_a_part_that_is_refused_ends_the_upload(fake, open_client, monkeypatch):
    monkeypatch.setattr(files, "WHOLE", 100)
    monkeypatch.setattr(files, "PART", 300)
    fake.storage.next("store", "refused")
    with pytest.raises(BackendError):
        open_client().submit("t", Dataset.of(ROWS))
    assert fake.files == {}
    assert fake.wire.count()["upload_abort"] == 1
    assert fake.jobs.all == {}


def test_the_storage_is_under_the_policy(fake, open_client):
    elsewhere = "https://storage.example.com/bucket/1?signature=1"
    store = files.Files(None, ())
    assert store.address(elsewhere) == elsewhere
    with pytest.raises(EgressError, match=r"storage\.example\.com"):
        files.Files(None, ("other.example.com",)).address(elsewhere)
    for address in ("http://storage.example.com/x", "", "file:///etc/passwd", "ftp://x", "/bucket/1"):
        with pytest.raises(EgressError, match="not https"):
            store.address(address)


def test_an_upload_to_a_host_outside_the_policy_stops_there(fake, open_client):
    fake.storage.url = "https://storage.example.com"
    client = open_client(egress=["api.together.ai"])
    assert any("storage" in warning for warning in client.plan("t", Dataset.of(ROWS)).warnings)
    with pytest.raises(EgressError, match=r"storage\.example\.com"):
        client.submit("t", Dataset.of(ROWS))
    assert fake.jobs.all == {}
    with pytest.raises(EgressError, match=r"kept\.example\.com"):
        open_client(egress=["api.together.ai"], storage=("kept.example.com",)).plan("t", Dataset.of(ROWS))


def test_an_address_in_the_clear_is_not_sent_to(fake, open_client):
    fake.storage.url = "http://storage.example.com"
    with pytest.raises(EgressError, match="not https"):
        open_client().submit("t", Dataset.of(ROWS))
    fake.storage.url = "https://storage.example.com"
    with pytest.raises(EgressError, match="which is not in storage"):
        open_client(storage=("kept.example.com",)).submit("t", Dataset.of(ROWS))


def test_data_that_changes_under_a_plan_is_not_sent(fake, open_client, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    client = open_client()
    plan = client.plan("t", Dataset.open(str(path)))
    path.write_text("\n".join(map(json.dumps, [*ROWS, turns("user", "assistant")])))
    with pytest.raises(DataError):
        adapter_of(client).upload(plan.files[0])
    assert fake.wire.count()["upload"] == 0


def test_a_file_is_waited_for(fake, open_client):
    fake.processing = ["PENDING", "QUEUED", "RUNNING", "RUNNING", "COMPLETED"]
    open_client().submit("t", Dataset.of(ROWS))
    assert fake.wire.count()["file"] >= 3
    assert len(fake.jobs.all) == 1


@pytest.mark.parametrize(("word", "kind", "said"), [
    ("INVALID_FORMAT", DataError, "line 3 is neither"), ("FAILED", BackendError, "failed to look"),
])  # fmt: skip
def test_a_file_that_the_host_refuses(fake, open_client, word, kind, said):
    fake.processing = ["RUNNING", word]
    with pytest.raises(kind, match=said):
        open_client().submit("t", Dataset.of(ROWS))
    assert fake.jobs.all == {}


def test_data_is_deleted(fake, open_client):
    client = open_client()
    client.submit("t", Dataset.of(ROWS))
    (file_id,) = fake.files
    adapter = adapter_of(client)
    assert adapter.has_upload(file_id)
    adapter.delete_data(file_id)
    adapter.delete_data(file_id)
    assert not adapter.has_upload(file_id)


# before the paid request ----------------------------------------------------------------------------------------------


def test_limits_of_today_refuse_all_at_once(fake, open_client):
    settings = {"epochs": 9999, "rank": 9999, "learning_rate": 5.0, "batch_size": 4, "max_length": 100_000,
                "checkpoints": 99, "trainable_modules": "q_proj,nose", "train_vision": True}  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        open_client(**settings).submit("t", Dataset.of(ROWS))
    for name in settings:
        assert f"{name}: " in str(caught.value)
    assert "nose" in str(caught.value)
    assert "8 to 32" in str(caught.value)
    assert fake.wire.count()["submit"] == 0
    assert sent(fake, "limits")[0].first("model_name") == MODEL


def test_limits_differ_by_method_and_weights(fake, open_client):
    for settings, most in (({}, 32), ({"weights": "full"}, 16)):
        with pytest.raises(UnsupportedError, match=f"8 to {most}"):
            open_client(batch_size=33, **settings).submit("t", Dataset.of(ROWS))
    for settings, most in (({}, 16), ({"weights": "full"}, 8)):
        with pytest.raises(UnsupportedError, match=f"8 to {most}") as caught:
            open_client(batch_size=17, method="dpo", max_length=20_000, **settings).submit("t", Dataset.of(PAIRS))
        assert "1024 to 16384" in str(caught.value)


def test_a_model_that_trains_no_full_weights(fake, open_client):
    fake.limits |= {"supports_full_training": False, "full_training": {"max_batch_size": 0, "min_batch_size": 0}}
    with pytest.raises(UnsupportedError, match='only be trained with weights = "lora"') as caught:
        open_client(weights="full", batch_size=8).submit("t", Dataset.of(ROWS))
    assert "batch_size" not in str(caught.value)


def test_a_model_that_is_not_tuned(fake, open_client):
    with pytest.raises(UnsupportedError, match="cannot be fine-tuned"):
        open_client(model="unknown/model").submit("t", Dataset.of(ROWS))


def test_limits_of_what_is_gone_on_from(fake, open_client):
    open_client(model=None, from_checkpoint="ft-abc:3").submit("t", Dataset.of(ROWS))
    assert sent(fake, "limits")[0].first("model_name") == "ft-abc"
    body = sent(fake, "submit")[0].json()
    assert body["from_checkpoint"] == "ft-abc:3"
    assert "model" not in body


def test_an_account_that_may_not_go_on(fake, open_client):
    fake.estimate |= {"allowed_to_proceed": False, "estimated_total_price": 250.0}
    with pytest.raises(QuotaError, match=r"250\.0.*100\.0"):
        open_client().submit("t", Dataset.of(ROWS))
    assert fake.wire.count()["submit"] == 0


def test_the_price(fake, open_client):
    client = open_client(epochs=2)
    client.submit("t", Dataset.of(ROWS))
    adapter, plan = adapter_of(client), client.plan("t", Dataset.of(ROWS))
    uploads = {"train": next(iter(fake.files))}
    assert adapter.estimate(plan, uploads) == 1.5
    asked = sent(fake, "estimate")[-1].json()
    assert asked["n_epochs"] == 2
    assert asked["training_type"]["type"] == "Lora"
    fake.estimate = {"estimation_available": False, "unavailable_reason": "multimodal_dataset"}
    assert adapter.estimate(plan, uploads) is None


# jobs -----------------------------------------------------------------------------------------------------------------


def test_the_tag_stands_in_the_suffix(fake, open_client):
    open_client(name="tickets").submit("t", Dataset.of(ROWS))
    (body,) = [asked.json() for asked in sent(fake, "submit")]
    assert body["suffix"].startswith("tickets-")
    assert len(body["suffix"]) == len("tickets-") + 26
    assert len(suffix("n" * 13, TAG)) == 40
    assert tag_in(suffix("n" * 13, TAG)) == tag_in(TAG) == TAG
    assert tag_in("a-suffix-of-somebody-else") is tag_in(None) is tag_in(f"x{TAG}") is None


@pytest.mark.parametrize("word", STATUSES)
def test_every_status_in_both_cases(word):
    assert snapshot({"id": "ft-1", "status": word}).status is STATUSES[word]
    shouted = snapshot({"id": "ft-1", "status": word.upper()})
    assert shouted.status is STATUSES[word]
    assert shouted.raw_status == word.upper()


def test_statuses_of_the_reference():
    terminal = {word for word, status in STATUSES.items() if status.is_terminal}
    assert terminal == {"completed", "error", "user_error", "cancelled"}
    assert STATUSES["cancel_requested"] is Status.RUNNING
    assert snapshot({"id": "ft-1"}).status is Status.UNKNOWN


@pytest.mark.parametrize("word", ["error", "user_error"])
def test_a_failure_has_the_hosts_words(fake, open_client, word):
    fake.jobs.script[:] = ["pending", word]
    job = open_client().submit("t", Dataset.of(ROWS))
    job.wait(3600)
    assert job.status is Status.FAILED
    assert job.snapshot.message == fake.failure


def test_what_runs_is_compared_with_what_was_asked(fake, open_client):
    fake.changed = {"n_epochs": 1, "learning_rate": 2e-5, "training_type": {"type": "Lora", "lora_r": 8}}
    with pytest.warns(AdaptkitWarning) as warned:
        job = open_client(epochs=3, learning_rate=1e-4, rank=16).submit("t", Dataset.of(ROWS))
    said = " ".join(str(warning.message) for warning in warned)
    assert "epochs = 3" in said
    assert "learning_rate = 0.0001" in said
    assert "rank = 16" in said
    assert "alpha" not in said, "what the host does not repeat is no difference"
    assert len(job.snapshot.notes) == 3


def test_what_was_lost_and_found_is_compared_too(fake, open_client):
    fake.changed = {"n_epochs": 1}
    fake.wire.next("submit", "lost")
    with pytest.warns(AdaptkitWarning, match="epochs = 3"):
        open_client(epochs=3).submit("t", Dataset.of(ROWS))


def test_a_job_that_runs_as_asked_is_not_spoken_of(fake, open_client, recwarn):
    job = open_client(epochs=3, learning_rate=1e-4, batch_size=8, seed=1, max_length=2048).submit("t", Dataset.of(ROWS))
    assert job.snapshot.notes == ()
    assert not [warning for warning in recwarn if issubclass(warning.category, AdaptkitWarning)]


def test_an_early_stop_is_said():
    told = {"id": "ft-1", "status": "completed", "early_stopped": True, "early_stopping_best_step": 30}
    assert "halted at step 30" in snapshot(told).notes[0]
    assert "best of step 30" in snapshot({**told, "early_stopping_best_metric": 0.4}).notes[0]


def test_events_and_figures_are_one_stream(fake, open_client):
    client = open_client()
    job = client.submit("t", Dataset.of(ROWS))
    assert job.wait(36000) is Status.SUCCEEDED
    told = list(job.events())
    assert [event.kind for event in told].count("metrics") == 4
    figures = [event.data for event in told if event.kind == "metrics"]
    assert figures[0] == {"step": 1, "loss": 2.0}
    assert figures[-1] == {"step": 3, "eval/loss": 0.5}
    assert told[-1].data["status"] == "job_complete"
    adapter = adapter_of(client)
    for number, event in enumerate(told):
        assert adapter.events(job.id, event.id) == told[number + 1 :], "a stream goes on after any event"


def test_events_that_come_in_parts_are_each_told_once():
    happened = [{"type": f"E{n}", "created_at": f"2026-01-01T00:00:0{n}Z", "message": str(n)} for n in range(6)]
    rows = [{"train/global_step": float(n), "timestamp": 1767225600.5 + n} for n in range(6)]
    told, after = [], None
    for upto in ((1, 0), (1, 3), (4, 3), (4, 4), (6, 6)):
        new = events(happened[: upto[0]], rows[: upto[1]], after)
        told += new
        after = told[-1].id if told else None
    assert len({event.id for event in told}) == len(told) == 12
    assert [event.id for event in told] == sorted(event.id for event in told)
    assert sum(event.kind == "metrics" for event in told) == 6


def test_checkpoints(fake, open_client):
    client = open_client()
    job = client.submit("t", Dataset.of(ROWS))
    job.wait(36000)
    assert [(kept.step, kept.model_id) for kept in adapter_of(client).checkpoints(job.id)] == [
        (3, f"{job.id}:3"), (6, f"{job.id}:6"),
    ]  # fmt: skip


def test_cancelling_while_it_ends(fake, open_client):
    client = open_client()
    job = client.submit("t", Dataset.of(ROWS))
    adapter = adapter_of(client)
    fake.jobs.tell(job.id, "completed")
    fake.jobs.poll(job.id)
    adapter.cancel(job.id)
    fake.wire.next("cancel", "refused")
    running = client.submit("t", Dataset.of(ROWS), fresh=True)
    with pytest.raises(BackendError):
        adapter.cancel(running.id)


def test_other_keys_go_into_the_request_and_nowhere_else(fake, open_client, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "wandb-canary-key-1234567890")
    monkeypatch.setenv("HF_TOKEN", "hf-canary-key-1234567890")
    client = open_client(wandb={"project": "p"}, hf_token_env="HF_TOKEN")
    plan = client.plan("t", Dataset.of(ROWS))
    job = client.submit("t", Dataset.of(ROWS))
    body = sent(fake, "submit")[0].json()
    assert body["wandb_key"] == body["wandb_api_key"] == "wandb-canary-key-1234567890"
    assert body["hf_api_token"] == "hf-canary-key-1234567890"
    kept = (tmp_path / "home" / "journal.db").read_bytes().decode(errors="replace")
    shown = [repr(plan), json.dumps(dict(plan.request)), str(job.ref), repr(job), kept]
    assert not [text for text in shown if "canary-key" in text]
    job.wait(36000)
    assert any("names no run" in note for note in job.snapshot.notes)


def test_errors_hold_no_key(fake, open_client, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdefghij")  # nothing of it is in the other key

    def echo(asked):
        from adaptkit.testing.wire import Answer

        return Answer({"error": {"message": f"bad request: {asked.content().decode()[-400:]}"}}, 400)

    routes = fake.wire._routes
    for number, route in enumerate(routes):
        if route.operation == "submit":
            routes[number] = type(route)(route.method, route.path, route.operation, echo)
    with pytest.raises(BackendError, match="suffix") as caught:
        open_client(wandb={}).submit("t", Dataset.of(ROWS))
    for text in (str(caught.value), repr(caught.value), pickle.dumps(caught.value).decode(errors="replace")):
        assert "0123456789" not in text
        assert KEY not in text


def test_what_an_account_has(fake, open_client):
    client = open_client(epochs=3, learning_rate=1e-4, rank=8, seed=5)
    job = client.submit("t", Dataset.of(ROWS))
    job.wait(36000)
    open_client(weights="full").submit("t", Dataset.of(ROWS))
    found = adapter_of(client).inventory()
    assert {owned.snapshot.job_id for owned in found.jobs} == set(fake.jobs.all)
    (finished,) = [owned for owned in found.jobs if owned.snapshot.job_id == job.id]
    assert finished.model_id == job.result().ref.id
    assert finished.files == {"train": next(iter(fake.files))}
    again = TogetherConfig(**finished.recipe)
    assert (again.model, again.epochs, again.learning_rate, again.rank, again.seed) == (MODEL, 3, 1e-4, 8, 5)
    assert [model.id for model in found.models] == [job.result().ref.id]
    assert [file.id for file in found.files] == list(fake.files)
    for owned in found.jobs:
        TogetherConfig(**owned.recipe)


# models ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(fake, open_client):
    def tuned(**settings):
        job = open_client(**settings).submit("t", Dataset.of(ROWS))
        return job.result(36000)

    return tuned


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize(("settings", "name"), [
    ({}, "adapter_model.safetensors"), ({"download": "merged"}, "model.safetensors"),
    ({"weights": "full"}, "model.safetensors"),
])  # fmt: skip
def test_weights_are_downloaded(fake, model, tmp_path, settings, name, moved):
    fake.moved = moved
    path = model(**settings).download(tmp_path / "weights")
    assert (path / name).read_bytes() == TENSORS.replace(b'"a"', b'"w"')
    if moved:
        assert "authorization" not in next(asked for op, asked in fake.storage.asked if op == "weights").headers


def test_weights_of_a_step(fake, open_client, tmp_path):
    client = open_client()
    job = client.submit("t", Dataset.of(ROWS))
    job.wait(36000)
    adapter_of(client).download(f"{job.id}:3", tmp_path / "weights")
    assert sent(fake, "download")[-1].first("checkpoint_step") == "3"
    with pytest.raises(NotFoundError):
        adapter_of(client).download("canary/nobody-made-this", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_zstd_weights(fake, model, tmp_path):
    fake.weights["adapter"] = tarred([("adapter_model.safetensors", TENSORS)], "w:zst")
    assert (model().download(tmp_path / "weights") / "adapter_model.safetensors").read_bytes() == TENSORS


def test_hostile_weights_leave_nothing(fake, model, tmp_path):
    tuned = model()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        link = tarfile.TarInfo("adapter_model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    whole = tarred([("adapter_model.safetensors", TENSORS)])
    for content in (tarred([("../../evil", b"x")]), out.getvalue(), whole[: len(whole) // 2], b"<html>"):
        fake.weights["adapter"] = content
        with pytest.raises(ArtifactError):
            tuned.download(tmp_path / "in" / "weights")
        assert not (tmp_path / "in" / "weights").exists()
    fake.storage.url = "http://storage.example.com"
    with pytest.raises(EgressError):
        tuned.download(tmp_path / "in" / "weights")


def test_a_model_is_deleted(fake, model, open_client):
    tuned = model()
    adapter = adapter_of(open_client())
    adapter.delete_model(tuned.ref.id)
    assert fake.wire.count()["delete_model"] == 2
    adapter.delete_model(tuned.ref.id)
    adapter.delete_model("canary/nobody-made-this")
    with pytest.raises(UnsupportedError):
        adapter.delete_model(f"{next(iter(fake.jobs.all))}:3")


def test_a_model_that_needs_a_deployment_gets_one(fake, model):
    fake.serverless = False
    tuned = model()
    with pytest.raises(BackendError, match="dedicated endpoint"):
        tuned.chat("Hello?")
    with tuned.deploy(confirm_spend=True) as running:
        assert running.chat("Hello?").text == "You said: Hello?"
        (made,) = fake.endpoints.deployments.all.values()
        assert made.body["inactiveTimeout"] == 30
        assert made.body["autoscaling"] == {"minReplicas": 1, "maxReplicas": 1}
        assert made.body["config"] == "projects/proj_public/configs/cr_1xnvidia-h100-80gb"
        assert made.body["model"] == f"projects/proj_canary/models/ml_{next(iter(fake.jobs.all))}"
    assert made.word in ("DEPLOYMENT_STATE_STOPPING", "DEPLOYMENT_STATE_STOPPED")


def deploying(open_client, **settings):
    client = open_client(**settings)
    job = client.submit("t", Dataset.of(ROWS))
    return adapter_of(client), job.result(36000).ref.id


def test_the_life_of_a_deployment(fake, open_client):
    adapter, name = deploying(open_client)
    heard = adapter.deploy(name, TAG)
    assert (heard.status, heard.tag, heard.hourly_usd, heard.answers_as) == ("starting", TAG, 3.99, None)
    assert [found.id for found in adapter.find_deployments(TAG)] == [heard.id]
    assert adapter.find_deployments("z" * 26) == []
    assert adapter.deployment(heard.id).status == "starting"
    ready = adapter.deployment(heard.id)
    assert ready.status == "ready"
    assert ready.tag == TAG
    assert ready.answers_as == f"canary/adaptkit-{TAG}/model"
    adapter.undeploy(heard.id)
    assert adapter.deployment(heard.id).status in ("stopping", "stopped")
    adapter.undeploy(heard.id)
    assert fake.endpoints.deployments.all == {}
    assert fake.endpoints.endpoints == {}
    adapter.undeploy(heard.id)
    for missing in (heard.id, "projects/../endpoints/x/deployments/y", "nonsense"):
        with pytest.raises(NotFoundError):
            adapter.deployment(missing)


def test_a_lost_deployment_is_found_and_not_paid_twice(fake, model):
    fake.wire.next("deploy", "lost")
    fake.endpoints.deployments.hidden = 2
    running = model().deploy(confirm_spend=True)
    assert len(fake.endpoints.deployments.all) == 1
    running.stop()


def test_a_fault_before_the_deployment_is_no_doubt(fake, open_client):
    adapter, name = deploying(open_client)
    for operation in ("whoami", "model", "configs", "hardware", "endpoint"):
        fake.wire.next(operation, "failed")
        with pytest.raises(BackendError, match="nothing was deployed") as caught:
            adapter.deploy(name, TAG)
        assert not caught.value.transient
    assert fake.endpoints.deployments.all == {}
    fake.wire.next("deploy", "refused")
    with pytest.raises(BackendError):
        adapter.deploy(name, TAG)
    assert fake.endpoints.endpoints == {}, "an empty endpoint was left"


def test_hardware_that_the_model_does_not_run_on(fake, open_client):
    adapter, name = deploying(open_client, deploy={"hardware": "8xnvidia-t4"})
    with pytest.raises(UnsupportedError, match="1xnvidia-b200-180gb, 1xnvidia-h100-80gb"):
        adapter.deploy(name, TAG)
    fake.endpoints.hardware = {"1xnvidia-h100-80gb": 399, "1xh100-80gb": 1}
    adapter, name = deploying(open_client)
    with pytest.raises(UnsupportedError, match=r"deploy\.config: cr_"):
        adapter.deploy(name, TAG)
    adapter, name = deploying(open_client, deploy={"config": "cr_mine", "project": "proj_other", "min_replicas": 2,
                                                   "max_replicas": 3})  # fmt: skip
    heard = adapter.deploy(name, TAG)
    (made,) = fake.endpoints.deployments.all.values()
    assert made.body["config"] == "projects/proj_other/configs/cr_mine"
    assert heard.hourly_usd == pytest.approx(7.98)


def test_a_step_is_deployed(fake, open_client):
    adapter, _ = deploying(open_client)
    job_id = next(iter(fake.jobs.all))
    adapter.deploy(f"{job_id}:3", TAG)
    (made,) = fake.endpoints.deployments.all.values()
    assert made.body["model"].endswith(f"/ml_{job_id}-3-model")
    with pytest.raises(UnsupportedError, match="nothing in its registry"):
        adapter.deploy(f"{job_id}:4", TAG)


def test_no_zstandard_is_an_error_that_helps(fake, model, tmp_path, monkeypatch):
    import sys

    fake.weights["adapter"] = tarred([("adapter_model.safetensors", TENSORS)], "w:zst")
    tuned = model()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingDependencyError, match="together"):
        tuned.download(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_the_policy_of_the_context_is_kept(tmp_path):
    adapter = TogetherAdapter(TogetherConfig(model=MODEL), Context(tmp_path, Egress.parse(["elsewhere.example.com"])))
    with pytest.raises(EgressError, match=r"api\.together\.ai"):
        adapter.prepare(Dataset.of(ROWS))

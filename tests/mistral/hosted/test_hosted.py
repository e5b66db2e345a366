"""Mistral's former jobs API at a deployment of one's own, and its refusal at Mistral's."""

from __future__ import annotations

import json
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import (
    AdaptkitWarning,
    BackendError,
    BackendRetiredError,
    Client,
    DataError,
    Dataset,
    ServiceError,
    SpendError,
    UnsupportedError,
    registry,
)
from adaptkit.adapter import (
    Context,
    DataFile,
    Plan,
    SupportsArchive,
    SupportsCheckpoints,
    SupportsDeleteData,
    SupportsEstimate,
    SupportsEvents,
    SupportsFigures,
    SupportsFind,
    SupportsInventory,
    SupportsRename,
    SupportsShutdownDate,
    SupportsStart,
    SupportsTrainedTokens,
)
from adaptkit.backends.mistral import MistralConfig
from adaptkit.backends.mistral.hosted import jobs, rows
from adaptkit.backends.mistral.hosted.adapter import HostedAdapter
from adaptkit.backends.mistral.hosted.retired import is_public
from adaptkit.testing import FakeClock, FakeMistralJobs, HastyClock
from adaptkit.testing.contract import AdapterContract
from adaptkit.testing.watch import watched
from adaptkit.types import Status
from tests.mistral.hosted.rig import BASE, KEY, ROWS, config

TAG = "a" + "b2" * 12 + "c"
PUBLIC = (
    None,
    "https://api.mistral.ai",
    "https://API.Mistral.ai:443/v1/",
    "https://api.mistral.ai.",
    "https://api。mistral。ai",
    "https://api.eu.mistral.ai/v1",
    "https://api.us.mistral.ai",
)


class TestContract(AdapterContract):
    """The contract, against the fake."""

    @classmethod
    def start(cls):
        cls.fake = FakeMistralJobs(KEY)

    @classmethod
    def stop(cls):
        cls.fake.close()

    def _config(self, *states):
        self.fake.jobs.script[:] = states
        return config(self.fake, epochs=2, api_key_env="MISTRAL_API_KEY")

    def config(self):
        return self._config("QUEUED", "VALIDATING", "VALIDATED", "QUEUED", "RUNNING", "SUCCESS")

    def long_config(self):
        return self._config("QUEUED", "VALIDATED", "RUNNING")

    def failing_config(self):
        return self._config("QUEUED", "VALIDATED", "RUNNING", "FAILED"), self.fake.failure

    def remote_config(self):
        return MistralConfig(where="hosted", base_url="https://mistral.our.example", model=BASE)

    def say_unknown_status(self, job):
        self.fake.jobs.tell(job.id, "MEDITATING")

    def break_next_poll(self):
        self.fake.wire.next("poll", "lost")

    def clock(self):
        return HastyClock()


def planned(given_rows=ROWS, **settings):
    target = MistralConfig(**{"where": "hosted", "base_url": "https://mistral.our.example", "model": BASE, **settings})
    return HostedAdapter(target, Context("/nowhere")).prepare(Dataset.of(given_rows))


def adapter_of(client):
    return client._target("t")


def sent(fake, operation):
    return [asked for name, asked in fake.wire.asked if name == operation]


def test_powers_and_place():
    target = MistralConfig(where="hosted", model=BASE)
    adapter = registry.adapter_type("mistral")(target, Context("/nowhere"))
    assert type(adapter) is HostedAdapter
    for power in (SupportsStart, SupportsEvents, SupportsFind, SupportsEstimate, SupportsTrainedTokens, SupportsFigures,
                  SupportsInventory, SupportsDeleteData, SupportsRename, SupportsArchive,
                  SupportsShutdownDate):  # fmt: skip
        assert isinstance(adapter, power)
    assert not isinstance(adapter, SupportsCheckpoints), "the protocol keeps no models of earlier steps"
    assert adapter.destinations == ("api.mistral.ai",)


# at Mistral itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", PUBLIC)
def test_mistral_itself_trains_nothing(address, tmp_path, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    target = MistralConfig(where="hosted", model=BASE, **({} if address is None else {"base_url": address}))
    data, retired = Dataset.of(ROWS), pytest.raises(BackendRetiredError, match=r"410 Gone.*2026-07-03")
    with Client(targets={"t": target}, home=tmp_path) as client, watched() as seen:
        adapter = adapter_of(client)
        file = DataFile.of("train", data, "mistral")
        plan = Plan(config=target, files=(file,), request=jobs.body(target), destinations=(), fingerprint="")
        for ask in (
            lambda: client.plan("t", data),
            lambda: client.submit("t", data),
            lambda: client.submit("t", data, budget=5),
            lambda: adapter.upload(file),
            lambda: adapter.submit(plan, {"train": "f"}, TAG),
            lambda: adapter.estimate(plan, {"train": "f"}),
            lambda: adapter.start("j"),
            lambda: adapter.find(TAG),
        ):
            with retired as caught:
                ask()
            assert caught.value.since == "2026-07-03"
            for instead in ('where = "cluster"', "together or fireworks", 'where = "forge"', "base_url"):
                assert instead in str(caught.value)
        assert client.pending() == []
    assert not seen.outside


@given(st.text(alphabet="abcxyz.-:/", max_size=30))
def test_other_hosts_are_not_mistrals(text):
    assert not is_public(f"https://mistral.example/{text}")
    assert not is_public("https://api.mistral.ai.our.example")
    assert not is_public("https://ourapi.mistral.ai")


def test_the_environment_leads_nowhere(fake, hosted, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("MISTRAL_BASE_URL", "MISTRAL_SERVER_URL", "MISTRAL_SA_TOKEN_PATH"):
        monkeypatch.setenv(name, "https://api.mistral.ai")
    job = hosted().submit("t", Dataset.of(ROWS))
    assert job.result(36000).chat("Hello?").text == "HELLO?"


def test_no_redirect_is_followed(fake, hosted):
    for operation in ("upload", "submit", "start"):
        fake.wire.next(operation, "redirect")
        with pytest.raises(BackendError, match="redirect"):
            hosted().submit("t", Dataset.of(ROWS))
    assert fake.wire.leaked == []
    assert sum(fake.begun.values()) == 0


# what is asked for ----------------------------------------------------------------------------------------------------


def test_the_request_leaves_nothing_to_the_deployment():
    assert dict(planned().request) == {
        "model": BASE, "job_type": "completion", "auto_start": False, "invalid_sample_skip_percentage": 0,
        "hyperparameters": {"epochs": 1, "learning_rate": 1e-4, "weight_decay": 0.1, "warmup_fraction": 0.05},
    }  # fmt: skip
    full = planned(training_steps=50, learning_rate=1e-5, weight_decay=0.0, warmup_fraction=0.0, sequence_length=4096,
                   fim_ratio=0.5, name="desk")  # fmt: skip
    assert full.request["hyperparameters"] == {
        "training_steps": 50, "learning_rate": 1e-5, "weight_decay": 0.0, "warmup_fraction": 0.0, "seq_len": 4096,
        "fim_ratio": 0.5,
    }  # fmt: skip
    assert full.request["suffix"] == "desk"
    assert full.destinations == ("mistral.our.example",)


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(UnsupportedError) as caught:
        planned(model=MistralConfig.model_fields["model"].default, name="too long a name", epochs=1, training_steps=2,
                learning_rate=1e-9)  # fmt: skip
    for field in ("model:", "name:", "training_steps:", "learning_rate:"):
        assert field in str(caught.value)


def tool_row(*, call_id="abcDEF123", name="look_up", content=None, declared="look_up", answer_id=None):
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "tool_calls": [call], **({} if content is None else {"content": content})},
        {"role": "tool", "tool_call_id": answer_id or call_id, "content": "there"},
        {"role": "assistant", "content": "There."},
    ]
    tool = {"type": "function", "function": {"name": declared, "description": "d", "parameters": {"type": "object"}}}
    return {"messages": turns, "tools": [tool]}


@pytest.mark.parametrize(("row", "rule"), [
    (tool_row(call_id="abc"), "mistral-call-id"), (tool_row(call_id="abcdef_12"), "mistral-call-id"),
    (tool_row(content="Wait."), "mistral-call"), (tool_row(name="look up", declared="look up"), "mistral-function"),
    (tool_row(declared="other"), "mistral-undeclared"),
    ({"text": "Once upon a time."}, None),
    ({"messages": [{"role": "developer", "content": "x"}, *ROWS[0]["messages"]]}, "cannot-express"),
    ({"messages": ROWS[0]["messages"][:1]}, "no-answer"),
])  # fmt: skip
def test_rows_that_the_pages_forbid(row, rule):
    with pytest.raises(DataError) as caught:
        planned([*ROWS, row])
    assert {problem.line for problem in caught.value.problems if problem.severity == "error"} == {len(ROWS) + 1}
    assert rule is None or rule in {problem.rule for problem in caught.value.problems}


def test_rows_with_tools_arrive(fake, hosted):
    hosted().submit("t", Dataset.of([*ROWS, tool_row()]))
    ((_, content),) = fake.files.values()
    sent_rows = [json.loads(line) for line in content.splitlines()]
    assert sent_rows[0] == ROWS[0]
    assert sent_rows[-1]["messages"][1]["tool_calls"][0]["id"] == "abcDEF123"


def test_held_out_data_is_small_and_other(tmp_path, monkeypatch):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps(ROWS[0]))
    with pytest.raises(UnsupportedError, match="5 % of the"):
        planned(validation=str(held_out))
    many = ROWS * 10
    assert [file.purpose for file in planned(many, validation=str(held_out)).files] == ["train", "validation"]
    held_out.write_text("\n".join(map(json.dumps, many)))
    with pytest.raises(UnsupportedError, match="hold other examples out"):
        planned(many, validation=str(held_out))
    monkeypatch.setattr(rows, "LARGEST", 100)
    with pytest.raises(UnsupportedError, match="100 at most"):
        planned()


# files ----------------------------------------------------------------------------------------------------------------


def test_the_answer_to_an_upload_may_have_no_size(fake, hosted):
    fake.sizeless = True
    hosted().submit("t", Dataset.of(ROWS))
    assert list(fake.begun.values()) == [1]


def test_a_file_that_arrived_in_part_is_not_trained_on(fake, hosted, monkeypatch):
    upload = fake._upload
    routes = fake.wire._routes
    at = next(number for number, route in enumerate(routes) if route.operation == "upload")
    kind = type(routes[at])

    def less(asked):
        answer = upload(asked)
        return type(answer)({**answer.body, "bytes": answer.body["bytes"] - 1})

    routes[at] = kind("POST", "/v1/files", "upload", less)
    with pytest.raises(ServiceError, match="bytes of a file of"):
        hosted().submit("t", Dataset.of(ROWS))
    assert fake.jobs.all == {}


def test_a_file_that_is_too_large_there(fake, hosted, monkeypatch):
    monkeypatch.setattr("adaptkit.testing.mistral_jobs._LARGEST", 100)
    with pytest.raises(BackendError, match="train on less of it") as caught:
        hosted().submit("t", Dataset.of(ROWS))
    assert caught.value.status_code == 413
    assert fake.jobs.all == {}


def test_data_is_deleted(fake, hosted):
    client = hosted()
    job = client.submit("t", Dataset.of(ROWS))
    job.wait(36000)
    (file_id,) = fake.files
    assert job.delete_data() == [file_id]
    assert fake.files == {}
    adapter_of(client).delete_data(file_id)
    assert not adapter_of(client).has_upload(file_id)


# jobs that are there --------------------------------------------------------------------------------------------------


@given(st.text("abcxyz0189", min_size=26, max_size=26), st.none() | st.text("abc-", min_size=1, max_size=7))
def test_the_tag_survives_in_a_suffix(tag, name):
    carried = jobs.suffix(name, tag)
    assert len(carried) == 18
    kept = carried if name is None else carried.removeprefix(f"{name}-")
    assert tag.startswith(kept)
    assert len(kept) >= 10


def test_a_job_is_found_among_others(fake, hosted):
    for name in (None, "desk"):
        client = hosted(name=name) if name else hosted()
        fake.wire.next("submit", "lost")
        fake.jobs.hidden = 1
        job = client.submit("t", Dataset.of(ROWS))
        assert fake.jobs.all[job.id].tag.startswith(f"{name}-" if name else "")
    assert len(fake.jobs.all) == 2
    assert sorted(fake.begun.values()) == [1, 1]


def test_a_list_that_heeds_no_filter_finds_no_other_job(fake, hosted):
    fake.filters = False
    first = hosted().submit("t", Dataset.of(ROWS))
    adapter = adapter_of(hosted())
    assert list(adapter.find(TAG)) == []
    fake.wire.next("submit", "lost")
    second = hosted().submit("t", Dataset.of(ROWS), fresh=True)
    assert first.id != second.id
    assert len(fake.jobs.all) == 2


def test_another_job_of_the_same_data_is_in_the_way(fake, hosted):
    fake.strict = True
    client = hosted()
    first = client.submit("t", Dataset.of(ROWS))
    with pytest.raises(BackendError, match=rf"{first.id} \(RUNNING\)") as caught:
        client.submit("t", Dataset.of(ROWS), fresh=True)
    assert caught.value.status_code == 409
    assert not caught.value.transient
    first.wait(36000)
    client.submit("t", Dataset.of(ROWS), fresh=True)
    assert len(fake.jobs.all) == 2


def test_a_conflict_with_itself_is_the_job(fake, hosted):
    """The answer is lost, the job is slow to be listed, and the second request meets the first's job."""
    fake.strict, fake.jobs.hidden = True, 6
    fake.wire.next("submit", "lost")
    hosted().submit("t", Dataset.of(ROWS))
    assert len(fake.jobs.all) == 1
    assert fake.wire.count()["submit"] == 2
    assert list(fake.begun.values()) == [1]


def test_what_the_deployment_changes_is_said(fake, hosted):
    fake.changed = {"learning_rate": 5e-5}
    with pytest.warns(AdaptkitWarning, match="learning_rate = 0.0001 was asked for"):
        hosted().submit("t", Dataset.of(ROWS))


def test_what_happened_and_what_was_measured(fake, hosted):
    client = hosted()
    job = client.submit("t", Dataset.of(ROWS))
    job.wait(36000)
    told = list(job.events())
    assert [event.kind for event in told].count("metrics") == 3
    assert {"step": 2, "loss": 1.0, "eval_token_accuracy": 0.5} in [event.data for event in told]
    assert [event.data["status"] for event in told if event.kind == "status"] == [
        "queued", "queued", "running", "succeeded",
    ]  # fmt: skip
    adapter = adapter_of(client)
    for number, event in enumerate(told):
        assert adapter.events(job.id, event.id) == told[number + 1 :], "a stream goes on after any event"
    assert [row["step"] for row in job.figures()] == [1, 2, 3]
    assert adapter.trained_tokens(job.id) == 1310720
    assert job.cost().seconds == pytest.approx(3.0), "from the beginning of the run to its last checkpoint"


def test_what_an_account_has(fake, hosted):
    client = hosted(training_steps=20, learning_rate=1e-5, name="desk")
    job = client.submit("t", Dataset.of(ROWS))
    model = job.result(36000)
    found = client.inventory("t")
    (owned,) = found.jobs
    assert (owned.snapshot.job_id, owned.model_id) == (job.id, model.id)
    again = MistralConfig(**owned.recipe)
    assert (again.model, again.training_steps, again.learning_rate) == (BASE, 20, 1e-5)
    assert again.base_url == fake.wire.url
    assert owned.files == {"train": next(iter(fake.files))}
    assert [file.id for file in found.files] == list(fake.files)
    assert [each.id for each in found.models] == [model.id]
    for _ in range(150):
        fake.jobs.add("other", fake.jobs.all[job.id].body)
    assert len(client.inventory("t").jobs) == 151, "a page was left out"


def test_cancelling_what_has_ended(fake, hosted):
    fake.jobs.script[:] = ["QUEUED", "VALIDATED", "RUNNING"]
    client = hosted()
    job = client.submit("t", Dataset.of(ROWS))
    fake.jobs.tell(job.id, "FAILED")
    fake.jobs.poll(job.id)
    adapter_of(client).cancel(job.id)
    fake.wire.next("cancel", "refused")
    other = client.submit("t", Dataset.of(ROWS), fresh=True)
    with pytest.raises(BackendError):
        adapter_of(client).cancel(other.id)


# money ----------------------------------------------------------------------------------------------------------------


def test_a_budget_is_met_by_what_the_deployment_says(fake, hosted):
    with pytest.raises(SpendError, match=r"\$4\.00 \(by the host itself\)"):
        hosted().submit("t", Dataset.of(ROWS), budget=3)
    assert fake.jobs.all == {}
    hosted().submit("t", Dataset.of(ROWS), budget=5)
    assert list(fake.begun.values()) == [1]


@pytest.mark.parametrize("cost", [{"cost": 10.0, "cost_currency": "EUR"}, {"cost": 10.0, "cost_currency": None}, {}])
def test_only_dollars_are_dollars(fake, hosted, cost):
    fake.cost = cost
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(SpendError, match="the host does not say"):
            hosted().submit("t", Dataset.of(ROWS), budget=100)
    assert any("only US dollars" in str(warning.message) for warning in said) == bool(cost)
    assert fake.jobs.all == {}


def test_a_dry_run_that_makes_a_job_leaves_none(fake, hosted):
    fake.dry = False
    fake.strict = True
    job = hosted().submit("t", Dataset.of(ROWS), budget=5)
    made = {each.id: each.word for each in fake.jobs.all.values()}
    (other,) = set(made) - {job.id}
    assert made[other] in ("CANCELLATION_REQUESTED", "CANCELLED")
    assert fake.begun == {job.id: 1}


def test_a_deployment_that_has_retired_its_jobs_too(monkeypatch, tmp_path):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    service = FakeMistralJobs(KEY, has_jobs=False)
    with (
        Client(targets={"t": config(service)}, home=tmp_path, clock=FakeClock(time.time())) as client,
        pytest.raises(BackendRetiredError),
    ):
        client.submit("t", Dataset.of(ROWS))
    service.close()
    assert service.wire.count()["jobs"] == 1
    assert Status.SUCCEEDED not in {run.status for run in client.pending()}

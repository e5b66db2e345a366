"""The contract that every adaptkit backend keeps, on this one."""

from typing import ClassVar

from adaptkit_ngram import NgramConfig

from adaptkit import Client, Dataset
from adaptkit.testing.contract import AdapterContract


class TestNgram(AdapterContract):
    gaps: ClassVar[dict[str, str]] = {
        "test_unknown_status_does_not_crash": "a job is born finished and has one status",
        "test_failure_carries_the_services_words": "counting words does not fail once the data is accepted",
        "test_transient_poll_error_keeps_the_status": "a finished job is not polled again",
    }

    def config(self):
        return NgramConfig()


def test_it_learned_something(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "the parcel is on its way"}]}
    ]
    client = Client(targets={"small": NgramConfig()}, home=tmp_path)
    assert client.submit("small", Dataset.of(rows)).result().chat("Where?").text == "the parcel is on its way"

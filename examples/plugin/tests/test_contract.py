from typing import ClassVar

from adaptkit_echo import EchoConfig

from adaptkit import Client, Dataset
from adaptkit.testing.contract import AdapterContract


class TestEcho(AdapterContract):
    gaps: ClassVar = {
        "test_failure_carries_the_services_words": "counting words that have been checked does not fail",
        "test_unknown_status_does_not_crash": "a job has one state, and it is known",
        "test_transient_poll_error_keeps_the_status": "a poll looks at a file and asks no network",
    }

    def config(self):
        return EchoConfig()


def test_it_answers_what_it_learned(tmp_path):
    data = Dataset.of(
        {"messages": [{"role": "user", "content": f"Where is the {what}?"}, {"role": "assistant", "content": answer}]}
        for what, answer in {"parcel": "In the hall.", "key": "Under the mat."}.items()
    )
    with Client(targets={"t": EchoConfig()}, home=tmp_path) as client:
        model = client.submit("t", data).result()
        assert model.chat("Where is the parcel?").text == "In the hall."
        assert model.chat("Where is the key?").text == "Under the mat."
        assert model.chat("Where is the key?", max_tokens=1).finish_reason == "length"

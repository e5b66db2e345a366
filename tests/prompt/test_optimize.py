"""Instructions are searched for by a real worker, at a service on a real socket, and killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adaptkit import Client, Dataset, JobFailed, SpendError, Status, UnsupportedError
from adaptkit.backends.local_jobs.job import Job
from adaptkit.backends.prompt.adapted import AdaptedModel, Provenance, Question
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.prompt.division import examples_of, parts
from adaptkit.backends.prompt.searching import report as report_on
from adaptkit.backends.prompt.trials import Spent

pytest.importorskip("gepa")

DESKS = {"card": "CARDS", "parcel": "POST", "refund": "MONEY", "invoice": "BILLS"}
SAYINGS = ["My {} is gone", "Where is the {}?", "I never got the {}", "The {} is wrong", "Is there news of the {}?",
           "Please look at my {}", "A question about a {}", "That {} again", "You lost my {}", "Still no {}!",
           "What about the {}?", "The {} was promised", "Send me the {}", "Who has my {}?", "No {} came"]  # fmt: skip
ROWS = [
    {"messages": [{"role": "user", "content": saying.format(word)}, {"role": "assistant", "content": desk}]}
    for word, desk in DESKS.items()
    for saying in SAYINGS
]


class Service:
    """Knows the desk of a word only where the instructions name it; asked to reflect, it adds what it is shown."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.reflected: list[str] = []
        self.refuse = False
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, said = service.answer(body["messages"])
                choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                answer = {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, messages: list[dict[str, str]]) -> tuple[int, str]:
        text = messages[-1]["content"]
        with self.lock:
            if self.refuse:
                return 401, ""
            if "write a new instruction" in text:
                self.reflected.append(text)
                return 200, self.better(text)
            self.asked.append(text)
        time.sleep(0.002)
        told = messages[0]["content"] if messages[0]["role"] == "system" else ""
        word = next((word for word in DESKS if word in text), "")
        return 200, DESKS[word] if f"{word} goes to {DESKS[word]}" in told else "I do not know."

    def better(self, text: str) -> str:
        now = text.split("```")[1].strip()
        shown = dict(
            re.findall(r"user: [^\n]*?(card|parcel|refund|invoice).*?must be exactly '(\w+)'", text, re.DOTALL)
        )
        return "```\n" + "\n".join([now, *(f"{word} goes to {desk}" for word, desk in shown.items())]) + "\n```"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


def opened(service: Service, home: Path, calls: int = 400, **optimize: object) -> Client:
    table = {
        "backend": "prompt",
        "model": "large",
        "base_url": service.url,
        "instructions": "Name the desk.",
        "examples": 0,
        "optimize": {"budget": {"calls": calls}, **optimize},
    }
    return Client(targets={"t": table}, home=home)


def test_instructions_get_better_and_are_reported_on_rows_that_nobody_looked_at(service, tmp_path):
    data = Dataset.of(ROWS)
    with opened(service, tmp_path) as client:
        job = client.submit("t", data)
        assert job.status in (Status.QUEUED, Status.RUNNING)
        told = list(job.events())
        model = job.result(60)
        assert model.chat("Where is the parcel?").text == "POST"
        again = client.submit("t", data)
        assert (again.id, again.reused) == (job.id, True)
    adapted = AdaptedModel.load(Path(model.id))
    assert adapted.instructions.startswith("Name the desk.")
    assert "parcel goes to POST" in adapted.instructions
    (score,) = adapted.scores
    assert (score.metric, score.value) == ("exact_match", 1.0)
    assert 0.7 < score.low < score.high == 1.0
    figures = [event.data for event in told if event.kind == "metrics"]
    assert figures[0]["score"] == 0.0
    assert (figures[-1]["before"], figures[-1]["after"]) == (0.0, 1.0)
    assert all(figure["step"] <= figure["total_steps"] == 400 for figure in figures)
    report = {example.question[0].text for example in examples_of(parts(data, None, 0)[2])}
    assert score.rows == len(report)
    first = min(at for at, text in enumerate(service.asked) if text in report)
    assert set(service.asked[first:]) <= report | {"Where is the parcel?"}, "reported on before the end"
    assert not any(text in prompt for text in report for prompt in service.reflected)
    choose = {example.question[0].text for example in examples_of(parts(data, None, 0)[1])}
    assert not any(text in prompt for text in choose for prompt in service.reflected)


@pytest.mark.parametrize("calls", [100, 140])
def test_the_budget_is_kept(service, tmp_path, calls):
    with opened(service, tmp_path, calls) as client:
        model = client.submit("t", Dataset.of(ROWS)).result(60)
    assert len(service.asked) + len(service.reflected) <= calls
    assert AdaptedModel.load(Path(model.id)).scores


def test_a_killed_worker_is_replaced_and_asks_nothing_twice(service, tmp_path):
    data = Dataset.of(ROWS)
    with opened(service, tmp_path / "quiet") as client:
        undisturbed = AdaptedModel.load(Path(client.submit("t", data).result(60).id))
    calls = len(service.asked) + len(service.reflected)
    service.asked.clear()
    service.reflected.clear()
    kills = 0
    with opened(service, tmp_path / "killed") as client:
        job = client.submit("t", data)
        for limit in (30, 70, 120):
            while len(service.asked) < limit and not job.refresh().is_terminal:
                time.sleep(0.01)
            worker = Job(tmp_path / "killed" / "prompt", job.id).state.worker
            if worker and not job.refresh().is_terminal:
                os.kill(int(str(worker).split(":")[2]), signal.SIGKILL)
                kills += 1
                while job.refresh() is not Status.PAUSED:
                    time.sleep(0.01)
                assert client.submit("t", data).id == job.id
        model = job.result(60)
        steps = [event.data["step"] for event in job.events() if event.kind == "metrics"]
    assert kills
    assert AdaptedModel.load(Path(model.id)) == undisturbed
    assert len(service.asked) + len(service.reflected) <= calls + 8 * kills, "only what was under way is asked again"
    assert steps == sorted(set(steps)), "told twice"


def test_a_search_can_be_cancelled(service, tmp_path):
    with opened(service, tmp_path) as client:
        job = client.submit("t", Dataset.of(ROWS))
        while not service.asked:
            time.sleep(0.01)
        job.cancel()
        assert job.wait(60) is Status.CANCELLED


def test_a_service_that_says_no_ends_it_with_its_words(service, tmp_path):
    service.refuse = True
    with opened(service, tmp_path) as client:
        job = client.submit("t", Dataset.of(ROWS))
        with pytest.raises(JobFailed, match="does not accept the key"):
            job.result(60)


def test_what_cannot_be_searched_is_refused_before_anything_is_asked(service, tmp_path):
    for settings, words in (
        ({"calls": 20}, r"budget.calls = 20: with \d+ rows"),
        ({"budget": {"calls": 400, "usd": 1.0}}, "no price is known of large"),
    ):
        with opened(service, tmp_path, **settings) as client, pytest.raises(UnsupportedError, match=words):
            client.plan("t", Dataset.of(ROWS))
    assert service.asked == []


def test_the_validation_file_is_what_is_reported_on(service, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    Dataset.of(ROWS[::5]).write(held_out)
    with Client(
        targets={
            "t": {
                "backend": "prompt", "model": "large", "base_url": service.url, "examples": 0,
                "instructions": "Name the desk.", "validation": str(held_out),
                "optimize": {"metric": "contains", "budget": {"calls": 300}},
            }
        },
        home=tmp_path / "home",
    ) as client:  # fmt: skip
        model = client.submit("t", Dataset.of([row for row in ROWS if row not in ROWS[::5]])).result(60)
    (score,) = AdaptedModel.load(Path(model.id)).scores
    assert (score.metric, score.rows) == ("contains", len(ROWS[::5]))


def test_files_named_from_here_are_found_by_the_worker(service, tmp_path, monkeypatch):
    (tmp_path / "desks.txt").write_text("Every word has a desk.")
    monkeypatch.chdir(tmp_path)
    for how in ("corpus", "documents"):
        table = {
            "backend": "prompt", "model": "large", "base_url": service.url, "instructions": "Name the desk.",
            "examples": 0, how: ["desks.txt"], "optimize": {"budget": {"calls": 400}},
        }  # fmt: skip
        with Client(targets={"t": table}, home=tmp_path / how) as client:
            assert client.submit("t", Dataset.of(ROWS)).wait(60) is Status.SUCCEEDED


def test_a_budget_that_does_not_last_to_the_report_is_said():
    class Poor:
        def judge(self, adapted, examples):
            raise Spent

    seed = AdaptedModel.of(model="large", data=Provenance(fingerprint="", rows=0), segments=(Question(),))
    with pytest.raises(SpendError, match="Raise it"):
        report_on(Poor(), PromptConfig(optimize={}), [seed], [])


def test_no_question_lies_in_a_readable_place(service, tmp_path):
    with opened(service, tmp_path) as client:
        job = client.submit("t", Dataset.of(ROWS))
        job.result(60)
    folder = tmp_path / "prompt" / "jobs" / job.id
    for file in folder.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
        if file.is_file():
            assert b"Where is the" not in file.read_bytes(), file

"""Many questions to one model: in order, each paid for once, one failure not another's."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from adaptkit import AsyncClient, AuthenticationError, ConfigError, DataError, Dataset, RateLimitError
from adaptkit.errors import BackendError, ServiceError
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from tests.core.conftest import data

QUESTIONS = [f"question {number}" for number in range(40)]


@pytest.fixture
def asked(open_client):
    """A client and a model whose service does what it is told: gets the text and the turn, answers or raises."""

    def opened(answer=lambda text, turn: None, **settings):
        client = open_client(**settings)
        model = client.submit("t", data()).result()
        adapter, heard, lock = client._target("t"), [], threading.Lock()
        chat = adapter.chat

        def listened(model_id, messages, options):
            text = messages[-1].text
            with lock:
                turn = heard.count(text)
                heard.append(text)
            error = answer(text, turn)
            if error is not None:
                raise error
            return chat(model_id, messages, options)

        adapter.chat = listened
        return client, model, heard

    return opened


def texts(answers):
    return [answer.reply.text if answer.reply else type(answer.error) for answer in answers]


def test_answers_come_in_order_and_are_asked_once(asked):
    client, model, heard = asked(lambda text, turn: time.sleep(0.03 if text.endswith("3") else 0.0))
    answers = list(client.map(model, QUESTIONS))
    assert texts(answers) == [f"You said: {text}" for text in QUESTIONS]
    assert [answer.number for answer in answers] == list(range(40))
    assert sorted(heard) == sorted(QUESTIONS)
    again = list(client.map(str(model.ref), QUESTIONS))
    assert texts(again) == texts(answers)
    assert all(answer.reused for answer in again)
    assert len(heard) == 40
    assert len(list(client.map(model, QUESTIONS, fresh=True))) == 40
    assert len(heard) == 80


def test_another_way_of_asking_is_another_question(asked):
    client, model, heard = asked()
    list(client.map(model, ["one two three"]))
    (short,) = client.map(model, ["one two three"], max_tokens=2)
    assert short.reply.text == "You said:"
    assert len(heard) == 2


def test_as_many_at_a_time_as_is_said_and_no_more_read_than_needed(asked):
    running, most, read, lock = 0, 0, [], threading.Lock()

    def slow(text, turn):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    def endless():
        number = 0
        while True:
            read.append(number)
            yield f"question {number}"
            number += 1

    client, model, _ = asked(slow)
    answers = client.map(model, endless(), concurrency=5)
    for _ in range(20):
        next(answers)
    answers.close()
    assert most == 5
    assert len(read) <= 20 + 10


def test_rows_are_asked_up_to_their_last_answer(asked):
    client, model, heard = asked()
    rows = Dataset.of(
        [
            {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "secret"}]},
            {"messages": [{"role": "user", "content": "two"}]},
        ]
    )
    assert texts(client.map(model, rows)) == ["You said: one", "You said: two"]
    assert heard == ["one", "two"]
    (answer,) = client.map(model, Dataset.of([{"text": "no question"}]))
    assert isinstance(answer.error, DataError)


def test_one_that_fails_fails_alone_and_is_asked_again_next_time(asked):
    broken = {"question 3", "question 7"}

    def answer(text, turn):
        return BackendError("this one is not liked") if text in broken else None

    client, model, heard = asked(answer)
    answers = list(client.map(model, QUESTIONS))
    assert [answer.number for answer in answers if answer.error] == [3, 7]
    broken.clear()
    heard.clear()
    assert not any(answer.error for answer in client.map(model, QUESTIONS))
    assert sorted(heard) == ["question 3", "question 7"]


def test_what_is_transient_is_tried_again(asked):
    client, model, heard = asked(lambda text, turn: ServiceError("busy") if turn < 3 else None)
    assert texts(client.map(model, QUESTIONS[:3])) == [f"You said: {text}" for text in QUESTIONS[:3]]
    assert len(heard) == 12


def test_what_would_fail_every_question_ends_it_and_loses_nothing(asked):
    locked = True

    def answer(text, turn):
        return AuthenticationError("the key is not valid") if locked and text == "question 20" else None

    client, model, heard = asked(answer)
    got = []
    with pytest.raises(AuthenticationError):
        got.extend(client.map(model, QUESTIONS, concurrency=2))
    assert len(heard) < 40
    locked = False
    before = set(heard) - {"question 20"}
    answers = list(client.map(model, QUESTIONS))
    assert len(answers) == 40
    assert {f"question {answer.number}" for answer in answers if answer.reused} >= before - set(QUESTIONS[19:])


def test_a_rate_limit_holds_all_workers(asked, clock):
    limited, early = [], []

    def answer(text, turn):
        now = clock.monotonic()
        if not limited:
            limited.append(now)
            return RateLimitError("slow down", retry_after=30.0)
        if round(now - limited[0], 6) < 30.0:
            early.append(text)
        return None

    client, model, _ = asked(answer)
    assert not any(answer.error for answer in client.map(model, QUESTIONS, concurrency=4))
    assert round(clock.monotonic() - limited[0], 6) >= 30.0
    assert len(early) <= 6, "those on their way when the service said it, and hardly more"


def test_a_rate_limit_for_ever_is_an_error_of_the_question(asked):
    client, model, heard = asked(lambda text, turn: RateLimitError("slow down", retry_after=1.0))
    (answer,) = client.map(model, ["one"])
    assert isinstance(answer.error, RateLimitError)
    assert 1 < len(heard) < 100
    (answer,) = client.map(asked(lambda text, turn: RateLimitError("tomorrow", retry_after=9999.0))[1], ["one"])
    assert isinstance(answer.error, RateLimitError)


def test_no_worker_at_all(asked):
    client, model, _ = asked()
    with pytest.raises(ConfigError, match="concurrency is 0"):
        client.map(model, ["one"], concurrency=0)


def test_no_question_is_kept_and_no_other_may_read(asked):
    client, model, _ = asked(reply="fine")
    list(client.map(model, ["marker-question-77"]))
    file = client.home / "answers.db"
    assert b"marker-question-77" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_file_says_what_to_do(asked):
    client, model, heard = asked()
    (client.home / "answers.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Exception, match="Move the file away"):
        list(client.map(model, ["one"]))
    assert heard == []


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_with_await(service, tmp_path, loop):
    if loop == "trio":
        pytest.importorskip("trio")

    async def main():
        targets = {"t": ScriptedConfig(service=service.name)}
        async with AsyncClient(targets=targets, home=tmp_path, clock=FakeClock()) as client:
            model = await (await client.submit("t", data())).result()
            got = [answer.reply.text async for answer in client.map(model, QUESTIONS, concurrency=4)]
            assert got == [f"You said: {text}" for text in QUESTIONS]
            answers = client.map(model, QUESTIONS)
            assert (await anext(answers)).reused
            await answers.aclose()

    anyio.run(main, backend=loop)


SCRIPT = """
import sys
from adaptkit import Client
from adaptkit.testing import ScriptedConfig
from tests.core.conftest import data
with Client(targets={"t": ScriptedConfig(service=sys.argv[1], latency=0.01)}, home=sys.argv[2]) as client:
    model = client.submit("t", data()).result()
    for answer in client.map(model, [f"question {n}" for n in range(200)], concurrency=2):
        print(answer.number, answer.reused, flush=True)
"""


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    service = ScriptedService(tmp_path / "service.db")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "service.db"), str(tmp_path / "home")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as first:
        for line in first.stdout:
            if line.startswith("50 "):
                os.kill(first.pid, signal.SIGKILL)
                break
    asked_before = service.requests()["chat"]
    assert 50 <= asked_before < 200
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    lines = done.stdout.splitlines()
    assert len(lines) == 200
    assert all(line.endswith("True") for line in lines[:50])
    assert service.requests()["chat"] <= 200 + 4, "those under way when it was killed, and no others, are asked twice"
    service.close()

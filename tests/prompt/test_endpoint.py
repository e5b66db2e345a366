"""OpenAI's chat wire over real sockets: what is sent, what comes back, and every way it goes wrong."""

from __future__ import annotations

import json
import logging
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from adaptkit import (
    AuthenticationError,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServiceError,
    Usage,
)
from adaptkit.http import Egress, client, translating
from tests.prompt.conftest import KEY
from tests.prompt.server import Answer, ChatServer, completion, events, piece

QUESTION = "The thing I ordered has not come to me"


def refusal(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    error = {"message": message, "type": "some_error", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": error}).encode(), named)


def test_a_question_goes_out_behind_instructions_and_examples(model, server):
    reply = model.chat(QUESTION, max_tokens=9, temperature=0.5, seed=3, stop=("\n",))
    assert reply.text == QUESTION.upper()
    assert reply.usage == Usage(input_tokens=6, output_tokens=7)
    assert reply.finish_reason == "stop"
    (heard,) = server.requests
    assert heard.path == "/v1/chat/completions"
    assert heard.headers["Authorization"] == f"Bearer {KEY}"
    roles = [message["role"] for message in heard.body["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert heard.body["messages"][0]["content"] == "Name the desk."
    assert {heard.body["messages"][at]["content"] for at in (2, 4)} == {"cards", "parcels"}
    rest = {key: value for key, value in heard.body.items() if key != "messages"}
    assert rest == {"model": "large", "max_tokens": 9, "temperature": 0.5, "seed": 3, "stop": ["\n"]}


def test_nothing_is_sent_that_was_not_asked_for(model, server):
    model.chat(QUESTION)
    assert set(server.requests[0].body) == {"model", "messages"}


def test_a_stream_is_what_chat_says(model, server):
    pieces = list(model.stream(QUESTION))
    assert len(pieces) > 5
    assert "".join(pieces) == model.chat(QUESTION).text
    assert server.requests[0].body["stream"] is True


def test_a_closed_stream_leaves_the_model_usable(model):
    stream = model.stream(QUESTION)
    next(stream)
    stream.close()
    assert model.chat("again").text == "AGAIN"


def test_many_conversations_are_answered_in_order(model):
    assert [reply.text for reply in model.generate(["one", "two", "three"])] == ["ONE", "TWO", "THREE"]


def test_a_word_that_nobody_knows_is_carried(model, server):
    server.next(completion({"content": "x"}, "content_filter_2031"), completion({"content": "x"}, None))
    assert model.chat("a").finish_reason == "content_filter_2031"
    assert model.chat("a").finish_reason == "unknown"


def test_what_services_add_does_no_harm(model, server):
    server.next(
        completion({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "refusal": None})
    )
    assert model.chat("a").text == "ab"


def test_tool_calls_are_read(model, server):
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}]
    server.next(completion({"content": None, "tool_calls": calls}, "tool_calls"))
    reply = model.chat("a")
    assert (reply.text, reply.tool_calls[0].name, reply.tool_calls[0].arguments) == ("", "look", {"x": 1})
    calls[0]["function"]["arguments"] = "{"
    server.next(completion({"content": None, "tool_calls": calls}, "tool_calls"))
    with pytest.raises(ServiceError, match="no JSON object"):
        model.chat("a")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(400, "maximum context length is 4096"), BackendError),
        (refusal(401), AuthenticationError),
        (refusal(402), QuotaError),
        (refusal(403), PermissionDeniedError),
        (refusal(404, "there is no model large"), NotFoundError),
        (refusal(408), ServiceError),
        (refusal(409), ServiceError),
        (refusal(410), NotFoundError),
        (refusal(422), BackendError),
        (refusal(429), RateLimitError),
        (refusal(429, code="insufficient_quota"), QuotaError),
        (refusal(500), ServiceError),
        (refusal(529), ServiceError),
    ],
)
def test_refusals(model, server, answer, kind):
    for ask in (model.chat, lambda question: list(model.stream(question))):
        server.next(answer)
        with pytest.raises(BackendError) as caught:
            ask(QUESTION)
        assert type(caught.value) is kind
        assert caught.value.status_code == answer.status
        assert caught.value.backend == "prompt"
        assert json.loads(answer.body)["error"]["message"] in str(caught.value)


@pytest.mark.parametrize("shape", [{"error": "Words"}, {"message": "Words"}, {"detail": "Words"}, "Words"])
def test_the_words_of_other_shapes(model, server, shape):
    server.next(Answer(400, json.dumps(shape).encode()))
    with pytest.raises(BackendError, match="Words"):
        model.chat("a")


def test_the_request_id_is_told(model, server):
    server.next(refusal(500, x_request_id="req_123"))
    with pytest.raises(ServiceError, match="req_123") as caught:
        model.chat("a")
    assert caught.value.request_id == "req_123"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "Retry_After": "2"}, 1.5),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-3"}, None),
        ({"Retry_After": "inf"}, None),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "Thu, 01 Jan 1998 00:00:00 GMT"}, 0),
        ({}, None),
    ],
)
def test_how_long_to_wait(model, server, header, seconds):
    server.next(refusal(429, **header))
    with pytest.raises(RateLimitError) as caught:
        model.chat("a")
    assert caught.value.retry_after == seconds


def test_how_long_to_wait_as_a_date(model, server):
    server.next(refusal(429, Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)))
    with pytest.raises(RateLimitError) as caught:
        model.chat("a")
    assert 50 < caught.value.retry_after <= 60


def test_a_page_is_no_answer(model, server):
    server.next(Answer(200, b"<html>Welcome</html>", {"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(BackendError, match="base_url") as caught:
        model.chat("a")
    assert not caught.value.transient
    server.next(Answer(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}))
    with pytest.raises(ServiceError) as caught:
        model.chat("a")
    assert "<html>" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b'{"choices": [{"message": {"content": "half'),
        Answer(body=b'{"choices": [{"message": {"content": "half', cut=True),
        Answer(body=b""),
        Answer(body=b"\xff\xfe"),
        Answer(body=b"[" * 100_000),
        Answer(body=b'{"choices": []}'),
        Answer(body=b'{"choices": [{"message": {"content": 5}}]}'),
        Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
)
def test_half_an_answer(model, server, answer):
    server.next(answer)
    with pytest.raises(ServiceError) as caught:
        model.chat("a")
    assert caught.value.transient
    assert not caught.value.never_ran


def test_an_error_with_status_200(model, server):
    error = {"error": {"message": "the GPU is gone"}}
    server.next(Answer(body=json.dumps(error).encode()), events(piece("be"), error))
    with pytest.raises(ServiceError, match="the GPU is gone"):
        model.chat("a")
    with pytest.raises(ServiceError, match="the GPU is gone"):
        list(model.stream("a"))


def test_a_stream_that_breaks_off(model, server):
    whole = events(piece("hal"), done=False)
    server.next(
        whole, Answer(body=whole.body, headers=whole.headers, cut=True), events(piece("hal", "stop"), done=False)
    )
    for _ in range(2):
        stream = model.stream("a")
        assert next(stream) == "hal"
        with pytest.raises(ServiceError):
            next(stream)
    assert list(model.stream("a")) == ["hal"]  # not every service says [DONE]


def test_a_stream_that_is_none(model, server):
    server.next(completion({"content": "I do not stream"}))
    with pytest.raises(ServiceError, match="event-stream"):
        list(model.stream("a"))


def test_a_slow_service_is_given_up(model, server):
    server.next(Answer(delay=1.5))
    with pytest.raises(ServiceError, match="lost"):
        model.chat("a")


def test_nobody_there_provably_never_ran(model, server):
    server.__exit__()
    with pytest.raises(ConnectionFailedError) as caught:
        model.chat(QUESTION)
    assert caught.value.never_ran
    carried = caught.value.__cause__.request
    assert "authorization" not in carried.headers
    assert not carried.content


def test_tls_that_is_none_provably_never_ran(server):
    with client(Egress()) as http, pytest.raises(ConnectionFailedError), translating("prompt"):
        http.get(f"https://127.0.0.1:{server.port}/")
    assert not server.requests


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(model, server, status):
    with ChatServer() as other:
        for ask in (model.chat, lambda question: list(model.stream(question))):
            server.next(Answer(status, headers={"Location": f"{other.url}/chat/completions"}))
            with pytest.raises(BackendError, match="redirect"):
                ask(QUESTION)
        assert not other.requests


def test_the_key_stands_in_one_header_alone(model, server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    model.chat(QUESTION)
    said = [caplog.text, repr(model), str(model.ref)]
    echo = refusal(401, f"Incorrect key {KEY} for: {QUESTION}")
    for answer in (
        echo,
        refusal(429, f"Slow down, Bearer {KEY}: {QUESTION}"),
        Answer(500, f"{KEY} {QUESTION}".encode()),
    ):
        server.next(answer)
        with pytest.raises(BackendError) as caught:
            model.chat(QUESTION)
        said += [str(caught.value), repr(vars(caught.value)), caplog.text]
    assert "Incorrect key[…] for: […]" in "".join(said)
    files = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    for text in said:
        assert KEY not in text
        assert QUESTION not in text
    assert not [text for text in files if KEY in text or QUESTION in text]
    for heard in server.requests:
        assert KEY not in json.dumps(heard.body) + heard.path
        assert [name for name, value in heard.headers.items() if KEY in value] == ["Authorization"]


def test_a_request_id_that_repeats_the_key(model, server):
    server.next(refusal(500, x_request_id=f"for-{KEY}"))
    with pytest.raises(ServiceError) as caught:
        model.chat("a")
    assert caught.value.request_id == "for-[…]"


@pytest.mark.parametrize("value", ["", "sk-two words", "sk-line\nbreak", "sk-schlüssel"])
def test_a_key_that_cannot_be_one(model, server, monkeypatch, value):
    monkeypatch.setenv("SERVICE_KEY", value)
    with pytest.raises(ConfigError, match="SERVICE_KEY") as caught:
        model.chat("a")
    assert not value or value not in str(caught.value)
    assert not server.requests


def test_the_environment_chooses_no_proxy(model, server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.1)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert model.chat("a").text == "A"
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_images_go_out_in_the_wires_shape(model, server):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    turn = {"role": "user", "content": [{"type": "text", "text": "look"}, picture]}
    server.next(completion({"content": "ok"}))
    model.chat([turn])
    assert server.requests[0].body["messages"][-1] == turn

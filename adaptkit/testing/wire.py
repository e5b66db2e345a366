"""A fake service on a real socket: answers as it is told to, and goes wrong on demand.

`Wire` is the server: a table of routes, faults by operation, a record of every request. `Jobs` is what the services
have in common behind their wires: jobs that go through states, poll by poll. The fakes of the hosts put the two
together and add their own paths and words; use them to test your own code:

```python
with closing(FakeTogether()) as service:
    service.wire.next("submit", "lost")
    ...  # your code, with base_url=service.wire.url
    assert set(service.jobs.per_tag().values()) == {1}
```

Operations are named as the adapter's methods are: ``upload``, ``submit``, ``poll``, ``cancel``, ``retrieve``,
``events``, ``find``, ``chat``, ``deploy`` and so on, whatever the path that they go to.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Answer", "Asked", "Fault", "Jobs", "RemoteJob", "Route", "Wire"]

#: What goes wrong, and whether the request is carried out all the same.
#:
#: | fault | carried out | what the caller sees |
#: |---|---|---|
#: | lost | yes | the connection is reset before the answer |
#: | truncated | yes | half of the answer's JSON |
#: | failed_after | yes | 500 |
#: | slow | yes | the answer after `Wire.delay` seconds |
#: | html | yes | 200 with a page of HTML |
#: | failed | no | 500 |
#: | conflict | no | 409 |
#: | gone | no | 410 |
#: | rate_limited | no | 429 with ``Retry-After`` |
#: | quota | no | 429 with the code ``insufficient_quota`` |
#: | refused | no | 400 |
#: | unauthorized | no | 401 |
#: | forbidden | no | 403 |
#: | redirect | no | 307 to `Wire.elsewhere` |
Fault = Literal[
    "lost", "truncated", "failed_after", "slow", "html", "failed", "conflict", "gone", "rate_limited", "quota",
    "refused", "unauthorized", "forbidden", "redirect",
]  # fmt: skip

_INSTEAD: Mapping[str, tuple[int, str | None, str]] = {
    "failed": (500, None, "something went wrong"),
    "conflict": (409, "conflict", "another request is under way"),
    "gone": (410, "gone", "this has been switched off"),
    "rate_limited": (429, "rate_limit_exceeded", "too many requests"),
    "quota": (429, "insufficient_quota", "the budget is used up"),
    "refused": (400, "invalid_request", "the request cannot be served"),
    "unauthorized": (401, "invalid_api_key", "the key is not valid"),
    "forbidden": (403, "forbidden", "this account may not do this"),
}
_IN_MEMORY = 1 << 20  # bytes of a body beyond which it lies in a file


@dataclass(frozen=True)
class Asked:
    """One request: path without query, query values by name, headers in lower case, and the body as a file."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: IO[bytes] = field(repr=False)
    matched: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The whole body."""
        self.body.seek(0)
        return self.body.read()

    def json(self) -> Any:
        """The body as JSON; ``{}`` if there is none."""
        return json.loads(self.content() or b"{}")

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return (self.query.get(name) or [default])[0]


@dataclass(frozen=True)
class Answer:
    """What comes back: a body that is sent as JSON, as bytes, or as server-sent events if it is an iterator."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One path: a method, a pattern in which ``{name}`` stands for one segment, the operation, and who answers."""

    method: str
    path: str
    operation: str
    answer: Callable[[Asked], Answer]

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        """The segments by name if the request goes here; ``{name*}`` matches slashes too."""
        if method != self.method:
            return None
        pattern = re.sub(r"\\{(\w+)(\\\*)?\\}", lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})",
                         re.escape(self.path))  # fmt: skip
        found = re.fullmatch(pattern, path)
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


def _say(asked: Asked, status: int, code: str | None, words: str) -> Answer:
    """An error in OpenAI's form, which most services took over."""
    del asked
    return Answer({"error": {"message": words, "code": code, "type": code}}, status)


def _bearer(asked: Asked) -> str:
    """The key that a request carries."""
    return asked.headers.get("authorization", "").removeprefix("Bearer ") or asked.headers.get("x-api-key", "")


class Wire:
    """The server. It listens on a free port of this machine from the start until `close`.

    Args:
        routes: Looked through in order; what matches none is 404.
        key: Key that every request must carry, as a bearer token or in ``x-api-key``; ``None`` for any.
        key_of: Where a service has it elsewhere: reads it from a request.
        error: Where a service has errors of another form: an answer for a request, from status, code and words.

    Attributes:
        url: Where it listens, without a slash at the end.
        asked: Every request with its operation, in the order of arrival; those that went wrong among them.
        delay: Seconds that a ``slow`` request takes.
        retry_after: Seconds that a ``rate_limited`` answer names.
        elsewhere: Where a ``redirect`` points to: another origin, which counts what reaches it in `leaked`.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        key: str | None = None,
        *,
        key_of: Callable[[Asked], str] = _bearer,
        error: Callable[[Asked, int, str | None, str], Answer] = _say,
    ) -> None:
        self._routes, self._key, self._key_of, self._error = routes, key, key_of, error
        self._lock = threading.RLock()
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.asked: list[tuple[str, Asked]] = []
        self.delay, self.retry_after = 5.0, 0.05
        self.leaked: list[str] = []
        self._servers = [self._serve(self._respond), self._serve(self._leak)]
        self.url, self.elsewhere = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def next(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of an operation go wrong, one fault each."""
        with self._lock:
            self._faults[operation].extend(faults)

    def count(self) -> Counter[str]:
        """How many requests of each operation came in, those that went wrong among them."""
        with self._lock:
            return Counter(operation for operation, _ in self.asked)

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _serve(self, respond: Callable[[_Handler], None]) -> ThreadingHTTPServer:
        class Handler(_Handler):
            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = lambda self: respond(self)  # noqa: N815, PLW0108 - it binds

        server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True, name="adaptkit-wire").start()
        return server

    def _leak(self, handler: _Handler) -> None:
        self.leaked.append(handler.asked().path)
        handler.send(Answer({}))

    def _respond(self, handler: _Handler) -> None:
        asked = handler.asked()
        found = ((route, route.match(asked.method, asked.path)) for route in self._routes)
        route, matched = next(((route, matched) for route, matched in found if matched is not None), (None, {}))
        asked = Asked(asked.method, asked.path, asked.query, asked.headers, asked.body, matched)
        operation = route.operation if route else "unknown"
        with self._lock:
            self.asked.append((operation, asked))
            fault = self._faults[operation].popleft() if self._faults[operation] else None
        if self._key is not None and self._key_of(asked) != self._key:
            fault = "unauthorized"
        if fault is not None and fault in _INSTEAD:
            status, code, words = _INSTEAD[fault]
            said = self._error(asked, status, code, words)
            wait = {"Retry-After": str(self.retry_after)} if fault == "rate_limited" else {}
            handler.send(Answer(said.body, said.status, {**said.headers, **wait}))
        elif fault == "redirect":
            handler.send(Answer(None, 307, {"Location": self.elsewhere + asked.path}))
        elif route is None:
            handler.send(self._error(asked, 404, "not_found", f"no such path: {asked.path}"))
        else:
            with self._lock:  # one at a time, so that what the fakes keep needs no locks of its own
                answer = route.answer(asked)
            handler.send(answer, fault, self.delay)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    def asked(self) -> Asked:
        """The request, its body read."""
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives on
        for piece in self._pieces(headers):
            body.write(piece)
        return Asked(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body)

    def _pieces(self, headers: Mapping[str, str]) -> Iterable[bytes]:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(headers.get("content-length", 0))
        while left and (piece := self.rfile.read(min(left, 1 << 16))):
            left -= len(piece)
            yield piece

    def send(self, answer: Answer, fault: str | None = None, delay: float = 0.0) -> None:
        """Answer, or do what the fault says."""
        if fault == "lost":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not end
            self.close_connection = True
            self.connection.close()
            return
        if fault == "slow":
            time.sleep(delay)
        if fault == "failed_after":
            answer = Answer({"error": {"message": "something went wrong after all"}}, 500)
        if fault == "html":
            answer = Answer(b"<html><body>Welcome</body></html>", 200, {"Content-Type": "text/html"})
        if isinstance(answer.body, bytes | dict | list | None):
            self._whole(answer, cut=fault == "truncated")
        else:
            self._events(answer)

    def _whole(self, answer: Answer, *, cut: bool) -> None:
        body = answer.body if isinstance(answer.body, bytes) else b""
        if isinstance(answer.body, dict | list):
            body = json.dumps(answer.body).encode()
        body = body[: len(body) // 2] if cut else body
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _events(self, answer: Answer) -> None:
        assert isinstance(answer.body, Iterable)  # noqa: S101 - said by `Answer`
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for item in answer.body:
            self.wfile.write(f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True


# what the services have in common ---------------------------------------------------------------------------------


@dataclass
class RemoteJob:
    """A job as the service sees it.

    Attributes:
        id: The service's id.
        tag: The tag that its submission carried, wherever the wire carries it.
        body: The request that made it.
        states: Words that polls say, one after the other, the last for ever.
        shown: Index of the word said last.
        hidden: How many more times it is missing from lists.
        created_at: Unix time.
        facts: Whatever else the fake keeps of it.
    """

    id: str
    tag: str
    body: Mapping[str, Any]
    states: list[str]
    shown: int = 0
    hidden: int = 0
    created_at: float = field(default_factory=time.time)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The word said last."""
        return self.states[self.shown]


class Jobs:
    """The jobs of a service.

    Attributes:
        script: States that new jobs go through; change it as a test needs.
        hidden: How many lists a new job is missing from, as with services that are slow to list.
        all: Every job by id, oldest first.
    """

    def __init__(self, *script: str) -> None:
        self.script, self.hidden = list(script), 0
        self.all: dict[str, RemoteJob] = {}

    def add(self, tag: str, body: Mapping[str, Any], job_id: str | None = None) -> RemoteJob:
        """Make a job."""
        job = RemoteJob(job_id or f"ft-{secrets.token_hex(8)}", tag, body, list(self.script), hidden=self.hidden)
        self.all[job.id] = job
        return job

    def poll(self, job_id: str) -> RemoteJob | None:
        """Go on to the next word."""
        job = self.all.get(job_id)
        if job is not None:
            job.shown = min(job.shown + 1, len(job.states) - 1)
        return job

    def tell(self, job_id: str, *words: str) -> None:
        """Let polls of a job say these words from now on, the last for ever."""
        job = self.all[job_id]
        job.states[job.shown + 1 :] = words

    def listed(self) -> list[RemoteJob]:
        """What a list shows, newest first; what is still hidden comes a look nearer to being seen."""
        seen = [job for job in self.all.values() if job.hidden <= 0]
        for job in self.all.values():
            job.hidden -= 1
        return seen[::-1]

    def per_tag(self) -> Counter[str]:
        """How many jobs carry each tag: more than one means that somebody paid twice."""
        return Counter(job.tag for job in self.all.values())

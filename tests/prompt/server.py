"""A service that speaks OpenAI's chat wire, on a real socket of this machine."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Heard:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What to say instead of the usual. ``cut`` promises more bytes than come; ``delay`` is silence before."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0


def events(*pieces: object, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(piece)}\n\n" for piece in pieces] + (["data: [DONE]\n\n"] if done else [])
    return Answer(body="".join(lines).encode(), headers={"Content-Type": "text/event-stream"})


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def completion(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Answer:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}], **more}
    return Answer(body=json.dumps(body).encode())


class ChatServer:
    """Answers each request with the next answer queued, or as ``usual`` says: the last message in capitals."""

    def __init__(self, usual: Callable[[dict[str, Any]], Answer] | None = None) -> None:
        self.requests: list[Heard] = []
        self.queue: deque[Answer] = deque()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(Heard(self.path, dict(self.headers), body))
                answer = server.queue.popleft() if server.queue else (usual or _usual)(body)
                time.sleep(answer.delay)
                self.send_response(answer.status)
                headers = {"Content-Type": "application/json", **answer.headers}
                length = len(answer.body) + (100 if answer.cut else 0)
                for name, value in {**headers, "Content-Length": str(length), "Connection": "close"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self, *answers: Answer) -> None:
        self.queue.extend(answers)


def _usual(body: dict[str, Any]) -> Answer:
    text = str(body["messages"][-1]["content"]).upper()
    usage = {"prompt_tokens": len(body["messages"]), "completion_tokens": 7}
    if not body.get("stream"):
        return completion({"content": text}, usage=usage)
    return events(*(piece(text[at : at + 3]) for at in range(0, len(text), 3)), piece(None, "stop"))

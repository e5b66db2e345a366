"""A comparison that is killed at any point goes on without asking again for any answer that it has."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adaptkit.evidence.results import Comparison

ROOT = Path(__file__).parents[2]
QUESTIONS, REPEATS = 40, 2
TARGETS = ("polite", "short")

SCRIPT = """
import sys
from adaptkit import Client, Dataset
url, home, kept = sys.argv[1:]
targets = {
    name: {"backend": "prompt", "model": name, "base_url": url, "examples": 0, "instructions": f"Be {name}."}
    for name in ("polite", "short")
}
def row(number):
    question = {"role": "user", "content": f"Question {number}"}
    return {"messages": [question, {"role": "assistant", "content": f"QUESTION {number}"}]}
with Client(targets=targets, home=home, egress="none") as client:
    for name in targets:
        client.submit(name, Dataset.of([row(-1), row(-2)]))
    found = client.compare(list(targets), Dataset.of(map(row, range(40))), repeats=2, concurrency=4)
    found.save(kept)
"""


class Service:
    """Speaks OpenAI's chat wire, slowly, answers in capitals, and counts."""

    def __init__(self):
        self.heard = Counter()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][-1]["content"]
                service.heard[body["model"], text] += 1
                time.sleep(0.01)
                message = {"role": "assistant", "content": text.upper()}
                usage = {"prompt_tokens": 5, "completion_tokens": 2}
                said = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
                answer = json.dumps(said).encode()
                self.send_response(200)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # who was killed does not read its answer
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def service():
    made = Service()
    yield made
    made.close()


def answers_kept(home: Path) -> int:
    file = home / "answers.db"
    if not file.exists():
        return 0
    with sqlite3.connect(file) as opened:
        return opened.execute("SELECT COUNT(*) FROM answer").fetchone()[0]


def test_killed_again_and_again(service, tmp_path):
    total = QUESTIONS * REPEATS * len(TARGETS)
    seed = int(os.environ.get("ADAPTKIT_SEED", random.randrange(1_000_000)))
    print("ADAPTKIT_SEED", seed)
    home, kept = tmp_path / "home", tmp_path / "comparison.json"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, service.url, str(home), str(kept)]
    moments = sorted(random.Random(seed).sample(range(1, total - 8), 4))
    for moment in moments:
        before, has = service.heard.total(), answers_kept(home)
        with subprocess.Popen(command, cwd=ROOT) as running:
            while service.heard.total() < moment and running.poll() is None:
                time.sleep(0.001)
            os.kill(running.pid, signal.SIGKILL)
        time.sleep(0.1)  # what was under way arrives at the service
        assert service.heard.total() - before <= total - has
        assert not kept.exists()
    has, before = answers_kept(home), service.heard.total()
    assert 0 < has < total
    subprocess.run(command, check=True, cwd=ROOT)
    assert service.heard.total() - before == total - has, "what was missing was asked for, and nothing else"
    assert service.heard.total() <= total + 4 * len(moments), "only what was under way at a kill is asked twice"
    found = Comparison.load(kept)
    assert [each.score.value for each in found.competitors] == [1.0, 1.0]
    assert all(answer.seconds >= 0.01 for each in found.competitors for answer in each.answers), "times survive too"
    assert [each.rung for each in found.competitors] == ["prompt", "prompt"]
    before = service.heard.total()
    subprocess.run(command, check=True, cwd=ROOT)
    assert service.heard.total() == before
    again = Comparison.load(kept)
    assert [each.answers for each in again.competitors] == [each.answers for each in found.competitors]

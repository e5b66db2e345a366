"""On a terminal: a live bar, colours, Ctrl-C, conversation. The terminal is a real one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable

import pytest

from adaptkit import JobRef
from tests.cli.conftest import Shop


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, shop: Shop, *arguments: str, columns: int = 80) -> None:
        inside, self._outside = pty.openpty()[::-1]
        os.set_blocking(self._outside, True)
        environment = {**shop.environment, "COLUMNS": str(columns), "TERM": "xterm"}
        self.process = subprocess.Popen(
            shop.command(*arguments),
            cwd=shop.folder,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, then the command
        )
        os.close(inside)
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._outside, 4096):
                self.said += piece.decode(errors="replace")
        except OSError:  # the other side is closed
            pass

    def type(self, text: str) -> None:
        os.write(self._outside, text.encode())

    def until(self, seen: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 60
        while not seen(self.said):
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None or seen(self.said), self.said
            time.sleep(0.05)

    def end(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        os.close(self._outside)
        return code


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_watching_shows_a_live_bar_and_ctrl_c_leaves_the_job_running(shop: Shop) -> None:
    ref = JobRef.parse(shop.run("submit", "endless", "data.jsonl").stdout)
    shop.service.tell(ref.id, "running")
    terminal = Terminal(shop, "watch", "last")
    terminal.until(lambda said: "loss 0.900" in said and "1/1" in said)
    assert "\x1b[" in terminal.said
    terminal.type("\x03")
    assert terminal.end() == 130
    assert f"adaptkit watch {ref.id}" in terminal.said
    assert str(ref)[:60] in terminal.said
    assert "Traceback" not in terminal.said
    assert terminal.said.count("\x1b[?25l") == terminal.said.count("\x1b[?25h")  # the cursor is back
    assert shop.service.jobs()[0].word == "running"
    assert shop.service.requests()["cancel"] == 0


@pytest.mark.parametrize("arguments", [["result", "last"], ["watch", "last", "--json"]])
def test_an_interrupt_in_a_pipe_leaves_the_job_running(shop: Shop, arguments: list[str]) -> None:
    ref = JobRef.parse(shop.run("submit", "endless", "data.jsonl").stdout)
    process = subprocess.Popen(
        shop.command(*arguments),
        cwd=shop.folder,
        env=shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while shop.service.requests()["poll"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert ref.id in err
    assert "\x1b" not in out + err
    assert "Traceback" not in err
    if "--json" in arguments:
        assert '"exit":130' in out.splitlines()[-1]
    assert shop.service.jobs()[0].word == "running"


def test_a_conversation(shop: Shop) -> None:
    shop.run("submit", "quick", "data.jsonl", "--wait")
    terminal = Terminal(shop, "chat", "last")
    terminal.until(lambda said: said.rstrip().endswith(">") or "> " in said)
    terminal.type("first\n")
    terminal.until(lambda said: "You said: first" in said)
    terminal.type("second\n")
    terminal.until(lambda said: "You said: second" in said)
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_model_cannot_steer_the_terminal(shop: Shop) -> None:
    shop.run("submit", "quick", "data.jsonl", "--wait")
    terminal = Terminal(shop, "chat", "last", "-m", "\x1b]0;owned\x07 bell")
    assert terminal.end() == 0
    assert "\x1b]0;" not in terminal.said
    assert "owned" in terminal.said


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_wider_than_the_terminal(shop: Shop, columns: int) -> None:
    for arguments in (["doctor"], ["check", "data.jsonl"], ["plan", "quick", "data.jsonl"], ["backends"]):
        terminal = Terminal(shop, *arguments, columns=columns)
        assert terminal.end() == 0
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\r")) for line in terminal.said.split("\n")]
        assert max(map(len, lines)) <= columns, arguments

"""A TCP proxy that loses answers: the request gets through, and what comes back does not."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable


class LosingProxy:
    """Stands between a client and one port of this machine.

    Args:
        port: Where to connect to.
        lose: Asked when an answer begins; the connection is reset, on both sides, where it says yes.
    """

    def __init__(self, port: int, lose: Callable[[], bool]) -> None:
        self._port, self._lose = port, lose
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._forward, args=(near, far), daemon=True).start()
                threading.Thread(target=self._answer, args=(far, near), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(1 << 16):
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(1 << 16):
                if self._lose():
                    self.lost += 1
                    for side in (near, far):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    near.shutdown(socket.SHUT_RD)  # a connection is not closed while the other thread reads from it
                    break
                near.sendall(data)
        for side in (near, far):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)  # the other thread still reads, and would keep it open
            side.close()

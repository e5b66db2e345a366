"""Ports for servers that take a while to listen."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

#: Below those that a kernel gives to whoever asks for any (from 32768), and beyond those of Ray's workers (to 19999):
#: nobody else comes to have one of these by chance.
_NOBODYS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at, each another."""
    found: set[int] = set()
    while len(found) < count:
        port = SystemRandom().choice(_NOBODYS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)

"""Seeing what code does to the world outside, by Python's own audit events."""

from __future__ import annotations

import ipaddress
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Seen", "watched"]

_OUTSIDE = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec"}


@dataclass
class Seen:
    """What one thread did: audit events and their arguments, by what they reach."""

    outside: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    @property
    def remote(self) -> list[str]:
        """Connections and look-ups that go beyond this machine."""
        return [event for event in self.outside if event.startswith("socket.") and not _local(event.split(" ")[1])]


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "None") or host.startswith("/")


_watching: dict[int, Seen] = {}
_installed = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    seen = _watching.get(threading.get_ident())
    if seen is None:
        return
    if event == "open":
        seen.opened.append(str(args[0]))
    elif event in _OUTSIDE:
        where: object = args[0] if args else ""
        if event == "socket.connect":
            where = args[1][0] if isinstance(args[1], tuple) else args[1]
        seen.outside.append(f"{event} {where}")


@contextmanager
def watched() -> Iterator[Seen]:
    """Collect what this thread opens, connects to and starts while the block runs."""
    global _installed  # noqa: PLW0603 - an audit hook stays for the life of the process, so there is one
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
    seen = _watching[threading.get_ident()] = Seen()
    try:
        yield seen
    finally:
        del _watching[threading.get_ident()]

"""Which process is which: a name that stays true when process ids are used again."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["is_dead", "process_name"]


def _started(pid: int) -> str | None:
    """A stamp of the process's start, or ``None`` when it is gone (or a zombie, which does nothing any more)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:  # no /proc: a recycled id cannot be told apart, which only makes us wait for a lease to run out
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def process_name(pid: int | None = None) -> str:
    """``host:boot:pid:start`` of a living process (this one by default), unique over all time and machines."""
    pid = os.getpid() if pid is None else pid
    return f"{platform.node()}:{_boot()}:{pid}:{_started(pid) or 0}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return "-"


def is_dead(name: str) -> bool:
    """Whether the process of that name is surely gone; ``False`` when it lives or is on another machine."""
    host, boot, pid, started = name.rsplit(":", 3)
    if host != platform.node():
        return False
    return boot != _boot() or _started(int(pid)) != started

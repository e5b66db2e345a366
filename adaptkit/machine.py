"""What this machine has: found out without loading torch, so that a plan costs nothing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adaptkit.errors import UnsupportedError

__all__ = ["Gpu", "Machine", "this_machine"]


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU: ``capability`` such as 8.0, memory in bytes."""

    capability: float
    memory: int


@dataclass(frozen=True)
class Machine:
    """The devices of a machine.

    Attributes:
        gpus: NVIDIA GPUs by index.
        apple: Whether it has Apple's GPU.
        cpu_bf16: Whether the CPU multiplies bf16 in hardware.
    """

    gpus: tuple[Gpu, ...] = ()
    apple: bool = False
    cpu_bf16: bool = False

    def device(self, asked: str) -> str:
        """The device for ``auto`` or a name.

        Raises:
            UnsupportedError: this machine has no such device.
        """
        if asked == "auto":
            return "cuda:0" if self.gpus else "mps" if self.apple else "cpu"
        if asked.startswith("cuda"):
            index = int(asked.partition(":")[2] or 0)
            if index >= len(self.gpus):
                has = f"{len(self.gpus)} NVIDIA GPUs" if self.gpus else "no NVIDIA GPU that nvidia-smi lists"
                raise UnsupportedError(f'device = "{asked}", but this machine has {has}; use device = "auto"')
            return f"cuda:{index}"
        if asked == "mps" and not self.apple:
            raise UnsupportedError('device = "mps" is Apple\'s GPU, which this machine lacks; use device = "auto"')
        return asked

    def gains_by_bf16(self, device: str, wide: bool) -> bool:
        """Whether mixed precision is faster there: Ampere (8.0) and later, or a CPU with bf16 and a wide model."""
        if device.startswith("cuda"):
            return self.gpus[int(device.partition(":")[2])].capability >= 8.0
        return device == "cpu" and self.cpu_bf16 and wide

    def memory(self, device: str) -> int | None:
        """Bytes that a job may use there, as far as that can be known."""
        if device.startswith("cuda"):
            return self.gpus[int(device.partition(":")[2])].memory
        try:
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


@cache
def this_machine() -> Machine:
    """What is here; asked once a process."""
    return Machine(_gpus(), platform.system() == "Darwin" and platform.machine() == "arm64", _cpu_bf16())


def _cpu_bf16() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _gpus() -> tuple[Gpu, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    ask = ["nvidia-smi", "--query-gpu=compute_cap,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout
        rows = [line.split(",") for line in said.strip().splitlines()]
        return tuple(Gpu(float(capability), int(mebibytes) << 20) for capability, mebibytes in rows)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()

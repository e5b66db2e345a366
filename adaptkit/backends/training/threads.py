"""How many threads of a CPU a training takes."""

from __future__ import annotations

import os

from adaptkit.backends.base_model import Base

__all__ = ["settle_threads"]

#: Parameters below which one thread of the CPU is enough: several would mostly wait for one another. Measured on two
#: cores, where one thread was clearly faster at 1 million, as fast at 3 million, and slower from 5 million on.
SMALL = 4_000_000


def settle_threads(base: Base) -> None:
    """Take one thread for a small model, unless ``OMP_NUM_THREADS`` says otherwise; for this whole process."""
    if base.parameters < SMALL and "OMP_NUM_THREADS" not in os.environ:
        import torch  # noqa: PLC0415 - an extra

        torch.set_num_threads(1)

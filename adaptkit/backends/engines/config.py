"""``[targets.NAME.run]``: on what a job runs, and with how many processes."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from adaptkit.backends.engines.objects import host_of
from adaptkit.errors import UnsupportedError

__all__ = ["RunConfig"]


class RunConfig(BaseModel):
    """On what a job runs. It says nothing of what is trained: the same run on another engine is the same run.

    Attributes:
        engine: ``local`` is this machine; ``slurm`` submits with submitit; ``ray`` with Ray's Jobs API.
        nodes: Machines.
        gpus_per_node: GPUs of each, one process a GPU; ``None`` for what ``device`` of the target says.
        processes_per_node: Processes of each where there is no GPU.
        parallel: ``ddp`` keeps a copy of the model in every process, ``fsdp`` (FSDP2) a part; ``auto`` takes ``ddp``
            for LoRA and ``fsdp`` for full training.
        time: Limit as Slurm writes it (``"2:00:00"``); what runs longer goes on from its last checkpoint.
        partition: Of Slurm.
        options: More for Slurm's ``sbatch`` (``{qos = "high"}``).
        address: Of Ray's dashboard, ``http://head:8265``.
        folder: Where jobs of an engine lie: a folder that all its machines see, or an address of object storage
            (``s3://bucket/jobs``). ``None`` for the home folder.
        retries: How often a lost process is made good from the last checkpoint without a step forward.
        tokens_per_second: Of all processes together, where it is known; plans tell hours by it.
        usd_per_gpu_hour: What a GPU costs you; plans tell money by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    engine: Literal["local", "slurm", "ray"] = "local"
    nodes: int = Field(1, ge=1)
    gpus_per_node: int | None = Field(None, ge=1)
    processes_per_node: int | None = Field(None, ge=1)
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    time: str | None = Field(None, pattern=r"^(\d+-)?\d+(:\d{1,2}){0,2}$")
    partition: str | None = None
    options: dict[str, str] = {}
    address: str | None = Field(None, pattern=r"^https?://\S+$")
    folder: str | None = None
    retries: int = Field(3, ge=0)
    tokens_per_second: float | None = Field(None, gt=0)
    usd_per_gpu_hour: float | None = Field(None, ge=0)

    @property
    def each(self) -> int:
        """Processes of each machine."""
        return self.gpus_per_node or self.processes_per_node or 1

    @property
    def processes(self) -> int:
        """Processes of all machines together."""
        return self.nodes * self.each

    def spread(self, *, full: bool) -> Literal["ddp", "fsdp"]:
        """How the processes share a model: ``auto`` decided by whether all of its weights are trained."""
        if self.parallel != "auto":
            return self.parallel
        return "fsdp" if full else "ddp"

    def require(self, dropout: float) -> None:
        """Refuse what no training can do.

        Args:
            dropout: Of the training.

        Raises:
            UnsupportedError: says what.
        """
        if self.nodes > 1 and self.engine == "local":
            raise UnsupportedError('engine = "local" is one machine; use engine = "slurm" or "ray" for more nodes')
        if self.processes > 1 and dropout:
            raise UnsupportedError(
                "dropout differs by the number of processes, so what is learned would too; leave it out"
            )

    @property
    def profile(self) -> str | None:
        """Name under which the table of prices has it: machines are free unless you say what they cost."""
        return "own machines" if self.usd_per_gpu_hour is None else None

    def usd(self, seconds: float) -> float | None:
        """US dollars for so many seconds on all GPUs; ``None`` where nobody said what they cost."""
        rate = self.usd_per_gpu_hour
        return None if rate is None else seconds / 3600 * self.processes * rate

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that jobs are sent to: the engine's, and that of their object storage."""
        found = (urlsplit(self.address or "").hostname, host_of(self.folder or ""))
        return tuple(host for host in found if host)
